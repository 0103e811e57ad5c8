"""The field's augmentations, as transforms in the style of torchvision's v2.

The random draws come from torch's global generator, which :class:`PairedImages` seeds for each pair. Every class takes
single images, 3 h w, or batches, b 3 h w, on any device; each image of a batch is drawn for separately.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from vireid._checks import check_callable, check_integer, check_number
from vireid.data.draws import (
    Channels,
    chance,
    check_area,
    check_bytes,
    check_channels,
    check_floating_point,
    check_images,
    draw_rectangles,
    draw_shifts,
    inside,
    pick_channel,
)
from vireid.data.pixels import words_of

_BYTES = torch.tensor([0xFF, 0xFF00, 0xFF0000], dtype=torch.int32).view(3, 1, 1)
_SCALE = torch.tensor([1.0, 2.0**-8, 2.0**-16]).view(3, 1, 1)

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class RandomPadCrop(nn.Module):
    """Shift the image at random: pad it with zeros and crop its own size from the result.

    Args:
        padding: Number of zero pixels on every side; the field takes 10 at a height of 288.

    Shape:
        … 3 h w -> … 3 h w.

    Raises:
        ValueError: If ``padding`` is negative or exceeds a side of the image, or the input has not three channels.
        TypeError: If ``padding`` is no integer, or the input is no tensor.

    Example:
        >>> RandomPadCrop(2)(torch.rand(5, 3, 8, 4)).shape
        torch.Size([5, 3, 8, 4])
    """

    def __init__(self, padding: int = 10) -> None:
        super().__init__()
        self.padding = check_integer("padding", padding, least=0)

    def extra_repr(self) -> str:
        """Return the arguments, for ``print``."""
        return f"padding={self.padding}"

    def forward(self, images: Tensor) -> Tensor:
        """Shift … 3 h w."""
        check_images(images)
        shifts = draw_shifts(images, self.padding)
        if images.ndim == 3:
            y, x = shifts.tolist()
            return pad(images, (x, -x, y, -y))  # cut where it is negative
        down, right = shifts
        image, channel, row, column = (
            torch.arange(length, device=images.device).view(-1, *(1,) * after)
            for after, length in zip((3, 2, 1, 0), images.shape, strict=True)
        )
        row, column = row + self.padding - down.view(-1, 1, 1, 1), column + self.padding - right.view(-1, 1, 1, 1)
        return pad(images, (self.padding,) * 4)[image, channel, row, column]


class RandomFlip(nn.Module):
    """Mirror the image from left to right.

    Args:
        p: Probability of mirroring an image.

    Shape:
        … 3 h w -> … 3 h w.

    Raises:
        ValueError: If ``p`` is no probability, or the input has not three channels.
        TypeError: If ``p`` is no number, or the input is no tensor.

    Example:
        >>> RandomFlip(p=1.0)(torch.arange(3.0).expand(3, 1, 3))[0]
        tensor([[2., 1., 0.]])
    """

    def __init__(self, p: float = 0.5) -> None:
        super().__init__()
        self.p = check_number("p", p, least=0, most=1)

    def extra_repr(self) -> str:
        """Return the arguments, for ``print``."""
        return f"p={self.p}"

    def forward(self, images: Tensor) -> Tensor:
        """Mirror … 3 h w."""
        check_images(images)
        mirrored = chance(images, self.p)
        if images.ndim == 3:
            return images.flip(-1) if bool(mirrored) else images
        return torch.where(mirrored, images.flip(-1), images)


class Normalize(nn.Module):
    """Scale bytes to [0, 1], subtract a mean and divide by a standard deviation, by default those of ImageNet.

    The result equals that of torchvision's ``ToDtype(torch.float32, scale=True)`` and ``Normalize`` up to rounding.

    Args:
        mean: Mean of each channel, of values from 0 to 1.
        std: Standard deviation of each channel, of values from 0 to 1.

    Shape:
        uint8 … 3 h w -> float32 … 3 h w.

    Raises:
        ValueError: If ``mean`` or ``std`` are not three finite values, or the input has not three channels.
        TypeError: If the input is not uint8.

    Example:
        >>> Normalize(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))(torch.zeros(3, 1, 1, dtype=torch.uint8))[0]
        tensor([[-1.]])
    """

    factor: Tensor
    word_factor: Tensor
    offset: Tensor

    def __init__(self, mean: Channels = IMAGENET_MEAN, std: Channels = IMAGENET_STD) -> None:
        super().__init__()
        self.mean = check_channels("mean", mean)
        self.std = check_channels("std", std, above=0.0)
        average, deviation = (torch.tensor(x, dtype=torch.float64)[:, None, None] for x in (self.mean, self.std))
        self.register_buffer("factor", (1 / (255 * deviation)).float(), persistent=False)
        self.register_buffer("word_factor", self.factor * _SCALE, persistent=False)
        self.register_buffer("offset", (-average / deviation).float(), persistent=False)

    def extra_repr(self) -> str:
        """Return the arguments, for ``print``."""
        return f"mean={self.mean}, std={self.std}"

    def forward(self, images: Tensor) -> Tensor:
        """Normalise … 3 h w."""
        check_images(images)
        check_bytes(images)
        words = words_of(images)
        if words is not None:
            return self.of_words(words)
        device = images.device
        numbers = images.to(torch.float32, memory_format=torch.contiguous_format)
        return numbers.mul_(self.factor.to(device)).add_(self.offset.to(device))  # faster than addcmul

    def of_words(self, words: Tensor) -> Tensor:
        """Normalise the pixels of :func:`words_of`: their bytes stay where they are, which scales the factor alone."""
        numbers = words & _BYTES  # times 1, 256 and 65,536, so that all is rounded as in forward
        values = numbers.view(torch.float32).copy_(numbers)  # in the same memory
        return values.mul_(self.word_factor.cpu()).add_(self.offset.cpu())


class ChannelExchange(nn.Module):
    """Replace all channels by one of them, drawn for each image, to remove the colour.

    Args:
        p: Probability of changing an image. CAJ trains on every visible image twice, unchanged and exchanged (p = 1).

    Shape:
        … 3 h w -> … 3 h w.

    Raises:
        ValueError: If ``p`` is no probability, or the input has not three channels.
        TypeError: If ``p`` is no number, or the input is no tensor.

    Example:
        >>> exchanged = ChannelExchange(p=1.0)(torch.rand(3, 8, 4))
        >>> bool((exchanged[0] == exchanged[2]).all())
        True

    References:
        Ye et al., Channel Augmented Joint Learning for Visible-Infrared Recognition, ICCV 2021.
    """

    def __init__(self, p: float = 0.5) -> None:
        super().__init__()
        self.p = check_number("p", p, least=0, most=1)

    def extra_repr(self) -> str:
        """Return the arguments, for ``print``."""
        return f"p={self.p}"

    def forward(self, images: Tensor) -> Tensor:
        """Exchange the channels of … 3 h w."""
        check_images(images)
        exchanged = pick_channel(images)
        return torch.where(chance(images, self.p), exchanged, images)


class ChannelAdaptiveGray(nn.Module):
    """Take red, green or blue for all channels with probability ¼ each, or else gray with probability ``p``.

    Gray is 0.2989 R + 0.587 G + 0.114 B of the given values, normalised or not, as in CAJ.

    Args:
        p: Probability of gray in the remaining quarter; CAJ's 0.5 leaves one image in eight unchanged.

    Shape:
        … 3 h w -> … 3 h w.

    Raises:
        ValueError: If ``p`` is no probability, or the input has not three channels.
        TypeError: If ``p`` is no number, or the input is not floating point.

    Example:
        >>> gray = ChannelAdaptiveGray(p=1.0)(torch.rand(3, 8, 4))
        >>> bool((gray[0] == gray[2]).all())
        True

    References:
        Ye et al., Channel Augmented Joint Learning for Visible-Infrared Recognition, ICCV 2021.
    """

    def __init__(self, p: float = 0.5) -> None:
        super().__init__()
        self.p = check_number("p", p, least=0, most=1)

    def extra_repr(self) -> str:
        """Return the arguments, for ``print``."""
        return f"p={self.p}"

    def forward(self, images: Tensor) -> Tensor:
        """Exchange the channels of … 3 h w or make them gray."""
        check_images(images)
        check_floating_point(images)
        weights = torch.tensor([0.2989, 0.587, 0.114], dtype=images.dtype, device=images.device)
        gray = (images * weights[:, None, None]).sum(-3, keepdim=True).expand_as(images)
        otherwise = torch.where(chance(images, self.p), gray, images)
        return torch.where(chance(images, 0.75), pick_channel(images), otherwise)


class ChannelErasing(nn.Module):
    """Fill a rectangle with a constant colour: random erasing with CAJ's parameters.

    A rectangle that exceeds the image, one in twenty at 288×144, is cut to the image's side; CAJ draws another one
    instead. CAJ applies it to normalised values and does not normalise the fill.

    Args:
        p: Probability of erasing.
        area: Least and greatest share of the image that is erased.
        aspect: Least ratio of height to width, in (0, 1]; the greatest is its inverse.
        fill: Value of each channel in the rectangle.

    Shape:
        … 3 h w -> … 3 h w.

    Raises:
        ValueError: If an argument is out of range, or the input has not three channels.
        TypeError: If the input is not floating point, or an argument has another type.

    Example:
        >>> erased = ChannelErasing(p=1.0)(torch.zeros(3, 96, 48))
        >>> 0 < (erased != 0).float().mean() < 0.45
        tensor(True)

    References:
        Zhong et al., Random Erasing Data Augmentation, AAAI 2020; Ye et al., Channel Augmented Joint Learning for
        Visible-Infrared Recognition, ICCV 2021.
    """

    def __init__(
        self,
        p: float = 0.5,
        *,
        area: tuple[float, float] = (0.02, 0.4),
        aspect: float = 0.3,
        fill: Channels = (0.4914, 0.4822, 0.4465),
    ) -> None:
        super().__init__()
        self.p = check_number("p", p, least=0, most=1)
        self.area = check_area(area)
        self.aspect = check_number("aspect", aspect, above=0, most=1)
        self.fill = check_channels("fill", fill)

    def extra_repr(self) -> str:
        """Return the arguments, for ``print``."""
        return f"p={self.p}, area={self.area}, aspect={self.aspect}, fill={self.fill}"

    def forward(self, images: Tensor) -> Tensor:
        """Erase a rectangle of … 3 h w."""
        check_images(images)
        check_floating_point(images)
        marked = inside(images, draw_rectangles(images, self.area, self.aspect))
        fill = torch.tensor(self.fill, dtype=images.dtype, device=images.device)[:, None, None]
        return torch.where(marked & chance(images, self.p), fill, images)


class TwoViews(nn.Module):
    """Augment an image twice: CAJ's doubled visible view.

    A loader stacks the results to b 2 3 h w. ``torch.cat(views.unbind(1))`` makes them 2·b images, all first views and
    then all second ones, as CAJ's code has them; their identities are ``identities.repeat(2)``. With
    ``flatten(0, 1)`` the views of an image would be neighbours, and their identities ``repeat_interleave(2)``.

    Args:
        first: Augmentation of the first view.
        second: Augmentation of the second view.

    Shape:
        … 3 h w -> … 2 3 h w.

    Raises:
        ValueError: If the input has not three channels.
        TypeError: If a view is not callable, or the input is no tensor.

    Example:
        >>> TwoViews(nn.Identity(), ChannelExchange(p=1.0))(torch.rand(3, 8, 4)).shape
        torch.Size([2, 3, 8, 4])

    References:
        Ye et al., Channel Augmented Joint Learning for Visible-Infrared Recognition, ICCV 2021.
    """

    def __init__(self, first: Callable[[Tensor], Tensor], second: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        check_callable("first", first)
        check_callable("second", second)
        self.first = first
        self.second = second

    def forward(self, images: Tensor) -> Tensor:
        """Augment … 3 h w twice."""
        check_images(images)
        return torch.stack([self.first(images), self.second(images)], dim=-4)
