"""AGW's network: the two-stream baseline with non-local blocks."""

from __future__ import annotations

from torch import nn

from vireid._checks import check_integer
from vireid.models.auxiliary import Fixed, Start
from vireid.models.backbone import create_backbone
from vireid.models.baseline import TwoStreamBaseline


def create_agw(
    num_identities: int,
    backbone: str = "resnet50",
    *,
    pretrained: bool = False,
    image_size: tuple[int, int] = (288, 144),
    generator: nn.Module | Start | Fixed | None = None,
) -> TwoStreamBaseline:
    """Create AGW's network: modality-specific stems only, non-local blocks, and one classifier for both modalities.

    Its weighted regularised triplet loss is :class:`~vireid.losses.WeightedRegularizedTripletLoss`.

    Args:
        num_identities: Number of training identities n.
        backbone: Name of a timm ResNet.
        pretrained: Whether to load timm's weights of the backbone from the hub.
        image_size: Size (height, width) of the images in pixels.
        generator: Generator of an auxiliary modality or its start, as in :class:`AuxiliaryBranch`; None for none.

    Raises:
        ValueError: If an argument is out of range.
        TypeError: If an argument has the wrong type.

    Example:
        >>> create_agw(10, "test_resnet", image_size=(96, 48)).embedding_dim
        96

    References:
        Ye et al., Deep Learning for Person Re-identification: A Survey and Outlook, TPAMI 2021.
    """
    num_identities = check_integer("num_identities", num_identities, least=1)
    two_stream = create_backbone(
        backbone, modality_specific_stages=0, pretrained=pretrained, image_size=image_size, non_local=True
    )
    return TwoStreamBaseline(num_identities, two_stream, shared_classifier=True, generator=generator)
