"""MUN's alignment of identity centres (Sec. 3.3, Eq. 12) and of modality prototypes (Sec. 3.4, Eq. 13-16)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vireid._checks import (
    IDENTITIES_OF,
    check_choice,
    check_flags,
    check_integer,
    check_modalities,
    check_number,
    require,
)
from vireid.distances import pairwise_distances
from vireid.losses.centers import identity_centers, widen
from vireid.losses.identity import check_labels
from vireid.losses.mmd import IdentityMMDLoss


class IdentityAlignmentLoss(nn.Module):
    """Pull each identity's visible and infrared centres to its auxiliary centre and other identities' away (Eq. 12).

    A hinge bounds the loss, which the paper does not write: without it the margin has no effect on the gradient (A20 in
    the paper notes). An identity without a negative in the batch contributes zero. Identities may come in any order and
    any number of images.

    Args:
        margin: α, in units of the embedding, at least 0; 0.55 in the paper.
        hinge: Whether to cut each identity's term off at zero; False is Eq. 12 to the letter.
        reduction: ``"sum"`` over the identities, as in Eq. 12, or ``"mean"`` (A21).
        normalize: Whether to scale the embeddings to unit length first (A22).

    Shape:
        visible b d, infrared b d, auxiliary b d, identities b -> scalar. Row j of all three has identity j; with
        ``infrared_identities`` and ``auxiliary_identities`` each modality has its own number and order of rows. An
        auxiliary identity that is not in both other modalities contributes zero.

    Raises:
        ValueError: If an argument is out of its range or the shapes do not match.
        TypeError: If the embeddings are not floating point or the identities not integers.

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
        check_flags(hinge=hinge, normalize=normalize)
        self.margin = check_number("margin", margin, least=0)
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
        term, weight = self._terms(
            (visible, infrared, auxiliary), (identities, infrared_identities, auxiliary_identities)
        )
        total = (weight * (torch.relu(term) if self.hinge else term)).sum()
        return total / weight.sum() if self.reduction == "mean" else total

    def active_share(self, visible: Tensor, infrared: Tensor, auxiliary: Tensor, identities: Tensor) -> Tensor:
        """Compute the share of identities whose hinge is active, from 0 to 1; it stays at 1 if all Z^a are alike."""
        term, weight = self._terms((visible, infrared, auxiliary), (identities, None, None))
        return (weight * (term > 0)).sum() / weight.sum()

    def extra_repr(self) -> str:
        """Name the settings."""
        settings = f"margin={self.margin}, hinge={self.hinge}, reduction={self.reduction!r}"
        return f"{settings}, normalize={self.normalize}"

    def _terms(
        self, embeddings: tuple[Tensor, Tensor, Tensor], identities: tuple[Tensor, Tensor | None, Tensor | None]
    ) -> tuple[Tensor, Tensor]:
        """Compute each row's term of Eq. 12 before the hinge, 0 without a negative, and its weight."""
        v_identities, r_identities, a_identities = check_modalities(embeddings, identities)
        v, r, a = embeddings
        if self.normalize:
            v, r, a = (F.normalize(widen(rows)) for rows in (v, r, a))

        # Each row stands for its identity with the weight 1/count, so that neither order nor number of rows matters.
        visible_centers, _ = identity_centers(v, v_identities)
        infrared_centers, _ = identity_centers(r, r_identities)
        anchors, counts = identity_centers(a, a_identities)
        distances = pairwise_distances(anchors, torch.cat([visible_centers, infrared_centers]))  # b_a (b_v + b_r)
        same = a_identities[:, None] == torch.cat([v_identities, r_identities])
        positive = distances.masked_fill(~same, -torch.inf).amax(1)
        negative = distances.masked_fill(same, torch.inf).amin(1)
        in_both = same[:, : len(v)].any(1) & same[:, len(v) :].any(1)
        defined = in_both & ~same.all(1)
        return (self.margin + positive - negative).masked_fill(~defined, 0), 1 / counts


class ModalityAlignmentLoss(nn.Module):
    """Align the three modalities' prototypes, features that are accumulated over the run (Eq. 13-16).

    The prototypes are T⁰ = W Z and then Tⁱ = β W Z + (1 − β) Tⁱ⁻¹ with a detached history, so that the gradient grows
    with β, from 1e-8 to 1 over ``iterations`` (A27 in the paper notes). W is a linear map per modality (A24, A25) of d²
    weights: for three modalities 12.6 million at d = 2048 and 616 million at d = 14,336.

    A forward pass in training mode counts as an iteration: it updates the history and moves β, which stays 1 past the
    last one. Use one instance per feature, and call it once per training step. Rows that are not finite, as float16 may
    produce, never enter the history. A forward pass in evaluation mode changes nothing. History and iteration are
    buffers, saved with the state.

    Args:
        embedding_dim: Dimension d of the embeddings.
        batch_size: Number b of rows in each modality, P · K: the history has a slot per position in the batch (A26).
            Unused with ``num_identities``.
        iterations: Number of training iterations of the whole run.
        num_identities: Number of identities, labelled from 0. If given, the history has a slot per identity instead,
            the mean of its latest prototypes (A26), and batches may be of any size.
        prototypes: Whether to accumulate prototypes; False aligns the embeddings Z themselves (Table 3).
        bridge: Whether to align visible and infrared with the auxiliary modality; False aligns them directly (Table 3).
        projection: Start of W, ``"identity"`` or ``"random"`` like any linear layer of PyTorch; ``"none"`` for no W.
        schedule: Steps in which β rises, ``"linear"`` or ``"logarithmic"``.
        unbiased: Whether to take the unbiased estimator of the MMD (A28).

    Shape:
        visible b d, infrared b d, auxiliary b d, identities b -> scalar. Row j of all three has identity j; with
        ``infrared_identities`` and ``auxiliary_identities`` each modality has its own order of rows, and with
        ``num_identities`` its own number.

    Raises:
        ValueError: If an argument is out of its range, the shapes do not match, or (on a CPU) a label has no slot.
        TypeError: If the embeddings are not floating point or the identities not integers.

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
        batch_size: int | None = None,
        iterations: int,
        num_identities: int | None = None,
        prototypes: bool = True,
        bridge: bool = True,
        projection: Literal["identity", "random", "none"] = "identity",
        schedule: Literal["linear", "logarithmic"] = "linear",
        unbiased: bool = False,
    ) -> None:
        super().__init__()
        check_choice("projection", projection, ("identity", "random", "none"))
        check_choice("schedule", schedule, ("linear", "logarithmic"))
        check_flags(prototypes=prototypes, bridge=bridge)
        self.embedding_dim = check_integer("embedding_dim", embedding_dim, least=1)
        self.iterations = check_integer("iterations", iterations, least=1)
        self.batch_size = batch_size
        self.num_identities = num_identities
        self.bridge = bridge
        self.projection = projection
        self.schedule = schedule
        self.mmd = IdentityMMDLoss(unbiased=unbiased)
        if num_identities is None:
            slots = check_integer("batch_size", batch_size, least=1)
        else:
            slots = check_integer("num_identities", num_identities, least=1)
        self.projections = nn.ModuleList()
        if prototypes:
            modalities = 3 if bridge else 2
            self.projections.extend(_projection(embedding_dim, projection) for _ in range(modalities))
            self.register_buffer("history", torch.zeros(modalities, slots, embedding_dim))
            self.register_buffer("seen", torch.zeros(modalities, slots, dtype=torch.bool))
            self.register_buffer("iteration", torch.zeros((), dtype=torch.int64))

    @property
    def beta(self) -> Tensor:
        """The updating ratio β of the coming iteration, for slots with a history."""
        rise = (self.iteration.to(self.history.dtype) / max(self.iterations - 1, 1)).clamp(max=1)
        if self.schedule == "logarithmic":
            return self.smallest_beta ** (1 - rise)
        return self.smallest_beta + (1 - self.smallest_beta) * rise

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
        """1/P Σ_p mmd(T_p^v, T_p^a) + mmd(T_p^a, T_p^r)."""
        v, r, a = embeddings = (visible, infrared, auxiliary)
        of_all = check_modalities(embeddings, (identities, infrared_identities, auxiliary_identities))
        v_identities, r_identities, a_identities = of_all
        if self.projections:
            self._check_slots(embeddings[: len(self.projections)], of_all)
            v, r = self._accumulate(0, v, v_identities), self._accumulate(1, r, r_identities)
            a = self._accumulate(2, a, a_identities) if self.bridge else a
            if self.training:
                self.iteration += 1
        loss: Tensor = (
            self.mmd(v, a, v_identities, a_identities) + self.mmd(a, r, a_identities, r_identities)
            if self.bridge
            else self.mmd(v, r, v_identities, r_identities)
        )
        return loss

    def extra_repr(self) -> str:
        """Name the settings."""
        return (
            f"embedding_dim={self.embedding_dim}, batch_size={self.batch_size}, iterations={self.iterations}, "
            f"num_identities={self.num_identities}, prototypes={len(self.projections) > 0}, bridge={self.bridge}, "
            f"projection={self.projection!r}, schedule={self.schedule!r}"
        )

    def _accumulate(self, m: int, rows: Tensor, identities: Tensor) -> Tensor:
        """Compute the prototypes of modality ``m``, and update their history in training mode (Eq. 13-14)."""
        slots = torch.arange(len(rows), device=rows.device) if self.num_identities is None else identities.long()
        with torch.autocast(rows.device.type, enabled=False):
            projected = self.projections[m](rows.to(self.history.dtype))
        history, seen = self.history[m], self.seen[m]
        beta = torch.where(seen[slots], self.beta, 1)[:, None]  # b 1
        prototypes: Tensor = beta * projected + (1 - beta) * history[slots]  # b d
        if self.training:
            kept = prototypes.detach().isfinite().all(1, keepdim=True)  # b 1
            counts = torch.zeros_like(history[:, :1]).index_add(0, slots, kept.to(history.dtype))
            sums = torch.zeros_like(history).index_add(0, slots, prototypes.detach().where(kept, 0))
            history.copy_(torch.where(counts > 0, sums / counts.clamp_min(1), history))
            seen.logical_or_(counts[:, 0] > 0)
        return prototypes

    def _check_slots(self, modalities: tuple[Tensor, ...], identities: list[Tensor]) -> None:
        """Require that every row has a slot."""
        shape = (self.batch_size, self.embedding_dim)
        remedy = "batch_size is the number of rows of each modality; with num_identities they may be of any number."
        for (name, labels), rows, own in zip(IDENTITIES_OF.items(), modalities, identities, strict=False):
            if self.num_identities is None:
                rule = f"have shape {shape}, the slots of the prototypes"
                require(tuple(rows.shape) == shape, name, rule, tuple(rows.shape), remedy)
            else:
                rule = f"have d = {self.embedding_dim} like the prototypes"
                require(rows.shape[1] == self.embedding_dim, name, rule, tuple(rows.shape))
                check_labels(labels, own, self.num_identities, "the slots of the prototypes")


def _projection(embedding_dim: int, start: str) -> nn.Module:
    if start == "none":
        return nn.Identity()
    projection = nn.Linear(embedding_dim, embedding_dim, bias=False)
    if start == "identity":
        nn.init.eye_(projection.weight)
    return projection
