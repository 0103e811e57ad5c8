"""Embeddings as points: their projection to two or three dimensions and its pictures, such as Fig. 4 of MUN."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from vireid._checks import (
    check_choice,
    check_embeddings,
    check_finite,
    check_identities,
    check_tensor,
    import_extra,
    require,
)
from vireid.modality import Modality

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COLOURS = {Modality.VISIBLE: "#1f4fd8", Modality.INFRARED: "#d7191c", Modality.AUXILIARY: "#1a9641"}
_MARKERS = "os^Dv*P<X>hd"


def project_embeddings(
    embeddings: Tensor, *, dimensions: Literal[2, 3] = 2, perplexity: float = 30.0, seed: int = 0
) -> Tensor:
    """Project embeddings to points of two or three dimensions by t-SNE.

    The points start at the principal components. The learning rate is that of Belkina et al., b / 12 / 4, without the
    least value of 50 that scikit-learn gives it: with some hundred points of three dimensions it scatters clusters.
    Embeddings that are to share a picture are projected together: the points of two calls cannot be compared.

    Args:
        embeddings: rows, b d.
        dimensions: of the points, 2 or 3; Fig. 4 of MUN has 3.
        perplexity: about how many neighbours each row keeps close; less than b.
        seed: of t-SNE; the same seed gives the same points.

    Shape:
        b d -> b 2 or b 3, float32 on the CPU.

    Raises:
        ValueError: the embeddings are not b d, not finite, all equal, or have fewer rows or columns than dimensions;
            perplexity is not above 0 and below b; or dimensions is neither 2 nor 3.
        TypeError: the embeddings are no tensor of floating-point numbers.
        ImportError: scikit-learn is not installed; the extra ``viz`` brings it.

    Example:
        >>> project_embeddings(torch.rand(40, 8), dimensions=3, perplexity=10).shape
        torch.Size([40, 3])

    References:
        van der Maaten and Hinton, Visualizing Data using t-SNE, JMLR 2008; Belkina et al., Automated optimized
        parameters for t-distributed stochastic neighbor embedding, Nature Communications 2019 (learning rate).
    """
    check_embeddings("embeddings", embeddings)
    require(dimensions in {2, 3}, "dimensions", "be 2 or 3", dimensions)
    shape = tuple(embeddings.shape)
    require(min(shape) >= dimensions, "embeddings", f"have at least {dimensions} rows and columns", shape)
    remedy = f"Pass perplexity={max(1, (shape[0] - 1) // 3)}, or more embeddings."
    require(0 < perplexity < shape[0], "perplexity", f"be above 0 and below b = {shape[0]}", perplexity, remedy)
    rows = embeddings.detach().double().cpu()
    check_finite("embeddings", rows)
    require(bool((rows != rows[0]).any()), "embeddings", "differ from each other", f"{shape[0]} equal rows")
    tsne = import_extra("sklearn.manifold", "viz").TSNE(
        dimensions, perplexity=float(perplexity), learning_rate=shape[0] / 48, init="pca", random_state=seed
    )
    return torch.from_numpy(tsne.fit_transform(rows.numpy())).float()


def plot_embeddings(panels: Mapping[str, Tensor], identities: Tensor, modalities: Sequence[str]) -> Figure:
    """Draw points whose colour is their modality and whose shape is their identity, with its number on top of them.

    The colours are those of Fig. 4 of MUN: visible blue, infrared red and auxiliary green. A thin line leads from every
    point to the centre of its identity. There are twelve shapes; with more identities they repeat, the numbers do not.

    Args:
        panels: by its title, the points of every panel, b 2 or b 3, such as those of one epoch.
        identities: of the points, the same in every panel.
        modalities: of the points: ``"visible"``, ``"infrared"`` or ``"auxiliary"``.

    Shape:
        b 2 or b 3, b, b.

    Raises:
        ValueError: there is no panel, its points are not b 2 or b 3 or not finite, identities or modalities are not b,
            or a modality is unknown.
        TypeError: the points are no tensors of floating-point numbers, or the identities none of integers.
        ImportError: matplotlib is not installed; the extra ``viz`` brings it.

    Example:
        >>> points = torch.tensor([[0.0, 0.0], [2.0, 4.0]])
        >>> figure = plot_embeddings({"epoch 0": points}, torch.tensor([7, 7]), ["visible", "infrared"])
        >>> [(text.get_text(), text.get_position()) for text in figure.axes[0].texts]
        [('7', (2.0, 4.0))]

    References:
        Yu et al., Modality Unifying Network for Visible-Infrared Person Re-Identification, ICCV 2023 (Fig. 4).
    """
    require(len(panels) > 0, "panels", "have a panel", dict(panels))
    check_tensor("identities", identities)
    identities = identities.cpu()
    for title, points in panels.items():
        check_embeddings(f"panels[{title!r}]", points)
        shape = tuple(points.shape)
        remedy = "Call project_embeddings first." if shape[1] > 3 else ""
        require(shape[1] in {2, 3}, f"panels[{title!r}]", "have shape (b, 2) or (b, 3)", shape, remedy)
        check_identities("identities", identities, points.cpu())
        check_finite(f"panels[{title!r}]", points)
    require(len(modalities) == len(identities), "modalities", f"be {len(identities)}, one a point", len(modalities))
    for row, name in enumerate(modalities):
        check_choice(f"modalities[{row}]", name, [modality.value for modality in Modality])
    names = [Modality(name) for name in modalities]
    columns = min(4, len(panels))
    rows = -(-len(panels) // columns)
    figure: Figure = import_extra("matplotlib.figure", "viz").Figure(
        figsize=(3.4 * columns, 3.4 * rows + 0.3), layout="constrained"
    )
    for number, (title, points) in enumerate(panels.items(), start=1):
        projection = "3d" if points.shape[1] == 3 else None
        axes = figure.add_subplot(rows, columns, number, projection=projection)
        _scatter(axes, points.detach().cpu(), identities, names)
        axes.set_title(title, fontsize=10, pad=-8 if projection else 4)
    for modality in Modality:
        if modality in names:
            axes.plot([], [], "o", color=_COLOURS[modality], label=modality.value)
    figure.legend(loc="outside lower center", frameon=False, ncols=3, handlelength=1)
    return figure


def _scatter(axes: Any, points: Tensor, identities: Tensor, modalities: Sequence[Modality]) -> None:
    """Draw the points of each identity, lines to their centre and its number on top, on axes without ticks."""
    outline = import_extra("matplotlib.patheffects", "viz").withStroke(linewidth=2, foreground="white")
    solid = {"depthshade": False} if points.shape[1] == 3 else {}
    for number, identity in enumerate(sorted(set(identities.tolist()))):
        chosen = identities == identity
        centre, marker = points[chosen].mean(dim=0), _MARKERS[number % len(_MARKERS)]
        for modality, colour in _COLOURS.items():
            mine = points[chosen & torch.tensor([name is modality for name in modalities])]
            lines = torch.stack([mine, centre.expand_as(mine), torch.full_like(mine, torch.nan)], dim=1)
            axes.plot(*lines.flatten(0, 1).T.tolist(), color=colour, alpha=0.15, linewidth=0.5)
            axes.scatter(*mine.T.tolist(), color=colour, marker=marker, s=18, linewidths=0, alpha=0.8, **solid)
        top = points[chosen][points[chosen, -1].argmax()].tolist()
        label = axes.text(*top, str(identity), ha="center", va="bottom", fontsize=8, fontweight="bold", zorder=1000)
        label.set_path_effects([outline])
    axes.set(xticks=[], yticks=[])
    if points.shape[1] == 3:
        axes.set(zticks=[])
        axes.set_box_aspect(None, zoom=1.1)
    else:
        axes.margins(0.1)  # room for the numbers
        axes.set_aspect("equal", adjustable="datalim")
