"""MUN, the Modality Unifying Network (Sec. 3, Fig. 2)."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import torch
from torch import Tensor, nn

from vireid._checks import check_choice, check_image_batch, require
from vireid.modality import Modality
from vireid.models.auxiliary import AuxiliaryGenerator
from vireid.models.baselines import TwoStreamBaseline
from vireid.models.head import create_classifier
from vireid.models.intermediate import MiddleModality, MixedModality, SyncreticModality, XModality
from vireid.models.statistics import OwnStatistics

if TYPE_CHECKING:
    from typing_extensions import Self


class MUNOutput(NamedTuple):
    """What :class:`MUN` computes of a batch of pairs; index j of every field belongs to pair j.

    The embeddings Z are pooled, before the BNNeck; the logits are those of the embedding behind it.

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


class MUN(TwoStreamBaseline):
    """The Modality Unifying Network: a two-stream backbone, the auxiliary generator and two identity classifiers.

    Training takes same-identity pairs through ``forward``; retrieval takes images of one modality through ``embed``,
    where neither generator nor classifiers run. The paper does not mention a BNNeck; every network that it builds on
    has one (A15). With ``modality_specific_stages=0, shared_classifier=True, non_local=True`` the rest is AGW's.

    Args:
        num_identities: n, the identities to classify in training.
        backbone: name of a timm network.
        pretrained: load timm's weights of the backbone from the hub.
        checkpoint: load the weights of the backbone from a local file instead.
        modality_specific_stages: stages of the backbone that each modality has of its own, beside the stem (A1).
        last_stride: 1 keeps the resolution of the backbone's last stage (A14), 2 halves it.
        image_size: (height, width) of the images, pixels.
        pooling_ratios: of the auxiliary generator; the paper's (2, 4, 6, 12).
        bn_neck: classify and retrieve behind a shared BNNeck; False is Eq. 10 to the letter (A15).
        learnable_pooling: learn the exponent of the GeM pooling, which starts at 3 (A13).
        auxiliary_classifier: have a third classifier, of the auxiliary embeddings, for L_id^a (A19).
        auxiliary: what makes the auxiliary modality: ``"mun"``'s generator of feature maps, or a competitor of Table 2
            that makes images: ``"x"``, ``"mixed"``, ``"syncretic"`` or ``"middle"``.
        auxiliary_statistics: by which means and variances the shared batch normalisation normalises the auxiliary
            modality: its ``"own"``, or those that are ``"shared"`` by one pass of all three modalities (A11).
        auxiliary_stages: through which first stages such images go: a third copy, ``"own"``, or those of the
            ``"visible"`` or ``"infrared"`` images.
        shared_classifier: classify both modalities by one classifier, as AGW does.
        non_local: have AGW's :class:`NonLocalBlock`, as in :class:`TwoStreamBaseline`; for ResNets.

    Shape:
        visible b 3 H W, infrared b 3 H W -> :class:`MUNOutput`.

    Raises:
        ValueError: an argument is out of its range, or the images are no two b 3 H W batches of one shape.

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
        backbone: str = "resnet50",
        *,
        pretrained: bool = False,
        checkpoint: str | Path | None = None,
        modality_specific_stages: int = 1,
        last_stride: Literal[1, 2] = 1,
        image_size: tuple[int, int] = (288, 144),
        pooling_ratios: tuple[int, ...] = (2, 4, 6, 12),
        bn_neck: bool = True,
        learnable_pooling: bool = False,
        auxiliary_classifier: bool = False,
        auxiliary: Literal["mun", "x", "mixed", "syncretic", "middle"] = "mun",
        auxiliary_statistics: Literal["own", "shared"] = "own",
        auxiliary_stages: Literal["own", "visible", "infrared"] = "own",
        shared_classifier: bool = False,
        non_local: bool = False,
    ) -> None:
        check_choice("auxiliary", auxiliary, ("mun", *_IMAGE_GENERATORS))
        check_choice("auxiliary_statistics", auxiliary_statistics, ("own", "shared"))
        check_choice("auxiliary_stages", auxiliary_stages, ("own", "visible", "infrared"))
        super().__init__(
            num_identities,
            backbone,
            pretrained=pretrained,
            checkpoint=checkpoint,
            modality_specific_stages=modality_specific_stages,
            last_stride=last_stride,
            image_size=image_size,
            bn_neck=bn_neck,
            learnable_pooling=learnable_pooling,
            shared_classifier=shared_classifier,
            non_local=non_local,
        )
        self.arguments |= {
            "pooling_ratios": list(pooling_ratios),
            "auxiliary_classifier": auxiliary_classifier,
            "auxiliary": auxiliary,
            "auxiliary_statistics": auxiliary_statistics,
            "auxiliary_stages": auxiliary_stages,
        }
        self.generator: nn.Module
        self.generator_stages: nn.Module | None = None
        self.auxiliary_stages = auxiliary_stages
        if auxiliary == "mun":
            self.generator = AuxiliaryGenerator(self.backbone.cut_channels, pooling_ratios=pooling_ratios)
        else:
            self.generator = _IMAGE_GENERATORS[auxiliary]()
            if auxiliary_stages == "own":
                self.generator_stages = copy.deepcopy(self.backbone.visible_stages)
        self.auxiliary_statistics: nn.ModuleList | None = None
        if auxiliary_statistics == "own":
            self.auxiliary_statistics = nn.ModuleList(
                OwnStatistics(part) for part in (self.backbone.shared_stages, self.neck)
            )
        self.auxiliary_classifier = (
            create_classifier(self.embedding_dim, num_identities) if auxiliary_classifier else None
        )

    def forward(self, visible: Tensor, infrared: Tensor) -> MUNOutput:
        """Pairs of images that show the same identity at the same index."""
        self._check_whole()
        check_image_batch("visible", visible)
        check_image_batch("infrared", infrared)
        same = visible.shape == infrared.shape
        require(same, "infrared", f"have the shape of visible, {tuple(visible.shape)}", tuple(infrared.shape))
        visible_map = self.backbone.first_stages(visible, Modality.VISIBLE)
        infrared_map = self.backbone.first_stages(infrared, Modality.INFRARED)
        if isinstance(self.generator, AuxiliaryGenerator):
            auxiliary_map = self.generator(visible_map, infrared_map)
        elif self.generator_stages is not None:
            auxiliary_map = self.generator_stages(self.generator(visible, infrared))
        else:
            auxiliary_map = self.backbone.first_stages(self.generator(visible, infrared), self.auxiliary_stages)
        z_visible, z_infrared, z_auxiliary, n_visible, n_infrared, n_auxiliary = self._embed_maps(
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

    def _embed_maps(self, *maps: Tensor) -> tuple[Tensor, ...]:
        """F^v, F^r, F^a -> Z^v, Z^r, Z^a, pooled, and the three behind the BNNeck."""
        if self.auxiliary_statistics is None:
            z = self.pool(self.backbone.shared_stages(torch.cat(maps)))  # (m b) d
            return *z.chunk(3), *self.neck(z).chunk(3)
        z = self.pool(self.backbone.shared_stages(torch.cat(maps[:2])))
        of_stages, of_neck = self.auxiliary_statistics
        z_auxiliary = self.pool(of_stages(self.backbone.shared_stages, maps[2]))
        n_auxiliary = of_neck(self.neck, z_auxiliary)
        return *z.chunk(2), z_auxiliary, *self.neck(z).chunk(2), n_auxiliary

    def drop_training_parts(self) -> Self:
        """Drop the generator and the classifiers, which ``embed`` does not need, in place; return the network."""
        for part in ("generator", "generator_stages", "auxiliary_statistics", "auxiliary_classifier"):
            setattr(self, part, None)
        return super().drop_training_parts()


_IMAGE_GENERATORS: dict[str, type[nn.Module]] = {
    "x": XModality,
    "mixed": MixedModality,
    "syncretic": SyncreticModality,
    "middle": MiddleModality,
}
