"""The twenty corruptions of SYSU-MM01-C and RegDB-C, in five severities each."""

from __future__ import annotations

import contextlib
import hashlib
import io
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.random import default_rng
from PIL import Image, ImageDraw, ImageFilter
from torch import Tensor

from vireid._checks import check_choice, check_integer, check_size, check_tensor, check_type, import_extra, require
from vireid.data.pixels import to_pillow

CORRUPTIONS = (
    "gaussian_noise",
    "shot_noise",
    "impulse_noise",
    "speckle_noise",
    "defocus_blur",
    "glass_blur",
    "motion_blur",
    "zoom_blur",
    "gaussian_blur",
    "snow",
    "frost",
    "fog",
    "rain",
    "brightness",
    "contrast",
    "saturate",
    "elastic_transform",
    "pixelate",
    "jpeg_compression",
    "spatter",
)


class RandomCorruption:
    """Corrupt an image by a corruption and a severity that are drawn uniformly, as in the benchmark.

    They follow from ``seed``, ``draw`` and the name of the image alone, independently of the order of the images and
    the number of workers. The benchmark corrupts visible images only, after resizing them to the network's input.

    Args:
        size: (height, width) to which the image is resized first, by Pillow's LANCZOS; None keeps its size.
        corruptions: Names to draw from; see ``CORRUPTIONS``.
        severities: Integers from 1 to 5 to draw from.
        seed: Seed of all draws.
        draw: Index of the repetition, starting at 0; the benchmark averages over ten.

    Raises:
        ValueError: If an argument is out of range or names no corruption.
        TypeError: If an argument has another type.

    Example:
        >>> corrupt_randomly = RandomCorruption(corruptions=["contrast"], size=None)
        >>> corrupt_randomly.choose("visible/1/0001/0001.jpg")[:2]
        ('contrast', 2)

    References:
        Chen et al., Benchmarks for Corruption Invariant Person Re-identification, NeurIPS 2021.
    """

    def __init__(
        self,
        *,
        size: tuple[int, int] | None = (288, 144),
        corruptions: Sequence[str] = CORRUPTIONS,
        severities: Sequence[int] = (1, 2, 3, 4, 5),
        seed: int = 0,
        draw: int = 0,
    ) -> None:
        for argument, names in {"corruptions": corruptions, "severities": severities}.items():
            listed = isinstance(names, Sequence) and not isinstance(names, (str, bytes))
            require(listed, argument, "be a list", names, error=TypeError)
            require(len(names) > 0, argument, "not be empty", names)
        for name in corruptions:
            check_choice("corruptions", name, CORRUPTIONS, "name known corruptions")
        self.size = None if size is None else check_size("size", size)
        self.corruptions = tuple(corruptions)
        self.severities = tuple(_check_severity(f"severities[{i}]", severity) for i, severity in enumerate(severities))
        self.seed = check_integer("seed", seed, least=0)
        self.draw = check_integer("draw", draw, least=0)

    def __repr__(self) -> str:
        options = ", ".join(f"{name}={value!r}" for name, value in vars(self).items())
        return f"{type(self).__name__}({options})"

    def __call__(self, image: Tensor, key: str) -> Tensor:
        """Corrupt the image named ``key``.

        Shape:
            uint8 3 h w -> uint8 3 h w, of ``size`` if it is given.
        """
        _check_image(image)
        check_type("key", key, str, "be a string")
        if self.size is not None and image.shape[-2:] != self.size:
            resized = to_pillow(image).resize(self.size[::-1], Image.Resampling.LANCZOS)
            image = torch.from_numpy(np.array(resized)).permute(2, 0, 1)
        name, severity, seed = self.choose(key)
        return corrupt(image, name, severity, seed=seed)

    def choose(self, key: str) -> tuple[str, int, int]:
        """Return the corruption, its severity and its seed for the image named ``key``."""
        check_type("key", key, str, "be a string")
        digest = hashlib.sha256(f"{self.seed}/{self.draw}/{key}".encode(errors="surrogatepass")).digest()
        number = int.from_bytes(digest, "little")  # the streams of NumPy's generators may change with its version
        number, name = divmod(number, len(self.corruptions))
        number, severity = divmod(number, len(self.severities))
        return self.corruptions[name], self.severities[severity], number % 2**32


def corrupt(image: Tensor, name: str, severity: int, *, seed: int = 0) -> Tensor:
    """Corrupt an image.

    Nineteen corruptions are those of the library imagecorruptions with the parameters of its version 1.1.2, which made
    the benchmark. The twentieth, rain, is our own: streaks of drizzle (severity 1), heavy (2, 3) or torrential rain
    (4, 5) with the benchmark's numbers and lengths, a blur of 2 + severity pixels, and a loss of brightness of
    0.05 + 0.05 severity; its pixels differ from the benchmark's. An image with a side of less than 32 pixels is
    mirrored at its borders, corrupted and cut back.

    The result depends on the arguments alone. Random states are restored, but no other thread may draw from NumPy's
    global generator meanwhile.

    Args:
        image: Image to corrupt; it is not modified.
        name: Name of the corruption, one of ``CORRUPTIONS``.
        severity: Strength, from 1 to 5.
        seed: Seed of the corruption's random draws, from 0 to 2³² − 1.

    Shape:
        uint8 3 h w -> uint8 3 h w.

    Raises:
        ValueError: If there is no such corruption or severity, or the image has another shape.
        TypeError: If the image is not uint8, or an argument has another type.
        ImportError: If imagecorruptions is not installed; the extra ``robustness`` brings it.

    Example:
        >>> gray = torch.full((3, 64, 32), 128, dtype=torch.uint8)
        >>> int(corrupt(gray, "brightness", 3).float().mean())
        204

    References:
        Hendrycks and Dietterich, Benchmarking Neural Network Robustness to Common Corruptions and Perturbations, ICLR
        2019; Michaelis et al., Benchmarking Robustness in Object Detection, 2019.
    """
    _check_image(image)
    check_choice("name", name, CORRUPTIONS)
    severity = _check_severity("severity", severity)
    seed = check_integer("seed", seed, least=0, most=2**32 - 1)
    height, width = image.shape[-2:]
    pixels = np.asarray(to_pillow(image))
    margins = ((0, max(0, 32 - height)), (0, max(0, 32 - width)), (0, 0))
    picture = Image.fromarray(np.pad(pixels, margins, mode="symmetric"))
    result = _rain(picture, severity, seed) if name == "rain" else _by_library(picture, name, severity, seed)
    return torch.from_numpy(result[:height, :width].copy()).permute(2, 0, 1)


def _by_library(picture: Image.Image, name: str, severity: int, seed: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    function = getattr(import_extra("imagecorruptions.corruptions", "robustness"), name)
    # Some draw from NumPy's global generator, others take a seed, and spatter divides by zero where nothing was spilt.
    options = {"seed": seed} if name in {"impulse_noise", "glass_blur"} else {}
    if name == "frost":  # has a sixth texture, which version 1.1.2 never draws
        seed = next(s for s in default_rng(seed).integers(2**32, size=64) if np.random.RandomState(s).randint(6) < 5)
    with _numpy_seeded(int(seed)), warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore", RuntimeWarning)
        values = np.asarray(function(picture, severity, **options), np.float64)
    return np.where(np.isnan(values), np.asarray(picture), values).astype(np.uint8)


def _rain(picture: Image.Image, severity: int, seed: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Draw gray streaks, all slanted alike, blur the picture and darken it."""
    rng = default_rng(seed)
    pixels_a_drop, length = [(770, 10), (600, 30), (600, 30), (500, 60), (500, 60)][severity - 1]
    slant = int(rng.integers(-10, 11))  # pixels that a streak moves to the side
    rainy = picture.copy()
    pen = ImageDraw.Draw(rainy)
    for _ in range(picture.width * picture.height // pixels_a_drop):
        x, y = int(rng.integers(picture.width)), int(rng.integers(max(1, picture.height - length)))
        pen.line((x, y, x + slant, y + length), (200, 200, 200))
    blurred = np.asarray(rainy.filter(ImageFilter.BoxBlur((1 + severity) / 2)), np.float64)
    return np.clip(blurred - 255 * (0.05 + 0.05 * severity), 0, 255).astype(np.uint8)


@contextlib.contextmanager
def _numpy_seeded(seed: int) -> Iterator[None]:
    """Seed NumPy's global generator, and restore its state."""
    state = np.random.get_state()  # noqa: NPY002 - the library draws from it
    np.random.seed(seed)  # noqa: NPY002
    try:
        yield
    finally:
        np.random.set_state(state)  # noqa: NPY002


def _check_image(image: Tensor) -> None:
    check_tensor("image", image)
    require(image.ndim == 3 and image.shape[0] == 3, "image", "have shape (3, h, w)", tuple(image.shape))
    require(min(image.shape) > 0, "image", "have a pixel", tuple(image.shape))
    require(image.dtype == torch.uint8, "image", "be uint8", image.dtype, error=TypeError)


def _check_severity(argument: str, severity: int) -> int:
    return check_integer(argument, severity, least=1, most=5)
