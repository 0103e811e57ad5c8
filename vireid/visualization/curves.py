"""Curves over the course of a training run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from vireid._checks import check_integer, check_number, import_extra
from vireid.visualization.panels import check_panels, check_values

if TYPE_CHECKING:
    from matplotlib.figure import Figure


Curve = Sequence[float] | Mapping[int, float]


def plot_curves(panels: Mapping[str, Mapping[str, Curve]], *, smoothing: int = 1) -> Figure:
    """Draw curves over iterations, one panel next to the other, each with its legend beside it.

    Args:
        panels: Curves of every panel, by the panel's title and the curve's name. A curve is a sequence with one value
            for each iteration, or a mapping from iterations to the values measured there, which are marked by dots.
        smoothing: Number of values of a sequence over which the running mean is taken, at least 1; the raw values show
            faintly behind it.

    Raises:
        ValueError: if there is no panel, a panel has no curve, a curve has no value or one that is not finite, or
            smoothing is below 1.
        TypeError: if panels is not a nested mapping, a curve holds something else than numbers, or smoothing is not a
            number.
        ImportError: if matplotlib is not installed; the extra ``viz`` brings it.

    Example:
        >>> figure = plot_curves({"loss": {"identity": [2.0, 1.0]}, "learning rate": {"head": [0.1, 0.2]}})
        >>> [axes.get_title() for axes in figure.axes]
        ['loss', 'learning rate']
    """
    check_panels(panels, "curves")
    points = {
        title: {name: _points(f"panels[{title!r}][{name!r}]", curve) for name, curve in curves.items()}
        for title, curves in panels.items()
    }
    smoothing = check_integer("smoothing", smoothing, least=1)
    figure: Figure = import_extra("matplotlib.figure", "viz").Figure(
        figsize=(6.5 * len(panels), 4), layout="constrained"
    )
    for axes, (title, curves) in zip(figure.subplots(1, len(points), squeeze=False)[0], points.items(), strict=True):
        for number, (name, (x, y)) in enumerate(curves.items()):
            colour = f"C{number}"
            if isinstance(panels[title][name], Mapping):
                axes.plot(x, y, color=colour, label=name, marker="o")
                continue
            if smoothing > 1:
                axes.plot(x, y, color=colour, alpha=0.2, linewidth=0.8)
            axes.plot(x, _running_mean(y, smoothing), color=colour, label=name)
        axes.set_title(title)
        axes.set_xlabel("iteration")
        if min(value for _, y in curves.values() for value in y) >= 0:
            axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
        axes.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False)  # beside the curves
    return figure


def _points(argument: str, curve: Curve) -> tuple[list[float], list[float]]:
    """Return a curve's iterations and values."""
    if not isinstance(curve, Mapping):
        values = check_values(argument, curve)
        return list(range(1, len(values) + 1)), values
    iterations = [check_number(f"an iteration of {argument}", iteration) for iteration in curve]
    return iterations, check_values(argument, list(curve.values()))


def _running_mean(values: Sequence[float], length: int) -> list[float]:
    """Return the mean of each value and as many of the ``length − 1`` values before it as there are."""
    windows = (values[max(0, end - length) : end] for end in range(1, len(values) + 1))
    return [sum(window) / len(window) for window in windows]
