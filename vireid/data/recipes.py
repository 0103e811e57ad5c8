"""The augmentations of published methods, composed of the transforms, and the transform for evaluation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, get_args

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import interpolate, pad
from torchvision.transforms import InterpolationMode, v2
from torchvision.transforms.v2.functional import resize

from vireid._checks import check_choice, check_size, require
from vireid.data.draws import Channels, chance_of_one, check_bytes, check_images, draw_shifts
from vireid.data.mixing import (
    EachImage,
    MixedViews,
    ModerateLinearEnhancement,
    RadicalLinearEnhancement,
    SelfPatchMix,
    SoftErasing,
)
from vireid.data.pixels import from_pillow, image_of, resize_words, split_pixels, to_pillow, words_of
from vireid.data.transforms import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    ChannelAdaptiveGray,
    ChannelErasing,
    ChannelExchange,
    Normalize,
    RandomFlip,
    RandomPadCrop,
    TwoViews,
)
from vireid.modality import Modality
from vireid.phases import Phases

Interpolation = Literal["bilinear", "bicubic", "lanczos"]
TORCH_HAS_LANCZOS = hasattr(torch.ops.aten, "_upsample_lanczos2d_aa")  # since PyTorch 2.12, on the CPU
Recipe = Literal["mun", "agw", "caj", "caj+", "cil", "cil-literal", "rle", "pmt-gray", "pmt", "deen", "mpanet", "saai"]


def create_train_transform(
    modality: Modality | str,
    size: tuple[int, int] = (288, 144),
    *,
    mean: Channels = IMAGENET_MEAN,
    std: Channels = IMAGENET_STD,
    recipe: Recipe | Mapping[int, Recipe] = "mun",
    padding: int | None = None,
    interpolation: Interpolation = "bilinear",
) -> nn.Module:
    """Create the training augmentation of a published method.

    ===============  ===========================================  ==========================================
    recipe           visible images                               infrared images
    ===============  ===========================================  ==========================================
    ``mun``          shift, flip, erase, exchange (p = 0.5)        shift, flip, erase, adaptive gray
    ``agw``          shift, flip                                  shift, flip
    ``caj``          two views, weak and strong: shift, flip,     shift, flip, erase, adaptive gray
                     erase; strong is also exchanged (p = 1)
    ``caj+``         as caj, but erase (p = 0.6), and gray        as caj, but adaptive gray (p = 0.6)
                     (p = 0.1) in the weak view
    ``cil``          three views of shift, flip: clean, and two   shift, flip
                     by AugMix of soft erasing and patch mixing
    ``cil-literal``  as cil, but the clean view is erased too,    shift, flip
                     as in CIL's code, which erases in place
    ``rle``          shift, flip, RLE's moderate and radical      as visible images
                     enhancement, erase
    ``pmt-gray``     flip, gray, erase                            flip, jitter or blur, erase
    ``pmt``          flip, erase                                  flip, jitter or blur, erase
    ``deen``         shift, flip, gray (p = 0.5), erase 20 to     as visible images
                     80 % (p = 0.5)
    ``mpanet``       shift, flip, erase 2 to 33 %                 as visible images
    ``saai``         as mpanet, exchange (p = 3/11)               as visible images
    ===============  ===========================================  ==========================================

    Views come as … v 3 height width: see :class:`TwoViews` and :class:`MixedViews`. CAJ+ has its own probabilities on
    SYSU-MM01 only, and RLE makes half of the images gray on RegDB and LLCM first. AugMix is torchvision's, with CIL's
    nine operations; it takes images one by one, as does PMT's jitter of brightness and contrast or blur. PMT trains on
    gray visible images first: ``recipe={0: "pmt-gray", 6: "pmt"}`` makes :class:`vireid.Phases`, which are told the
    epoch. DEEN erases as much on SYSU-MM01 only. SAAI pads by reflection and fills with noise in place of zeros.

    The paper does not state its augmentation (A33 in the paper notes).

    Args:
        modality: Modality of the images, ``"visible"`` or ``"infrared"``.
        size: (height, width) of the result, pixels.
        mean: Mean of each channel, of values from 0 to 1; many timm networks take 0.5 in place of ImageNet's.
        std: Standard deviation of each channel, of values from 0 to 1.
        recipe: Name of the recipe, or a mapping from first epochs, starting at 0, to names.
        padding: Number of zero pixels around the image before the crop; by default the field's 10 at a height of 288,
            and in proportion at others, and none for PMT.
        interpolation: Method of resizing, with antialiasing. The scripts of the AGW family use Pillow's ``"lanczos"``.
            PyTorch computes it from 2.12 on, for images on the CPU; a few values are a grey level from Pillow's, two
            where the image is enlarged. Elsewhere Pillow does, more slowly and one image at a time.

    Shape:
        uint8 … 3 H W -> float32 … 3 height width, or … v 3 height width.

    Raises:
        ValueError: If there is no such modality, recipe or interpolation, or another argument is out of range.
        TypeError: If an argument has another type.

    Example:
        >>> create_train_transform("visible", (96, 48))(torch.zeros(3, 120, 60, dtype=torch.uint8)).shape
        torch.Size([3, 96, 48])
    """
    if isinstance(recipe, Mapping):
        require(0 in recipe, "recipe", "name one for epoch 0", dict(recipe))
        shared: dict[str, Any] = {"mean": mean, "std": std, "padding": padding, "interpolation": interpolation}
        return Phases({e: create_train_transform(modality, size, recipe=name, **shared) for e, name in recipe.items()})
    check_choice("recipe", recipe, get_args(Recipe))
    resized = _Resize(size, interpolation)
    padding = 0 if padding is None and recipe.startswith("pmt") else padding
    padding = round(size[0] * 10 / 288) if padding is None else padding
    visible = Modality.of(modality) is Modality.VISIBLE
    placed = [resized, RandomPadCrop(padding), RandomFlip()]
    views = [_Steps(*placed, *changes) for changes in _create_changes(recipe, visible, Normalize(mean, std), size[0])]
    return views[0] if len(views) == 1 else TwoViews(*views)


def create_test_transform(
    size: tuple[int, int] = (288, 144),
    *,
    mean: Channels = IMAGENET_MEAN,
    std: Channels = IMAGENET_STD,
    interpolation: Interpolation = "bilinear",
) -> nn.Module:
    """Create the transform for evaluation: resize and normalise.

    Args:
        size: (height, width) of the result, pixels.
        mean: Mean of each channel, of values from 0 to 1.
        std: Standard deviation of each channel, of values from 0 to 1.
        interpolation: Method of resizing, as for :func:`create_train_transform`.

    Shape:
        uint8 … 3 H W -> float32 … 3 height width.

    Raises:
        ValueError: If an argument is out of range, or there is no such interpolation.
        TypeError: If an argument has another type.

    Example:
        >>> create_test_transform((96, 48))(torch.zeros(3, 120, 60, dtype=torch.uint8)).shape
        torch.Size([3, 96, 48])
    """
    return nn.Sequential(_Resize(size, interpolation), Normalize(mean, std))


class _Steps(nn.Sequential):
    """Apply one step after the other; pixels of four bytes are shifted, flipped and normalised without being split."""

    def _get_name(self) -> str:
        return "Sequential"

    def forward(self, images: Tensor) -> Tensor:
        steps = [*self]
        match steps:
            case [_Resize() as resized, RandomPadCrop() as shift, RandomFlip() as flip, step, *others]:
                words = resized.to_words(images)
                if words is None:
                    images, steps = resized(images), steps[1:]
                    words = words_of(images)
                if words is not None:
                    y, x = draw_shifts(words, shift.padding).tolist()
                    words = pad(words, (x, -x, y, -y))
                    words = words.flip(-1) if chance_of_one(flip.p) else words
                    if isinstance(step, Normalize):
                        images, steps = step.of_words(words), others
                    else:
                        images, steps = split_pixels(image_of(words)), [step, *others]
        for step in steps:
            images = step(images)
        return images


class _Resize(nn.Module):
    def __init__(self, size: tuple[int, int], interpolation: Interpolation) -> None:
        super().__init__()
        self.size = check_size("size", size)
        check_choice("interpolation", interpolation, ("bilinear", "bicubic", "lanczos"))
        self.interpolation = interpolation

    def _get_name(self) -> str:
        return "Resize"

    def extra_repr(self) -> str:
        return f"size={self.size}, interpolation={self.interpolation!r}"

    def forward(self, images: Tensor) -> Tensor:
        words = self.to_words(images)
        if words is not None:
            return image_of(words)
        resized = images if images.shape[-2:] == self.size else self._resize(images)
        kept = resized.is_contiguous() or resized.device.type != "cpu" or words_of(resized) is not None
        return resized if kept else split_pixels(resized)

    def to_words(self, images: Tensor) -> Tensor | None:
        """Resize to pixels, int32 h w, if they take four bytes each and PyTorch has the filter; else return None."""
        check_images(images)
        check_bytes(images)
        if images.shape[-2:] == self.size:
            return words_of(images)
        has_filter = self.interpolation != "lanczos" or TORCH_HAS_LANCZOS
        return resize_words(images, self.size, self.interpolation) if has_filter else None

    def _resize(self, images: Tensor) -> Tensor:
        device = images.device
        if self.interpolation == "lanczos" and not (TORCH_HAS_LANCZOS and device.type == "cpu"):
            rule, remedy = "be one image, 3 h w, for lanczos", "Other interpolations take batches."
            require(images.ndim == 3, "images", rule, tuple(images.shape), remedy)
            return from_pillow(to_pillow(images).resize(self.size[::-1], Image.Resampling.LANCZOS)).to(device)
        batch = images.reshape(-1, *images.shape[-3:])
        if device.type == "cpu":
            batch = interpolate(batch, self.size, mode=self.interpolation, antialias=True)
        else:
            batch = resize(batch, [*self.size], InterpolationMode(self.interpolation), antialias=True)
        return batch.view(*images.shape[:-2], *self.size)


def _create_changes(recipe: str, visible: bool, normalize: Normalize, height: int) -> list[list[nn.Module]]:
    """Create the steps of each view behind the shift and the flip."""
    to_values, normalize_values = v2.ToDtype(torch.float32, scale=True), v2.Normalize(normalize.mean, normalize.std)
    erase_to_mean = ChannelErasing(area=(0.2, 0.8) if recipe == "deen" else (0.02, 0.4), fill=IMAGENET_MEAN)
    views: list[list[nn.Module]] = [[normalize]]  # of AGW, and of the infrared images of CIL
    match recipe, visible:
        case "mun", True:
            views = [[normalize, ChannelErasing(), ChannelExchange()]]
        case "mun" | "caj", False:
            views = [[normalize, ChannelErasing(), ChannelAdaptiveGray()]]
        case "caj", True:
            weak = [normalize, ChannelErasing()]
            views = [weak, [*weak, ChannelExchange(p=1.0)]]
        case "caj+", True:
            weak = [normalize, ChannelErasing(0.6)]
            views = [[EachImage(v2.RandomGrayscale(0.1)), *weak], [*weak, ChannelExchange(p=1.0)]]
        case "caj+", False:
            views = [[normalize, ChannelErasing(), ChannelAdaptiveGray(0.6)]]
        case "cil" | "cil-literal", True:
            erase = nn.Sequential(SoftErasing(), SelfPatchMix())
            mixed = MixedViews(erase, _create_augmix(), erased_first=recipe == "cil-literal")
            views = [[to_values, mixed, normalize_values]]
        case "rle", _:
            enhance = [ModerateLinearEnhancement(), RadicalLinearEnhancement(), ChannelErasing()]
            views = [[to_values, *enhance, normalize_values]]
        case "pmt-gray", True:
            views = [[v2.Grayscale(3), normalize, erase_to_mean]]
        case "pmt", True:
            views = [[normalize, erase_to_mean]]
        case "pmt-gray" | "pmt", False:
            views = [[_create_jitter_or_blur(height), normalize, erase_to_mean]]
        case "deen", _:
            views = [[EachImage(v2.RandomGrayscale(0.5)), normalize, erase_to_mean]]
        case "mpanet" | "saai", _:
            erase_to_zero = ChannelErasing(area=(0.02, 0.33), fill=(0.0, 0.0, 0.0))
            views = [[*([ChannelExchange(p=3 / 11)] if recipe == "saai" else []), normalize, erase_to_zero]]
    return views


def _create_augmix() -> nn.Module:
    """Create AugMix of values in [0, 1] with the nine operations that no corruption of the benchmark repeats."""
    to_bytes, to_values = v2.ToDtype(torch.uint8, scale=True), v2.ToDtype(torch.float32, scale=True)
    return EachImage(nn.Sequential(to_bytes, v2.AugMix(severity=3, mixture_width=3, all_ops=False), to_values))


def _create_jitter_or_blur(height: int) -> nn.Module:
    """Create PMT's change of infrared images; its blur, for a height of 256, is scaled in proportion."""
    radius, scale = max(1, round(10 * height / 256)), height / 256
    blur = v2.GaussianBlur(2 * radius + 1, sigma=(0.1 * scale, 3 * scale))
    return EachImage(v2.RandomChoice([v2.ColorJitter(brightness=0.3, contrast=0.3), blur]))
