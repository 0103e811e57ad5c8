"""DEEN: an embedder whose images have several versions, and one classifier for all of them."""

from __future__ import annotations

from typing import NamedTuple

import torch
from einops import rearrange
from torch import Tensor, nn

from vireid._checks import check_integer, check_type
from vireid.models.auxiliary import Fixed, Start
from vireid.models.auxiliary_branch import AuxiliaryBranch, compute_first_maps
from vireid.models.backbone import create_backbone
from vireid.models.embedder import EmbedderNetwork, TwoStreamEmbedder
from vireid.models.expansion import ExpandedNeck, ExpandedPooling
from vireid.models.head import create_classifier


class DEENOutput(NamedTuple):
    """Hold the output of :class:`DEEN` for a batch of visible and one of infrared images.

    The embeddings are pooled, before the neck. The logits are those of the embeddings behind it. The images themselves
    and the versions that the m branches of the expansion make of them are apart.

    Shape:
        Embeddings b d and m b d, logits b n and m b n for n identities.
    """

    visible: Tensor
    infrared: Tensor
    visible_logits: Tensor
    infrared_logits: Tensor
    visible_expanded: Tensor
    """Embeddings of the versions of the visible images, m b d."""
    infrared_expanded: Tensor
    visible_expanded_logits: Tensor
    """Logits of the versions of the visible images, m b n."""
    infrared_expanded_logits: Tensor
    auxiliary: Tensor | None = None
    """Z^a, unexpanded; this and the following are None without a generator."""
    auxiliary_visible_logits: Tensor | None = None
    """Logits of Z^a, for Eq. 11."""
    auxiliary_infrared_logits: Tensor | None = None
    """The same: there is one classifier."""


class DEEN(EmbedderNetwork):
    """Train an embedder with an expansion, with one classifier for the images and their versions.

    :func:`create_deen` makes DEEN's network. ``forward`` is for training, and its batches need not be pairs. ``embed``
    is for retrieval and needs the ``embedder`` alone. The loss is :class:`~vireid.losses.DEENLoss`.

    Args:
        num_identities: Number of training identities n.
        embedder: Embedder with an :class:`ExpandedPooling` and an :class:`ExpandedNeck`.
        generator: Generator of an auxiliary modality or its start, as in :class:`AuxiliaryBranch`; None for none.

    Shape:
        visible b 3 H W, infrared b' 3 H W -> :class:`DEENOutput`. With a generator b is b' or a multiple of it.

    Raises:
        ValueError: If an argument is out of range, or the images are not b 3 H W batches of the right size.
        TypeError: If an argument has the wrong type.

    Example:
        >>> model = create_deen(10, "test_resnet", image_size=(96, 48))
        >>> output = model(torch.rand(4, 3, 96, 48), torch.rand(2, 3, 96, 48))
        >>> output.visible.shape, output.infrared_expanded.shape
        (torch.Size([4, 96]), torch.Size([2, 2, 96]))
        >>> model.eval().embed(torch.rand(2, 3, 96, 48), "infrared").shape
        torch.Size([2, 288])

    References:
        Zhang et al., Diverse Embedding Expansion Network and Low-Light Cross-Modality Benchmark for Visible-Infrared
        Person Re-identification, CVPR 2023.
    """

    def __init__(
        self,
        num_identities: int,
        embedder: TwoStreamEmbedder,
        *,
        generator: nn.Module | Start | Fixed | None = None,
    ) -> None:
        super().__init__()
        num_identities = check_integer("num_identities", num_identities, least=1)
        check_type("embedder", embedder, TwoStreamEmbedder, "be a TwoStreamEmbedder")
        check_type("embedder", embedder.pool, ExpandedPooling, "have an ExpandedPooling as its pool")
        check_type("embedder", embedder.neck, ExpandedNeck, "have an ExpandedNeck as its neck")
        self.embedder = embedder
        self.classifier = create_classifier(embedder.pool.channels, num_identities)  # type: ignore[arg-type]
        self.auxiliary_branch = None if generator is None else AuxiliaryBranch(embedder, generator)

    def forward(self, visible: Tensor, infrared: Tensor) -> DEENOutput:
        """Compute the training output for images of both modalities, in any numbers."""
        visible_map, infrared_map = compute_first_maps(self.embedder, self.auxiliary_branch, visible, infrared)
        pooled = self.embedder.pool(self.embedder.backbone.shared_stages(torch.cat([visible_map, infrared_map])))
        z, n = (self._versions(embeddings) for embeddings in (pooled, self.embedder.neck(pooled)))  # n b d
        logits, b = self.classifier(n), len(visible)
        output = DEENOutput(
            visible=z[0, :b],
            infrared=z[0, b:],
            visible_logits=logits[0, :b],
            infrared_logits=logits[0, b:],
            visible_expanded=z[1:, :b],
            infrared_expanded=z[1:, b:],
            visible_expanded_logits=logits[1:, :b],
            infrared_expanded_logits=logits[1:, b:],
        )
        if self.auxiliary_branch is None:
            return output
        _, z_auxiliary, n_auxiliary = self.auxiliary_branch(self.embedder, visible_map, infrared_map)
        auxiliary_logits = self.classifier(self._versions(n_auxiliary)[0])
        return output._replace(
            auxiliary=self._versions(z_auxiliary)[0],
            auxiliary_visible_logits=auxiliary_logits,
            auxiliary_infrared_logits=auxiliary_logits,
        )

    def _versions(self, embeddings: Tensor) -> Tensor:
        return rearrange(embeddings, "b (n d) -> n b d", d=self.classifier.in_features)


def create_deen(
    num_identities: int,
    backbone: str = "resnet50",
    *,
    pretrained: bool = False,
    image_size: tuple[int, int] = (384, 144),
    branches: int = 2,
    aggregated_stages: int = 3,
    generator: nn.Module | Start | Fixed | None = None,
) -> DEEN:
    """Create DEEN's network: modality-specific stems, aggregated stages, and an expansion before the last stage.

    For RegDB, DEEN aggregates two stages, expands before the third and leaves out the fourth.

    Args:
        num_identities: Number of training identities n.
        backbone: Name of a timm network whose stages are of maps b c h w, such as a ResNet.
        pretrained: Whether to load timm's weights of the backbone from the hub.
        image_size: Size (height, width) of the images in pixels.
        branches: Number of branches of the :class:`DiverseEmbeddingExpansion`.
        aggregated_stages: Number of first stages that are made an :class:`AggregatedStage`.
        generator: Generator of an auxiliary modality or its start, as in :class:`AuxiliaryBranch`; None for none.

    Raises:
        ValueError: If an argument is out of range.
        TypeError: If an argument has the wrong type.

    Example:
        >>> create_deen(10, "test_resnet", image_size=(96, 48)).embedding_dim
        288

    References:
        Zhang et al., Diverse Embedding Expansion Network and Low-Light Cross-Modality Benchmark for Visible-Infrared
        Person Re-identification, CVPR 2023.
    """
    num_identities = check_integer("num_identities", num_identities, least=1)
    branches = check_integer("branches", branches, least=1)
    two_stream = create_backbone(
        backbone,
        modality_specific_stages=0,
        pretrained=pretrained,
        image_size=image_size,
        aggregated_stages=aggregated_stages,
        expansion_branches=branches,
    )
    channels = two_stream.out_channels
    embedder = TwoStreamEmbedder(two_stream, ExpandedPooling(channels, 1 + branches), ExpandedNeck(channels))
    return DEEN(num_identities, embedder, generator=generator)
