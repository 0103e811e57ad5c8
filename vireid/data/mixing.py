"""Augmentations that mix an image with noise, with itself or across its channels: those of CIL and RLE.

They take values in [0, 1], before they are normalised, and keep them there.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from vireid._checks import check_callable, check_flags, check_integer, check_number
from vireid.data.draws import (
    beta,
    chance,
    check_area,
    check_floating_point,
    check_images,
    draw_rectangles,
    inside,
    place,
    uniform,
)


class _Mixing(nn.Module):
    """Check the images that an augmentation mixes with probability ``p``, and show its settings."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = check_number("p", p, least=0, most=1)

    def extra_repr(self) -> str:
        """Return the arguments, for ``print``."""
        settings = {name: value for name, value in vars(self).items() if name != "training" and name[0] != "_"}
        return ", ".join(f"{name}={value}" for name, value in settings.items())

    def forward(self, images: Tensor) -> Tensor:
        """Mix … 3 h w."""
        check_images(images)
        check_floating_point(images)
        return self._mix(images)

    def _mix(self, images: Tensor) -> Tensor:
        raise NotImplementedError


class SoftErasing(_Mixing):
    """Blend a rectangle of the image with Gaussian noise by a random share: CIL's soft random erasing.

    The share is drawn for each image from Beta(½, 1), so that most rectangles keep most of their image. CIL's code lets
    values outside [0, 1] wrap around when it makes bytes of them; here they are clamped. A rectangle that exceeds the
    image is cut to its side.

    Args:
        p: Probability of changing an image.
        area: Least and greatest share of the image that is blended.
        aspect: Least ratio of height to width, in (0, 1]; the greatest is its inverse.

    Shape:
        … 3 h w -> … 3 h w, values in [0, 1].

    Raises:
        ValueError: If an argument is out of range, or the input has not three channels.
        TypeError: If the input is not floating point, or an argument has another type.

    Example:
        >>> SoftErasing(p=1.0)(torch.full((5, 3, 96, 48), 0.5)).std() > 0
        tensor(True)

    References:
        Chen et al., Benchmarks for Corruption Invariant Person Re-identification, NeurIPS 2021.
    """

    def __init__(self, p: float = 0.5, *, area: tuple[float, float] = (0.02, 0.4), aspect: float = 0.3) -> None:
        super().__init__(p)
        self.area, self.aspect = _check_rectangles(area, aspect)

    def _mix(self, images: Tensor) -> Tensor:
        marked = inside(images, draw_rectangles(images, self.area, self.aspect)) & chance(images, self.p)
        share = uniform(images).square().to(images.dtype)  # of Beta(½, 1)
        return torch.where(marked, torch.lerp(images, torch.randn_like(images), share).clamp(0, 1), images)


class SelfPatchMix(_Mixing):
    """Blend a rectangle of the image with another one of the same image and size: CIL's self patch mixing.

    The share of the other rectangle is drawn for each image from Beta(½, 1).

    Args:
        p: Probability of changing an image.
        area: Least and greatest share of the image that is blended.
        aspect: Least ratio of height to width, in (0, 1]; the greatest is its inverse.

    Shape:
        … 3 h w -> … 3 h w.

    Raises:
        ValueError: If an argument is out of range, or the input has not three channels.
        TypeError: If the input is not floating point, or an argument has another type.

    Example:
        >>> image = torch.rand(3, 96, 48)
        >>> bool(SelfPatchMix(p=1.0)(image).max() <= image.max())
        True

    References:
        Chen et al., Benchmarks for Corruption Invariant Person Re-identification, NeurIPS 2021.
    """

    def __init__(self, p: float = 0.5, *, area: tuple[float, float] = (0.02, 0.4), aspect: float = 0.3) -> None:
        super().__init__(p)
        self.area, self.aspect = _check_rectangles(area, aspect)

    def _mix(self, images: Tensor) -> Tensor:
        height, width = images.shape[-2:]
        target = draw_rectangles(images, self.area, self.aspect)
        source = place(images, target.tall, target.wide)
        rows = (torch.arange(height, device=images.device)[:, None] + source.top - target.top).long()  # … 1 h 1
        columns = (torch.arange(width, device=images.device) + source.left - target.left).long()  # … 1 1 w
        rows, columns = rows.clamp(0, height - 1), columns.clamp(0, width - 1)  # which only matters outside of it
        other = images.gather(-2, rows.expand_as(images)).gather(-1, columns.expand_as(images))
        marked = inside(images, target) & chance(images, self.p)
        share = uniform(images).square().to(images.dtype)  # of Beta(½, 1)
        return torch.where(marked, torch.lerp(images, other, share), images)


class ModerateLinearEnhancement(_Mixing):
    """Replace all channels by a random weighted mean of them: RLE's moderate form (MRLE), a gray of random weights.

    Args:
        p: Probability of changing an image.
        concentration: Parameter of the symmetric beta distribution of the three weights, above 0, before they are
            divided by their sum; RLE's 0.3 often takes a single channel.

    Shape:
        … 3 h w -> … 3 h w.

    Raises:
        ValueError: If an argument is out of range, or the input has not three channels.
        TypeError: If the input is not floating point, or an argument has another type.

    Example:
        >>> gray = ModerateLinearEnhancement(p=1.0)(torch.rand(3, 8, 4))
        >>> bool((gray[0] == gray[2]).all())
        True

    References:
        Tan et al., RLE: A Unified Perspective of Data Augmentation for Cross-Spectral Re-identification, NeurIPS 2024.
    """

    def __init__(self, p: float = 0.5, *, concentration: float = 0.3) -> None:
        super().__init__(p)
        self.concentration = check_number("concentration", concentration, above=0)

    def _mix(self, images: Tensor) -> Tensor:
        weights = beta(images, self.concentration)
        weights = weights / weights.sum(-3, keepdim=True).clamp_min(1e-12)
        mixed = (images * weights.to(images.dtype)).sum(-3, keepdim=True).clamp(0, 1)
        return torch.where(chance(images, self.p), mixed, images)


class RadicalLinearEnhancement(_Mixing):
    """Scale the channels of random rectangles until a part of the image is dark: RLE's radical form (RRLE).

    The factor of a channel makes the brightest value in its rectangle a random share of 1. Rectangles follow until a
    pixel has lost 90 % of its brightness by all factors on it, or 20 have been scaled; RLE tries up to 100. RLE divides
    by the brightest value, which is zero where a rectangle is black; here it is at least 1/255.

    Args:
        p: Probability of changing an image.
        concentration: Parameter of the symmetric beta distribution of the shares, above 0; RLE's 0.4.
        area: Least and greatest share of the image that a rectangle covers.
        aspect: Least ratio of height to width, in (0, 1]; the greatest is its inverse.

    Shape:
        … 3 h w -> … 3 h w, values in [0, 1].

    Raises:
        ValueError: If an argument is out of range, or the input has not three channels.
        TypeError: If the input is not floating point, or an argument has another type.

    Example:
        >>> RadicalLinearEnhancement(p=1.0)(torch.zeros(3, 8, 4)).max()
        tensor(0.)

    References:
        Tan et al., RLE: A Unified Perspective of Data Augmentation for Cross-Spectral Re-identification, NeurIPS 2024.
    """

    most_rectangles = 20

    def __init__(
        self,
        p: float = 0.5,
        *,
        concentration: float = 0.4,
        area: tuple[float, float] = (0.02, 0.4),
        aspect: float = 0.3,
    ) -> None:
        super().__init__(p)
        self.concentration = check_number("concentration", concentration, above=0)
        self.area, self.aspect = _check_rectangles(area, aspect)

    def _mix(self, images: Tensor) -> Tensor:
        active = chance(images, self.p)
        factors = torch.ones_like(images)
        for _ in range(self.most_rectangles):
            if images.device.type == "cpu" and not bool(active.any()):  # elsewhere, the question would take longer
                break
            marked = inside(images, draw_rectangles(images, self.area, self.aspect)) & active
            brightest = images.masked_fill(~marked, 0).amax((-2, -1), keepdim=True).clamp_min(1 / 255)  # … 3 1 1
            factor = torch.where(marked, beta(images, self.concentration).to(images.dtype) / brightest, 1)
            images, factors = (images * factor).clamp(0, 1), factors * factor
            active = active & (factors.amin((-3, -2, -1), keepdim=True) >= 0.1)
        return images


class EachImage(nn.Module):
    """Apply a transform to every image of a batch by itself, for transforms that draw once for a whole batch.

    Args:
        transform: Function of an image 3 h w, such as those of torchvision's v2.

    Shape:
        … 3 h w -> … as the transform returns them.

    Raises:
        ValueError: If the input has not three channels.
        TypeError: If the transform is not callable, or the input is no tensor.

    Example:
        >>> from torchvision.transforms import v2
        >>> EachImage(v2.RandomGrayscale(0.5))(torch.rand(5, 3, 8, 4)).shape
        torch.Size([5, 3, 8, 4])
    """

    def __init__(self, transform: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        check_callable("transform", transform)
        self.transform = transform

    def forward(self, images: Tensor) -> Tensor:
        """Transform … 3 h w."""
        check_images(images)
        return self.transform(images) if images.ndim == 3 else torch.stack([self.transform(image) for image in images])


class MixedViews(nn.Module):
    """Return an image and several mixtures of its erased version: CIL's views.

    CIL's code erases in place, so that its first view, which should be clean, is erased as well.

    Args:
        erase: Augmentation that is drawn once for all mixtures, such as :class:`SoftErasing`.
        mix: Augmentation that is drawn anew for each mixture, such as AugMix.
        views: Number of views, at least 2; CIL has 3.
        erased_first: Whether the first view is the erased image, as in CIL's code, in place of the image.

    Shape:
        … 3 h w -> … v 3 h w.

    Raises:
        ValueError: If ``views`` is less than 2, or the input has not three channels.
        TypeError: If an augmentation is not callable, another argument has the wrong type, or the input is no tensor.

    Example:
        >>> image = torch.zeros(3, 8, 4)
        >>> MixedViews(erase=lambda x: x + 1, mix=lambda x: 2 * x)(image)[:, 0, 0, 0]
        tensor([0., 2., 2.])

    References:
        Chen et al., Benchmarks for Corruption Invariant Person Re-identification, NeurIPS 2021.
    """

    def __init__(
        self,
        erase: Callable[[Tensor], Tensor],
        mix: Callable[[Tensor], Tensor],
        *,
        views: int = 3,
        erased_first: bool = False,
    ) -> None:
        super().__init__()
        check_callable("erase", erase)
        check_callable("mix", mix)
        check_flags(erased_first=erased_first)
        self.erase = erase
        self.mix = mix
        self.views = check_integer("views", views, least=2)
        self.erased_first = erased_first

    def extra_repr(self) -> str:
        """Return the arguments, for ``print``."""
        return f"views={self.views}, erased_first={self.erased_first}"

    def forward(self, images: Tensor) -> Tensor:
        """Make the views of … 3 h w."""
        check_images(images)
        erased = self.erase(images)
        first = erased if self.erased_first else images
        return torch.stack([first, *(self.mix(erased) for _ in range(self.views - 1))], dim=-4)


def _check_rectangles(area: tuple[float, float], aspect: float) -> tuple[tuple[float, float], float]:
    """Require the shares of an image that rectangles cover, and their least ratio of height to width."""
    return check_area(area), check_number("aspect", aspect, above=0, most=1)
