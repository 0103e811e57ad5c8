"""DEEN's multistage feature aggregation: attention between the map behind a stage and the one before it."""

from __future__ import annotations

from einops import rearrange
from torch import Tensor, nn

from vireid._checks import check_integer, check_like_weights, check_tensor, check_type, require


class _Aggregation(nn.Module):
    """Hold the convolutions of both aggregations; the last batch norm starts at zero, so that nothing is added."""

    def __init__(self, low_channels: int, channels: int, inner: int, *, stride: int = 1) -> None:
        super().__init__()
        self.query = nn.Conv2d(channels, inner, 1)
        self.key = nn.Conv2d(low_channels, inner, 1, stride=stride)
        self.value = nn.Conv2d(low_channels, inner, 1)
        self.project = nn.Sequential(nn.Conv2d(inner, channels, 1, stride=stride), nn.BatchNorm2d(channels))
        nn.init.zeros_(self.project[1].weight)  # type: ignore[arg-type]

    def attend(self, feature_map: Tensor, low_map: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Check both maps and compute θ(X_h), φ(X_l) and g(X_l), b e n each."""
        _check_map("feature_map", feature_map, self.query)
        _check_map("low_map", low_map, self.value)
        maps, rows = feature_map.shape[0], low_map.shape[0]  # len() would fix the size of the batch of an export
        require(maps == rows, "low_map", f"hold {maps} maps", rows)
        parts = (self.query(feature_map), self.key(low_map), self.value(low_map))
        query, key, value = (rearrange(part, "b e h w -> b e (h w)") for part in parts)
        return query, key, value


class ChannelAggregation(_Aggregation):
    """Add the input of a stage to its output, its channels mixed by how they agree with those of the output.

    X_h + W(A g(X_l)) with A = θ(X_h) φ(X_l)ᵀ / e for e channels of the input. All of θ, φ, g and W are 1×1
    convolutions. W ends in a batch norm that starts at zero.

    Args:
        low_channels: Number of channels e of the input X_l.
        channels: Number of channels c of the output X_h.
        stride: Stride of the stage: by how many times the input is higher and wider than the output.

    Shape:
        X_h b c h w, X_l b e h·s w·s -> b c h w.

    Raises:
        ValueError: If an argument is out of range, or the maps do not fit.
        TypeError: If an argument or a map has the wrong type.

    Example:
        >>> import torch
        >>> ChannelAggregation(8, 16, stride=2)(torch.rand(4, 16, 6, 3), torch.rand(4, 8, 12, 6)).shape
        torch.Size([4, 16, 6, 3])

    References:
        Zhang et al., Diverse Embedding Expansion Network and Low-Light Cross-Modality Benchmark for Visible-Infrared
        Person Re-identification, CVPR 2023.
    """

    def __init__(self, low_channels: int, channels: int, *, stride: int = 1) -> None:
        low_channels = check_integer("low_channels", low_channels, least=1)
        channels = check_integer("channels", channels, least=1)
        stride = check_integer("stride", stride, least=1)
        super().__init__(low_channels, channels, low_channels, stride=stride)

    def forward(self, feature_map: Tensor, low_map: Tensor) -> Tensor:
        """Compute X_h + W(θ(X_h) φ(X_l)ᵀ g(X_l) / e)."""
        query, key, value = self.attend(feature_map, low_map)
        same = query.shape[2] == key.shape[2]
        require(same, "low_map", "be as large as feature_map times the stride", tuple(low_map.shape))
        mixed = (query @ key.mT / query.shape[1]) @ value  # b e n
        added: Tensor = self.project(rearrange(mixed, "b e (h w) -> b e h w", h=low_map.shape[2]))
        require(added.shape == feature_map.shape, "low_map", "fit feature_map", tuple(low_map.shape))
        return feature_map + added


class SpatialAggregation(_Aggregation):
    """Add to every position of a stage's output what the positions of its input have that agree with it.

    X_h + W(θ(X_h)ᵀ φ(X_l) g(X_l)ᵀ / n) for n positions of the input, a non-local block between two maps without a
    softmax. All of θ, φ, g and W are 1×1 convolutions, with half the channels of the input between them. W ends in a
    batch norm that starts at zero. The products are associated so that no n × n matrix is formed.

    Args:
        low_channels: Number of channels of the input X_l.
        channels: Number of channels c of the output X_h.

    Shape:
        X_h b c h w, X_l b e h' w' -> b c h w.

    Raises:
        ValueError: If an argument is out of range, or the maps do not fit.
        TypeError: If an argument or a map has the wrong type.

    Example:
        >>> import torch
        >>> SpatialAggregation(8, 16)(torch.rand(4, 16, 6, 3), torch.rand(4, 8, 12, 6)).shape
        torch.Size([4, 16, 6, 3])

    References:
        Zhang et al., Diverse Embedding Expansion Network and Low-Light Cross-Modality Benchmark for Visible-Infrared
        Person Re-identification, CVPR 2023.
    """

    def __init__(self, low_channels: int, channels: int) -> None:
        low_channels = check_integer("low_channels", low_channels, least=1)
        channels = check_integer("channels", channels, least=1)
        super().__init__(low_channels, channels, max(1, low_channels // 2))

    def forward(self, feature_map: Tensor, low_map: Tensor) -> Tensor:
        """Compute X_h + W(θ(X_h)ᵀ φ(X_l) g(X_l)ᵀ / n)."""
        query, key, value = self.attend(feature_map, low_map)
        mixed = (value @ key.mT / key.shape[2]) @ query  # b e n
        added: Tensor = self.project(rearrange(mixed, "b e (h w) -> b e h w", h=feature_map.shape[2]))
        return feature_map + added


class AggregatedStage(nn.Module):
    """Run a stage and aggregate its output with its input, by channels and then by positions (MFA of DEEN).

    Args:
        stage: Module from maps b e h' w' to maps b c h w.
        low_channels: Number of channels e of its input.
        channels: Number of channels c of its output.
        stride: By how many times the input is higher and wider than the output.

    Shape:
        b e h' w' -> b c h w.

    Raises:
        ValueError: If an argument is out of range, or the maps do not fit.
        TypeError: If an argument or a map has the wrong type.

    Example:
        >>> import torch
        >>> AggregatedStage(nn.Conv2d(8, 16, 3, stride=2, padding=1), 8, 16, stride=2)(torch.rand(4, 8, 12, 6)).shape
        torch.Size([4, 16, 6, 3])
    """

    def __init__(self, stage: nn.Module, low_channels: int, channels: int, *, stride: int = 1) -> None:
        super().__init__()
        check_type("stage", stage, nn.Module, "be a module")
        self.stage = stage
        self.channel = ChannelAggregation(low_channels, channels, stride=stride)
        self.spatial = SpatialAggregation(low_channels, channels)

    def forward(self, low_map: Tensor) -> Tensor:
        """Compute the stage's map and aggregate it."""
        _check_map("low_map", low_map, self.spatial.value)
        aggregated: Tensor = self.spatial(self.channel(self.stage(low_map), low_map), low_map)
        return aggregated


def _check_map(argument: str, found: Tensor, convolution: nn.Conv2d) -> None:
    check_tensor(argument, found)
    shape, channels = tuple(found.shape), convolution.in_channels
    require(len(shape) == 4 and shape[1] == channels, argument, f"have shape (b, {channels}, h, w)", shape)
    check_like_weights(argument, found, convolution.weight)
