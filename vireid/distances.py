"""Pairwise distances that stay differentiable at zero, shared by the losses and the evaluation."""

from __future__ import annotations

import torch
from torch import Tensor


def pairwise_squared_distances(x: Tensor, y: Tensor) -> Tensor:
    """Squared Euclidean distances of every row of ``x`` to every row of ``y``, never negative.

    Computed as ‖x‖² + ‖y‖² − 2x·y after moving the origin to the mean of ``y``: the distances are the same,
    and far less of them is lost to rounding when all rows lie far from the origin. Half-precision rows are
    taken in float32, also under autocast.

    Args:
        x: rows, m d.
        y: rows, n d.

    Shape:
        m d, n d -> m n.

    Example:
        >>> pairwise_squared_distances(torch.tensor([[0.0, 0.0]]), torch.tensor([[3.0, 4.0], [0.0, 0.0]]))
        tensor([[25.,  0.]])
    """
    dtype = torch.promote_types(torch.promote_types(x.dtype, y.dtype), torch.float32)
    with torch.autocast(x.device.type, enabled=False):
        x, y = x.to(dtype), y.to(dtype)
        origin = y.mean(dim=0).detach()
        x, y = x - origin, y - origin
        squared = x.square().sum(1)[:, None] + y.square().sum(1)[None] - 2 * x @ y.T  # m n
    return squared.clamp_min(0)


def pairwise_distances(x: Tensor, y: Tensor) -> Tensor:
    """Euclidean distances of every row of ``x`` to every row of ``y``; the gradient at distance zero is zero.

    Args:
        x: rows, m d.
        y: rows, n d.

    Shape:
        m d, n d -> m n.

    Example:
        >>> pairwise_distances(torch.tensor([[0.0, 0.0]]), torch.tensor([[3.0, 4.0]]))
        tensor([[5.]])
    """
    return pairwise_squared_distances(x, y).clamp_min(1e-12).sqrt()
