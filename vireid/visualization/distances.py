"""Distances of images of the same and of different identities, within modalities and between them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import combinations
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from vireid._checks import check_embeddings, check_finite, check_identities, check_integer, import_extra, require
from vireid.distances import pairwise_distances
from vireid.visualization.panels import check_mapping

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COLOURS = {"same identity": "#3182bd", "different identity": "#e6550d"}
_CHUNK = 2**22  # distances held at a time

RowsAndIdentities = tuple[Tensor, Tensor]


def plot_distances(embeddings: Mapping[str, Tensor], identities: Mapping[str, Tensor], *, bins: int = 60) -> Figure:
    """Draw the distributions of the Euclidean distances of same-identity and of different-identity pairs.

    There is one panel within every modality and one between every two, all over the same range of distances. Both
    densities have the area 1; a line marks the mean of each. A row is not paired with itself, and every pair counts
    once. The legend of a panel says if it has no pair of a kind. The distances are computed in chunks of rows.

    Args:
        embeddings: Rows b d of every modality, by its name; b may differ.
        identities: Identities of the rows of every modality, by its name.
        bins: Number of bins of the histograms, 1 to 10,000.

    Shape:
        b d, b for every modality.

    Raises:
        ValueError: if there is no modality or fewer than two rows in all, the embeddings are not b d or not finite, the
            names or rows of the identities do not match them, or bins is out of range.
        TypeError: if embeddings or identities is not a mapping, the embeddings are not tensors of floating-point
            numbers, the identities not tensors of integers, or bins is not a number.
        ImportError: if matplotlib is not installed; the extra ``viz`` brings it.

    Example:
        >>> embeddings = {"visible": torch.rand(6, 4), "infrared": torch.rand(4, 4)}
        >>> identities = {"visible": torch.tensor([0, 0, 0, 1, 1, 1]), "infrared": torch.tensor([0, 0, 1, 1])}
        >>> figure = plot_distances(embeddings, identities)
        >>> [axes.get_title() for axes in figure.axes]
        ['within visible', 'within infrared', 'between visible and infrared']
    """
    check_mapping("embeddings", embeddings, "map the names of modalities to embeddings")
    check_mapping("identities", identities, "map the names of modalities to identities")
    names = list(embeddings)
    require(identities.keys() == embeddings.keys(), "identities", f"have the names {names}", list(identities))
    for name, rows in embeddings.items():
        check_embeddings(f"embeddings[{name!r}]", rows, like=embeddings[names[0]])
        check_finite(f"embeddings[{name!r}]", rows)
        check_identities(f"identities[{name!r}]", identities[name], rows)
    total = sum(map(len, embeddings.values()))
    require(total > 1, "embeddings", "have two rows to compare", total)
    bins = check_integer("bins", bins, least=1, most=10_000)
    figure_module = import_extra("matplotlib.figure", "viz")
    panels = {f"within {name}": (name, name) for name in names}
    panels |= {f"between {first} and {second}": (first, second) for first, second in combinations(names, 2)}
    modalities = {name: (rows.detach(), identities[name]) for name, rows in embeddings.items()}
    pairs = {title: (modalities[first], modalities[second]) for title, (first, second) in panels.items()}
    extremes = [kind.aminmax() for pair in pairs.values() for chunk in _chunks(*pair) for kind in chunk if len(kind)]
    low, high = min(least.item() for least, _ in extremes), max(greatest.item() for _, greatest in extremes)
    high = high if high > low else low + 1
    columns = min(3, len(panels))
    lines = -(-len(panels) // columns)
    figure: Figure = figure_module.Figure(figsize=(4.2 * columns, 3.2 * lines), layout="constrained")
    edges = torch.linspace(low, high, bins + 1, dtype=torch.float64).numpy()
    for number, (title, pair) in enumerate(pairs.items(), start=1):
        axes = figure.add_subplot(lines, columns, number)
        for kind, (counts, mean) in zip(_COLOURS, _histograms(*pair, bins, low, high), strict=True):
            if counts.sum() == 0:
                axes.plot([], [], color=_COLOURS[kind], label=f"{kind}, no pair")
                continue
            density = counts / counts.sum() * bins / (high - low)
            axes.stairs(density.numpy(), edges, fill=True, color=_COLOURS[kind], alpha=0.45)
            axes.axvline(mean, ymax=0.77, color=_COLOURS[kind], linestyle="--", label=f"{kind}, mean {mean:.3g}")
        axes.set(title=title, xlim=(low, high), xlabel="Euclidean distance", ylabel="density")
        axes.set_ylim(top=1.3 * axes.get_ylim()[1])  # room for the legend
        axes.legend(loc="upper center", frameon=False, fontsize=8)
    return figure


def _chunks(first: RowsAndIdentities, second: RowsAndIdentities) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the distances of the same-identity and of the different-identity pairs, a chunk of rows at a time."""
    (rows, identities), (others, other_identities) = first, second
    step = max(1, _CHUNK // len(others))
    for start in range(0, len(rows), step):
        stop = start + step
        skipped = start if first is second else 0  # every pair once
        distances = pairwise_distances(rows[start:stop], others[skipped:])
        same = identities[start:stop, None] == other_identities[skipped:]
        different = ~same
        if first is second:
            same, different = same.triu(1), different.triu(1)
        yield distances[same], distances[different]


def _histograms(
    first: RowsAndIdentities, second: RowsAndIdentities, bins: int, low: float, high: float
) -> list[tuple[Tensor, float]]:
    """Count both kinds of pairs in equal bins from low to high; return the counts and the mean of each."""
    counts = torch.zeros(2, bins, dtype=torch.float64)
    sums = torch.zeros(2, dtype=torch.float64)
    for chunk in _chunks(first, second):
        for kind, distances in enumerate(chunk):
            counts[kind] += distances.histc(bins, low, high).cpu()
            sums[kind] += distances.sum(dtype=torch.float64).cpu()
    return list(zip(counts, (sums / counts.sum(1)).tolist(), strict=True))
