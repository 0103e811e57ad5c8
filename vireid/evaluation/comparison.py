"""Distances between embeddings that keep ties, for ranking."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import normalize

from vireid._checks import require

Distance = Literal["cosine", "euclidean", "dot"]


def check_lengths(argument: str, embeddings: Tensor, distance: Distance) -> None:
    """Require embeddings that can be told apart: not all zero, and none of them for the cosine."""
    lengths = torch.linalg.vector_norm(embeddings, dim=1, dtype=torch.float64)
    require(bool(lengths.any()), argument, "not be all zero", "zeros")
    if distance == "cosine":
        shortest = int(lengths.argmin())
        rule = "have a length of at least 1e-12 to be compared by the cosine"
        require(bool(lengths[shortest] >= 1e-12), f"{argument}[{shortest}]", rule, lengths[shortest].item())


def compare(queries: Tensor, gallery: Tensor, distance: Distance) -> Tensor:
    """Compute distances q g in float64, the squared ones for ``"euclidean"``; equal gallery rows tie exactly.

    Squared Euclidean distances and inner products of integers are exact, so that equal ones tie as well.
    """
    x, y = queries.double(), gallery.double()
    first = _first_of_equals(y)
    if distance == "euclidean":
        distances = _squared_distances(x, y)
    elif distance == "cosine":
        distances = 1 - normalize(x) @ normalize(y).T
    else:
        distances = 0 - x @ y.T
    return distances if first is None else distances[:, first]


def _first_of_equals(rows: Tensor) -> Tensor | None:
    """The first row that equals each row, or None if all differ: a matrix product rounds equal rows differently."""
    sums = (rows + 0.0).view(torch.int64).sum(1)  # exact in any order; -0.0 + 0.0 is 0.0
    if len(torch.unique(sums)) == len(rows):
        return None
    inverse: Tensor
    unique, inverse = torch.unique(rows, dim=0, return_inverse=True)
    first = inverse.new_full((len(unique),), len(rows))
    first.scatter_reduce_(0, inverse, torch.arange(len(rows), device=rows.device), "amin")
    return first[inverse]


def _squared_distances(x: Tensor, y: Tensor) -> Tensor:
    """Squared distances of float64 rows, exact for integers; those of near rows are taken from their differences."""
    lengths = x.square().sum(1)[:, None] + y.square().sum(1)
    squared = lengths - 2 * x @ y.T
    near = (squared < 1e-6 * lengths).nonzero()  # where the terms cancel
    for i, j in (pairs.T for pairs in torch.split(near, max(1, 2**22 // x.shape[1]))):
        squared[i, j] = (x[i] - y[j]).square().sum(1)
    return squared
