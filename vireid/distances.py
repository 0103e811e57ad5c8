"""Pairwise distances, shared by the losses and the evaluation."""

from __future__ import annotations

import torch
from torch import Tensor


def pairwise_squared_distances(x: Tensor, y: Tensor, *, shift: bool = True) -> Tensor:
    """Compute the squared Euclidean distance of every row of ``x`` to every row of ``y``, never negative.

    The distances are ‖x‖² + ‖y‖² − 2x·y, computed in float32, or in float64 if an input is float64, also under
    autocast. By default the origin is first moved to the mean of ``y``: far less is then lost to rounding where all
    rows lie far from the origin, but distances that are equal in theory may differ in the last digit. To rank, use
    ``shift=False``: rows of integers, such as binary codes, have exact distances then, and equal distances stay equal,
    as long as ‖x‖² + ‖y‖² stays below 2²⁴ (2⁵³ in float64). For rows of other values neither form promises ties.

    Args:
        x: Rows, m d.
        y: Rows, n d.
        shift: Whether to move the origin to the mean of ``y`` first.

    Shape:
        m d, n d -> m n.

    Example:
        >>> pairwise_squared_distances(torch.tensor([[0.0, 0.0]]), torch.tensor([[3.0, 4.0], [0.0, 0.0]]))
        tensor([[25.,  0.]])
    """
    dtype = torch.promote_types(torch.promote_types(x.dtype, y.dtype), torch.float32)
    with torch.autocast(x.device.type, enabled=False):
        x, y = x.to(dtype), y.to(dtype)
        if shift:
            origin = y.mean(dim=0).detach()
            x, y = x - origin, y - origin
        squared = x.square().sum(1)[:, None] + y.square().sum(1)[None] - 2 * x @ y.T  # m n
    return squared.clamp_min(0)


def pairwise_distances(x: Tensor, y: Tensor) -> Tensor:
    """Compute the Euclidean distance of every row of ``x`` to every row of ``y``, with a gradient of zero at zero.

    The smallest distance is 1e-6, so that the root stays differentiable. This is the form for losses; rank by
    :func:`pairwise_squared_distances`, which keeps smaller distances apart.

    Args:
        x: Rows, m d.
        y: Rows, n d.

    Shape:
        m d, n d -> m n.

    Example:
        >>> pairwise_distances(torch.tensor([[0.0, 0.0]]), torch.tensor([[3.0, 4.0]]))
        tensor([[5.]])
    """
    return pairwise_squared_distances(x, y).clamp_min(1e-12).sqrt()
