"""The maximum mean discrepancy (MMD) of two modalities, identity by identity (Eq. 16)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vireid._checks import check_embeddings, check_flags, check_identities, check_number
from vireid.distances import pairwise_squared_distances
from vireid.losses.centers import sum_same


class IdentityMMDLoss(nn.Module):
    """Compute the squared distance of two sets' means in the space of a Gaussian kernel, by identity (Eq. 16).

    The kernel is the sum of five Gaussians exp(−d²/bₛ) with bₛ = b·2ˢ, s = −2 … 2, where b is the mean squared distance
    between different rows of both sets of the identity, detached (A28 in the paper notes). The result is the mean over
    the identities that both sets have; without any, it is a differentiable zero.

    The biased estimator is not zero at alignment: for two samples of k rows from one distribution it is near 6.19/k.
    The unbiased estimator leaves out the terms of a row with itself: it is near zero there, and negative where rows of
    one set are closer to those of the other than to each other, as auxiliary embeddings are to those that they are made
    of. It needs two rows of an identity in each set; an identity with fewer contributes zero.

    Args:
        unbiased: Whether to take the unbiased estimator.
        margin: Value up to which an identity contributes zero; above it, its whole value counts. At least 0; None in
            MUN. MMD-ReID's 1.4 belongs to K = 4 rows a set and the biased estimator.

    Shape:
        x m d, y n d, x_identities m, y_identities n -> scalar. ``y_identities`` are ``x_identities`` unless given.

    Raises:
        ValueError: If ``margin`` is negative or the shapes do not match.
        TypeError: If the sets are not floating point or the identities not integers.

    Example:
        >>> loss = IdentityMMDLoss()
        >>> x, identities = torch.tensor([[0.0], [1.0]]), torch.tensor([0, 0])
        >>> loss(x, x, identities), loss(x, x + 10, identities)
        (tensor(0.), tensor(6.9780))

    References:
        Jambigi et al., MMD-ReID: A Simple but Effective Solution for Visible-Thermal Person ReID, BMVC 2021.
    """

    def __init__(self, *, unbiased: bool = False, margin: float | None = None) -> None:
        super().__init__()
        check_flags(unbiased=unbiased)
        self.unbiased = unbiased
        self.margin = None if margin is None else check_number("margin", margin, least=0)

    def forward(self, x: Tensor, y: Tensor, x_identities: Tensor, y_identities: Tensor | None = None) -> Tensor:
        """‖mean φ(x) − mean φ(y)‖², the mean over the identities."""
        check_embeddings("x", x)
        check_embeddings("y", y, like=x)
        check_identities("x_identities", x_identities, x)
        if y_identities is None:
            check_identities("x_identities", x_identities, y)
            y_identities = x_identities
        check_identities("y_identities", y_identities, y)

        rows = torch.cat([x, y])  # r d, r = m + n
        identities = torch.cat([x_identities, y_identities])
        in_x = torch.arange(len(rows), device=rows.device) < len(x)
        squared = pairwise_squared_distances(rows, rows)  # r r
        same = identities[:, None] == identities[None]

        # Everything about a row's identity is computed at that row, so that identities may come in any order.
        count_x, count_y = (sum_same(members.to(squared.dtype), same) for members in (in_x, ~in_x))  # r
        count = count_x + count_y
        bandwidth = sum_same((squared.detach() * same).sum(1), same) / (count * (count - 1)).clamp_min(1)
        kernel = same * sum(torch.exp(-squared / (bandwidth[:, None] * 2.0**s).clamp_min(1e-12)) for s in range(-2, 3))
        own = torch.where(in_x, count_x, count_y)
        other = count - own
        within = in_x[:, None] == in_x[None]
        if self.unbiased:
            itself = torch.eye(len(rows), dtype=torch.bool, device=rows.device)
            kernel = kernel.masked_fill(itself, 0)
            mean_own = (kernel * within).sum(1) / (own - 1).clamp_min(1)
            defined = (count_x > 1) & (count_y > 1)
        else:
            mean_own = (kernel * within).sum(1) / own
            defined = (count_x > 0) & (count_y > 0)
        mean_other = (kernel * ~within).sum(1) / other.clamp_min(1)
        # A row's share of its identity's value: the mean over its own set of k(own) − k(other).
        shares = ((mean_own - mean_other) / own).masked_fill(~defined, 0)  # r
        if self.margin is not None:
            shares = shares.masked_fill(sum_same(shares.detach(), same) <= self.margin, 0)
        discrepancy = shares.sum()
        shared = (count_x > 0) & (count_y > 0)
        return discrepancy / (shared / count).sum().clamp_min(1)

    def extra_repr(self) -> str:
        """Name the settings."""
        return f"unbiased={self.unbiased}, margin={self.margin}"
