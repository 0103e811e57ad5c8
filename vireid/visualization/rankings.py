"""Ranking lists: queries beside the gallery images that a model finds for them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch import Tensor

from vireid._checks import import_extra, require

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_RIGHT, _WRONG = "#1a9850", "#d73027"


def plot_rankings(
    queries: Sequence[Tensor], rankings: Sequence[Sequence[Tensor]], correct: Sequence[Sequence[bool]]
) -> Figure:
    """Draw a row for every query: the query, then its ranked gallery images, framed green if right and red if wrong.

    Args:
        queries: one image for each row, 3 h w, values 0 to 255 if uint8 and else 0 to 1.
        rankings: the gallery images of each row, best first.
        correct: whether each gallery image shows the identity of its query.

    Shape:
        images 3 h w, of any sizes.

    Raises:
        ValueError: there is no query, or the rows do not match.
        ImportError: matplotlib is not installed; the extra ``viz`` brings it.

    Example:
        >>> import torch
        >>> image = torch.rand(3, 8, 4)
        >>> figure = plot_rankings([image], [[image, image]], [[True, False]])
        >>> [axes.get_title() for axes in figure.axes]
        ['query', '1 ✓', '2 ✗']
    """
    require(len(queries) > 0, "queries", "have an image", len(queries))
    lengths = [[len(row) for row in rows] for rows in (rankings, correct)]
    rule = f"have a row for each of the {len(queries)} queries, as long as the one of correct"
    require(lengths[0] == lengths[1] and len(rankings) == len(queries), "rankings", rule, lengths)
    columns = 1 + max(lengths[0])
    size = (0.9 * columns + 0.2, 1.95 * len(queries))
    figure: Figure = import_extra("matplotlib.figure", "viz").Figure(figsize=size, layout="constrained")
    grid = figure.add_gridspec(len(queries), columns, width_ratios=[1.25, *[1] * (columns - 1)])
    for row, (query, found, right) in enumerate(zip(queries, rankings, correct, strict=True)):
        _show(figure.add_subplot(grid[row, 0]), query, "query", "black")
        for column, (image, hit) in enumerate(zip(found, right, strict=True), start=1):
            title, colour = (f"{column} ✓", _RIGHT) if hit else (f"{column} ✗", _WRONG)
            _show(figure.add_subplot(grid[row, column]), image, title, colour)
    return figure


def _show(axes: Axes, image: Tensor, title: str, colour: str) -> None:
    axes.imshow(image.permute(1, 2, 0).cpu().numpy())
    axes.set_title(title, color=colour, fontsize=9, pad=3)
    axes.set(xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set(color=colour, linewidth=3)
