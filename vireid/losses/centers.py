"""Sums and means over the rows of each identity, in float32 or wider for any input, also under autocast."""

from __future__ import annotations

import torch
from torch import Tensor


def identity_centers(rows: Tensor, identities: Tensor) -> tuple[Tensor, Tensor]:
    """Compute the mean of each row's identity, b d, and the number of its rows, b.

    The result has a row for every row of the input, not for every identity, so that the rows may come in any order. An
    identity with k rows appears k times: weight its rows by 1/k.
    """
    same = identities[:, None] == identities[None]
    sums = sum_same(rows, same)
    counts = same.sum(1).to(sums.dtype)
    return sums / counts[:, None], counts


def sum_same(values: Tensor, same: Tensor) -> Tensor:
    """Add up the values, b or b d, of the rows that ``same``, b b, marks for each row."""
    values = widen(values)
    with torch.autocast(values.device.type, enabled=False):  # a float16 sum overflows at 65504
        return same.to(values.dtype) @ values


def widen(rows: Tensor) -> Tensor:
    """Convert half precision to float32; float32 and float64 stay as they are."""
    return rows.to(torch.promote_types(rows.dtype, torch.float32))
