"""From the frame of a camera and the boxes of a detector or tracker to images of people."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vireid._checks import check_choice, require


def crop_boxes(frame: Tensor | np.ndarray, boxes: Any, *, channels: Literal["rgb", "bgr"] = "rgb") -> list[Tensor]:
    """Cut the boxes of a detector or tracker out of a frame, as images like those of :func:`read_image`.

    A transform of :func:`create_test_transform` brings the crops to one size, for ``embed``. The pixels are copies, so
    that the next frame may take the memory of this one. A box that leaves the frame is cut off at its border; corners
    within a pixel take the whole pixel.

    Args:
        frame: Image as a tensor, 3 h w, or as an array, h w 3 or gray h w, uint8.
        boxes: Array of boxes (left, top, right, bottom) in pixels, n 4, or an object that has it as ``xyxy``, such as
            ``supervision.Detections``.
        channels: Order of the frame's colours, ``"rgb"`` or ``"bgr"``, in which OpenCV reads frames.

    Shape:
        3 h w or h w 3, n 4 -> n images, each 3 h' w', uint8.

    Raises:
        ValueError: If the frame or the boxes have another shape, or a box is not finite or covers no pixel.
        TypeError: If the frame is not uint8, or the boxes are no numbers.

    Example:
        >>> crops = crop_boxes(np.zeros((480, 640, 3), np.uint8), [[10, 20, 40.5, 100], [600, 0, 700, 90]])
        >>> [tuple(crop.shape) for crop in crops]
        [(3, 80, 31), (3, 90, 40)]
        >>> from vireid.data import create_test_transform
        >>> torch.stack([create_test_transform((96, 48))(crop) for crop in crops]).shape
        torch.Size([2, 3, 96, 48])
    """
    check_choice("channels", channels, ("rgb", "bgr"))
    image = _check_frame(frame)
    image = image.flip(0) if channels == "bgr" else image
    corners = _check_boxes(boxes)
    height, width = image.shape[1:]
    left, top, right, bottom = (
        bound.tolist()
        for bound in (
            np.floor(corners[:, 0]).clip(0, width).astype(int),
            np.floor(corners[:, 1]).clip(0, height).astype(int),
            np.ceil(corners[:, 2]).clip(0, width).astype(int),
            np.ceil(corners[:, 3]).clip(0, height).astype(int),
        )
    )
    crops = []
    for i, corner in enumerate(corners.tolist()):
        covers = left[i] < right[i] and top[i] < bottom[i]
        rule = f"cover a pixel of the frame, {width} wide and {height} high"
        require(covers, f"boxes[{i}]", rule, corner, "Its corners are (left, top, right, bottom).")
        crops.append(image[:, top[i] : bottom[i], left[i] : right[i]].clone(memory_format=torch.contiguous_format))
    return crops


def _check_frame(frame: Tensor | np.ndarray) -> Tensor:
    """Require a frame of bytes; return it as 3 h w."""
    rule = "be an image, a tensor 3 h w or an array h w 3"
    require(isinstance(frame, (Tensor, np.ndarray)), "frame", rule, type(frame).__name__, error=TypeError)
    remedy = "Scale frames of more than 8 bits to 0 … 255 first."
    is_bytes = frame.dtype in (torch.uint8, np.uint8)
    require(is_bytes, "frame", "be uint8", frame.dtype, remedy, error=TypeError)
    shape = tuple(frame.shape)
    if isinstance(frame, Tensor):
        require(len(shape) == 3 and shape[0] == 3, "frame", rule, shape)
        return frame
    require(len(shape) == 2 or (len(shape) == 3 and shape[2] == 3), "frame", rule, shape)
    pixels = np.ascontiguousarray(frame)  # torch takes no negative strides and no read-only memory
    image = torch.from_numpy(pixels if pixels.flags.writeable else pixels.copy())
    return image.expand(3, *shape) if len(shape) == 2 else image.permute(2, 0, 1)


def _check_boxes(boxes: Any) -> NDArray[np.float64]:
    """Require boxes n 4 of finite numbers, on any device."""
    corners = getattr(boxes, "xyxy", boxes)
    rule = "be (left, top, right, bottom) of each box, n 4, or have them as xyxy"
    if isinstance(corners, Tensor):
        corners = corners.detach().cpu().double()  # NumPy has no bfloat16
    try:
        corners = np.asarray(corners)
    except ValueError:  # rows of different lengths
        require(False, "boxes", rule, corners)
    if corners.size == 0 and corners.ndim in (1, 2):  # nobody in the frame
        return np.zeros((0, 4))
    require(corners.dtype.kind in "iuf", "boxes", rule, boxes, error=TypeError)
    require(corners.ndim == 2 and corners.shape[1] == 4, "boxes", rule, corners.shape)
    wrong = np.flatnonzero(~np.isfinite(corners).all(1))
    require(not len(wrong), f"boxes[{wrong[:1].sum()}]", "be finite", corners[wrong[:1]].ravel().tolist())
    return np.asarray(corners, np.float64)
