"""Attention of a network: Grad-CAM of a similarity, and pictures of feature and heat maps."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vireid._checks import (
    check_callable,
    check_finite,
    check_flags,
    check_image_batch,
    check_tensor,
    check_type,
    import_extra,
    require,
)
from vireid.visualization.panels import check_mapping

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def grad_cam(
    score: Callable[[Tensor], Tensor], layer: nn.Module, images: Tensor, *, average_gradients: bool = True
) -> Tensor:
    """Map how much each place of a layer's feature map raises the score of its image.

    Grad-CAM is ``relu(Σ_c w_c A_c)`` of the layer's output A, where w_c is the score's gradient with respect to A_c,
    averaged over places; it is interpolated to the size of the images. Without the average, as in HiResCAM, every place
    has its own gradient: use this for layers before the last one, where a channel means different things in different
    places. The score need not belong to a class: for retrieval, use the cosine similarity to a query. No hook and no
    gradient is left behind; it also works under ``torch.no_grad`` and for parameters that require no gradient. Put the
    network in evaluation mode first: in training mode, images change each other's maps.

    Args:
        score: Function from images b 3 H W to one number for each image, b, without ``torch.no_grad`` inside.
        layer: Module that returns a feature map b c h w and runs once in ``score``.
        images: Images as ``score`` takes them, finite.
        average_gradients: Whether to average the gradients over the places (Grad-CAM) or not (HiResCAM).

    Shape:
        b 3 H W -> b H W, 0 to 1: each map is divided by its maximum. The map of an image without positive evidence,
        whose score no place raises, is zero everywhere, and ``plot_maps`` says so.

    Raises:
        ValueError: if the images are not b 3 H W or not finite; score does not return b finite, differentiable numbers;
            or the layer does not run exactly once or returns something else than b c h w.
        TypeError: if the images are not a tensor of floating-point numbers, the layer is not a module, score is not
            callable, it returns something else than a tensor, or average_gradients is not a boolean.
        ImportError: if captum is not installed; the extra ``viz`` brings it.

    Example:
        >>> network = nn.Sequential(nn.Conv2d(3, 8, 3, stride=4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        >>> query = torch.rand(8)
        >>> def similarity(images):
        ...     return torch.cosine_similarity(network(images), query)
        >>> grad_cam(similarity, network[1], torch.rand(2, 3, 32, 16)).shape
        torch.Size([2, 32, 16])

    References:
        Selvaraju et al., Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization, ICCV 2017.
        Draelos and Carin, Use HiResCAM instead of Grad-CAM for faithful explanations of convolutional neural networks,
        2020, arXiv:2011.08891.
    """
    check_image_batch("images", images)
    require(0 not in images.shape, "images", "have an image and pixels", tuple(images.shape))
    check_finite("images", images.flatten(1))
    check_callable("score", score)
    check_flags(average_gradients=average_gradients)
    check_type("layer", layer, nn.Module, "be a module")
    outputs: list[Any] = []

    def checked_score(images: Tensor) -> Tensor:
        outputs.clear()
        values = score(images)
        require(len(outputs) == 1, "layer", "run once in score", f"{len(outputs)} runs")
        output = outputs[0]
        is_map = isinstance(output, Tensor) and output.ndim == 4 and len(output) == len(images)
        found = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
        require(is_map, "layer", f"give a feature map ({len(images)}, c, h, w)", found)
        check_tensor("score(images)", values)
        shape, remedy = tuple(values.shape), "Take one number for each image, such as a similarity to a query."
        require(shape == (len(images),), "score(images)", f"have shape ({len(images)},)", shape, remedy)
        remedy = "Leave torch.no_grad and detach out of score."
        require(values.requires_grad, "score(images)", "be differentiable", "no gradient", remedy)
        check_finite("score(images)", values[:, None])
        return values

    captum = import_extra("captum.attr", "viz")
    kind = captum.LayerGradCam if average_gradients else captum.LayerGradientXActivation
    hook = layer.register_forward_hook(lambda _module, _inputs, output: outputs.append(output))
    try:
        with torch.inference_mode(False), torch.enable_grad():
            maps: Tensor = kind(checked_score, layer).attribute(images.detach().clone()).detach()
    finally:
        hook.remove()
    maps = maps.sum(dim=1, keepdim=True).relu()  # Grad-CAM has summed the channels already
    maps = F.interpolate(maps, images.shape[2:], mode="bilinear").squeeze(1)  # b 1 h w -> b H W
    peaks = maps.amax(dim=(1, 2), keepdim=True)
    return maps / peaks.where(peaks > 0, 1)


def plot_maps(columns: Mapping[str, Tensor | tuple[Tensor, Tensor]]) -> Figure:
    """Draw a row for every image and a column for every kind of picture: images, maps, or maps over images.

    Every map is coloured over its own range, from its minimum to its maximum. A map over an image that is zero
    everywhere, such as a Grad-CAM without positive evidence, leaves the image as it is, and its panel says so.

    Args:
        columns: Columns by their titles: images b 3 H W, 0 to 255 if uint8, else 0 to 1; heat maps b h w; feature maps
            b c h w with c other than 3, drawn as their mean over the channels; or a pair of images and maps, drawn over
            them, the more opaque the larger the map, and resized to them.

    Shape:
        b 3 H W, b h w or b c h w, the same b in every column.

    Raises:
        ValueError: if there is no column or no image, the columns differ in b, a column has another shape, an image
            has values outside of 0 to 1, or a map is not finite.
        TypeError: if columns is not a mapping, or a column holds something else than tensors.
        ImportError: if matplotlib is not installed; the extra ``viz`` brings it.

    Example:
        >>> images, maps = torch.rand(2, 3, 16, 8), torch.rand(2, 64, 4, 2)
        >>> figure = plot_maps({"image": images, "map": maps, "both": (images, maps)})
        >>> [axes.get_title() for axes in figure.axes]
        ['image', 'map', 'both', '', '', '']
    """
    check_mapping("columns", columns, "map the title of each column to its images or maps")
    layers = {title: _layers(f"columns[{title!r}]", column) for title, column in columns.items()}
    first = next(iter(layers.values()))[0]
    b, height, width = first.shape[:3]
    require(b > 0, "columns", "have an image", b)
    for title, parts in layers.items():
        require(len(parts[0]) == b, f"columns[{title!r}]", f"have b = {b} like the first column", len(parts[0]))
    figure: Figure = import_extra("matplotlib.figure", "viz").Figure(
        figsize=(1.1 * len(layers) + 0.1, 1.1 * b * height / width + 0.4), layout="constrained"
    )
    grid = figure.subplots(b, len(layers), squeeze=False)
    for row in range(b):
        for axes, (title, parts) in zip(grid[row], layers.items(), strict=True):
            _show(axes, [part[row] for part in parts])
            if row == 0:
                axes.set_title(title, fontsize=9, pad=3)
    return figure


def _layers(name: str, column: Tensor | tuple[Tensor, Tensor]) -> list[Tensor]:
    """Return the layers of a column: images b h w 3, maps b h w or both, float32 on the CPU."""
    if not isinstance(column, tuple):
        check_tensor(name, column)
        is_image = column.ndim == 4 and column.shape[1] == 3
        return [_images(name, column) if is_image else _maps(name, column)]
    require(len(column) == 2, name, "be a pair of images and maps", f"{len(column)} items")
    images, maps = _images(f"{name}[0]", column[0]), _maps(f"{name}[1]", column[1])
    require(len(maps) == len(images), f"{name}[1]", f"have b = {len(images)} like its images", len(maps))
    maps = F.interpolate(maps[:, None], images.shape[1:3], mode="bilinear").squeeze(1)
    return [images, maps]


def _images(name: str, images: Tensor) -> Tensor:
    """Return images b 3 h w as b h w 3, 0 to 1."""
    check_tensor(name, images)
    shape = tuple(images.shape)
    require(len(shape) == 4 and shape[1] == 3 and 0 not in shape[2:], name, "have shape (b, 3, h, w)", shape)
    drawable = images.is_floating_point() or images.dtype == torch.uint8
    require(drawable, name, "be uint8 or floating point", images.dtype, error=TypeError)
    values = images.detach().float().cpu() / (255 if images.dtype == torch.uint8 else 1)
    if len(values) > 0:
        low, high = values.min().item(), values.max().item()
        inside = low >= -0.01 and high <= 1.01  # for rounding
        remedy = "Undo the normalisation first."
        require(inside, name, "have values from 0 to 1", f"{low:.3g} to {high:.3g}", remedy)
    return values.clamp(0, 1).permute(0, 2, 3, 1)


def _maps(name: str, maps: Tensor) -> Tensor:
    """Return heat maps b h w as they are, and of feature maps b c h w the mean over the channels, b h w."""
    check_tensor(name, maps)
    shape = tuple(maps.shape)
    is_map = len(shape) in {3, 4} and 0 not in shape[1:]
    require(is_map, name, "have shape (b, 3, h, w), (b, h, w) or (b, c, h, w)", shape)
    values = maps.detach().float().cpu()
    check_finite(name, values.flatten(1))
    return values.mean(dim=1) if values.ndim == 4 else values


def _show(axes: Axes, parts: list[Tensor]) -> None:
    """Draw an image h w 3, a map h w, or a map over an image."""
    for part in parts:
        if part.ndim == 3:
            axes.imshow(part.numpy())
        elif len(parts) == 1:
            axes.imshow(part.numpy(), cmap="viridis")
        elif not part.any():
            axes.set_xlabel("no positive\nevidence", fontsize=7, labelpad=2)
        else:
            low, high = part.min(), part.max()
            strength = 0.8 * (part - low) / (high - low).clamp_min(torch.finfo().tiny)  # the image shows elsewhere
            axes.imshow(part.numpy(), cmap="turbo", alpha=strength.numpy())
    axes.set(xticks=[], yticks=[])
