"""PMT's network: one vision transformer for both modalities."""

from __future__ import annotations

from torch import nn

from vireid._checks import check_integer
from vireid.models.auxiliary import Fixed, Start
from vireid.models.backbone import create_backbone
from vireid.models.baseline import TwoStreamBaseline
from vireid.models.embedder import TwoStreamEmbedder


def create_pmt(
    num_identities: int,
    backbone: str = "vit_base_patch16_224",
    *,
    pretrained: bool = False,
    image_size: tuple[int, int] = (256, 128),
    patch_stride: int = 12,
    generator: nn.Module | Start | Fixed | None = None,
) -> TwoStreamBaseline:
    """Create PMT's network: a vision transformer that both modalities share, and one classifier.

    Its patches overlap, and their position embeddings are resized bilinearly. The embedding is the class token,
    normalised by a :class:`BNNeck`. As in PMT, dropout is 0.03 and stochastic depth rises to 0.1. A generator takes its
    maps behind the patch embedding. The losses of PMT are :class:`~vireid.losses.PMTLoss`; they need no transformer.

    Args:
        num_identities: Number of training identities n.
        backbone: Name of a plain vision transformer of timm.
        pretrained: Whether to load timm's weights of the backbone from the hub.
        image_size: Size (height, width) of the images in pixels.
        patch_stride: Stride of the patches in pixels.
        generator: Generator of an auxiliary modality or its start, as in :class:`AuxiliaryBranch`; None for none.

    Raises:
        ValueError: If an argument is out of range, or the backbone is no plain vision transformer with a class token.
        TypeError: If an argument has the wrong type.

    Example:
        >>> create_pmt(10, "test_vit", image_size=(96, 48)).embedding_dim
        64

    References:
        Lu et al., Learning Progressive Modality-Shared Transformers for Effective Visible-Infrared Person
        Re-identification, AAAI 2023.
    """
    num_identities = check_integer("num_identities", num_identities, least=1)
    single_stream = create_backbone(
        backbone,
        modality_specific_stages=0,
        pretrained=pretrained,
        image_size=image_size,
        single_stream=True,
        patch_stride=patch_stride,
        class_token=True,
        timm_options={"pos_drop_rate": 0.03, "proj_drop_rate": 0.03, "drop_path_rate": 0.1},
    )
    embedder = TwoStreamEmbedder(single_stream, nn.Flatten())
    return TwoStreamBaseline(num_identities, embedder, shared_classifier=True, generator=generator)
