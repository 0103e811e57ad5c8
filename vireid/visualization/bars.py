"""Bars of quantities that were measured several times."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean, stdev
from typing import TYPE_CHECKING

from vireid._checks import check_number, check_type, import_extra, require
from vireid.visualization.panels import check_mapping, check_panels, check_values

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def plot_bars(
    panels: Mapping[str, Mapping[str, Sequence[float]]],
    *,
    references: Mapping[str, Mapping[str, float]] | None = None,
    reference_name: str = "reference",
    label: str = "",
    reference_label: str | None = None,
) -> Figure:
    """Draw a bar for every row: the mean of its values, their standard deviation and the values themselves.

    Numbers that were measured under other conditions do not belong on the axis of the bars: give the references a
    label, and they are drawn on an axis of their own, beside the bars.

    Args:
        panels: Rows of every panel, by the panel's title and the row's name. A row is a sequence of finite values, such
            as one for each seed.
        references: Numbers to compare with, by panel and row, drawn as diamonds.
        reference_name: Name of the diamonds in the legend, or the title of their own axis.
        label: Label of the axis of the values, with their unit.
        reference_label: Label of an axis of the references' own, with their unit; by default they share the axis of the
            bars.

    Raises:
        ValueError: if there is no panel, a panel has no row, a row has no value or one that is not finite, or a
            reference belongs to no row.
        TypeError: if panels or references are not nested mappings, a value is not a number, or a name or label is not a
            string.
        ImportError: if matplotlib is not installed; the extra ``viz`` brings it.

    Example:
        >>> figure = plot_bars({"rank-1": {"B": [20.0, 22.0], "MUN": [30.0, 29.0]}}, references={"rank-1": {"B": 25.0}})
        >>> [text.get_text() for text in figure.axes[0].get_yticklabels()]
        ['B', 'MUN']
    """
    check_panels(panels, "rows")
    values = {
        title: {name: check_values(f"panels[{title!r}][{name!r}]", row) for name, row in rows.items()}
        for title, rows in panels.items()
    }
    marks = _check_references(references, values)
    check_type("reference_name", reference_name, str, "be a string")
    check_type("label", label, str, "be a string")
    apart = reference_label is not None
    if apart:
        check_type("reference_label", reference_label, str, "be a string or None")

    heights = [len(rows) + 1 for rows in values.values()]
    figure: Figure = import_extra("matplotlib.figure", "viz").Figure(
        figsize=(8, 0.54 * len(values) + 0.36 * sum(heights)), layout="constrained"
    )
    grid = figure.subplots(
        len(values),
        1 + apart,
        squeeze=False,
        sharex="col",
        height_ratios=heights,
        width_ratios=[2, 1][: 1 + apart],
    )
    for line, (title, rows) in zip(grid, values.items(), strict=True):
        for number, (name, row) in enumerate(rows.items()):
            deviation = stdev(row) if len(row) > 1 else None
            line[0].barh(number, fmean(row), xerr=deviation, color="#9ecae1", ecolor="#3182bd", capsize=3)
            line[0].plot(row, [number] * len(row), "o", color="#08519c", markersize=3)
            if (title, name) in marks:
                line[-1].plot(marks[title, name], number, "D", color="#e6550d", markersize=6, fillstyle="none")
        for axes in line:
            axes.set_yticks(range(len(rows)), list(rows) if axes is line[0] else [""] * len(rows))
            axes.set_ylim(len(rows) - 0.4, -0.6)
            axes.grid(axis="x", alpha=0.3)
        line[0].set_title(title, loc="left", fontsize=10)
    grid[-1][0].set_xlabel(label)
    if apart:
        grid[0][1].set_title(reference_name, loc="left", fontsize=10)
        values_and_zero = [0.0, *marks.values()]
        grid[-1][1].set(xlabel=reference_label)
        if any(values_and_zero):
            grid[-1][1].set_xlim(1.12 * min(values_and_zero), 1.12 * max(values_and_zero))
    elif marks:
        grid[-1][0].plot([], [], "D", color="#e6550d", fillstyle="none", label=reference_name)
        figure.legend(loc="outside lower right", frameon=False)
    return figure


def _check_references(
    references: Mapping[str, Mapping[str, float]] | None, panels: Mapping[str, Mapping[str, object]]
) -> dict[tuple[str, str], float]:
    """Flatten the references to a number by panel and row, each of which must exist."""
    marks = {}
    if references is not None:
        require(isinstance(references, Mapping), "references", "map titles of panels", references, error=TypeError)
    for title, rows in (references or {}).items():
        require(title in panels, "references", "be of rows of the panels", {title: rows})
        if not isinstance(rows, Mapping) or rows:
            check_mapping(f"references[{title!r}]", rows, "map the names of rows to numbers")
        unknown = sorted(rows.keys() - panels[title].keys())
        require(not unknown, "references", "be of rows of the panels", {title: unknown})
        for name, value in rows.items():
            marks[title, name] = check_number(f"references[{title!r}][{name!r}]", value)
    return marks
