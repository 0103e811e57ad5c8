"""The intermediate modalities that MUN is compared with (Table 2), as modules that it takes in place of its generator.

All make images of pairs of images; MUN's own auxiliary modality is made of feature maps instead. No official code of
the first three is public: what they are here is put together from what papers say of each other, with the confidence
that each class states. Their pixels lie on each other although the two images of a pair do not show the same scene,
which is MUN's criticism of them.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from vireid._checks import check_choice, check_image_batch, require


class XModality(nn.Module):
    """X modality: a light network on the visible image alone.

    Two point-wise convolutions with one channel between them, ten weights in all. That it is made of visible images
    only is stated by MUN and by its authors; the single channel is taken from its published descendant (medium
    confidence).

    Shape:
        visible b 3 h w, infrared b 3 h w -> b 3 h w.

    Raises:
        ValueError: the inputs are no two b 3 h w batches of one shape.

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
        """x^v -> x^a; the infrared images are not looked at."""
        _check_pairs(visible, infrared)
        made: Tensor = self.network(visible)
        return made


class MixedModality(nn.Module):
    """Mixed modality: the pixels of both images blended.

    "Integrating visible and infrared pixels" is all that MUN says of it (low confidence).

    Args:
        weight: share of the visible image, from 0 to 1; where it starts, if it is learned.
        blend: ``"fixed"``, ``"uniform"`` (drawn from 0 to 1 for every pair in training) or ``"learned"``.

    Shape:
        visible b 3 h w, infrared b 3 h w -> b 3 h w.

    Raises:
        ValueError: an argument is out of its range, or the inputs are no two b 3 h w batches of one shape.

    Example:
        >>> MixedModality(weight=0.25)(torch.ones(1, 3, 1, 1), torch.zeros(1, 3, 1, 1)).flatten()
        tensor([0.2500, 0.2500, 0.2500])

    References:
        Kong et al., Dynamic Center Aggregation Loss With Mixed Modality for Visible-Infrared Person Re-Identification,
        SPL 2021.
    """

    def __init__(self, weight: float = 0.5, *, blend: Literal["fixed", "uniform", "learned"] = "fixed") -> None:
        super().__init__()
        require(0 < weight < 1, "weight", "lie between 0 and 1", weight)
        check_choice("blend", blend, ("fixed", "uniform", "learned"))
        self.weight = weight
        self.blend = blend
        if blend == "learned":
            self.logit = nn.Parameter(torch.tensor(weight).logit())

    def forward(self, visible: Tensor, infrared: Tensor) -> Tensor:
        """λ x^v + (1 − λ) x^r."""
        _check_pairs(visible, infrared)
        weight: Tensor | float = self.weight
        if self.blend == "learned":
            weight = self.logit.sigmoid()
        elif self.blend == "uniform" and self.training:
            weight = torch.rand(len(visible), 1, 1, 1, dtype=visible.dtype, device=visible.device)
        return weight * visible + (1 - weight) * infrared


class SyncreticModality(nn.Module):
    """Syncretic modality: both images encoded point by point to a channel each, and decoded together.

    That both modalities' pixels are fused by a learned network with the pair's label is what other papers say of it;
    the sizes of the layers are those of the X modality (low to medium confidence).

    Shape:
        visible b 3 h w, infrared b 3 h w -> b 3 h w.

    Raises:
        ValueError: the inputs are no two b 3 h w batches of one shape.

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
        """x^v, x^r -> x^a."""
        _check_pairs(visible, infrared)
        encoded = torch.cat([self.visible_encoder(visible), self.infrared_encoder(infrared)], dim=1)  # b 2 h w
        made: Tensor = self.decoder(encoded)
        return made


class MiddleModality(nn.Module):
    """MMN's middle modality: an encoder of each modality and a decoder of both make an image of every image.

    ``middle_images`` gives both, as MMN uses them, each behind the first stage of its own modality. MUN takes one image
    of a pair, and so ``forward`` their mean. The structure is that of the published code (high confidence), which MUN
    does not compare with.

    Shape:
        visible b 3 h w, infrared b 3 h w -> b 3 h w.

    Raises:
        ValueError: the inputs are no two b 3 h w batches of one shape.

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
        """x^v, x^r -> m^v, m^r, b 3 h w each."""
        _check_pairs(visible, infrared)
        return self.decoder(self.visible_encoder(visible)), self.decoder(self.infrared_encoder(infrared))

    def forward(self, visible: Tensor, infrared: Tensor) -> Tensor:
        """x^v, x^r -> (m^v + m^r) / 2."""
        of_visible, of_infrared = self.middle_images(visible, infrared)
        return (of_visible + of_infrared) / 2


def _middle_encoder() -> nn.Sequential:
    return nn.Sequential(_to_gray(), nn.ReLU(), nn.Conv2d(1, 1, 1), nn.ReLU(), nn.BatchNorm2d(1))


def _to_gray() -> nn.Conv2d:
    """Three channels to one, starting as their mean: a single channel behind a ReLU may else be dead from the start."""
    convolution = nn.Conv2d(3, 1, 1)
    nn.init.constant_(convolution.weight, 1 / 3)
    nn.init.zeros_(convolution.bias)  # type: ignore[arg-type]
    return convolution


def _check_pairs(visible: Tensor, infrared: Tensor) -> None:
    check_image_batch("visible", visible)
    check_image_batch("infrared", infrared)
    same = visible.shape == infrared.shape
    require(same, "infrared", f"have the shape of visible, {tuple(visible.shape)}", tuple(infrared.shape))
