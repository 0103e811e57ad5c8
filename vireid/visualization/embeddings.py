"""Embeddings as points: their projection to two or three dimensions, and pictures of it such as Fig. 4 of MUN."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from vireid._checks import (
    check_choice,
    check_embeddings,
    check_finite,
    check_identities,
    check_integer,
    check_number,
    check_tensor,
    import_extra,
    require,
)
from vireid.modality import Modality
from vireid.visualization.panels import check_mapping

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COLOURS = {Modality.VISIBLE: "#1f4fd8", Modality.INFRARED: "#d7191c", Modality.AUXILIARY: "#1a9641"}
_MARKERS = "os^Dv*P<X>hd"
_LEGEND_ROWS = 12


def project_embeddings(
    embeddings: Tensor, *, dimensions: Literal[2, 3] = 2, perplexity: float = 30.0, seed: int = 0
) -> Tensor:
    """Project embeddings to points of two or three dimensions by t-SNE.

    The points start at the principal components. The learning rate is that of Belkina et al., b / 12 / 4, without
    scikit-learn's lower bound of 50, which scatters clusters of a few hundred points in three dimensions. Project
    embeddings that share a picture in one call: the points of two calls cannot be compared.

    Args:
        embeddings: Rows, b d.
        dimensions: Dimensions of the points, 2 or 3; Fig. 4 of MUN has 3.
        perplexity: Approximate number of neighbours that each row keeps close, above 0 and below b.
        seed: Seed of t-SNE, 0 to 2^32 - 1; the same seed gives the same points.

    Shape:
        b d -> b 2 or b 3, float32 on the CPU.

    Raises:
        ValueError: if the embeddings are not b d, not finite, all equal, or have fewer rows or columns than dimensions;
            perplexity is not above 0 and below b; dimensions is neither 2 nor 3; or seed is out of range.
        TypeError: if the embeddings are not a tensor of floating-point numbers, or another argument is not a number.
        ImportError: if scikit-learn is not installed; the extra ``viz`` brings it.

    Example:
        >>> project_embeddings(torch.rand(40, 8), dimensions=3, perplexity=10).shape
        torch.Size([40, 3])

    References:
        van der Maaten and Hinton, Visualizing Data using t-SNE, JMLR 2008; Belkina et al., Automated optimized
        parameters for t-distributed stochastic neighbor embedding, Nature Communications 2019 (learning rate).
    """
    check_embeddings("embeddings", embeddings)
    require(check_integer("dimensions", dimensions) in {2, 3}, "dimensions", "be 2 or 3", dimensions)
    perplexity, seed = check_number("perplexity", perplexity), check_integer("seed", seed, least=0, most=2**32 - 1)
    shape = tuple(embeddings.shape)
    require(min(shape) >= dimensions, "embeddings", f"have at least {dimensions} rows and columns", shape)
    remedy = f"Pass perplexity={max(1, (shape[0] - 1) // 3)}, or more embeddings."
    require(0 < perplexity < shape[0], "perplexity", f"be above 0 and below b = {shape[0]}", perplexity, remedy)
    rows = embeddings.detach().double().cpu()
    check_finite("embeddings", rows)
    require(bool((rows != rows[0]).any()), "embeddings", "differ from each other", f"{shape[0]} equal rows")
    tsne = import_extra("sklearn.manifold", "viz").TSNE(
        dimensions, perplexity=perplexity, learning_rate=shape[0] / 48, init="pca", random_state=seed
    )
    return torch.from_numpy(tsne.fit_transform(rows.numpy())).float()


def plot_embeddings(panels: Mapping[str, Tensor], identities: Tensor, modalities: Sequence[str]) -> Figure:
    """Draw points coloured by modality and shaped by identity; the legends beside the panels name both.

    The colours are those of Fig. 4 of MUN: visible blue, infrared red and auxiliary green. A thin line leads from every
    point to the centre of its identity. There are twelve markers, filled and then hollow; beyond 24 identities they
    repeat. The axes of a panel are scaled apart, so that its points fill it: compare neighbourhoods, not lengths.

    Args:
        panels: Points of every panel, b 2 or b 3, by the panel's title, such as those of one epoch.
        identities: Identities of the points, the same in every panel.
        modalities: Modality of each point: ``"visible"``, ``"infrared"`` or ``"auxiliary"``.

    Shape:
        b 2 or b 3, b, b.

    Raises:
        ValueError: if there is no panel, its points are not b 2 or b 3 or not finite, identities or modalities are not
            b, or a modality is unknown.
        TypeError: if panels is not a mapping, the points are not tensors of floating-point numbers, the identities not
            a tensor of integers, or the modalities not several strings.
        ImportError: if matplotlib is not installed; the extra ``viz`` brings it.

    Example:
        >>> points = torch.tensor([[0.0, 0.0], [2.0, 4.0]])
        >>> figure = plot_embeddings({"epoch 0": points}, torch.tensor([7, 7]), ["visible", "infrared"])
        >>> [[text.get_text() for text in legend.get_texts()] for legend in figure.legends]
        [['visible', 'infrared'], ['7']]

    References:
        Yu et al., Modality Unifying Network for Visible-Infrared Person Re-Identification, ICCV 2023 (Fig. 4).
    """
    check_mapping("panels", panels, "map the title of each panel to its points")
    check_tensor("identities", identities)
    identities = identities.cpu()
    for title, points in panels.items():
        check_embeddings(f"panels[{title!r}]", points)
        shape = tuple(points.shape)
        remedy = "Call project_embeddings first." if shape[1] > 3 else ""
        require(shape[1] in {2, 3}, f"panels[{title!r}]", "have shape (b, 2) or (b, 3)", shape, remedy)
        check_identities("identities", identities, points.cpu())
        check_finite(f"panels[{title!r}]", points)
    several = isinstance(modalities, Iterable) and not isinstance(modalities, (str, bytes, Mapping, Tensor))
    require(several, "modalities", "be a sequence of strings", modalities, error=TypeError)
    modalities = list(modalities)
    rule = f"have {len(identities)} items, one for each point"
    require(len(modalities) == len(identities), "modalities", rule, len(modalities))
    for row, name in enumerate(modalities):
        check_choice(f"modalities[{row}]", name, [modality.value for modality in Modality])
    names = [Modality(name) for name in modalities]
    shapes = {
        identity: (_MARKERS[number % 12], "full" if number // 12 % 2 == 0 else "none")
        for number, identity in enumerate(sorted(set(identities.tolist())))
    }
    legend_columns = -(-len(shapes) // _LEGEND_ROWS)
    columns = min(4, len(panels))
    rows = -(-len(panels) // columns)
    figure: Figure = import_extra("matplotlib.figure", "viz").Figure(
        figsize=(3.4 * columns + 0.8 * legend_columns, 3.4 * rows + 0.3), layout="constrained"
    )
    for number, (title, points) in enumerate(panels.items(), start=1):
        projection = "3d" if points.shape[1] == 3 else None
        axes = figure.add_subplot(rows, columns, number, projection=projection)
        _scatter(axes, points.detach().cpu(), identities, names, shapes)
        axes.set_title(title, fontsize=10, pad=0 if projection else 4)
    line = import_extra("matplotlib.lines", "viz").Line2D
    keys = [line([], [], marker="o", linestyle="", color=_COLOURS[m], label=m.value) for m in Modality if m in names]
    figure.legend(handles=keys, loc="outside lower center", frameon=False, ncols=3, handlelength=1)
    keys = [
        line([], [], marker=marker, fillstyle=fill, linestyle="", color="#555555", label=str(identity))
        for identity, (marker, fill) in shapes.items()
    ]
    figure.legend(
        handles=keys, title="identity", loc="outside right center", frameon=False, ncols=legend_columns, handlelength=1
    )
    return figure


def _scatter(
    axes: Any,
    points: Tensor,
    identities: Tensor,
    modalities: Sequence[Modality],
    shapes: Mapping[int, tuple[str, str]],
) -> None:
    """Draw the points of each identity and lines to their centre, on axes without ticks that they fill."""
    solid = {"depthshade": False} if points.shape[1] == 3 else {}
    for identity, (marker, fill) in shapes.items():
        chosen = identities == identity
        centre = points[chosen].mean(dim=0)
        for modality, colour in _COLOURS.items():
            mine = points[chosen & torch.tensor([name is modality for name in modalities])]
            lines = torch.stack([mine, centre.expand_as(mine), torch.full_like(mine, torch.nan)], dim=1)
            axes.plot(*lines.flatten(0, 1).T.tolist(), color=colour, alpha=0.15, linewidth=0.5)
            face = {"facecolors": colour, "linewidths": 0} if fill == "full" else {"facecolors": "none"}
            axes.scatter(*mine.T.tolist(), edgecolors=colour, marker=marker, s=24, alpha=0.8, **face, **solid)
    axes.set(xticks=[], yticks=[])
    if points.shape[1] == 3:
        axes.set(zticks=[])
        axes.margins(0.02)
        axes.set_box_aspect(None, zoom=1.15)
    else:
        axes.margins(0.04)
