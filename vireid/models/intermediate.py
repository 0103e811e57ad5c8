"""The intermediate modalities that MUN is compared with (Table 2), and the network that trains with one of them.

They make images from pairs of images, where MUN's auxiliary modality is made from feature maps. The first three have no
public official code; they follow what papers say of each other, with the confidence that each class states. MUN's
criticism of them is that they combine pixels of two images that do not show the same scene.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from vireid._checks import check_choice, check_image_batch, check_like_weights, check_number, require
from vireid.modality import Modality
from vireid.models.backbone import TwoStreamBackbone
from vireid.models.embedder import EmbedderNetwork, TwoStreamEmbedder
from vireid.models.mun import MUN, MUNOutput, check_pairs


class IntermediateModalityNetwork(EmbedderNetwork):
    """Train MUN with an intermediate modality of images in place of its generator (Table 2).

    The images that ``maker`` makes of a pair pass through first stages and then replace F^a. All else is the network
    ``mun``.

    Args:
        num_identities: Number of training identities n.
        backbone: Backbone or embedder, as in :class:`MUN`.
        maker: Module from visible and infrared images to intermediate images, b 3 H W each, or the name of one:
            ``"x"``, ``"mixed"``, ``"syncretic"`` or ``"middle"``.
        stages: First stages of the intermediate images: a third copy, ``"own"``, or those of the ``"visible"`` or
            ``"infrared"`` images.
        pretrained: Whether to load timm's weights of a named backbone from the hub.
        image_size: Size (height, width) of the images in pixels; by default (288, 144), or that of the backbone.
        auxiliary_statistics: Batch-norm running statistics of the intermediate modality behind the cut, as in
            :class:`MUN`.

    Shape:
        visible b 3 H W, infrared b 3 H W -> :class:`MUNOutput`.

    Raises:
        ValueError: If an argument is out of range, or the images are not two b 3 H W batches of the right size.
        TypeError: If an argument has the wrong type.

    Example:
        >>> model = IntermediateModalityNetwork(10, "test_resnet", maker="x", image_size=(96, 48))
        >>> model(torch.rand(4, 3, 96, 48), torch.rand(4, 3, 96, 48)).auxiliary.shape
        torch.Size([4, 96])

    References:
        Yu et al., Modality Unifying Network for Visible-Infrared Person Re-Identification, ICCV 2023.
    """

    def __init__(
        self,
        num_identities: int,
        backbone: str | TwoStreamBackbone | Sequence[Any] | TwoStreamEmbedder = "resnet50",
        *,
        maker: Literal["x", "mixed", "syncretic", "middle"] | nn.Module,
        stages: Literal["own", "visible", "infrared"] = "own",
        pretrained: bool = False,
        image_size: tuple[int, int] | None = None,
        auxiliary_statistics: Literal["own", "shared"] = "own",
    ) -> None:
        super().__init__()
        makers = {"x": XModality, "mixed": MixedModality, "syncretic": SyncreticModality, "middle": MiddleModality}
        if not isinstance(maker, nn.Module):
            check_choice("maker", maker, makers)
        check_choice("stages", stages, ("own", "visible", "infrared"))
        self.mun = MUN(
            num_identities,
            backbone,
            pretrained=pretrained,
            image_size=image_size,
            generator=nn.CosineSimilarity(),  # of two arguments, and never called: the maker takes its place
            auxiliary_statistics=auxiliary_statistics,
        )
        self.maker = maker if isinstance(maker, nn.Module) else makers[maker]()
        self.stages = stages
        self.own_stages = copy.deepcopy(self.embedder.backbone.visible_stages) if stages == "own" else None

    def forward(self, visible: Tensor, infrared: Tensor) -> MUNOutput:
        """Compute the training output for pairs of images; index j of both batches shows the same identity."""
        check_pairs(self.embedder, visible, infrared)
        first_stages = self.embedder.backbone.first_stages
        visible_map = first_stages(visible, Modality.VISIBLE)
        infrared_map = first_stages(infrared, Modality.INFRARED)
        images = self.maker(visible, infrared)
        self.embedder.check_images("images of maker", images)
        made_map = first_stages(images, self.stages) if self.own_stages is None else self.own_stages(images)
        return self.mun.forward_maps(visible_map, infrared_map, made_map)

    def extra_repr(self) -> str:
        """Return the settings, for ``print``."""
        return f"stages={self.stages!r}"

    @property
    def embedder(self) -> TwoStreamEmbedder:  # type: ignore[override]
        """Return the retrieval network."""
        return self.mun.embedder


class XModality(nn.Module):
    """Make the X modality, with a light network from the visible image alone.

    It has two point-wise convolutions with one channel between them, ten weights in all. MUN and its authors state that
    it is made from visible images only; the single channel is taken from a later published method (medium confidence).

    Shape:
        visible b 3 h w, infrared b 3 h w -> b 3 h w.

    Raises:
        ValueError: If the inputs are not two b 3 h w batches of one shape.
        TypeError: If an input is not a floating-point tensor.

    Example:
        >>> XModality()(torch.rand(2, 3, 8, 4), torch.rand(2, 3, 8, 4)).shape
        torch.Size([2, 3, 8, 4])

    References:
        Li et al., Infrared-Visible Cross-Modal Person Re-Identification with an X Modality, AAAI 2020.
    """

    def __init__(self) -> None:
        super().__init__()
        self.network = nn.Sequential(_to_gray(), nn.ReLU(), nn.Conv2d(1, 3, 1))

    def forward(self, visible: Tensor, infrared: Tensor) -> Tensor:
        """Compute x^a from x^v; the infrared images are not used."""
        _check_pairs(self, visible, infrared)
        made: Tensor = self.network(visible)
        return made


class MixedModality(nn.Module):
    """Make the mixed modality, by blending the pixels of both images.

    MUN describes it only as "integrating visible and infrared pixels" (low confidence).

    Args:
        weight: Share of the visible image, between 0 and 1; its initial value if it is learned.
        blend: Choice of the share: ``"fixed"``, ``"uniform"`` (drawn from 0 to 1 for each pair in training) or
            ``"learned"``.

    Shape:
        visible b 3 h w, infrared b 3 h w -> b 3 h w.

    Raises:
        ValueError: If an argument is out of range, or the inputs are not two b 3 h w batches of one shape.
        TypeError: If an argument or an input has the wrong type.

    Example:
        >>> MixedModality(weight=0.25)(torch.ones(1, 3, 1, 1), torch.zeros(1, 3, 1, 1)).flatten()
        tensor([0.2500, 0.2500, 0.2500])

    References:
        Kong et al., Dynamic Center Aggregation Loss With Mixed Modality for Visible-Infrared Person Re-Identification,
        SPL 2021.
    """

    def __init__(self, weight: float = 0.5, *, blend: Literal["fixed", "uniform", "learned"] = "fixed") -> None:
        super().__init__()
        weight = check_number("weight", weight, above=0, below=1)
        check_choice("blend", blend, ("fixed", "uniform", "learned"))
        self.weight = weight
        self.blend = blend
        if blend == "learned":
            self.logit = nn.Parameter(torch.tensor(weight).logit())

    def forward(self, visible: Tensor, infrared: Tensor) -> Tensor:
        """Compute λ x^v + (1 − λ) x^r."""
        _check_pairs(self, visible, infrared)
        weight: Tensor | float = self.weight
        if self.blend == "learned":
            weight = self.logit.sigmoid()
        elif self.blend == "uniform" and self.training:
            weight = torch.rand(len(visible), 1, 1, 1, dtype=visible.dtype, device=visible.device)
        return weight * visible + (1 - weight) * infrared

    def extra_repr(self) -> str:
        """Return the settings, for ``print``."""
        return f"weight={self.weight}, blend={self.blend!r}"


class SyncreticModality(nn.Module):
    """Make the syncretic modality, by encoding each image to one channel and decoding both together.

    Other papers say that a learned network fuses the pixels of both modalities. The sizes of the layers are those of
    the X modality (low to medium confidence).

    Shape:
        visible b 3 h w, infrared b 3 h w -> b 3 h w.

    Raises:
        ValueError: If the inputs are not two b 3 h w batches of one shape.
        TypeError: If an input is not a floating-point tensor.

    Example:
        >>> SyncreticModality()(torch.rand(2, 3, 8, 4), torch.rand(2, 3, 8, 4)).shape
        torch.Size([2, 3, 8, 4])

    References:
        Wei et al., Syncretic Modality Collaborative Learning for Visible Infrared Person Re-Identification, ICCV 2021.
    """

    def __init__(self) -> None:
        super().__init__()
        self.visible_encoder = nn.Sequential(_to_gray(), nn.ReLU())
        self.infrared_encoder = nn.Sequential(_to_gray(), nn.ReLU())
        self.decoder = nn.Conv2d(2, 3, 1)

    def forward(self, visible: Tensor, infrared: Tensor) -> Tensor:
        """Compute x^a from x^v and x^r."""
        _check_pairs(self, visible, infrared)
        encoded = torch.cat([self.visible_encoder(visible), self.infrared_encoder(infrared)], dim=1)  # b 2 h w
        made: Tensor = self.decoder(encoded)
        return made


class MiddleModality(nn.Module):
    """Make MMN's middle modality: an encoder per modality and one decoder make an image from each image.

    ``middle_images`` returns both, as MMN uses them, each before the first stages of its own modality. MUN takes one
    image per pair, so ``forward`` returns their mean. The structure is that of the published code (high confidence),
    which MUN does not compare with.

    Shape:
        visible b 3 h w, infrared b 3 h w -> b 3 h w.

    Raises:
        ValueError: If the inputs are not two b 3 h w batches of one shape.
        TypeError: If an input is not a floating-point tensor.

    Example:
        >>> MiddleModality()(torch.rand(2, 3, 8, 4), torch.rand(2, 3, 8, 4)).shape
        torch.Size([2, 3, 8, 4])

    References:
        Zhang et al., Towards a Unified Middle Modality Learning for Visible-Infrared Person Re-Identification, ACM MM
        2021.
    """

    def __init__(self) -> None:
        super().__init__()
        self.visible_encoder = _middle_encoder()
        self.infrared_encoder = _middle_encoder()
        self.decoder = nn.Sequential(nn.Conv2d(1, 3, 1), nn.ReLU())

    def middle_images(self, visible: Tensor, infrared: Tensor) -> tuple[Tensor, Tensor]:
        """Compute m^v and m^r, b 3 h w each, from x^v and x^r."""
        _check_pairs(self, visible, infrared)
        return self.decoder(self.visible_encoder(visible)), self.decoder(self.infrared_encoder(infrared))

    def forward(self, visible: Tensor, infrared: Tensor) -> Tensor:
        """Compute (m^v + m^r) / 2 from x^v and x^r."""
        of_visible, of_infrared = self.middle_images(visible, infrared)
        return (of_visible + of_infrared) / 2


def _middle_encoder() -> nn.Sequential:
    return nn.Sequential(_to_gray(), nn.ReLU(), nn.Conv2d(1, 1, 1), nn.ReLU(), nn.BatchNorm2d(1))


def _to_gray() -> nn.Conv2d:
    """Three channels to one, initially their mean: else a single channel behind a ReLU may be dead at the start."""
    convolution = nn.Conv2d(3, 1, 1)
    nn.init.constant_(convolution.weight, 1 / 3)
    nn.init.zeros_(convolution.bias)  # type: ignore[arg-type]
    return convolution


def _check_pairs(maker: nn.Module, visible: Tensor, infrared: Tensor) -> None:
    check_image_batch("visible", visible)
    check_image_batch("infrared", infrared)
    same = visible.shape == infrared.shape
    require(same, "infrared", f"have the shape of visible, {tuple(visible.shape)}", tuple(infrared.shape))
    weight = next(maker.parameters(), visible)
    check_like_weights("visible", visible, weight)
    check_like_weights("infrared", infrared, weight)
