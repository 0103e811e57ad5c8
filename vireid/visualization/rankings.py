"""Ranking lists: queries next to the gallery images that a model finds for them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor

from vireid._checks import check_integer, check_tensor, import_extra, is_integral, require

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MARKS = {True: " ✓", False: " ✗", None: ""}
_LONGEST = 22  # characters of a name
_COLOURS = {True: "#1a9850", False: "#d73027", None: "#7f7f7f"}


class RankedRows(Protocol):
    """The fields of a ranking that are drawn, as ``protocol.rank`` returns them."""

    @property
    def rows(self) -> Tensor:
        """Rows of the gallery, q k, best first; -1 stands for none."""

    @property
    def correct(self) -> Tensor | None:
        """Whether each of them shows the identity of its query, q k; None if nobody knows."""


def plot_rankings(
    ranking: RankedRows,
    queries: Sequence[Any],
    gallery: Sequence[Any],
    *,
    number: int = 8,
    query_names: Sequence[str] | None = None,
    gallery_names: Sequence[str] | None = None,
) -> Figure:
    """Draw a row for some of the queries: the query, then its gallery images, framed green if right and red if wrong.

    The queries are spread evenly over all of them, whether they are found or not. The title says so, and for how many
    queries the first image is right, of those that have a match in the gallery, as in rank-1. Only the images that are
    drawn are read. A query for which no image is left, because all are beyond a threshold or excluded, is followed by
    the word "nobody".

    Args:
        ranking: Result of a protocol's ``rank``, or any object with its ``rows`` and ``correct``. Without labels
            ``correct`` is None, and all frames are gray. Its ``distances``, if there are any, stand above the images;
            without ``matched`` every query counts as having a match.
        queries: Query images, one for each row of the ranking: a sequence of images, or of tuples that begin with one,
            such as ``dataset.test_images()["infrared"]``. Images may differ in size; values are 0 to 255 if uint8, else
            0 to 1.
        gallery: Gallery images, in the order of the embeddings that were ranked; likewise.
        number: Number of queries to draw, at least 1.
        query_names: Name of each query, to stand below it, such as its path; of a long one the last two parts.
        gallery_names: Name of each gallery image, likewise.

    Shape:
        rows q k, correct q k, distances q k, matched q, images 3 h w.

    Raises:
        ValueError: if the ranking has no query or not as many as there are images of queries, a row is outside of the
            gallery, there is not a name for each image, or an image is not 3 h w with values in its range.
        TypeError: if the ranking has no tensors ``rows`` of integers and ``correct`` of booleans (or None), queries or
            gallery is not a sequence of images, names are no strings, or number is not an integer.
        ImportError: if matplotlib is not installed; the extra ``viz`` brings it.

    Example:
        >>> from types import SimpleNamespace
        >>> ranking = SimpleNamespace(rows=torch.tensor([[1, 0]]), correct=torch.tensor([[True, False]]))
        >>> figure = plot_rankings(ranking, torch.rand(1, 3, 8, 4), torch.rand(2, 3, 8, 4))
        >>> [axes.get_title() for axes in figure.axes]
        ['query', '1 ✓', '2 ✗']
    """
    rows, correct = _check_ranking(ranking, queries, gallery)
    distances = _check_distances(ranking)
    names = {"query": query_names, "gallery": gallery_names}
    for (side, given), images in zip(names.items(), (queries, gallery), strict=True):
        _check_names(f"{side}_names", given, len(images))
    number = min(check_integer("number", number, least=1), len(rows))
    shown = [len(rows) * i // number for i in range(number)]
    lists = [[cell for cell in zip(rows[i], correct[i], distances[i], strict=True) if cell[0] >= 0] for i in shown]
    columns = 1 + max(1, *map(len, lists))
    figure: Figure = import_extra("matplotlib.figure", "viz").Figure(
        figsize=(0.9 * columns + 0.2, 1.95 * number), layout="constrained"
    )
    figure.suptitle(_summarise(correct, _check_matched(ranking), number), fontsize=9, x=0.01, ha="left")
    grid = figure.add_gridspec(number, columns, width_ratios=[1.25, *[1] * (columns - 1)])
    for line, (query, found) in enumerate(zip(shown, lists, strict=True)):
        axes = figure.add_subplot(grid[line, 0])
        _show(axes, _image("queries", queries, query), "query", "black", _end_of(query_names, query))
        for column, (row, hit, distance) in enumerate(found, start=1):
            axes, title = figure.add_subplot(grid[line, column]), f"{column}{_MARKS[hit]}"
            title += "" if distance is None else f"  {distance:.3f}"
            _show(axes, _image("gallery", gallery, row), title, _COLOURS[hit], _end_of(gallery_names, row))
        if not found:
            axes = figure.add_subplot(grid[line, 1])
            axes.text(0.5, 0.5, "nobody", ha="center", va="center", fontsize=9)
            axes.set_axis_off()
    return figure


def _summarise(correct: list[list[bool | None]], matched: list[bool], number: int) -> str:
    """Say which queries are shown and for how many the first image is right."""
    total, counted = len(correct), sum(matched)
    shown = f"{number} of {total:,} queries, evenly spread" if number < total else f"all {total:,} queries"
    shown = "the only query" if total == 1 else shown
    if correct[0][0] is None:
        return shown
    first = sum(hits[0] is True for hits, found in zip(correct, matched, strict=True) if found)
    of = "all" if counted == total else f"the {counted:,} with a match"
    return f"{shown}\nfirst image right for {100 * first / max(counted, 1):.2f} % of {of}"


def _check_ranking(
    ranking: RankedRows, queries: Sequence[Any], gallery: Sequence[Any]
) -> tuple[list[list[int]], list[list[bool | None]]]:
    """Return the rows and whether they are right as lists, once they fit the images."""
    fields = hasattr(ranking, "rows") and hasattr(ranking, "correct")
    remedy = "Pass the result of protocol.rank."
    require(fields, "ranking", "have the fields rows and correct", type(ranking).__name__, remedy, error=TypeError)
    rows, correct = ranking.rows, ranking.correct
    check_tensor("ranking.rows", rows)
    require(is_integral(rows), "ranking.rows", "be integers", rows.dtype, error=TypeError)
    shape = tuple(rows.shape)
    require(rows.ndim == 2 and 0 not in shape, "ranking.rows", "have shape (q, k), both at least 1", shape)
    if correct is not None:
        check_tensor("ranking.correct", correct)
        require(correct.dtype == torch.bool, "ranking.correct", "be booleans", correct.dtype, error=TypeError)
        require(correct.shape == rows.shape, "ranking.correct", f"have shape {shape} like rows", tuple(correct.shape))
    for name, images in (("queries", queries), ("gallery", gallery)):
        indexed = hasattr(images, "__len__") and hasattr(images, "__getitem__") and not isinstance(images, (str, dict))
        require(indexed, name, "be a sequence of images", type(images).__name__, error=TypeError)
    require(len(queries) == len(rows), "queries", f"have an image for each of {len(rows)} rows", len(queries))
    last = int(rows.max())
    rule = f"have an image for each row of the ranking, at least {last + 1}"
    require(last < len(gallery), "gallery", rule, len(gallery))
    return rows.tolist(), [[None] * shape[1]] * shape[0] if correct is None else correct.tolist()


def _check_distances(ranking: RankedRows) -> list[list[float | None]]:
    """Return the distances of a ranking that has some, like its rows."""
    distances, shape = getattr(ranking, "distances", None), tuple(ranking.rows.shape)
    if distances is None:
        return [[None] * shape[1]] * shape[0]
    check_tensor("ranking.distances", distances)
    found = tuple(distances.shape)
    require(found == shape, "ranking.distances", f"have shape {shape} like rows", found)
    listed: list[list[float | None]] = distances.tolist()
    return listed


def _check_matched(ranking: RankedRows) -> list[bool]:
    """Return which queries of a ranking have a match, all unless it says so."""
    matched, queries = getattr(ranking, "matched", None), len(ranking.rows)
    if matched is None:
        return [True] * queries
    check_tensor("ranking.matched", matched)
    require(matched.dtype == torch.bool, "ranking.matched", "be booleans", matched.dtype, error=TypeError)
    require(matched.shape == (queries,), "ranking.matched", f"have shape {(queries,)}", tuple(matched.shape))
    listed: list[bool] = matched.tolist()
    return listed


def _check_names(argument: str, names: Sequence[str] | None, images: int) -> None:
    if names is not None:
        listed = isinstance(names, Sequence) and not isinstance(names, str)
        strings = listed and all(isinstance(name, str) for name in names)
        require(strings, argument, "be None or a sequence of strings", type(names).__name__, error=TypeError)
        require(len(names) == images, argument, f"have a name for each of {images} images", len(names))


def _end_of(names: Sequence[str] | None, row: int) -> str:
    """Return a name that fits below an image: of a long path the last two parts, on two lines if need be."""
    name = "" if names is None else names[row]
    if len(name) <= _LONGEST:
        return name
    folder, _, last = name.rpartition("/")
    folder = folder.rpartition("/")[2]
    if len(short := f"…/{folder}/{last}") <= _LONGEST and folder:
        return short
    parts = [part if len(part) <= _LONGEST else f"…{part[-_LONGEST:]}" for part in (folder and f"{folder}/", last)]
    return "\n".join(part for part in parts if part)


def _image(name: str, images: Sequence[Any], row: int) -> Tensor:
    """Read one image 3 h w, of values that can be drawn."""
    image, name = images[row], f"{name}[{row}]"
    image = image[0] if isinstance(image, (tuple, list)) and len(image) > 0 else image
    check_tensor(name, image)
    shape = tuple(image.shape)
    require(len(shape) == 3 and shape[0] == 3 and 0 not in shape, name, "be an image (3, h, w)", shape)
    if image.dtype != torch.uint8:
        require(image.is_floating_point(), name, "be uint8 or floating point", image.dtype, error=TypeError)
        least, greatest = image.min().item(), image.max().item()
        remedy = "Pass images without their normalisation, such as dataset.test_images()."
        require(least >= 0 and greatest <= 1, name, "have values from 0 to 1", f"{least:.3g} to {greatest:.3g}", remedy)
        image = image.float()
    drawn: Tensor = image.detach().cpu()
    return drawn


def _show(axes: Axes, image: Tensor, title: str, colour: str, name: str) -> None:
    axes.imshow(image.permute(1, 2, 0).numpy())
    axes.set_title(title, color=colour, fontsize=9, pad=3)
    axes.set(xticks=[], yticks=[])
    if name:
        axes.set_xlabel(name.replace("$", r"\$"), fontsize=4.5, labelpad=2)
    for spine in axes.spines.values():
        spine.set(color=colour, linewidth=3)
