"""Augmentations of the field, as transforms in the manner of torchvision's v2, and presets made of them.

The random draws come from torch's global generator, which the data loader seeds in every worker. The channel
augmentations take single images, 3 h w, or batches, b 3 h w, of which every image gets draws of its own.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torchvision.transforms import v2

from vireid._checks import require
from vireid.modality import Modality

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


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
        inside = (y >= top) & (y < top + tall) & (x >= left) & (x < left + wide)
        fill = torch.tensor(self.fill, dtype=images.dtype, device=images.device)[:, None, None]
        return torch.where(inside & _chance(images, self.p), fill, images)


def create_train_transform(
    modality: Modality | str, size: tuple[int, int] = (288, 144), *, padding: int | None = None
) -> v2.Compose:
    """Create the training augmentation of MUN (A33): pad and crop, flip, erase, and mix the channels.

    Visible images take :class:`ChannelExchange` (p = 0.5, one view of each image where CAJ takes both), infrared ones
    :class:`ChannelAdaptiveGray`. The images of a batch share one crop and one flip: transform them one by one.

    Args:
        modality: whose images, ``"visible"`` or ``"infrared"``.
        size: (height, width) of the result, pixels.
        padding: pixels of zeros around the image before the crop; by default the field's 10 at a height of 288, and
            in proportion at others.

    Shape:
        uint8 … 3 H W -> float32 … 3 height width.

    Raises:
        ValueError: no such modality exists, or ``size`` or ``padding`` is out of its range.

    Example:
        >>> create_train_transform("visible", (96, 48))(torch.zeros(3, 120, 60, dtype=torch.uint8)).shape
        torch.Size([3, 96, 48])
    """
    _check_size(size)
    padding = round(size[0] * 10 / 288) if padding is None else padding
    require(padding >= 0, "padding", "be at least 0", padding)
    channels = ChannelExchange() if Modality.of(modality) is Modality.VISIBLE else ChannelAdaptiveGray()
    return v2.Compose(
        [
            v2.Resize(size, antialias=True),
            v2.RandomCrop(size, padding=padding),
            v2.RandomHorizontalFlip(),
            *_to_normalised(),
            ChannelErasing(),
            channels,
        ]
    )


def create_test_transform(size: tuple[int, int] = (288, 144)) -> v2.Compose:
    """Create the transform of evaluation: resize and normalise.

    Args:
        size: (height, width) of the result, pixels.

    Shape:
        uint8 … 3 H W -> float32 … 3 height width.

    Raises:
        ValueError: ``size`` is no height and width.

    Example:
        >>> create_test_transform((96, 48))(torch.zeros(3, 120, 60, dtype=torch.uint8)).shape
        torch.Size([3, 96, 48])
    """
    _check_size(size)
    return v2.Compose([v2.Resize(size, antialias=True), *_to_normalised()])


def _to_normalised() -> list[nn.Module]:
    return [v2.ToDtype(torch.float32, scale=True), v2.Normalize(IMAGENET_MEAN, IMAGENET_STD)]


def _chance(images: Tensor, p: float) -> Tensor:
    """True with probability ``p`` for each image, … 1 1 1."""
    return torch.rand((*images.shape[:-3], 1, 1, 1), device=images.device) < p


def _pick_channel(images: Tensor) -> Tensor:
    """One channel of each image in place of all three."""
    index = torch.randint(3, (*images.shape[:-3], 1, 1, 1), device=images.device)
    return images.gather(-3, index.expand((*images.shape[:-3], 1, *images.shape[-2:]))).expand_as(images)


def _check_images(images: Tensor) -> None:
    rule = "have shape (3, h, w) or (b, 3, h, w)"
    require(images.ndim in {3, 4} and images.shape[-3] == 3, "images", rule, tuple(images.shape))


def _check_floating_point(images: Tensor) -> None:
    remedy = "Apply v2.ToDtype(torch.float32, scale=True) first."
    require(images.is_floating_point(), "images", "be floating point", images.dtype, remedy, error=TypeError)


def _check_size(size: tuple[int, int]) -> None:
    whole = isinstance(size, (tuple, list)) and len(size) == 2 and all(isinstance(n, int) and n > 0 for n in size)
    require(whole, "size", "be (height, width) in whole pixels", size)


def _check_probability(p: float) -> None:
    require(0 <= p <= 1, "p", "be a probability from 0 to 1", p)
