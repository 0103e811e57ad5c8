"""Random draws and checks that the augmentations share: every image of a batch gets draws of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.distributions import Gamma

from vireid._checks import check_number, check_tensor, require

Channels = tuple[float, float, float]


class Rectangles(NamedTuple):
    """Hold a rectangle for each image, in pixels, … 1 1 1."""

    top: Tensor
    left: Tensor
    tall: Tensor
    wide: Tensor


def chance(images: Tensor, p: float) -> Tensor:
    """Draw true with probability ``p`` for each image, … 1 1 1."""
    return torch.rand((*images.shape[:-3], 1, 1, 1), device=images.device) < p


def chance_of_one(p: float) -> bool:
    """Draw true with probability ``p`` for one image on the CPU: the draw of :func:`chance`, in a third of the time."""
    return torch.rand((1, 1, 1)).item() < p


def draw_shifts(images: Tensor, padding: int) -> Tensor:
    """Draw how far each image is shifted down and to the right, up to the padding, 2 …."""
    height, width = images.shape[-2:]
    require(min(height, width) > padding, "images", f"be wider and higher than padding = {padding}", (height, width))
    return torch.randint(-padding, padding + 1, (2, *images.shape[:-3]), device=images.device)


def uniform(images: Tensor, low: float = 0.0, high: float = 1.0) -> Tensor:
    """Draw a number between two bounds for each image, … 1 1 1."""
    return torch.empty((*images.shape[:-3], 1, 1, 1), device=images.device).uniform_(low, high)


def beta(images: Tensor, concentration: float) -> Tensor:
    """Draw a number of a symmetric beta distribution for each channel of each image, … 3 1 1."""
    shape = torch.full((2, *images.shape[:-3], 3, 1, 1), concentration, device=images.device)
    one, other = Gamma(shape, torch.ones_like(shape), validate_args=False).sample()  # a Beta waits for the device
    share: Tensor = one / (one + other)
    return share


def pick_channel(images: Tensor) -> Tensor:
    """Draw one channel of each image and put it in place of all three."""
    index = torch.randint(3, images.shape[:-3], device=images.device)
    picked = images[index] if images.ndim == 3 else images[torch.arange(len(images), device=images.device), index]
    return picked.unsqueeze(-3).expand_as(images)


def draw_rectangles(images: Tensor, area: tuple[float, float], aspect: float) -> Rectangles:
    """Draw a rectangle with a share of each image's area and a ratio of height to width; it is cut to the image."""
    height, width = images.shape[-2:]
    size, ratio = uniform(images, *area) * height * width, uniform(images, aspect, 1 / aspect)
    tall, wide = (size * ratio).sqrt().round().clamp_max(height), (size / ratio).sqrt().round().clamp_max(width)
    return place(images, tall, wide)


def place(images: Tensor, tall: Tensor, wide: Tensor) -> Rectangles:
    """Draw the places of rectangles of given sizes."""
    height, width = images.shape[-2:]
    top = (uniform(images) * (height - tall + 1)).floor()
    return Rectangles(top, (uniform(images) * (width - wide + 1)).floor(), tall, wide)


def inside(images: Tensor, rectangles: Rectangles) -> Tensor:
    """Mark the pixels of the rectangles, … 1 h w."""
    top, left, tall, wide = rectangles
    y = torch.arange(images.shape[-2], device=images.device)[:, None]
    x = torch.arange(images.shape[-1], device=images.device)
    return ((y >= top) & (y < top + tall)) & ((x >= left) & (x < left + wide))  # … h 1 and … 1 w


def check_images(images: Tensor) -> None:
    """Require one image or a batch of them, with three channels."""
    check_tensor("images", images)
    rule = "have shape (3, h, w) or (b, 3, h, w)"
    require(images.ndim in {3, 4} and images.shape[-3] == 3, "images", rule, tuple(images.shape))
    require(min(images.shape[-2:]) > 0, "images", "have a height and a width", tuple(images.shape))


def check_bytes(images: Tensor) -> None:
    """Require the values of a file, 0 to 255."""
    require(images.dtype == torch.uint8, "images", "be uint8", images.dtype, error=TypeError)


def check_floating_point(images: Tensor) -> None:
    """Require values that arithmetic does not round or wrap."""
    remedy = "Apply v2.ToDtype(torch.float32, scale=True) first."
    require(images.is_floating_point(), "images", "be floating point", images.dtype, remedy, error=TypeError)


def check_area(area: Sequence[float]) -> tuple[float, float]:
    """Require the least and the greatest share of an image."""
    pair = isinstance(area, (tuple, list)) and len(area) == 2
    require(pair, "area", "be (least, greatest) share", area, error=TypeError)
    least, greatest = (check_number(f"area[{i}]", share, above=0, most=1) for i, share in enumerate(area))
    require(least <= greatest, "area", "be shares in ascending order", area)
    return least, greatest


def check_channels(argument: str, values: Sequence[float], above: float | None = None) -> Channels:
    """Require a number for each channel."""
    listed = isinstance(values, Sequence) and not isinstance(values, (str, bytes))
    require(listed, argument, "have a value for each of 3 channels", values, error=TypeError)
    require(len(values) == 3, argument, "have a value for each of 3 channels", values)
    red, green, blue = (check_number(f"{argument}[{i}]", value, above=above) for i, value in enumerate(values))
    return red, green, blue
