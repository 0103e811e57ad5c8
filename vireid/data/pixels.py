"""Images whose pixels take four bytes each, so that one operation moves or masks a whole pixel.

JPEG decoders write such pixels fastest, and 32-bit operations are several times as fast as those on single bytes.
Everybody else sees images as ever, uint8 3 h w: views of the first three bytes of every pixel.
"""

from __future__ import annotations

import sys

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate


def image_of(words: Tensor) -> Tensor:
    """View pixels of four bytes, int32 h w, as an image, uint8 3 h w; their last byte is left out."""
    return words.unsqueeze(-1).view(torch.uint8).permute(2, 0, 1)[:3]


def words_of(image: Tensor) -> Tensor | None:
    """View an image as its pixels, int32 h w, if they take four bytes each; None stands for any other layout."""
    row = _row_of(image)
    return None if row is None else image.as_strided((*image.shape[1:], 4), (row, 4, 1)).view(torch.int32).squeeze(-1)


def resize_words(image: Tensor, size: tuple[int, int], interpolation: str) -> Tensor | None:
    """Resize an image, antialiased, to its pixels, int32 h w, if they take four bytes each; else return None."""
    row = _row_of(image)
    if row is None:
        return None
    height, width = image.shape[1:]
    batch = image.as_strided((1, 4, height, width), (height * row, 1, row, 4))  # channels_last
    resized = interpolate(batch, size, mode=interpolation, antialias=True)
    return resized.permute(0, 2, 3, 1).view(torch.int32)[0, ..., 0]


def _row_of(image: Tensor) -> int | None:
    """Return the bytes from one row to the next, if every pixel takes four bytes."""
    if not isinstance(image, Tensor) or image.dtype != torch.uint8 or image.ndim != 3 or image.shape[0] != 3:
        return None
    channel, row, column = image.stride()
    if (channel, column) != (1, 4) or image.device.type != "cpu" or sys.byteorder != "little" or not image.numel():
        return None
    height, width, offset = *image.shape[1:], image.storage_offset()
    end = offset + row * (height - 1) + 4 * width  # past the last byte of the last pixel, which is not of the image
    return None if row % 4 or offset % 4 or end > image.untyped_storage().nbytes() else row


def split_pixels(image: Tensor) -> Tensor:
    """Copy an image on the CPU to planes; this is faster than torch's ``contiguous``."""
    return torch.from_numpy(np.ascontiguousarray(image.numpy()))


def from_pillow(image: Image.Image) -> Tensor:
    """Convert a Pillow image to uint8, 3 h w, with pixels of four bytes."""
    data = (image if image.mode == "RGB" else image.convert("RGB")).tobytes("raw", "RGBX")
    return image_of(torch.frombuffer(bytearray(data), dtype=torch.int32).view(image.height, image.width))


def to_pillow(image: Tensor) -> Image.Image:
    """Convert an image, uint8 3 h w, to a Pillow image."""
    words = words_of(image)
    if words is None:
        return Image.fromarray(image.permute(1, 2, 0).contiguous().cpu().numpy())
    return Image.frombytes("RGB", (image.shape[2], image.shape[1]), words.contiguous().numpy(), "raw", "RGBX")
