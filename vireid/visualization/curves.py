"""Curves over the course of a training run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from vireid._checks import import_extra, require

if TYPE_CHECKING:
    from matplotlib.figure import Figure


Curve = Sequence[float] | Mapping[int, float]


def plot_curves(panels: Mapping[str, Mapping[str, Curve]], *, smoothing: int = 1) -> Figure:
    """Draw curves over iterations, one panel beside the other.

    Args:
        panels: by its title, every panel's curves by their names. A curve is a sequence with a value an iteration, or a
            mapping from the iterations at which something was measured to the values, which are marked.
        smoothing: how many values of a sequence the running mean takes; the raw values show faintly behind it.

    Raises:
        ValueError: there is no panel, or a curve has no value.
        ImportError: matplotlib is not installed; the extra ``viz`` brings it.

    Example:
        >>> figure = plot_curves({"loss": {"identity": [2.0, 1.0]}, "learning rate": {"head": [0.1, 0.2]}})
        >>> [axes.get_title() for axes in figure.axes]
        ['loss', 'learning rate']
    """
    require(len(panels) > 0, "panels", "have a panel", dict(panels))
    require(smoothing >= 1, "smoothing", "be at least 1", smoothing)
    figure: Figure = import_extra("matplotlib.figure", "viz").Figure(
        figsize=(5.5 * len(panels), 4), layout="constrained"
    )
    for axes, (title, curves) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True):
        for number, (name, values) in enumerate(curves.items()):
            require(len(values) > 0, "panels", f"have a value of {name!r}", list(values))
            colour = f"C{number}"
            if isinstance(values, Mapping):
                axes.plot(list(values), list(values.values()), color=colour, label=name, marker="o")
                continue
            if smoothing > 1:
                axes.plot(range(1, len(values) + 1), values, color=colour, alpha=0.2, linewidth=0.8)
            axes.plot(range(1, len(values) + 1), _running_mean(values, smoothing), color=colour, label=name)
        axes.set_title(title)
        axes.set_xlabel("iteration")
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
        axes.legend(frameon=False)
    return figure


def _running_mean(values: Sequence[float], length: int) -> list[float]:
    """Mean of each value and the ``length − 1`` before it, as far as there are any."""
    windows = (values[max(0, end - length) : end] for end in range(1, len(values) + 1))
    return [sum(window) / len(window) for window in windows]
