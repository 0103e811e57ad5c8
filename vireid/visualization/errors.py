"""Errors of deciding by a distance: DET curves, and the distances of both kinds of pairs with the threshold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from vireid._checks import check_finite, check_integer, check_number, check_tensor, import_extra, require
from vireid.visualization.panels import check_mapping

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_TICKS = [1e-5, 1e-4, 1e-3, 1e-2, 0.05, 0.2, 0.5, 0.8, 0.95, 0.99, 0.999]
_KINDS = {"same person": "#3182bd", "different people": "#e6550d"}


def plot_det(curves: Mapping[str, Any], *, false_accept_rate: float | None = None) -> Figure:
    """Draw DET curves: the false-reject rate over the false-accept rate of all thresholds, the lower the better.

    Both axes are scaled by the inverse of the normal distribution, as is usual: the curve of distances that are
    normally distributed is straight. Rates of exactly 0 and 1 are not shown. The thin line is where both rates are
    equal.

    Args:
        curves: Error rates by the names of their curves, as :func:`vireid.evaluation.compute_error_rates` returns them:
            anything with vectors ``false_accept`` and ``false_reject`` of equal length.
        false_accept_rate: False-accept rate to mark with a line, between 0 and 1; none by default.

    Raises:
        ValueError: if there is no curve, or a rate is not between 0 and 1.
        TypeError: if curves is not a mapping, a curve has other fields or no tensors of numbers, or the rate to mark is
            not a number.
        ImportError: if matplotlib is not installed; the extra ``viz`` brings it.

    Example:
        >>> from types import SimpleNamespace
        >>> rates = SimpleNamespace(false_accept=torch.tensor([0, 0.1, 1]), false_reject=torch.tensor([1, 0.2, 0]))
        >>> plot_det({"visible and infrared": rates}).axes[0].get_xlabel()
        'false accepts in %'
    """
    check_mapping("curves", curves, "map the names of curves to error rates")
    points = {name: _check_curve(f"curves[{name!r}]", curve) for name, curve in curves.items()}
    if false_accept_rate is not None:
        false_accept_rate = check_number("false_accept_rate", false_accept_rate, above=0, below=1)
    figure: Figure = import_extra("matplotlib.figure", "viz").Figure(figsize=(5.6, 5), layout="constrained")
    axes = figure.add_subplot()
    shown = []
    for name, rates in points.items():
        inner = rates[:, ((rates > 0) & (rates < 1)).all(0)]
        shown.append(inner)
        place = torch.unique_consecutive((500 * torch.special.ndtri(inner)).round(), dim=1) / 500  # few are visible
        axes.plot(*place, label=name, marker="." if place.shape[1] < 20 else None)
    every = torch.cat([*shown, torch.tensor([[0.01, 0.5], [0.01, 0.5]]).double()], dim=1)
    if false_accept_rate is not None:
        every = torch.cat([every, every.new_tensor([[false_accept_rate], [0.5]])], dim=1)
        axes.axvline(float(torch.special.ndtri(every[0, -1])), color="black", linestyle="--", linewidth=0.8)
    axes.axline((0, 0), slope=1, color="grey", linewidth=0.6)
    scale = [float(torch.special.ndtri(torch.tensor(tick, dtype=torch.float64))) for tick in _TICKS]
    labels = [f"{100 * tick:g}" for tick in _TICKS]
    limits = [(float(low), float(high)) for low, high in torch.special.ndtri(torch.stack(every.aminmax(dim=1), 1))]
    axes.set_xticks(scale, labels, fontsize=8)
    axes.set_yticks(scale, labels, fontsize=8)
    axes.set(xlabel="false accepts in %", ylabel="false rejects in %")
    axes.set_xlim(limits[0][0] - 0.1, limits[0][1] + 0.1)
    axes.set_ylim(limits[1][0] - 0.1, limits[1][1] + 0.1)
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, loc="upper right")
    return figure


def plot_histograms(
    panels: Mapping[str, tuple[Tensor, Tensor]], *, thresholds: Mapping[str, float] | None = None, bins: int = 60
) -> Figure:
    """Draw the distances of pairs of one person and of different people, with the threshold between them.

    Both densities have the area 1, so that they compare however many pairs there are. The legend says which share of
    each kind lies up to the threshold.

    Args:
        panels: Pairs by the title of their panel, as :func:`vireid.evaluation.compare_pairs` returns them: the distance
            of each pair, and whether it is of one person.
        thresholds: Threshold of each panel, by its title; a panel may have none.
        bins: Number of bins of the histograms, 1 to 10,000.

    Shape:
        n, n for every panel.

    Raises:
        ValueError: if there is no panel, a panel has no pair, the vectors differ in length, a distance or a threshold
            is not finite, a threshold belongs to no panel, or bins is out of range.
        TypeError: if panels or thresholds is not a mapping, distances are not floating point, the others not boolean,
            or a threshold or bins is not a number.
        ImportError: if matplotlib is not installed; the extra ``viz`` brings it.

    Example:
        >>> pairs = torch.tensor([0.1, 0.2, 0.6, 0.8]), torch.tensor([True, True, False, False])
        >>> figure = plot_histograms({"visible and infrared": pairs}, thresholds={"visible and infrared": 0.4})
        >>> [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
        ['same person, 100 % accepted', 'different people, 0 % accepted', 'threshold 0.4']
    """
    check_mapping("panels", panels, "map the titles of panels to pairs")
    pairs = {title: _check_pairs(f"panels[{title!r}]", panel) for title, panel in panels.items()}
    thresholds = {} if thresholds is None else thresholds
    require(isinstance(thresholds, Mapping), "thresholds", "map titles to numbers", thresholds, error=TypeError)
    strange = [title for title in thresholds if title not in panels]
    require(not strange, "thresholds", f"have titles of panels, {list(panels)}", strange)
    limits = {title: check_number(f"thresholds[{title!r}]", value) for title, value in thresholds.items()}
    bins = check_integer("bins", bins, least=1, most=10_000)
    figure: Figure = import_extra("matplotlib.figure", "viz").Figure(
        figsize=(4.4 * len(pairs), 3.4), layout="constrained"
    )
    for axes, (title, (distances, same)) in zip(
        figure.subplots(1, len(pairs), squeeze=False)[0], pairs.items(), strict=True
    ):
        low, high = (extreme.item() for extreme in distances.aminmax())
        high = high if high > low else low + 1
        edges = torch.linspace(low, high, bins + 1, dtype=torch.float64)
        limit = limits.get(title)
        for (kind, colour), chosen in zip(_KINDS.items(), (distances[same], distances[~same]), strict=True):
            if len(chosen) == 0:
                axes.plot([], [], color=colour, label=f"{kind}, no pair")
                continue
            density = chosen.histc(bins, low, high) / len(chosen) * bins / (high - low)
            share = "" if limit is None else f", {100 * (chosen <= limit).double().mean():.3g} % accepted"
            axes.stairs(density.numpy(), edges.numpy(), fill=True, color=colour, alpha=0.45, label=kind + share)
        if limit is not None:
            axes.axvline(limit, ymax=0.74, color="black", linestyle="--", linewidth=1, label=f"threshold {limit:.4g}")
        axes.set(title=title, xlabel="distance", ylabel="density")
        axes.set_ylim(top=1.36 * axes.get_ylim()[1])  # room for the legend
        axes.legend(loc="upper left", frameon=False, fontsize=8)
    return figure


def _check_curve(argument: str, curve: Any) -> Tensor:
    """Require the rates of a curve; return both, 2 t."""
    vectors = []
    for field in ("false_accept", "false_reject"):
        found = hasattr(curve, field)
        require(found, argument, f"have {field!r}, as ErrorRates", type(curve).__name__, error=TypeError)
        vectors.append(_check_vector(f"{argument}.{field}", getattr(curve, field)))
        rates = vectors[-1]
        require(bool((rates >= 0).all() and (rates <= 1).all()), f"{argument}.{field}", "be between 0 and 1", rates)
    sizes = [len(vector) for vector in vectors]
    require(sizes[0] == sizes[1], argument, "have as many false accepts as false rejects", sizes)
    return torch.stack(vectors)


def _check_pairs(argument: str, panel: Any) -> tuple[Tensor, Tensor]:
    pair = isinstance(panel, (tuple, list)) and len(panel) == 2
    require(pair, argument, "be (distances, same)", type(panel).__name__, error=TypeError)
    distances = _check_vector(f"{argument}[0]", panel[0])
    same = panel[1]
    check_tensor(f"{argument}[1]", same)
    require(same.dtype == torch.bool, f"{argument}[1]", "be boolean", same.dtype, error=TypeError)
    require(same.shape == distances.shape, f"{argument}[1]", f"have shape {tuple(distances.shape)}", tuple(same.shape))
    return distances, same.cpu()


def _check_vector(argument: str, values: Any) -> Tensor:
    """Require a vector of finite numbers; return it in float64 on the CPU."""
    check_tensor(argument, values)
    require(values.is_floating_point(), argument, "be floating point", values.dtype, error=TypeError)
    require(values.dim() == 1 and len(values) > 0, argument, "be a vector with a value", tuple(values.shape))
    check_finite(argument, values[:, None])
    vector: Tensor = values.detach().double().cpu()
    return vector
