"""Augmentations of the field, as transforms in the manner of torchvision's v2, and presets made of them.

The random draws come from torch's global generator, which the data loader seeds in every worker. Every class takes
single images, 3 h w, or batches, b 3 h w, on any device; every image of a batch gets draws of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import pad
from torchvision.transforms import InterpolationMode, v2
from torchvision.transforms.v2.functional import pil_to_tensor, to_pil_image

from vireid._checks import check_choice, check_tensor, is_whole, require
from vireid.modality import Modality

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class RandomPadCrop(nn.Module):
    """Surround the image with zeros and cut its own size out of the result: a random shift.

    Args:
        padding: pixels of zeros on every side; the field's 10 at a height of 288.

    Shape:
        … 3 h w -> … 3 h w.

    Raises:
        ValueError: ``padding`` is negative or exceeds a side of the image, or the input is no image of three channels.

    Example:
        >>> RandomPadCrop(2)(torch.rand(5, 3, 8, 4)).shape
        torch.Size([5, 3, 8, 4])
    """

    def __init__(self, padding: int = 10) -> None:
        super().__init__()
        require(padding >= 0, "padding", "be at least 0", padding)
        self.padding = padding

    def forward(self, images: Tensor) -> Tensor:
        """Shift … 3 h w."""
        _check_images(images)
        height, width = images.shape[-2:]
        rule = f"be wider and higher than padding = {self.padding}"
        require(min(height, width) > self.padding, "images", rule, (height, width))
        down, right = torch.randint(-self.padding, self.padding + 1, (2, *images.shape[:-3]), device=images.device)
        if images.ndim == 3:
            y, x = int(down), int(right)
            shifted = torch.zeros_like(images)
            source = images[:, max(0, -y) : height - max(0, y), max(0, -x) : width - max(0, x)]
            shifted[:, max(0, y) : height + min(0, y), max(0, x) : width + min(0, x)] = source
            return shifted
        image, channel, row, column = (
            torch.arange(length, device=images.device).view(-1, *(1,) * after)
            for after, length in zip((3, 2, 1, 0), images.shape, strict=True)
        )
        row, column = row + self.padding - down.view(-1, 1, 1, 1), column + self.padding - right.view(-1, 1, 1, 1)
        return pad(images, (self.padding,) * 4)[image, channel, row, column]


class RandomFlip(nn.Module):
    """Mirror the image from left to right.

    Args:
        p: probability of doing so.

    Shape:
        … 3 h w -> … 3 h w.

    Raises:
        ValueError: ``p`` is no probability, or the input is no image of three channels.

    Example:
        >>> RandomFlip(p=1.0)(torch.arange(3.0).expand(3, 1, 3))[0]
        tensor([[2., 1., 0.]])
    """

    def __init__(self, p: float = 0.5) -> None:
        super().__init__()
        _check_probability(p)
        self.p = p

    def forward(self, images: Tensor) -> Tensor:
        """Mirror … 3 h w."""
        _check_images(images)
        mirrored = _chance(images, self.p)
        if images.ndim == 3:
            return images.flip(-1) if bool(mirrored) else images
        return torch.where(mirrored, images.flip(-1), images)


class Normalize(nn.Module):
    """Turn bytes into numbers of mean 0 and standard deviation 1 over ImageNet.

    Equal to torchvision's ``ToDtype(torch.float32, scale=True)`` and ``Normalize`` but for rounding.

    Args:
        mean: of each channel, of values from 0 to 1.
        std: likewise.

    Shape:
        uint8 … 3 h w -> float32 … 3 h w.

    Raises:
        ValueError: the input is no image of three channels.
        TypeError: the input is not uint8.

    Example:
        >>> Normalize(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))(torch.zeros(3, 1, 1, dtype=torch.uint8))[0]
        tensor([[-1.]])
    """

    factor: Tensor
    offset: Tensor

    def __init__(
        self, mean: tuple[float, float, float] = IMAGENET_MEAN, std: tuple[float, float, float] = IMAGENET_STD
    ) -> None:
        super().__init__()
        deviation = torch.tensor(std, dtype=torch.float64)[:, None, None]
        average = torch.tensor(mean, dtype=torch.float64)[:, None, None]
        self.register_buffer("factor", (1 / (255 * deviation)).float(), persistent=False)
        self.register_buffer("offset", (-average / deviation).float(), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Normalise … 3 h w."""
        _check_images(images)
        require(images.dtype == torch.uint8, "images", "be uint8", images.dtype, error=TypeError)
        device = images.device
        numbers = images.to(torch.float32, memory_format=torch.contiguous_format)
        return numbers.mul_(self.factor.to(device)).add_(self.offset.to(device))  # faster than addcmul


class ChannelExchange(nn.Module):
    """Replace all channels by one of them, drawn anew for every image, so that colour tells nothing.

    Args:
        p: probability of doing so. CAJ trains on every visible image twice, as it is and exchanged (p = 1).

    Shape:
        … 3 h w -> … 3 h w.

    Raises:
        ValueError: ``p`` is no probability, or the input is no image of three channels.

    Example:
        >>> exchanged = ChannelExchange(p=1.0)(torch.rand(3, 8, 4))
        >>> bool((exchanged[0] == exchanged[2]).all())
        True

    References:
        Ye et al., Channel Augmented Joint Learning for Visible-Infrared Recognition, ICCV 2021.
    """

    def __init__(self, p: float = 0.5) -> None:
        super().__init__()
        _check_probability(p)
        self.p = p

    def forward(self, images: Tensor) -> Tensor:
        """Exchange the channels of … 3 h w."""
        _check_images(images)
        exchanged = _pick_channel(images)
        return torch.where(_chance(images, self.p), exchanged, images)


class ChannelAdaptiveGray(nn.Module):
    """Take red, green or blue for all channels with probability ¼ each, or else gray with probability ``p``.

    Gray is 0.2989 R + 0.587 G + 0.114 B of the values as they come, normalised ones included, as CAJ computes it.

    Args:
        p: probability of gray in the remaining quarter; CAJ's 0.5 leaves one image in eight as it is.

    Shape:
        … 3 h w -> … 3 h w.

    Raises:
        ValueError: ``p`` is no probability, or the input is no image of three channels.
        TypeError: the input is not floating point.

    Example:
        >>> gray = ChannelAdaptiveGray(p=1.0)(torch.rand(3, 8, 4))
        >>> bool((gray[0] == gray[2]).all())
        True

    References:
        Ye et al., Channel Augmented Joint Learning for Visible-Infrared Recognition, ICCV 2021.
    """

    def __init__(self, p: float = 0.5) -> None:
        super().__init__()
        _check_probability(p)
        self.p = p

    def forward(self, images: Tensor) -> Tensor:
        """Exchange the channels of … 3 h w or make them gray."""
        _check_images(images)
        _check_floating_point(images)
        weights = torch.tensor([0.2989, 0.587, 0.114], dtype=images.dtype, device=images.device)
        gray = (images * weights[:, None, None]).sum(-3, keepdim=True).expand_as(images)
        otherwise = torch.where(_chance(images, self.p), gray, images)
        return torch.where(_chance(images, 0.75), _pick_channel(images), otherwise)


class ChannelErasing(nn.Module):
    """Fill a rectangle with a constant colour: random erasing as CAJ parametrises it.

    A rectangle that does not fit into the image, one in twenty at 288×144, is shrunk to its side where CAJ draws
    another. It is applied to normalised values, and so is the fill.

    Args:
        p: probability of erasing.
        area: least and greatest share of the image.
        aspect: least ratio of height to width; the greatest is its inverse.
        fill: value of each channel in the rectangle.

    Shape:
        … 3 h w -> … 3 h w.

    Raises:
        ValueError: an argument is out of its range, or the input is no image of three channels.
        TypeError: the input is not floating point.

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
        fill: tuple[float, float, float] = (0.4914, 0.4822, 0.4465),
    ) -> None:
        super().__init__()
        _check_probability(p)
        require(0 < area[0] <= area[1] <= 1, "area", "be shares in ascending order", area)
        require(0 < aspect <= 1, "aspect", "lie in (0, 1]", aspect)
        require(len(fill) == 3, "fill", "have a value for each of 3 channels", fill)
        self.p = p
        self.area = area
        self.aspect = aspect
        self.fill = fill

    def forward(self, images: Tensor) -> Tensor:
        """Erase a rectangle of … 3 h w."""
        _check_images(images)
        _check_floating_point(images)
        height, width = images.shape[-2:]
        one = (*images.shape[:-3], 1, 1, 1)

        def uniform(low: float, high: float) -> Tensor:
            return torch.empty(one, device=images.device).uniform_(low, high)

        area, aspect = uniform(*self.area) * height * width, uniform(self.aspect, 1 / self.aspect)
        tall, wide = (area * aspect).sqrt().round().clamp_max(height), (area / aspect).sqrt().round().clamp_max(width)
        top, left = (uniform(0, 1) * (height - tall + 1)).floor(), (uniform(0, 1) * (width - wide + 1)).floor()
        y = torch.arange(height, device=images.device)[:, None]
        x = torch.arange(width, device=images.device)
        inside = ((y >= top) & (y < top + tall)) & ((x >= left) & (x < left + wide))  # … h 1 and … 1 w
        fill = torch.tensor(self.fill, dtype=images.dtype, device=images.device)[:, None, None]
        return torch.where(inside & _chance(images, self.p), fill, images)


class TwoViews(nn.Module):
    """Two augmentations of the same image, one behind the other: CAJ's doubled visible view.

    A loader's batch of them, b 2 3 h w, becomes 2·b images with ``flatten(0, 1)``; their identities are
    ``identities.repeat_interleave(2)``.

    Args:
        first: the augmentation of the first view.
        second: that of the second.

    Shape:
        … 3 h w -> … 2 3 h w.

    Example:
        >>> TwoViews(nn.Identity(), ChannelExchange(p=1.0))(torch.rand(3, 8, 4)).shape
        torch.Size([2, 3, 8, 4])

    References:
        Ye et al., Channel Augmented Joint Learning for Visible-Infrared Recognition, ICCV 2021.
    """

    def __init__(self, first: Callable[[Tensor], Tensor], second: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.first = first
        self.second = second

    def forward(self, images: Tensor) -> Tensor:
        """Augment … 3 h w twice."""
        return torch.stack([self.first(images), self.second(images)], dim=-4)


Interpolation = Literal["bilinear", "bicubic", "lanczos"]


def create_train_transform(
    modality: Modality | str,
    size: tuple[int, int] = (288, 144),
    *,
    recipe: Literal["mun", "agw", "caj"] = "mun",
    padding: int | None = None,
    interpolation: Interpolation = "bilinear",
) -> nn.Module:
    """Create the training augmentation of a published method.

    ========  ============================================  ==================================================
    recipe    visible images                                infrared images
    ========  ============================================  ==================================================
    ``mun``   shift, flip, erase, exchange (p = 0.5)         shift, flip, erase, adaptive gray (MUN: A33)
    ``agw``   shift, flip                                   shift, flip
    ``caj``   two views of shift, flip, erase; the second   shift, flip, erase, adaptive gray
              also exchanged (p = 1): … 2 3 height width
    ========  ============================================  ==================================================

    Args:
        modality: whose images, ``"visible"`` or ``"infrared"``.
        size: (height, width) of the result, pixels.
        recipe: ``"mun"``, ``"agw"`` or ``"caj"``.
        padding: pixels of zeros around the image before the crop; by default the field's 10 at a height of 288, and
            in proportion at others.
        interpolation: of the change of size. The scripts of the AGW family use ``"lanczos"``, through Pillow and so
            image by image; others are faster and work on batches of any device.

    Shape:
        uint8 … 3 H W -> float32 … 3 height width.

    Raises:
        ValueError: no such modality, recipe or interpolation exists, or ``size`` or ``padding`` is out of its range.

    Example:
        >>> create_train_transform("visible", (96, 48))(torch.zeros(3, 120, 60, dtype=torch.uint8)).shape
        torch.Size([3, 96, 48])
    """
    check_choice("recipe", recipe, ("mun", "agw", "caj"))
    resize = _Resize(size, interpolation)
    padding = round(size[0] * 10 / 288) if padding is None else padding
    visible = Modality.of(modality) is Modality.VISIBLE
    shifted = [resize, RandomPadCrop(padding), RandomFlip(), Normalize()]
    if recipe == "agw":
        return nn.Sequential(*shifted)
    erased = [*shifted, ChannelErasing()]
    if not visible:
        return nn.Sequential(*erased, ChannelAdaptiveGray())
    if recipe == "caj":
        return TwoViews(nn.Sequential(*erased), nn.Sequential(*erased, ChannelExchange(p=1.0)))
    return nn.Sequential(*erased, ChannelExchange())


def create_test_transform(
    size: tuple[int, int] = (288, 144), *, interpolation: Interpolation = "bilinear"
) -> nn.Module:
    """Create the transform of evaluation: resize and normalise.

    Args:
        size: (height, width) of the result, pixels.
        interpolation: as for :func:`create_train_transform`.

    Shape:
        uint8 … 3 H W -> float32 … 3 height width.

    Raises:
        ValueError: ``size`` is no height and width, or no such interpolation exists.

    Example:
        >>> create_test_transform((96, 48))(torch.zeros(3, 120, 60, dtype=torch.uint8)).shape
        torch.Size([3, 96, 48])
    """
    return nn.Sequential(_Resize(size, interpolation), Normalize())


class _Resize(nn.Module):
    def __init__(self, size: tuple[int, int], interpolation: Interpolation) -> None:
        super().__init__()
        _check_size(size)
        check_choice("interpolation", interpolation, ("bilinear", "bicubic", "lanczos"))
        self.size = tuple(size)
        self.by_torch = None
        if interpolation != "lanczos":
            self.by_torch = v2.Resize(self.size, InterpolationMode(interpolation), antialias=True)

    def forward(self, images: Tensor) -> Tensor:
        _check_images(images)
        if images.shape[-2:] == self.size:
            return images
        resized: Tensor
        if self.by_torch is not None:
            resized = self.by_torch(images)
            return resized
        rule, remedy = "be one image, 3 h w, for lanczos", "Other interpolations take batches."
        require(images.ndim == 3, "images", rule, tuple(images.shape), remedy)
        resized = pil_to_tensor(to_pil_image(images).resize(self.size[::-1], Image.Resampling.LANCZOS))
        return resized


def _chance(images: Tensor, p: float) -> Tensor:
    """True with probability ``p`` for each image, … 1 1 1."""
    return torch.rand((*images.shape[:-3], 1, 1, 1), device=images.device) < p


def _pick_channel(images: Tensor) -> Tensor:
    """One channel of each image in place of all three."""
    index = torch.randint(3, images.shape[:-3], device=images.device)
    picked = images[index] if images.ndim == 3 else images[torch.arange(len(images), device=images.device), index]
    return picked.unsqueeze(-3).expand_as(images)


def _check_images(images: Tensor) -> None:
    check_tensor("images", images)
    rule = "have shape (3, h, w) or (b, 3, h, w)"
    require(images.ndim in {3, 4} and images.shape[-3] == 3, "images", rule, tuple(images.shape))


def _check_floating_point(images: Tensor) -> None:
    remedy = "Apply v2.ToDtype(torch.float32, scale=True) first."
    require(images.is_floating_point(), "images", "be floating point", images.dtype, remedy, error=TypeError)


def _check_size(size: tuple[int, int]) -> None:
    whole = isinstance(size, (tuple, list)) and len(size) == 2 and all(is_whole(n) and n > 0 for n in size)
    require(whole, "size", "be (height, width) in whole pixels", size)


def _check_probability(p: float) -> None:
    require(0 <= p <= 1, "p", "be a probability from 0 to 1", p)
