"""MUN, the Modality Unifying Network (Sec. 3, Fig. 2)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from vireid._checks import check_choice, check_flags, check_integer, require
from vireid.models.auxiliary import Fixed, Start, check_maps
from vireid.models.auxiliary_branch import create_generator
from vireid.models.backbone import TwoStreamBackbone
from vireid.models.batchnorm import AuxiliaryBatchNorm
from vireid.models.embedder import EmbedderNetwork, TwoStreamEmbedder, create_embedder
from vireid.models.head import create_classifier, create_classifiers


class MUNOutput(NamedTuple):
    """Hold the output of :class:`MUN` for a batch of pairs; index j of every field belongs to pair j.

    The embeddings Z are pooled, before the BNNeck. The logits are those of the embeddings behind it.

    Shape:
        Embeddings b d, logits b n for n identities, maps b c h w.
    """

    visible: Tensor
    """Z^v."""
    infrared: Tensor
    """Z^r."""
    auxiliary: Tensor
    """Z^a."""
    visible_logits: Tensor
    """C_v(Z^v), for Eq. 10."""
    infrared_logits: Tensor
    """C_r(Z^r), for Eq. 10."""
    auxiliary_visible_logits: Tensor
    """C_v(Z^a), for Eq. 11."""
    auxiliary_infrared_logits: Tensor
    """C_r(Z^a), for Eq. 11."""
    visible_map: Tensor
    """F^v, at the cut of the backbone."""
    infrared_map: Tensor
    """F^r."""
    auxiliary_map: Tensor
    """F^a."""
    auxiliary_logits: Tensor | None = None
    """C_a(Z^a), for L_id^a; None without ``auxiliary_classifier``."""


class MUN(EmbedderNetwork):
    """Train an embedder with an auxiliary modality: the Modality Unifying Network of Fig. 2.

    ``forward`` takes same-identity pairs, for training. ``embed`` takes images of one modality, for retrieval; it needs
    the ``embedder`` alone, which is what you save and deploy. The paper does not mention a BNNeck, but every network
    that it builds on has one (A15 in the paper notes); an embedder with ``neck=nn.Identity()`` has none.

    Args:
        num_identities: Number of training identities n.
        backbone: Name of a timm network, a backbone from :func:`create_backbone`, a pair of modules (first stages,
            shared stages), or an embedder, which is trained in place. The first stages of a pair are called with images
            alone: one module, of which the infrared stream gets a copy, or a pair (visible, infrared).
        pretrained: Whether to load timm's weights of a named backbone from the hub.
        image_size: Size (height, width) of the images in pixels; by default (288, 144), or that of the backbone.
        generator: Module from F^v and F^r, b c h w each, to F^a of the same shape; or the ``start`` of an
            :class:`AuxiliaryGenerator` with the paper's settings, by default ``"inputs"`` with ``pretrained`` and else
            ``"random"``, which collapses in front of pretrained stages; or the map of a :class:`FixedGenerator`.
        shared_classifier: Whether one classifier serves both modalities, as in AGW.
        auxiliary_classifier: Whether the auxiliary embeddings have a third classifier, for L_id^a (A19).
        auxiliary_statistics: Batch-norm running statistics of the auxiliary modality behind the cut: its ``"own"``, or
            ``"shared"`` ones, with all three modalities in one pass (A11).

    Shape:
        visible b 3 H W, infrared b 3 H W -> :class:`MUNOutput`.

    Raises:
        ValueError: If an argument is out of range, or the images are not two b 3 H W batches of the right size.
        TypeError: If an argument has the wrong type.

    Example:
        >>> model = MUN(num_identities=10, backbone="test_resnet", image_size=(96, 48))
        >>> output = model(torch.rand(4, 3, 96, 48), torch.rand(4, 3, 96, 48))
        >>> output.auxiliary.shape, output.visible_logits.shape
        (torch.Size([4, 96]), torch.Size([4, 10]))
        >>> model.eval().embed(torch.rand(2, 3, 96, 48), "infrared").shape
        torch.Size([2, 96])

    References:
        Yu et al., Modality Unifying Network for Visible-Infrared Person Re-Identification, ICCV 2023.
    """

    def __init__(
        self,
        num_identities: int,
        backbone: str | TwoStreamBackbone | Sequence[Any] | TwoStreamEmbedder = "resnet50",
        *,
        pretrained: bool = False,
        image_size: tuple[int, int] | None = None,
        generator: nn.Module | Start | Fixed | None = None,
        shared_classifier: bool = False,
        auxiliary_classifier: bool = False,
        auxiliary_statistics: Literal["own", "shared"] = "own",
    ) -> None:
        super().__init__()
        num_identities = check_integer("num_identities", num_identities, least=1)
        check_flags(shared_classifier=shared_classifier, auxiliary_classifier=auxiliary_classifier)
        check_choice("auxiliary_statistics", auxiliary_statistics, ("own", "shared"))
        self.embedder = create_embedder(backbone, pretrained=pretrained, image_size=image_size)
        backbone, neck, width = self.embedder.backbone, self.embedder.neck, self.embedder.embedding_dim
        one_neck = self.embedder.neck_of("visible") is self.embedder.neck_of("infrared")
        rule = "be 'own' for an embedder with a neck for each modality"
        require(auxiliary_statistics == "own" or one_neck, "auxiliary_statistics", rule, auxiliary_statistics)
        self.visible_classifier, self.infrared_classifier = create_classifiers(
            width, num_identities, shared=shared_classifier
        )
        start: Start = "inputs" if pretrained else "random"
        self.generator = create_generator(start if generator is None else generator, backbone.cut_channels)
        self.auxiliary_batchnorm = (
            nn.ModuleList([AuxiliaryBatchNorm(backbone.shared_stages), AuxiliaryBatchNorm(neck)])
            if auxiliary_statistics == "own"
            else None
        )
        self.auxiliary_classifier = create_classifier(width, num_identities) if auxiliary_classifier else None

    def forward(self, visible: Tensor, infrared: Tensor) -> MUNOutput:
        """Compute the training output for pairs of images; index j of both batches shows the same identity."""
        check_pairs(self.embedder, visible, infrared)
        visible_map, infrared_map = self.embedder.backbone.first_maps(visible, infrared)  # F^v, F^r
        auxiliary_map = self.generator(visible_map, infrared_map)  # F^a, Eq. 1-9
        return self.forward_maps(visible_map, infrared_map, auxiliary_map)

    def forward_maps(self, visible_map: Tensor, infrared_map: Tensor, auxiliary_map: Tensor) -> MUNOutput:
        """Compute the training output from F^v, F^r and an F^a that may come from elsewhere.

        Args:
            visible_map: Feature map F^v at the cut of the backbone.
            infrared_map: Feature map F^r at the cut of the backbone.
            auxiliary_map: Feature map F^a, of the shape of the others.

        Shape:
            b c h w, three times -> :class:`MUNOutput`.

        Raises:
            ValueError: If the maps have different shapes.
            TypeError: If a map is not a tensor.
        """
        check_maps(visible_map, infrared_map=infrared_map, auxiliary_map=auxiliary_map)
        (z_visible, z_infrared, z_auxiliary), (n_visible, n_infrared, n_auxiliary) = self._embed_maps(
            visible_map, infrared_map, auxiliary_map
        )
        return MUNOutput(
            visible=z_visible,
            infrared=z_infrared,
            auxiliary=z_auxiliary,
            visible_logits=self.visible_classifier(n_visible),
            infrared_logits=self.infrared_classifier(n_infrared),
            auxiliary_visible_logits=self.visible_classifier(n_auxiliary),
            auxiliary_infrared_logits=self.infrared_classifier(n_auxiliary),
            visible_map=visible_map,
            infrared_map=infrared_map,
            auxiliary_map=auxiliary_map,
            auxiliary_logits=None if self.auxiliary_classifier is None else self.auxiliary_classifier(n_auxiliary),
        )

    def _embed_maps(
        self, visible_map: Tensor, infrared_map: Tensor, auxiliary_map: Tensor
    ) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
        """Compute Z^v, Z^r and Z^a, pooled, and the same three behind the neck."""
        shared_stages, pool, neck = self.embedder.backbone.shared_stages, self.embedder.pool, self.embedder.neck
        if self.auxiliary_batchnorm is None:
            z = pool(shared_stages(torch.cat([visible_map, infrared_map, auxiliary_map])))  # (m b) d
            n = neck(z)
        else:
            stages_batchnorm, neck_batchnorm = self.auxiliary_batchnorm
            z = pool(shared_stages(torch.cat([visible_map, infrared_map])))
            z_auxiliary = pool(stages_batchnorm(shared_stages, auxiliary_map))
            n = torch.cat([*self.embedder.normalize(*z.chunk(2)), neck_batchnorm(neck, z_auxiliary)])
            z = torch.cat([z, z_auxiliary])  # (m b) d
        return z.chunk(3), n.chunk(3)


def check_pairs(embedder: TwoStreamEmbedder, visible: Tensor, infrared: Tensor) -> None:
    """Require as many infrared as visible images, as the embedder takes them."""
    embedder.check_images("visible", visible)
    embedder.check_images("infrared", infrared)
    same = visible.shape == infrared.shape
    require(same, "infrared", f"have the shape of visible, {tuple(visible.shape)}", tuple(infrared.shape))
