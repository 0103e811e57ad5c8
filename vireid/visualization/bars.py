"""Bars of what was measured several times."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean, stdev
from typing import TYPE_CHECKING

from vireid._checks import import_extra, require

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def plot_bars(
    panels: Mapping[str, Mapping[str, Sequence[float]]],
    *,
    references: Mapping[str, Mapping[str, float]] | None = None,
    reference_name: str = "reference",
    label: str = "",
) -> Figure:
    """Draw a bar for every row: the mean of its values, their standard deviation and the values themselves.

    Args:
        panels: by its title, every panel's rows by their names: what was measured, once for every seed or draw.
        references: by panel and row, a number to compare with, drawn as a diamond.
        reference_name: of the diamonds, for the legend.
        label: of the values, with their unit.

    Raises:
        ValueError: there is no panel, a row has no value, or a reference is of no row.
        ImportError: matplotlib is not installed; the extra ``viz`` brings it.

    Example:
        >>> figure = plot_bars({"rank-1": {"B": [20.0, 22.0], "MUN": [30.0, 29.0]}}, references={"rank-1": {"B": 25.0}})
        >>> [text.get_text() for text in figure.axes[0].get_yticklabels()]
        ['B', 'MUN']
    """
    references = references or {}
    require(len(panels) > 0, "panels", "have a panel", dict(panels))
    for title, marks in references.items():
        unknown = sorted(marks.keys() - panels.get(title, {}).keys())
        require(title in panels and not unknown, "references", "be of rows of the panels", {title: unknown})
    heights = [len(rows) for rows in panels.values()]
    figure: Figure = import_extra("matplotlib.figure", "viz").Figure(
        figsize=(8, 0.9 * len(panels) + 0.36 * sum(heights)), layout="constrained"
    )
    grid = figure.subplots(len(panels), 1, squeeze=False, sharex=True, height_ratios=[height + 1 for height in heights])
    for axes, (title, rows) in zip(grid[:, 0], panels.items(), strict=True):
        for number, (name, values) in enumerate(rows.items()):
            require(len(values) > 0, "panels", f"have a value of {name!r}", list(values))
            deviation = stdev(values) if len(values) > 1 else 0.0
            axes.barh(number, fmean(values), xerr=deviation, color="#9ecae1", ecolor="#3182bd", capsize=3)
            axes.plot(values, [number] * len(values), "o", color="#08519c", markersize=3)
            if name in references.get(title, {}):
                axes.plot(references[title][name], number, "D", color="#e6550d", markersize=6, fillstyle="none")
        axes.set_yticks(range(len(rows)), list(rows))
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.set_title(title, loc="left", fontsize=10)
        axes.grid(axis="x", alpha=0.3)
    if references:
        axes.plot([], [], "D", color="#e6550d", fillstyle="none", label=reference_name)
        figure.legend(loc="outside lower right", frameon=False)
    axes.set_xlabel(label)
    return figure
