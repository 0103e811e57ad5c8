"""Non-local attention over a feature map, the first part of AGW's network."""

from __future__ import annotations

from einops import rearrange
from torch import Tensor, nn

from vireid._checks import check_integer, check_like_weights, check_tensor, require


class NonLocalBlock(nn.Module):
    """Add to every position of a map a sum over all positions, weighted by the products of their projections.

    The weights are divided by the number of positions, without a softmax. The last normalisation starts at zero, so the
    block starts as the identity. AGW's public code has a single channel inside, by an error that later code copied;
    ``inter_channels=1`` gives that.

    Args:
        channels: number of channels c of the map.
        inter_channels: number of channels e of the projections; half of c by default.

    Shape:
        b c h w -> b c h w.

    Raises:
        TypeError: if a number of channels is not an integer, or the map has another type than the weights.
        ValueError: if a number of channels is less than 1, or the map has another shape or device.

    Example:
        >>> import torch
        >>> feature_map = torch.rand(2, 8, 4, 2)
        >>> bool((NonLocalBlock(8)(feature_map) == feature_map).all())
        True

    References:
        Wang et al., Non-local Neural Networks, CVPR 2018; Ye et al., Deep Learning for Person Re-identification: A
        Survey and Outlook, TPAMI 2021.
    """

    def __init__(self, channels: int, *, inter_channels: int | None = None) -> None:
        super().__init__()
        channels = check_integer("channels", channels, least=1)
        if inter_channels is None:
            inter_channels = max(1, channels // 2)
        inter_channels = check_integer("inter_channels", inter_channels, least=1)
        self.value = nn.Conv2d(channels, inter_channels, 1)
        self.query = nn.Conv2d(channels, inter_channels, 1)
        self.key = nn.Conv2d(channels, inter_channels, 1)
        self.project = nn.Sequential(nn.Conv2d(inter_channels, channels, 1), nn.BatchNorm2d(channels))
        nn.init.zeros_(self.project[1].weight)  # type: ignore[arg-type]

    def forward(self, feature_map: Tensor) -> Tensor:
        """Compute X + W(1/N Σ_j (θ(x_i)·φ(x_j)) g(x_j))."""
        check_tensor("feature_map", feature_map)
        shape, channels = tuple(feature_map.shape), self.value.in_channels
        require(len(shape) == 4 and shape[1] == channels, "feature_map", f"have shape (b, {channels}, h, w)", shape)
        check_like_weights("feature_map", feature_map, self.value.weight)
        height, width = feature_map.shape[-2:]
        parts = (part(feature_map) for part in (self.value, self.query, self.key))
        value, query, key = (rearrange(part, "b e h w -> b e (h w)") for part in parts)
        mixed = key @ value.mT / (height * width)  # b e e: summing the positions first is exact and cheaper
        summed = rearrange(query.mT @ mixed, "b (h w) e -> b e h w", h=height)
        added: Tensor = self.project(summed)
        return feature_map + added
