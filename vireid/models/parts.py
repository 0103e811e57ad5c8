"""Pooling of learned parts: masks by a convolution, as in MPANet, or by prototypes, as in SAAI."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vireid._checks import check_integer, check_like_weights, check_size, check_tensor, require


class MaskPartPooling(nn.Module):
    """Pool a map once for each of several learned spatial masks, and once over all positions.

    A point-wise convolution and a sigmoid make the masks. Part k is the mean over all positions of mask k times the
    map: divided by the number of positions, not by the mask's sum, so a small mask makes a short part. The result holds
    the parts side by side and the mean of the map last, each with c values. No part is normalised by itself: the neck
    normalises every value and retrieval the whole embedding, as in MPANet.

    Masks stay apart by :class:`~vireid.losses.MaskSeparationLoss`.

    Args:
        channels: Number of channels c of the map.
        parts: Number of masks p; 6 in MPANet.

    Attributes:
        out_channels: Number of values of the result, (p + 1) c.

    Shape:
        b c h w -> b (p + 1)·c.

    Raises:
        ValueError: If an argument is less than 1, or the map has another shape or device.
        TypeError: If an argument is not an integer, or the map has another type than the weights.

    Example:
        >>> pool = MaskPartPooling(8, parts=2)
        >>> feature_map = torch.rand(4, 8, 6, 3)
        >>> pool(feature_map).shape, pool.masks(feature_map).shape
        (torch.Size([4, 24]), torch.Size([4, 2, 6, 3]))

    References:
        Wu et al., Discover Cross-Modality Nuances for Visible-Infrared Person Re-Identification, CVPR 2021.
    """

    def __init__(self, channels: int, *, parts: int = 6) -> None:
        super().__init__()
        channels, parts = check_integer("channels", channels, least=1), check_integer("parts", parts, least=1)
        self.convolution = nn.Conv2d(channels, parts, 1)
        nn.init.zeros_(self.convolution.bias)  # type: ignore[arg-type]
        self.out_channels = (parts + 1) * channels

    def forward(self, feature_map: Tensor) -> Tensor:
        """Pool b c h w to the parts and the mean."""
        return pool_parts(feature_map, self.masks(feature_map))

    def masks(self, feature_map: Tensor) -> Tensor:
        """Compute the masks, b p h w, with values from 0 to 1."""
        _check_map(feature_map, self.convolution.weight)
        return torch.sigmoid(self.convolution(feature_map))


class PrototypePartPooling(nn.Module):
    """Pool a map once for each of several learned prototypes, and once over all positions.

    The mask of part k is the sigmoid of prototype k's product with the map, to which a learned embedding of the
    position is added. The parts are pooled from the map without it. All else is as in :class:`MaskPartPooling`.

    Args:
        channels: Number of channels c of the map.
        size: Size (h, w) of the map, which the embedding of the positions fixes.
        parts: Number of prototypes p; 7 in SAAI.

    Attributes:
        out_channels: Number of values of the result, (p + 1) c.

    Shape:
        b c h w -> b (p + 1)·c.

    Raises:
        ValueError: If an argument is less than 1, or the map has another shape or device.
        TypeError: If an argument is not an integer, or the map has another type than the weights.

    Example:
        >>> pool = PrototypePartPooling(8, (6, 3), parts=2)
        >>> pool(torch.rand(4, 8, 6, 3)).shape
        torch.Size([4, 24])

    References:
        Fang et al., Visible-Infrared Person Re-Identification via Semantic Alignment and Affinity Inference, ICCV 2023.
    """

    def __init__(self, channels: int, size: tuple[int, int], *, parts: int = 7) -> None:
        super().__init__()
        channels, parts = check_integer("channels", channels, least=1), check_integer("parts", parts, least=1)
        height, width = check_size("size", size)
        self.prototypes = nn.Parameter(nn.init.kaiming_normal_(torch.empty(parts, channels)))
        positions = nn.init.kaiming_normal_(torch.empty(height * width, channels))
        self.positions = nn.Parameter(positions.T.reshape(channels, height, width).contiguous())
        self.out_channels = (parts + 1) * channels

    def forward(self, feature_map: Tensor) -> Tensor:
        """Pool b c h w to the parts and the mean."""
        return pool_parts(feature_map, self.masks(feature_map))

    def masks(self, feature_map: Tensor) -> Tensor:
        """Compute the masks, b p h w, with values from 0 to 1."""
        _check_map(feature_map, self.positions[None])
        found, size = tuple(feature_map.shape[2:]), tuple(self.positions.shape[1:])
        require(found == size, "feature_map", f"be of size (h, w) = {size}", found)
        return torch.sigmoid(torch.einsum("pc,bchw->bphw", self.prototypes, feature_map + self.positions))


def pool_parts(feature_map: Tensor, masks: Tensor) -> Tensor:
    """Compute the mean of mask k times the map for each k, and of the map: b c h w, b p h w -> b (p + 1)·c."""
    height, width = feature_map.shape[2:]
    parts = torch.einsum("bphw,bchw->bpc", masks, feature_map) / (height * width)
    return torch.cat([parts, feature_map.mean((2, 3))[:, None]], dim=1).flatten(1)


def _check_map(feature_map: Tensor, weight: Tensor) -> None:
    """Require a map with the channels, device and type of a weight whose second dimension is the channels."""
    check_tensor("feature_map", feature_map)
    shape, channels = tuple(feature_map.shape), weight.shape[1]
    fits = len(shape) == 4 and shape[1] == channels and shape[2] * shape[3] > 0
    require(fits, "feature_map", f"have shape (b, {channels}, h, w)", shape)
    check_like_weights("feature_map", feature_map, weight)
