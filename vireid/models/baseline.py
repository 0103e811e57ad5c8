"""The two-stream baseline, B of MUN's Table 1: an embedder and identity classifiers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from vireid._checks import check_flags, check_integer
from vireid.models.auxiliary import Fixed, Start
from vireid.models.auxiliary_branch import AuxiliaryBranch, compute_first_maps
from vireid.models.backbone import TwoStreamBackbone
from vireid.models.embedder import EmbedderNetwork, TwoStreamEmbedder, create_embedder
from vireid.models.head import create_classifiers


class BaselineOutput(NamedTuple):
    """Hold the output of :class:`TwoStreamBaseline` for a batch of visible and one of infrared images.

    The embeddings are pooled, before the BNNeck, for metric losses. The logits are those of the embeddings behind it.

    Shape:
        Embeddings b d, logits b n for n identities.
    """

    visible: Tensor
    infrared: Tensor
    visible_logits: Tensor
    infrared_logits: Tensor
    auxiliary: Tensor | None = None
    """Z^a; this and the following are None without a generator."""
    auxiliary_visible_logits: Tensor | None = None
    """C_v(Z^a), for Eq. 11."""
    auxiliary_infrared_logits: Tensor | None = None
    """C_r(Z^a), for Eq. 11."""
    auxiliary_map: Tensor | None = None
    """F^a, at the cut of the backbone."""


class TwoStreamBaseline(EmbedderNetwork):
    """Train an embedder with identity classifiers: MUN without the auxiliary modality.

    With the defaults it is B of MUN's Table 1; :func:`create_agw` makes AGW's network. ``forward`` is for training, and
    its batches need not be pairs. ``embed`` is for retrieval and needs the ``embedder`` alone. With ``generator`` the
    network has MUN's auxiliary modality as well, for :class:`~vireid.losses.AuxiliaryModalityLoss`; then index j of the
    infrared and of every view of the visible images must show the same identity.

    Args:
        num_identities: Number of training identities n.
        backbone: Name of a timm network, a backbone from :func:`create_backbone`, a pair of modules (first stages,
            shared stages), or an embedder, which is trained in place. The first stages of a pair are called with images
            alone: one module, of which the infrared stream gets a copy, or a pair (visible, infrared).
        pretrained: Whether to load timm's weights of a named backbone from the hub.
        image_size: Size (height, width) of the images in pixels; by default (288, 144), or that of the backbone.
        shared_classifier: Whether one classifier serves both modalities, as in AGW, in place of one each, as in MUN.
        generator: Generator of an auxiliary modality or its start, as in :class:`AuxiliaryBranch`; None for none.

    Shape:
        visible b 3 H W, infrared b' 3 H W -> :class:`BaselineOutput`. With a generator b is b' or a multiple of it.

    Raises:
        ValueError: If an argument is out of range, or the images are not b 3 H W batches of the right size.
        TypeError: If an argument has the wrong type.

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
        backbone: str | TwoStreamBackbone | Sequence[Any] | TwoStreamEmbedder = "resnet50",
        *,
        pretrained: bool = False,
        image_size: tuple[int, int] | None = None,
        shared_classifier: bool = False,
        generator: nn.Module | Start | Fixed | None = None,
    ) -> None:
        super().__init__()
        num_identities = check_integer("num_identities", num_identities, least=1)
        check_flags(shared_classifier=shared_classifier)
        self.embedder = create_embedder(backbone, pretrained=pretrained, image_size=image_size)
        self.visible_classifier, self.infrared_classifier = create_classifiers(
            self.embedding_dim, num_identities, shared=shared_classifier
        )
        self.auxiliary_branch = None if generator is None else AuxiliaryBranch(self.embedder, generator)

    def forward(self, visible: Tensor, infrared: Tensor) -> BaselineOutput:
        """Compute the training output for images of both modalities, in any numbers."""
        visible_map, infrared_map = compute_first_maps(self.embedder, self.auxiliary_branch, visible, infrared)
        z = self.embedder.pool(self.embedder.backbone.shared_stages(torch.cat([visible_map, infrared_map])))
        z_visible, z_infrared = z.split([len(visible), len(infrared)])
        n_visible, n_infrared = self.embedder.normalize(z_visible, z_infrared)
        output = BaselineOutput(
            visible=z_visible,
            infrared=z_infrared,
            visible_logits=self.visible_classifier(n_visible),
            infrared_logits=self.infrared_classifier(n_infrared),
        )
        if self.auxiliary_branch is None:
            return output
        auxiliary_map, z_auxiliary, n_auxiliary = self.auxiliary_branch(self.embedder, visible_map, infrared_map)
        return output._replace(
            auxiliary=z_auxiliary,
            auxiliary_visible_logits=self.visible_classifier(n_auxiliary),
            auxiliary_infrared_logits=self.infrared_classifier(n_auxiliary),
            auxiliary_map=auxiliary_map,
        )
