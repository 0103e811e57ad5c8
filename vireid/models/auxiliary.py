"""The auxiliary modality generator of MUN (Sec. 3.1, Fig. 3, Eq. 1-9)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from vireid._checks import check_tensor, require


class IntraModalityLearner(nn.Module):
    """Identity-aware patterns of one modality over several receptive fields (Eq. 1-5).

    Two depth-wise convolutions see one half of the channels each, an inverted residual mixes them, and a learnable
    scale in (0, 1] weighs the result. It is exactly the equations: one ReLU and no outer residual (A3). A convolution
    that batch normalisation follows directly has no bias, since the normalisation subtracts it.

    Args:
        channels: c of the feature map, even.
        expansion: widening of the inverted residual; the paper's 4.
        kernel_sizes: odd kernels of the first and of the second half of the channels; the paper's Eq. 2 says (5, 7),
            its text the reverse (A2).
        initial_scale: where I_scale starts, in (0, 1].

    Shape:
        b c h w -> b c h w.

    Raises:
        ValueError: an argument is out of its range, or the input is no b c h w map of ``channels`` channels.
        TypeError: the input has another type than the weights.

    Example:
        >>> IntraModalityLearner(16)(torch.rand(2, 16, 18, 9)).shape
        torch.Size([2, 16, 18, 9])

    References:
        Yu et al., Modality Unifying Network for Visible-Infrared Person Re-Identification, ICCV 2023.
    """

    def __init__(
        self,
        channels: int,
        *,
        expansion: int = 4,
        kernel_sizes: tuple[int, int] = (5, 7),
        initial_scale: float = 1.0,
    ) -> None:
        super().__init__()
        require(channels > 0 and channels % 2 == 0, "channels", "be positive and even", channels)
        require(expansion >= 1, "expansion", "be at least 1", expansion)
        odd = len(kernel_sizes) == 2 and all(size > 0 and size % 2 == 1 for size in kernel_sizes)
        require(odd, "kernel_sizes", "be two odd sizes", kernel_sizes)
        half, wide = channels // 2, expansion * channels
        self.channels = channels
        self.depthwise = nn.ModuleList(_depthwise(half, size) for size in kernel_sizes)
        self.expand = nn.Sequential(nn.BatchNorm2d(channels), nn.Conv2d(channels, wide, 1))
        self.spatial = _depthwise(wide, 3)
        self.reduce = nn.Sequential(nn.BatchNorm2d(wide), nn.Conv2d(wide, channels, 1))
        self.scale = UnitScale(channels, initial_scale)

    def forward(self, feature_map: Tensor) -> Tensor:
        """F^m -> F̂^m."""
        _check_map("feature_map", feature_map, self.channels, self.scale.weight)
        halves = feature_map.chunk(2, dim=1)  # Eq. 1
        fields = torch.cat([conv(half) for conv, half in zip(self.depthwise, halves, strict=True)], dim=1)  # Eq. 2
        expanded = self.expand(fields)  # Eq. 3
        structured = self.spatial(torch.relu(expanded)) + expanded  # Eq. 4
        scaled: Tensor = self.scale(self.reduce(structured))  # Eq. 5
        return scaled


class CrossModalityLearner(nn.Module):
    """The auxiliary feature map from what both modalities share at several scales (Eq. 6-9).

    Each modality is average-pooled by every ratio and rebuilt to h w by one transposed convolution per ratio that both
    modalities share; the 2n maps are fused by a point-wise convolution and weighed by a learnable scale in (0, 1].
    Ratios are down-sampling factors (A5). Where one does not divide h or w, or exceeds it, the last cell averages what
    is left of the map and the rebuilt map is cropped (A6). The transposed convolutions start at the scale of what an
    output pixel really sums, c inputs, where PyTorch's default assumes c·r² (A8).

    Args:
        channels: c of the feature maps.
        pooling_ratios: down-sampling factors, at least one; the paper's (2, 4, 6, 12).
        groups: of the transposed convolutions: 1 mixes all channels, ``channels`` makes them depth-wise (A7).
        initial_scale: where C_scale starts, in (0, 1].

    Shape:
        b c h w, b c h w -> b c h w.

    Raises:
        ValueError: an argument is out of its range, or the inputs are no two b c h w maps of one shape.
        TypeError: an input has another type than the weights.

    Example:
        >>> learner = CrossModalityLearner(16, pooling_ratios=(2, 3))
        >>> learner(torch.rand(2, 16, 18, 9), torch.rand(2, 16, 18, 9)).shape
        torch.Size([2, 16, 18, 9])

    References:
        Yu et al., Modality Unifying Network for Visible-Infrared Person Re-Identification, ICCV 2023.
    """

    def __init__(
        self,
        channels: int,
        *,
        pooling_ratios: Sequence[int] = (2, 4, 6, 12),
        groups: int = 1,
        initial_scale: float = 1.0,
    ) -> None:
        super().__init__()
        require(channels > 0, "channels", "be positive", channels)
        ratios = tuple(pooling_ratios)
        require(len(ratios) > 0 and min(ratios, default=0) > 0, "pooling_ratios", "be positive factors", ratios)
        require(groups > 0 and channels % groups == 0, "groups", f"divide channels ({channels})", groups)
        self.channels = channels
        self.pyramid = nn.ModuleList(nn.AvgPool2d(ratio, ceil_mode=True, count_include_pad=False) for ratio in ratios)
        self.rebuild = nn.ModuleList(_upsampling(channels, ratio, groups) for ratio in ratios)
        width = 2 * len(ratios) * channels
        self.fuse = nn.Sequential(nn.BatchNorm2d(width), nn.Conv2d(width, channels, 1))
        self.scale = UnitScale(channels, initial_scale)

    def forward(self, visible_map: Tensor, infrared_map: Tensor) -> Tensor:
        """F̂^v, F̂^r -> F^a."""
        _check_pair(visible_map, infrared_map, self.channels, self.scale.weight)
        height, width = visible_map.shape[2:]
        both = torch.cat([visible_map, infrared_map])  # (m b) c h w
        scales = [
            rebuild(pool(both))[:, :, :height, :width].chunk(2)  # Eq. 6, 7
            for pool, rebuild in zip(self.pyramid, self.rebuild, strict=True)
        ]
        stacked = torch.cat([*(v for v, _ in scales), *(r for _, r in scales)], dim=1)  # Eq. 8
        auxiliary_map: Tensor = self.scale(self.fuse(stacked))  # Eq. 9
        return auxiliary_map


class AuxiliaryGenerator(nn.Module):
    """The auxiliary modality F^a of same-identity pairs: two intra- and one cross-modality learner (Fig. 3).

    Index j of both maps must show the same identity (A10). The generator serves training only; nothing of it is
    needed for retrieval. At c = 256 and the paper's ratios it has 14,730,240 weights and costs 5.53 GMAC per pair of
    72×36 maps.

    Args:
        channels: c of the feature maps, even.
        pooling_ratios: of the cross-modality learner; the paper's (2, 4, 6, 12).
        expansion: of the intra-modality learners; the paper's 4.
        kernel_sizes: of the intra-modality learners; the paper's (5, 7).
        groups: of the transposed convolutions; 1 in the paper's reading.
        initial_scale: where I_scale and C_scale start, in (0, 1].

    Shape:
        b c h w, b c h w -> b c h w.

    Raises:
        ValueError: an argument is out of its range, or the inputs are no two b c h w maps of one shape.
        TypeError: an input has another type than the weights.

    Example:
        >>> generator = AuxiliaryGenerator(channels=16)
        >>> visible_map, infrared_map = torch.rand(2, 4, 16, 24, 12)
        >>> generator(visible_map, infrared_map).shape
        torch.Size([4, 16, 24, 12])

    References:
        Yu et al., Modality Unifying Network for Visible-Infrared Person Re-Identification, ICCV 2023.
    """

    def __init__(
        self,
        channels: int,
        *,
        pooling_ratios: Sequence[int] = (2, 4, 6, 12),
        expansion: int = 4,
        kernel_sizes: tuple[int, int] = (5, 7),
        groups: int = 1,
        initial_scale: float = 1.0,
    ) -> None:
        super().__init__()
        self.visible_learner, self.infrared_learner = (
            IntraModalityLearner(channels, expansion=expansion, kernel_sizes=kernel_sizes, initial_scale=initial_scale)
            for _ in range(2)
        )
        self.cross_learner = CrossModalityLearner(
            channels, pooling_ratios=pooling_ratios, groups=groups, initial_scale=initial_scale
        )

    def forward(self, visible_map: Tensor, infrared_map: Tensor) -> Tensor:
        """F^v, F^r -> F^a."""
        _check_pair(visible_map, infrared_map, self.cross_learner.channels, self.cross_learner.scale.weight)
        auxiliary_map: Tensor = self.cross_learner(
            self.visible_learner(visible_map), self.infrared_learner(infrared_map)
        )
        return auxiliary_map


class UnitScale(nn.Module):
    """One learnable factor per channel, kept in (0, 1]: the paper's I_scale and C_scale (A4).

    The factor is the weight clamped to the interval; a gradient that would push a weight further out is dropped and
    one that leads back in passes, so that no channel is stuck at an end.

    Args:
        channels: c.
        initial: where all factors start, in (0, 1].

    Shape:
        b c h w -> b c h w.

    Raises:
        ValueError: ``initial`` lies outside (0, 1].
    """

    smallest = 1e-6

    def __init__(self, channels: int, initial: float = 1.0) -> None:
        super().__init__()
        require(0 < initial <= 1, "initial_scale", "lie in (0, 1]", initial)
        self.weight = nn.Parameter(torch.full((channels,), float(initial)))

    def forward(self, feature_map: Tensor) -> Tensor:
        """Scale every channel of b c h w."""
        factor: Tensor = _ProjectedClamp.apply(self.weight, self.smallest, 1.0)
        return feature_map * factor[:, None, None]


class _ProjectedClamp(torch.autograd.Function):
    """Clamp whose gradient vanishes only where a descent step would lead out of the interval."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, low: float, high: float) -> Tensor:
        ctx.save_for_backward(weight)
        ctx.bounds = low, high
        return weight.clamp(low, high)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (weight,) = ctx.saved_tensors
        low, high = ctx.bounds
        outward = ((weight >= high) & (gradient < 0)) | ((weight <= low) & (gradient > 0))
        return gradient.masked_fill(outward, 0), None, None


def _depthwise(channels: int, kernel_size: int) -> nn.Conv2d:
    return nn.Conv2d(channels, channels, kernel_size, padding=kernel_size // 2, groups=channels, bias=False)


def _upsampling(channels: int, ratio: int, groups: int) -> nn.ConvTranspose2d:
    convolution = nn.ConvTranspose2d(channels, channels, ratio, stride=ratio, groups=groups, bias=False)
    bound = (groups / channels) ** 0.5
    nn.init.uniform_(convolution.weight, -bound, bound)
    return convolution


def _check_map(argument: str, feature_map: Tensor, channels: int, weight: Tensor) -> None:
    check_tensor(argument, feature_map)
    shape = tuple(feature_map.shape)
    require(len(shape) == 4 and shape[1] == channels, argument, f"have shape (b, {channels}, h, w)", shape)
    device, dtype = feature_map.device, feature_map.dtype
    require(device == weight.device, argument, f"be on {weight.device} like the weights", device)
    fits = dtype == weight.dtype or (dtype.is_floating_point and torch.is_autocast_enabled(device.type))
    require(fits, argument, f"be {weight.dtype} like the weights", dtype, error=TypeError)


def _check_pair(visible_map: Tensor, infrared_map: Tensor, channels: int, weight: Tensor) -> None:
    _check_map("visible_map", visible_map, channels, weight)
    _check_map("infrared_map", infrared_map, channels, weight)
    require(
        infrared_map.shape == visible_map.shape,
        "infrared_map",
        f"have the shape of visible_map, {tuple(visible_map.shape)}",
        tuple(infrared_map.shape),
        "Index j of both must show the same identity.",
    )
