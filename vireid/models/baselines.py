"""The baselines that users start from: the two-stream network B of MUN's Table 1, and AGW."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import torch
from torch import Tensor, nn

from vireid._checks import check_choice, check_image_batch, require
from vireid.modality import Modality
from vireid.models.backbone import TwoStreamBackbone, create_backbone
from vireid.models.head import BNNeck, GeneralizedMeanPool, create_classifier

if TYPE_CHECKING:
    from typing_extensions import Self


class BaselineOutput(NamedTuple):
    """What :class:`TwoStreamBaseline` computes of a batch of visible and one of infrared images.

    The embeddings are pooled, before the BNNeck, for metric losses; the logits are those of the embedding behind it.

    Shape:
        embeddings b d, logits b n for n identities.
    """

    visible: Tensor
    infrared: Tensor
    visible_logits: Tensor
    infrared_logits: Tensor


class TwoStreamBaseline(nn.Module):
    """A two-stream backbone, GeM pooling, a BNNeck and identity classifiers: MUN without the auxiliary modality.

    As it comes it is B of MUN's Table 1; :meth:`agw` makes AGW of it. The batches need not be pairs.

    Args:
        num_identities: n, the identities to classify in training.
        backbone: name of a timm network.
        pretrained: load timm's weights of the backbone from the hub.
        checkpoint: load the weights of the backbone from a local file instead.
        modality_specific_stages: stages of the backbone that each modality has of its own, beside the stem.
        last_stride: 1 keeps the resolution of the backbone's last stage, 2 halves it.
        image_size: (height, width) of the images, pixels.
        shared_classifier: classify both modalities alike, as AGW does, or each by its own classifier, as MUN does.
        non_local: put :class:`NonLocalBlock` behind the last two blocks of ``layer2`` and the last three of ``layer3``,
            as AGW does; for ResNets.

    Shape:
        visible b 3 H W, infrared b' 3 H W -> :class:`BaselineOutput`.

    Raises:
        ValueError: an argument is out of its range, or the images are no b 3 H W batches.

    Example:
        >>> model = TwoStreamBaseline(10, "test_resnet", image_size=(96, 48))
        >>> output = model(torch.rand(4, 3, 96, 48), torch.rand(2, 3, 96, 48))
        >>> output.visible.shape, output.infrared_logits.shape
        (torch.Size([4, 96]), torch.Size([2, 10]))
        >>> model.eval().embed(torch.rand(2, 3, 96, 48), "infrared").shape
        torch.Size([2, 96])

    References:
        Yu et al., Modality Unifying Network for Visible-Infrared Person Re-Identification, ICCV 2023; Ye et al., Deep
        Learning for Person Re-identification: A Survey and Outlook, TPAMI 2021.
    """

    def __init__(
        self,
        num_identities: int,
        backbone: str = "resnet50",
        *,
        pretrained: bool = False,
        checkpoint: str | Path | None = None,
        modality_specific_stages: int = 1,
        last_stride: Literal[1, 2] = 1,
        image_size: tuple[int, int] = (288, 144),
        shared_classifier: bool = False,
        non_local: bool = False,
    ) -> None:
        super().__init__()
        require(num_identities >= 1, "num_identities", "be at least 1", num_identities)
        self.backbone = create_backbone(
            backbone,
            modality_specific_stages=modality_specific_stages,
            pretrained=pretrained,
            checkpoint=checkpoint,
            last_stride=last_stride,
            image_size=image_size,
        )
        if non_local:
            _insert_non_local(backbone, self.backbone, {"layer2": 2, "layer3": 3})
        self.pool = GeneralizedMeanPool()
        self.embedding_dim = self.backbone.out_channels
        self.neck = BNNeck(self.embedding_dim)
        self.visible_classifier = create_classifier(self.embedding_dim, num_identities)
        self.infrared_classifier = (
            self.visible_classifier if shared_classifier else create_classifier(self.embedding_dim, num_identities)
        )

    @classmethod
    def agw(
        cls,
        num_identities: int,
        backbone: str = "resnet50",
        *,
        pretrained: bool = False,
        checkpoint: str | Path | None = None,
        image_size: tuple[int, int] = (288, 144),
    ) -> Self:
        """AGW's network: own stems only, non-local blocks, one classifier; its triplet loss is a loss of its own.

        Args:
            num_identities: n, the identities to classify in training.
            backbone: name of a timm ResNet.
            pretrained: load timm's weights of the backbone from the hub.
            checkpoint: load the weights of the backbone from a local file instead.
            image_size: (height, width) of the images, pixels.

        Raises:
            ValueError: as for the class.
        """
        return cls(
            num_identities,
            backbone,
            pretrained=pretrained,
            checkpoint=checkpoint,
            modality_specific_stages=0,
            image_size=image_size,
            shared_classifier=True,
            non_local=True,
        )

    def forward(self, visible: Tensor, infrared: Tensor) -> BaselineOutput:
        """Images of both modalities, in any numbers."""
        for argument, images in (("visible", visible), ("infrared", infrared)):
            check_image_batch(argument, images)
        visible_map = self.backbone.first_stages(visible, Modality.VISIBLE)
        infrared_map = self.backbone.first_stages(infrared, Modality.INFRARED)
        embeddings = self.pool(self.backbone.shared_stages(torch.cat([visible_map, infrared_map])))
        sizes = [len(visible), len(infrared)]
        z_visible, z_infrared = embeddings.split(sizes)
        n_visible, n_infrared = self.neck(embeddings).split(sizes)
        return BaselineOutput(
            z_visible, z_infrared, self.visible_classifier(n_visible), self.infrared_classifier(n_infrared)
        )

    def embed(self, images: Tensor, modality: Modality | str, *, feature: Literal["bn", "pooled"] = "bn") -> Tensor:
        """Embeddings of unit length for retrieval by cosine similarity.

        Args:
            images: of one modality.
            modality: ``"visible"`` or ``"infrared"``.
            feature: the embedding behind the BNNeck or the pooled one before it.

        Shape:
            b 3 H W -> b d.

        Raises:
            ValueError: the images have another shape, or no such modality or feature exists.
        """
        check_image_batch("images", images)
        check_choice("feature", feature, ("bn", "pooled"))
        embeddings = self.pool(self.backbone.shared_stages(self.backbone.first_stages(images, modality)))
        return nn.functional.normalize(self.neck(embeddings) if feature == "bn" else embeddings)


class NonLocalBlock(nn.Module):
    """Add to every place of a map a sum over all places, weighted by the products of their projections.

    The weights are divided by the number of places, without a softmax. The last normalisation starts at zero, so that
    the block starts as the identity. AGW's code has one channel inside, by a slip that those who copied it inherited;
    ``inter_channels=1`` is that.

    Args:
        channels: c of the map.
        inter_channels: of the projections; by default half of c.

    Shape:
        b c h w -> b c h w.

    Raises:
        ValueError: a number of channels is less than 1.

    Example:
        >>> feature_map = torch.rand(2, 8, 4, 2)
        >>> bool((NonLocalBlock(8)(feature_map) == feature_map).all())
        True

    References:
        Wang et al., Non-local Neural Networks, CVPR 2018; Ye et al., Deep Learning for Person Re-identification: A
        Survey and Outlook, TPAMI 2021.
    """

    def __init__(self, channels: int, *, inter_channels: int | None = None) -> None:
        super().__init__()
        inter_channels = max(1, channels // 2) if inter_channels is None else inter_channels
        require(channels >= 1, "channels", "be at least 1", channels)
        require(inter_channels >= 1, "inter_channels", "be at least 1", inter_channels)
        self.value = nn.Conv2d(channels, inter_channels, 1)
        self.query = nn.Conv2d(channels, inter_channels, 1)
        self.key = nn.Conv2d(channels, inter_channels, 1)
        self.project = nn.Sequential(nn.Conv2d(inter_channels, channels, 1), nn.BatchNorm2d(channels))
        nn.init.zeros_(self.project[1].weight)  # type: ignore[arg-type]

    def forward(self, feature_map: Tensor) -> Tensor:
        """X + W(1/N Σ_j (θ(x_i)·φ(x_j)) g(x_j))."""
        height, width = feature_map.shape[-2:]
        value, query, key = (part(feature_map).flatten(2) for part in (self.value, self.query, self.key))  # b e n
        mixed = key @ value.mT / (height * width)  # b e e: the places are summed first, which is exact and cheaper
        summed = (query.mT @ mixed).mT.unflatten(2, (height, width))  # b e h w
        added: Tensor = self.project(summed)
        return feature_map + added


def _insert_non_local(name: str, backbone: TwoStreamBackbone, behind: dict[str, int]) -> None:
    network = getattr(backbone.shared_stages, "network", None)
    for stage, number in behind.items():
        blocks = getattr(network, stage, None)
        rule = "be a ResNet for non-local blocks"
        if not isinstance(blocks, nn.Sequential):
            raise ValueError(f"backbone must {rule}, got {name!r}. Take non_local=False.")
        for i in range(max(0, len(blocks) - number), len(blocks)):
            channels = [part.num_features for part in blocks[i].modules() if isinstance(part, nn.BatchNorm2d)][-1]
            blocks[i] = nn.Sequential(blocks[i], NonLocalBlock(channels))
