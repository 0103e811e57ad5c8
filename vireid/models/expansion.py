"""DEEN's diverse embedding expansion: several maps of one image, and how their embeddings are merged."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from einops import rearrange
from torch import Tensor, nn

from vireid._checks import check_integer, check_like_weights, check_number, check_tensor, check_type, require
from vireid.models.head import BNNeck


class DiverseEmbeddingExpansion(nn.Module):
    """Add further versions of each feature map to the batch, from branches of dilated convolutions (DEE of DEEN).

    A branch is the mean of 3×3 convolutions with several dilations to a quarter of the channels, a ReLU, and a 1×1
    convolution back. The maps themselves come first, then those of each branch: ``maps.chunk(1 + branches)`` separates
    them, and their identities are ``identities.repeat(1 + branches)``. It may stand at any cut of a network.

    Args:
        channels: Number of channels c of the maps.
        branches: Number of branches; 2 in DEEN.
        dilations: Dilation of each convolution of a branch; 1, 2 and 3 in DEEN.
        dropout: Probability of dropout behind the expansion, in [0, 1); 0.01 in DEEN's code.

    Shape:
        b c h w -> (1 + branches)·b c h w.

    Raises:
        ValueError: If an argument is out of range, or the input is not a b c h w map.
        TypeError: If an argument or the input has the wrong type.

    Example:
        >>> DiverseEmbeddingExpansion(8)(torch.rand(4, 8, 6, 3)).shape
        torch.Size([12, 8, 6, 3])

    References:
        Zhang et al., Diverse Embedding Expansion Network and Low-Light Cross-Modality Benchmark for Visible-Infrared
        Person Re-identification, CVPR 2023.
    """

    def __init__(
        self, channels: int, *, branches: int = 2, dilations: Sequence[int] = (1, 2, 3), dropout: float = 0.01
    ) -> None:
        super().__init__()
        channels = check_integer("channels", channels, least=1)
        branches = check_integer("branches", branches, least=1)
        check_type("dilations", dilations, (tuple, list), "be a sequence of integers")
        require(len(dilations) > 0, "dilations", "name a convolution", dilations)
        sizes = [check_integer(f"dilations[{i}]", dilation, least=1) for i, dilation in enumerate(dilations)]
        inner = max(1, channels // 4)
        self.convolutions = nn.ModuleList(_DilatedMean(channels, inner, sizes) for _ in range(branches))
        self.projections = nn.ModuleList(nn.Conv2d(inner, channels, 1) for _ in range(branches))
        self.dropout = nn.Dropout(check_number("dropout", dropout, least=0, below=1))
        self.channels = channels

    def forward(self, feature_map: Tensor) -> Tensor:
        """Compute [F, B_1(F), B_2(F), …] along the batch."""
        _check_map("feature_map", feature_map, self.channels)
        check_like_weights("feature_map", feature_map, next(self.parameters()))
        maps = [feature_map]
        for convolutions, projection in zip(self.convolutions, self.projections, strict=True):
            maps.append(projection(convolutions(feature_map).relu()))
        expanded: Tensor = self.dropout(torch.cat(maps))
        return expanded


class _DilatedMean(nn.ModuleList):
    """The mean of 3×3 convolutions with several dilations."""

    def __init__(self, channels: int, inner: int, dilations: Sequence[int]) -> None:
        super().__init__(nn.Conv2d(channels, inner, 3, padding=d, dilation=d, bias=False) for d in dilations)

    def forward(self, feature_map: Tensor) -> Tensor:
        return torch.stack([convolution(feature_map) for convolution in self]).mean(0)


class ExpandedPooling(nn.Module):
    """Average each map and put the embeddings of an image's versions side by side.

    :class:`TwoStreamEmbedder` normalises each version by itself before it compares images, as the pooling has several
    ``copies``. The cosine similarity of two images is then the mean of those of their versions, which ranks as DEEN's
    sum does.

    Args:
        channels: Number of channels c of the maps.
        copies: Number of versions n of an image, as of :class:`DiverseEmbeddingExpansion`; 3 in DEEN.

    Attributes:
        out_channels: Number of values n · c of an embedding.

    Shape:
        (n b) c h w -> b (n c).

    Raises:
        ValueError: If an argument is out of range, or the input is not as many b c h w maps.
        TypeError: If an argument or the input has the wrong type.

    Example:
        >>> ExpandedPooling(8)(torch.rand(12, 8, 6, 3)).shape
        torch.Size([4, 24])
    """

    def __init__(self, channels: int, copies: int = 3) -> None:
        super().__init__()
        self.channels = check_integer("channels", channels, least=1)
        self.copies = check_integer("copies", copies, least=1)
        self.out_channels = self.channels * self.copies

    def forward(self, feature_map: Tensor) -> Tensor:
        """Pool (n b) c h w to b (n c)."""
        _check_map("feature_map", feature_map, self.channels)
        rows = f"have rows for {self.copies} versions of each image"
        require(feature_map.shape[0] % self.copies == 0, "feature_map", rows, tuple(feature_map.shape))
        return rearrange(feature_map.mean((2, 3)), "(n b) c -> b (n c)", n=self.copies)

    def extra_repr(self) -> str:
        """Return the settings, for ``print``."""
        return f"channels={self.channels}, copies={self.copies}"


class ExpandedNeck(BNNeck):
    """Normalise the embeddings of all versions of the images as one batch, with a :class:`BNNeck` for one version.

    Args:
        channels: Number of values c of an embedding of one version.

    Shape:
        b (n c) -> b (n c).

    Raises:
        ValueError: If ``channels`` is less than 1, or the input is not b (n c), is on another device than the weights,
            or has one row in training.
        TypeError: If ``channels`` is not an integer, or the input has another type than the weights.

    Example:
        >>> ExpandedNeck(8)(torch.rand(4, 24)).shape
        torch.Size([4, 24])
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels)

    def forward(self, embeddings: Tensor) -> Tensor:
        """Normalise b (n c)."""
        check_tensor("embeddings", embeddings)
        shape = tuple(embeddings.shape)
        fits = len(shape) == 2 and shape[1] > 0 and shape[1] % self.num_features == 0
        require(fits, "embeddings", f"have shape (b, n · {self.num_features})", shape)
        rows = rearrange(embeddings, "b (n c) -> (b n) c", c=self.num_features)
        return rearrange(super().forward(rows), "(b n) c -> b (n c)", b=shape[0])


def normalize_versions(embeddings: Tensor, copies: int) -> Tensor:
    """Scale each of the n versions of an embedding, b (n c), to unit length, and then the whole."""
    if copies > 1:
        versions = rearrange(embeddings, "b (n c) -> b n c", n=copies)
        embeddings = nn.functional.normalize(versions, dim=2).flatten(1)
    return nn.functional.normalize(embeddings)


def _check_map(argument: str, feature_map: Tensor, channels: int) -> None:
    check_tensor(argument, feature_map)
    shape = tuple(feature_map.shape)
    require(len(shape) == 4 and shape[1] == channels, argument, f"have shape (b, {channels}, h, w)", shape)
    floating = feature_map.is_floating_point()
    require(floating, argument, "be floating point", feature_map.dtype, error=TypeError)
