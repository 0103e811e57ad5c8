"""The field's augmentations, as transforms in the style of torchvision's v2, and presets composed of them.

The random draws come from torch's global generator, which :class:`PairedImages` seeds for each pair. Every class takes
single images, 3 h w, or batches, b 3 h w, on any device; each image of a batch is drawn for separately.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, get_args

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import pad
from torchvision.transforms import InterpolationMode, v2
from torchvision.transforms.v2.functional import pil_to_tensor, resize, to_pil_image

from vireid._checks import check_callable, check_choice, check_integer, check_number, check_size, require
from vireid.data.draws import (
    Channels,
    chance,
    check_area,
    check_bytes,
    check_channels,
    check_floating_point,
    check_images,
    draw_rectangles,
    inside,
    pick_channel,
)
from vireid.data.mixing import (
    EachImage,
    MixedViews,
    ModerateLinearEnhancement,
    RadicalLinearEnhancement,
    SelfPatchMix,
    SoftErasing,
)
from vireid.modality import Modality
from vireid.phases import Phases

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
    offset: Tensor

    def __init__(self, mean: Channels = IMAGENET_MEAN, std: Channels = IMAGENET_STD) -> None:
        super().__init__()
        self.mean = check_channels("mean", mean)
        self.std = check_channels("std", std, above=0.0)
        average, deviation = (torch.tensor(x, dtype=torch.float64)[:, None, None] for x in (self.mean, self.std))
        self.register_buffer("factor", (1 / (255 * deviation)).float(), persistent=False)
        self.register_buffer("offset", (-average / deviation).float(), persistent=False)

    def extra_repr(self) -> str:
        """Return the arguments, for ``print``."""
        return f"mean={self.mean}, std={self.std}"

    def forward(self, images: Tensor) -> Tensor:
        """Normalise … 3 h w."""
        check_images(images)
        check_bytes(images)
        device = images.device
        numbers = images.to(torch.float32, memory_format=torch.contiguous_format)
        return numbers.mul_(self.factor.to(device)).add_(self.offset.to(device))  # faster than addcmul


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


Interpolation = Literal["bilinear", "bicubic", "lanczos"]
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
        interpolation: Method of resizing. The scripts of the AGW family use ``"lanczos"``, which Pillow computes image
            by image; ``"bilinear"`` and ``"bicubic"`` are faster and take batches on any device.

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
    shifted = [*placed, Normalize(mean, std)]
    if recipe == "agw" or (recipe in {"cil", "cil-literal"} and not visible):
        return nn.Sequential(*shifted)
    if recipe in {"mpanet", "saai"}:
        exchanged = [ChannelExchange(p=3 / 11)] if recipe == "saai" else []
        erased_to_zero = ChannelErasing(area=(0.02, 0.33), fill=(0.0, 0.0, 0.0))
        return nn.Sequential(*placed, *exchanged, Normalize(mean, std), erased_to_zero)
    if recipe not in {"mun", "caj", "caj+"}:
        if recipe in {"pmt-gray", "pmt", "deen"}:
            area = (0.2, 0.8) if recipe == "deen" else (0.02, 0.4)
            changed = _create_gray_or_blur(recipe, visible, size[0])
            mixed = [*changed, Normalize(mean, std), ChannelErasing(area=area, fill=IMAGENET_MEAN)]
        else:
            scaled, normalized = v2.ToDtype(torch.float32, scale=True), v2.Normalize(mean, std)
            enhance = [ModerateLinearEnhancement(), RadicalLinearEnhancement(), ChannelErasing()]
            erase = nn.Sequential(SoftErasing(), SelfPatchMix())
            views = [MixedViews(erase, _create_augmix(), erased_first=recipe == "cil-literal")]
            mixed = [scaled, *(enhance if recipe == "rle" else views), normalized]
        return nn.Sequential(*placed, *mixed)
    erased = [*shifted, ChannelErasing(0.6 if recipe == "caj+" and visible else 0.5)]
    if not visible:
        return nn.Sequential(*erased, ChannelAdaptiveGray(0.6 if recipe == "caj+" else 0.5))
    if recipe == "mun":
        return nn.Sequential(*erased, ChannelExchange())
    gray = [EachImage(v2.RandomGrayscale(0.1))] if recipe == "caj+" else []
    weak = nn.Sequential(*placed, *gray, *erased[len(placed) :])
    return TwoViews(weak, nn.Sequential(*erased, ChannelExchange(p=1.0)))


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
        check_images(images)
        check_bytes(images)
        if images.shape[-2:] == self.size:
            return images
        resized: Tensor
        if self.interpolation != "lanczos":
            resized = resize(images, [*self.size], InterpolationMode(self.interpolation), antialias=True)
            return resized
        rule, remedy = "be one image, 3 h w, for lanczos", "Other interpolations take batches."
        require(images.ndim == 3, "images", rule, tuple(images.shape), remedy)
        resized = pil_to_tensor(to_pil_image(images).resize(self.size[::-1], Image.Resampling.LANCZOS))
        return resized


def _create_gray_or_blur(recipe: str, visible: bool, height: int) -> list[nn.Module]:
    """Create the changes of colour of PMT and DEEN; PMT's blur, for a height of 256, is scaled in proportion."""
    if recipe == "deen":
        return [EachImage(v2.RandomGrayscale(0.5))]
    if visible:
        return [v2.Grayscale(3)] if recipe == "pmt-gray" else []
    radius, scale = max(1, round(10 * height / 256)), height / 256
    blur = v2.GaussianBlur(2 * radius + 1, sigma=(0.1 * scale, 3 * scale))
    return [EachImage(v2.RandomChoice([v2.ColorJitter(brightness=0.3, contrast=0.3), blur]))]


def _create_augmix() -> nn.Module:
    """Create AugMix of values in [0, 1] with the nine operations that no corruption of the benchmark repeats."""
    to_bytes, to_values = v2.ToDtype(torch.uint8, scale=True), v2.ToDtype(torch.float32, scale=True)
    return EachImage(nn.Sequential(to_bytes, v2.AugMix(severity=3, mixture_width=3, all_ops=False), to_values))
