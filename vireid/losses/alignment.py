"""MUN's alignment of identity centres (Sec. 3.3, Eq. 12) and of modality prototypes (Sec. 3.4, Eq. 13-16)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vireid._checks import (
    check_choice,
    check_embeddings,
    check_identities,
    require,
    values_can_be_checked,
)
from vireid.distances import pairwise_distances
from vireid.losses.mmd import IdentityMMDLoss


class IdentityAlignmentLoss(nn.Module):
    """Pull each identity's visible and infrared centres to its auxiliary one, and other identities' away (Eq. 12).

    A hinge keeps the loss bounded; the paper writes none, and without it the margin has no effect on the gradient
    (A20). An identity without another one in the batch has no negative and contributes zero. Identities may come in
    any order and any number of images.

    Args:
        margin: α, in units of the embedding; the paper's 0.55.
        hinge: cut each identity's term off at zero; False is Eq. 12 to the letter (A20).
        reduction: ``"sum"`` over the identities as in Eq. 12, or their ``"mean"`` (A21).
        normalize: take embeddings of unit length, rather than the raw Z (A22).

    Shape:
        visible b d, infrared b d, auxiliary b d, identities b -> scalar. Row j of all three has identity j; with
        ``infrared_identities`` and ``auxiliary_identities`` each modality has its own number of rows and labels. An
        auxiliary identity must then be seen in both modalities; one that is not contributes zero.

    Raises:
        ValueError: an argument is out of its range or the shapes do not match.
        TypeError: the embeddings are not floating point or the identities not integers.

    Example:
        >>> loss = IdentityAlignmentLoss(margin=1.0)
        >>> visible, infrared, auxiliary = torch.tensor([[[0.0], [2.0]], [[0.0], [3.0]], [[0.5], [2.5]]])
        >>> loss(visible, infrared, auxiliary, torch.tensor([7, 9]))
        tensor(0.)
        >>> loss(visible, infrared, auxiliary + 1, torch.tensor([7, 9]))
        tensor(2.)

    References:
        Yu et al., Modality Unifying Network for Visible-Infrared Person Re-Identification, ICCV 2023.
    """

    def __init__(
        self,
        margin: float = 0.55,
        *,
        hinge: bool = True,
        reduction: Literal["sum", "mean"] = "sum",
        normalize: bool = False,
    ) -> None:
        super().__init__()
        check_choice("reduction", reduction, ("sum", "mean"))
        self.margin = margin
        self.hinge = hinge
        self.reduction = reduction
        self.normalize = normalize

    def forward(
        self,
        visible: Tensor,
        infrared: Tensor,
        auxiliary: Tensor,
        identities: Tensor,
        *,
        infrared_identities: Tensor | None = None,
        auxiliary_identities: Tensor | None = None,
    ) -> Tensor:
        """Σ_i [α + max_m ‖C_i^a − C_i^m‖ − min_{m, q≠i} ‖C_i^a − C_q^m‖]₊."""
        infrared_identities = identities if infrared_identities is None else infrared_identities
        auxiliary_identities = identities if auxiliary_identities is None else auxiliary_identities
        _check_modalities(visible, infrared, auxiliary)
        check_identities("identities", identities, visible)
        check_identities("infrared_identities", infrared_identities, infrared)
        check_identities("auxiliary_identities", auxiliary_identities, auxiliary)
        if self.normalize:
            visible, infrared, auxiliary = F.normalize(visible), F.normalize(infrared), F.normalize(auxiliary)

        # Each row stands for its identity with the weight 1/count, so that neither order nor number of rows matters.
        anchors, anchor_counts = _centres(auxiliary, auxiliary_identities)
        visible_centres, infrared_centres = _centres(visible, identities)[0], _centres(infrared, infrared_identities)[0]
        distances = pairwise_distances(anchors, torch.cat([visible_centres, infrared_centres]))  # b_a (b_v + b_r)
        same = auxiliary_identities[:, None] == torch.cat([identities, infrared_identities])
        positive = distances.masked_fill(~same, -torch.inf).amax(1)
        negative = distances.masked_fill(same, torch.inf).amin(1)
        in_both = same[:, : len(visible)].any(1) & same[:, len(visible) :].any(1)
        defined = in_both & ~same.all(1)
        term = self.margin + positive - negative
        term = (torch.relu(term) if self.hinge else term).masked_fill(~defined, 0)
        weight = 1 / anchor_counts
        total = (weight * term).sum()
        return total / weight.sum() if self.reduction == "mean" else total


class ModalityAlignmentLoss(nn.Module):
    """Align the three modalities' prototypes, the features accumulated over the run (Eq. 13-16).

    The prototypes are T⁰ = W Z and then Tⁱ = β W Z + (1 − β) Tⁱ⁻¹, whose history is detached, so that the gradient
    grows with β. β rises from 1e-8 to 1 over ``iterations`` forward passes in training mode and stays there (A27). W is
    a linear map per modality (A24, A25). The prototypes and the position in the schedule are buffers, saved with the
    state. In evaluation mode a forward pass neither changes them nor moves the schedule.

    Args:
        embedding_dim: d of the embeddings.
        batch_size: b, the pairs in a batch, P · K: the prototypes have one slot per position in the batch (A26).
        iterations: training iterations of the whole run.
        num_identities: if given, the prototypes have one slot per identity instead, labelled from 0: the history of a
            row is then the mean of its identity's latest prototypes, whichever batch held them (A26).
        prototypes: False takes the embeddings Z in place of the prototypes (Table 3).
        bridge: False aligns visible with infrared directly, rather than both with the auxiliary (Table 3).
        projection: W starts as the ``"identity"``, or at ``"random"`` like any layer of PyTorch; ``"none"`` has no W.
        schedule: β rises in ``"linear"`` or in ``"logarithmic"`` steps.
        unbiased: take the unbiased estimator of the MMD (A28).

    Shape:
        visible b d, infrared b d, auxiliary b d, identities b -> scalar.

    Raises:
        ValueError: an argument is out of its range, the shapes do not match, or (on a CPU) a label has no slot.
        TypeError: the embeddings are not floating point or the identities not integers.

    Example:
        >>> loss = ModalityAlignmentLoss(embedding_dim=8, batch_size=4, iterations=100)
        >>> visible, infrared, auxiliary = torch.rand(3, 4, 8)
        >>> loss(visible, infrared, auxiliary, torch.tensor([0, 0, 1, 1])) > 0
        tensor(True)

    References:
        Yu et al., Modality Unifying Network for Visible-Infrared Person Re-Identification, ICCV 2023.
    """

    smallest_beta = 1e-8
    iteration: Tensor
    history: Tensor
    seen: Tensor

    def __init__(
        self,
        embedding_dim: int,
        *,
        batch_size: int,
        iterations: int,
        num_identities: int | None = None,
        prototypes: bool = True,
        bridge: bool = True,
        projection: Literal["identity", "random", "none"] = "identity",
        schedule: Literal["linear", "logarithmic"] = "linear",
        unbiased: bool = False,
    ) -> None:
        super().__init__()
        sizes = {"embedding_dim": embedding_dim, "batch_size": batch_size, "iterations": iterations}
        for argument, size in sizes.items():
            require(size >= 1, argument, "be at least 1", size)
        require(num_identities is None or num_identities >= 1, "num_identities", "be at least 1", num_identities)
        check_choice("projection", projection, ("identity", "random", "none"))
        check_choice("schedule", schedule, ("linear", "logarithmic"))
        self.batch_size = batch_size
        self.iterations = iterations
        self.by_identity = num_identities is not None
        self.bridge = bridge
        self.schedule = schedule
        self.mmd = IdentityMMDLoss(unbiased=unbiased)
        self.projections: nn.ModuleList | None = None
        if prototypes:
            modalities = 3 if bridge else 2
            slots = batch_size if num_identities is None else num_identities
            self.projections = nn.ModuleList(_projection(embedding_dim, projection) for _ in range(modalities))
            self.register_buffer("history", torch.zeros(modalities, slots, embedding_dim))
            self.register_buffer("seen", torch.zeros(slots, dtype=torch.bool))
            self.register_buffer("iteration", torch.zeros((), dtype=torch.int64))

    @property
    def beta(self) -> Tensor:
        """The updating ratio β of the coming iteration, as far as there is a history."""
        rise = (self.iteration.to(self.history.dtype) / max(self.iterations - 1, 1)).clamp(max=1)
        if self.schedule == "logarithmic":
            return self.smallest_beta ** (1 - rise)
        return self.smallest_beta + (1 - self.smallest_beta) * rise

    def forward(self, visible: Tensor, infrared: Tensor, auxiliary: Tensor, identities: Tensor) -> Tensor:
        """1/P Σ_p mmd(T_p^v, T_p^a) + mmd(T_p^a, T_p^r)."""
        _check_modalities(visible, infrared, auxiliary)
        for rows in (visible, infrared, auxiliary):
            check_identities("identities", identities, rows)
        modalities: Sequence[Tensor] = [visible, infrared, auxiliary] if self.bridge else [visible, infrared]
        if self.projections is not None:
            modalities = self._accumulate(self.projections, modalities, identities)
        if not self.bridge:
            v, r = modalities
            return self._mmd(v, r, identities)
        v, r, a = modalities
        return self._mmd(v, a, identities) + self._mmd(a, r, identities)

    def _mmd(self, x: Tensor, y: Tensor, identities: Tensor) -> Tensor:
        value: Tensor = self.mmd(x, y, identities)  # Eq. 16
        return value

    def _accumulate(
        self, projections: nn.ModuleList, modalities: Sequence[Tensor], identities: Tensor
    ) -> Sequence[Tensor]:
        """Eq. 13-14."""
        slots = self._slots(modalities[0], identities)
        projected = torch.stack([project(rows) for project, rows in zip(projections, modalities, strict=True)])
        beta = torch.where(self.seen[slots], self.beta, 1)[:, None]  # b 1
        prototypes = beta * projected + (1 - beta) * self.history[:, slots]  # m b d
        if self.training:
            counts = torch.zeros_like(self.history[0, :, 0]).index_add(0, slots, torch.ones_like(beta[:, 0]))[:, None]
            sums = torch.zeros_like(self.history).index_add(1, slots, prototypes.detach().to(self.history.dtype))
            self.history.copy_(torch.where(counts > 0, sums / counts.clamp_min(1), self.history))
            self.seen.logical_or_(counts[:, 0] > 0)
            self.iteration += 1
        return prototypes.unbind()

    def _slots(self, rows: Tensor, identities: Tensor) -> Tensor:
        """The slot of each row."""
        shape = (self.batch_size, self.history.shape[2])
        remedy = "embedding_dim and batch_size of this loss say how many prototypes there are."
        if not self.by_identity:
            rule = f"have shape {shape}, the slots of the prototypes"
            require(tuple(rows.shape) == shape, "visible", rule, tuple(rows.shape), remedy)
            return torch.arange(len(rows), device=rows.device)
        require(rows.shape[1] == shape[1], "visible", f"have d = {shape[1]} like the prototypes", tuple(rows.shape))
        if values_can_be_checked(identities):
            low, high = identities.min().item(), identities.max().item()
            rule = f"be labels from 0 to {self.history.shape[1] - 1}, the slots of the prototypes"
            require(low >= 0 and high < self.history.shape[1], "identities", rule, f"{low} … {high}")
        return identities


def _projection(embedding_dim: int, start: str) -> nn.Module:
    if start == "none":
        return nn.Identity()
    projection = nn.Linear(embedding_dim, embedding_dim, bias=False)
    if start == "identity":
        nn.init.eye_(projection.weight)
    return projection


def _centres(rows: Tensor, identities: Tensor) -> tuple[Tensor, Tensor]:
    """Each row's identity's mean, b d, and the number of its rows, b."""
    dtype = torch.promote_types(rows.dtype, torch.float32)
    same = (identities[:, None] == identities[None]).to(dtype)
    count = same.sum(1)
    with torch.autocast(rows.device.type, enabled=False):
        return same @ rows.to(dtype) / count[:, None], count


def _check_modalities(visible: Tensor, infrared: Tensor, auxiliary: Tensor) -> None:
    check_embeddings("visible", visible)
    check_embeddings("infrared", infrared, like=visible)
    check_embeddings("auxiliary", auxiliary, like=visible)
