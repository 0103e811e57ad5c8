"""The auxiliary modality generator of MUN (Sec. 3.1, Fig. 3, Eq. 1-9)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from vireid._checks import (
    check_choice,
    check_identities,
    check_integer,
    check_like_weights,
    check_number,
    check_tensor,
    require,
    values_can_be_checked,
)

Start = Literal["random", "inputs"]
Fixed = Literal["visible", "infrared", "mean"]


class IntraModalityLearner(nn.Module):
    """Extract identity-aware patterns of one modality with several receptive fields (Eq. 1-5).

    Two depth-wise convolutions each process one half of the channels, an inverted residual mixes them, and a learnable
    scale in (0, 1] weights the result. The module follows the equations exactly: one ReLU and no outer residual (A3 in
    the paper notes). A convolution directly before a batch normalisation has no bias, since the normalisation removes
    it.

    Args:
        channels: Number of channels c of the feature map, even.
        expansion: Expansion factor of the inverted residual; 4 in the paper.
        kernel_sizes: Odd kernel sizes for the first and the second half of the channels; (5, 7) in the paper's Eq. 2,
            the reverse in its text (A2 in the paper notes).
        initial_scale: Initial value of I_scale, in (0, 1].
        start: Initial weights: ``"random"`` are PyTorch's, ``"inputs"`` pass the normalised input on, plus a tenth of
            the random ones (A38 in the paper notes).

    Shape:
        b c h w -> b c h w.

    Raises:
        ValueError: If an argument is out of range, or the input is not a b c h w map with ``channels`` channels on the
            device of the weights.
        TypeError: If an argument or the input has the wrong type.

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
        start: Start = "random",
    ) -> None:
        super().__init__()
        check_choice("start", start, get_args(Start))
        channels = check_integer("channels", channels, least=2)
        require(channels % 2 == 0, "channels", "be even", channels)
        expansion = check_integer("expansion", expansion, least=1)
        sizes = _check_integers("kernel_sizes", kernel_sizes)
        require(len(sizes) == 2 and all(size % 2 for size in sizes), "kernel_sizes", "be two odd sizes", kernel_sizes)
        half, wide = channels // 2, expansion * channels
        self.channels = channels
        self.depthwise = nn.ModuleList(_depthwise(half, size) for size in sizes)
        self.expand = nn.Sequential(nn.BatchNorm2d(channels), nn.Conv2d(channels, wide, 1))
        self.spatial = _depthwise(wide, 3)
        self.reduce = nn.Sequential(nn.BatchNorm2d(wide), nn.Conv2d(wide, channels, 1))
        self.scale = UnitScale(channels, initial_scale)
        if start == "inputs":
            for convolution in (*self.depthwise, self.expand[1], self.reduce[1]):
                _start_at(convolution, nn.init.dirac_(torch.empty_like(convolution.weight), convolution.groups))
            _start_at(self.spatial, torch.zeros(()))  # the residual of Eq. 4 passes the map on

    def forward(self, feature_map: Tensor) -> Tensor:
        """Compute F̂^m from F^m."""
        _check_map("feature_map", feature_map, self.channels, self.scale.weight)
        halves = feature_map.chunk(2, dim=1)  # Eq. 1
        fields = torch.cat([conv(half) for conv, half in zip(self.depthwise, halves, strict=True)], dim=1)  # Eq. 2
        expanded = self.expand(fields)  # Eq. 3
        structured = self.spatial(torch.relu(expanded)) + expanded  # Eq. 4
        scaled: Tensor = self.scale(self.reduce(structured))  # Eq. 5
        return scaled


class CrossModalityLearner(nn.Module):
    """Fuse the patterns of both modalities at several scales into the auxiliary feature map (Eq. 6-9).

    Each modality is average-pooled with every ratio and restored to h w by one transposed convolution per ratio, shared
    by both modalities. A point-wise convolution fuses the 2n maps, and a learnable scale in (0, 1] weights the result.
    Ratios are down-sampling factors (A5 in the paper notes). If a ratio does not divide h or w, the last cell averages
    the rest of the map and the restored map is cropped (A6). The transposed convolutions are initialised for the c
    inputs that an output pixel sums; PyTorch's default assumes c·r² (A8).

    Args:
        channels: Number of channels c of the feature maps.
        pooling_ratios: Down-sampling factors, at least one; (2, 4, 6, 12) in the paper.
        groups: Number of groups of the transposed convolutions: 1 mixes all channels, ``channels`` makes them
            depth-wise (A7 in the paper notes).
        initial_scale: Initial value of C_scale, in (0, 1].
        start: Initial weights: ``"random"`` are PyTorch's, ``"inputs"`` average the normalised maps of both modalities
            at the finest scale, plus a tenth of the random ones (A38 in the paper notes).

    Shape:
        b c h w, b c h w -> b c h w.

    Raises:
        ValueError: If an argument is out of range, or the inputs are not two b c h w maps of one shape on the device of
            the weights.
        TypeError: If an argument or an input has the wrong type.

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
        start: Start = "random",
    ) -> None:
        super().__init__()
        check_choice("start", start, get_args(Start))
        channels = check_integer("channels", channels, least=1)
        ratios = _check_integers("pooling_ratios", pooling_ratios)
        groups = check_integer("groups", groups, least=1)
        require(channels % groups == 0, "groups", f"divide channels ({channels})", groups)
        self.channels = channels
        self.pyramid = nn.ModuleList(nn.AvgPool2d(ratio, ceil_mode=True, count_include_pad=False) for ratio in ratios)
        self.rebuild = nn.ModuleList(_upsampling(channels, ratio, groups) for ratio in ratios)
        width = 2 * len(ratios) * channels
        self.fuse = nn.Sequential(nn.BatchNorm2d(width), nn.Conv2d(width, channels, 1))
        self.scale = UnitScale(channels, initial_scale)
        if start == "inputs":
            for convolution in self.rebuild:  # nearest neighbour
                _start_at(convolution, nn.init.dirac_(torch.empty(channels, channels // groups, 1, 1), groups))
            mean = torch.zeros(channels, 2, len(ratios), channels)  # c (m n c), the order of Eq. 8
            mean[:, :, ratios.index(min(ratios))] = torch.eye(channels)[:, None] / 2
            _start_at(self.fuse[1], mean.view(channels, width, 1, 1))

    def forward(self, visible_map: Tensor, infrared_map: Tensor) -> Tensor:
        """Compute F^a from F̂^v and F̂^r."""
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
    """Generate the auxiliary modality F^a from same-identity pairs, with two intra- and one cross-modality learner.

    This is Fig. 3 of the paper. Index j of both maps must show the same identity (A10 in the paper notes);
    :func:`pair_by_identity` pairs a batch that is in another order. The generator is used in training only. With
    c = 256 and the paper's ratios it has 14,730,240 weights and costs 5.53 GMAC per pair of 72×36 maps.

    Args:
        channels: Number of channels c of the feature maps, even.
        pooling_ratios: Down-sampling factors of the cross-modality learner; (2, 4, 6, 12) in the paper.
        expansion: Expansion factor of the intra-modality learners; 4 in the paper.
        kernel_sizes: Kernel sizes of the intra-modality learners; (5, 7) in the paper.
        groups: Number of groups of the transposed convolutions; 1 in our reading of the paper.
        initial_scale: Initial value of I_scale and C_scale, in (0, 1].
        start: Initial weights of the learners: ``"random"`` are PyTorch's; with ``"inputs"`` F^a starts near the mean
            of F^v and F^r, for pretrained shared stages (A38 in the paper notes).

    Shape:
        b c h w, b c h w -> b c h w; identities b.

    Raises:
        ValueError: If an argument is out of range, the inputs are not two b c h w maps of one shape on the device of
            the weights, or a pair has two identities. Identities on a GPU are not read, which would wait for it.
        TypeError: If an argument or an input has the wrong type.

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
        start: Start = "random",
    ) -> None:
        super().__init__()
        self.visible_learner, self.infrared_learner = (
            IntraModalityLearner(
                channels, expansion=expansion, kernel_sizes=kernel_sizes, initial_scale=initial_scale, start=start
            )
            for _ in range(2)
        )
        self.cross_learner = CrossModalityLearner(
            channels, pooling_ratios=pooling_ratios, groups=groups, initial_scale=initial_scale, start=start
        )

    def forward(
        self,
        visible_map: Tensor,
        infrared_map: Tensor,
        *,
        visible_identities: Tensor | None = None,
        infrared_identities: Tensor | None = None,
    ) -> Tensor:
        """Compute F^a from F^v and F^r.

        Args:
            visible_map: Feature map F^v at the cut of the backbone.
            infrared_map: Feature map F^r at the cut of the backbone.
            visible_identities: Identities of the visible maps, to check the pairs.
            infrared_identities: Identities of the infrared maps; required if those of the visible maps are given.
        """
        _check_pair(visible_map, infrared_map, self.cross_learner.channels, self.cross_learner.scale.weight)
        if visible_identities is not None or infrared_identities is not None:
            _check_same_identities(visible_identities, infrared_identities, visible_map)
        visible, infrared = visible_map, infrared_map
        if visible.device.type == "cpu":  # its gradients of depth-wise weights take a third of the time in this layout
            visible, infrared = (each.contiguous(memory_format=torch.channels_last) for each in (visible, infrared))
        auxiliary_map: Tensor = self.cross_learner(self.visible_learner(visible), self.infrared_learner(infrared))
        is_last = visible_map.is_contiguous(memory_format=torch.channels_last)
        return auxiliary_map if is_last else auxiliary_map.contiguous()


class FixedGenerator(nn.Module):
    """Put the visible map, the infrared one or the mean of both in the place of F^a: a generator without weights.

    It is the control that tells what an auxiliary modality gains from its losses alone. Networks make one from the name
    of its map, ``generator="visible"``.

    Args:
        of: What F^a is: the ``"visible"`` map, the ``"infrared"`` one, or the ``"mean"`` of both.

    Shape:
        b c h w, b c h w -> b c h w.

    Raises:
        ValueError: If ``of`` is something else, or the inputs are not two b c h w maps of one shape.
        TypeError: If an input is not a tensor.

    Example:
        >>> visible_map, infrared_map = torch.rand(2, 4, 16, 24, 12)
        >>> FixedGenerator("visible")(visible_map, infrared_map).equal(visible_map)
        True
    """

    def __init__(self, of: Fixed) -> None:
        super().__init__()
        check_choice("of", of, get_args(Fixed))
        self.of = of

    def forward(self, visible_map: Tensor, infrared_map: Tensor) -> Tensor:
        """Return F^a."""
        check_maps(visible_map, infrared_map=infrared_map)
        if self.of == "mean":
            return (visible_map + infrared_map) / 2
        return visible_map if self.of == "visible" else infrared_map

    def extra_repr(self) -> str:
        """Return the map's name for the representation."""
        return f"of={self.of!r}"


def pair_by_identity(identities: Tensor, infrared: Tensor) -> tuple[Tensor, Tensor]:
    """Return the rows of the visible and of the infrared images of a batch so that index j of both is one identity.

    Use it for batches whose order does not pair the modalities, such as alternating or shuffled ones. Both modalities
    must have the same number of images of each identity. Pairs are ordered by identity; nothing waits for a GPU.

    Args:
        identities: Identities of the batch, in any order.
        infrared: True for the infrared and False for the visible images of the batch.

    Shape:
        b, b -> b/2, b/2.

    Raises:
        ValueError: If an identity has another number of images in one modality than in the other. On a GPU, where the
            identities are not read, only an odd batch is an error.
        TypeError: If the identities are not integers, or ``infrared`` is not boolean.

    Example:
        >>> identities, infrared = torch.tensor([7, 7, 3, 3]), torch.tensor([False, True, True, False])
        >>> pair_by_identity(identities, infrared)
        (tensor([3, 0]), tensor([2, 1]))
    """
    check_tensor("identities", identities)
    require(identities.ndim == 1, "identities", "have shape (b,)", tuple(identities.shape))
    check_identities("identities", identities, identities)
    check_tensor("infrared", infrared)
    require(infrared.dtype == torch.bool, "infrared", "be boolean", infrared.dtype, error=TypeError)
    same = infrared.shape == identities.shape and infrared.device == identities.device
    rule = f"have shape {tuple(identities.shape)} on {identities.device} like identities"
    require(same, "infrared", rule, f"{tuple(infrared.shape)} on {infrared.device}")
    rows = identities.argsort(stable=True)
    rows = rows[infrared[rows].to(torch.uint8).argsort(stable=True)]  # visible first, each modality by identity
    visible_rows, infrared_rows = rows[: len(rows) // 2], rows[len(rows) // 2 :]
    paired = len(visible_rows) == len(infrared_rows)
    if paired and values_can_be_checked(identities):
        paired = not infrared[visible_rows].any() and torch.equal(identities[visible_rows], identities[infrared_rows])
    rule = "have as many visible as infrared images of each identity"
    require(paired, "identities", rule, identities if values_can_be_checked(identities) else tuple(identities.shape))
    return visible_rows, infrared_rows


class UnitScale(nn.Module):
    """Scale each channel by a learnable factor in (0, 1]: the paper's I_scale and C_scale (A4 in the paper notes).

    The factor is the weight clamped to the interval. A gradient that would push the weight further out is dropped, one
    that leads back in passes, so no channel gets stuck at an end.

    Args:
        channels: Number of channels c.
        initial_scale: Initial value of all factors, in (0, 1].

    Shape:
        b c h w -> b c h w.

    Raises:
        ValueError: If ``initial_scale`` is outside (0, 1].
    """

    smallest = 1e-6

    def __init__(self, channels: int, initial_scale: float = 1.0) -> None:
        super().__init__()
        initial_scale = check_number("initial_scale", initial_scale, above=0, most=1)
        self.weight = nn.Parameter(torch.full((channels,), initial_scale))

    def forward(self, feature_map: Tensor) -> Tensor:
        """Scale every channel of b c h w."""
        factor: Tensor = _ProjectedClamp.apply(self.weight, self.smallest, 1.0)
        return feature_map * factor[:, None, None]


class _ProjectedClamp(torch.autograd.Function):
    """Clamp, with a gradient that vanishes only where a descent step would lead out of the interval."""

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


@torch.no_grad()
def _start_at(convolution: Any, weight: Tensor) -> None:
    """Set the initial weight of a convolution; a tenth of its random weights is added to give each one a gradient."""
    for parameter in convolution.parameters():
        parameter.mul_(0.1)
    convolution.weight.add_(weight)


def _check_integers(argument: str, values: Sequence[int]) -> tuple[int, ...]:
    sequence = isinstance(values, Sequence) and not isinstance(values, (str, bytes))
    require(sequence, argument, "be a sequence of integers", values, error=TypeError)
    require(len(values) > 0, argument, "have at least one element", values)
    return tuple(check_integer(f"{argument}[{i}]", value, least=1) for i, value in enumerate(values))


def check_maps(visible_map: Tensor, **others: Tensor) -> None:
    """Require feature maps b c h w of one shape."""
    check_tensor("visible_map", visible_map)
    shape = tuple(visible_map.shape)
    require(len(shape) == 4, "visible_map", "have shape (b, c, h, w)", shape)
    for argument, feature_map in others.items():
        check_tensor(argument, feature_map)
        same = feature_map.shape == visible_map.shape
        require(same, argument, f"have the shape of visible_map, {shape}", tuple(feature_map.shape))


def _check_map(argument: str, feature_map: Tensor, channels: int, weight: Tensor) -> None:
    check_tensor(argument, feature_map)
    shape = tuple(feature_map.shape)
    require(len(shape) == 4 and shape[1] == channels, argument, f"have shape (b, {channels}, h, w)", shape)
    check_like_weights(argument, feature_map, weight)


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


def _check_same_identities(visible_identities: Any, infrared_identities: Any, rows: Tensor) -> None:
    check_identities("visible_identities", visible_identities, rows)
    check_identities("infrared_identities", infrared_identities, rows)
    if values_can_be_checked(rows):
        different = int((visible_identities != infrared_identities).sum())
        rule = "equal visible_identities row by row"
        remedy = "pair_by_identity pairs the rows of a batch."
        require(different == 0, "infrared_identities", rule, f"{different} that differ", remedy)
