"""MUN's loss (Sec. 3.5, Eq. 17)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from vireid._checks import check_number
from vireid.losses.alignment import IdentityAlignmentLoss, ModalityAlignmentLoss
from vireid.losses.identity import IdentityConsistencyLoss, IdentityLoss
from vireid.losses.outputs import LossOutput, check_parts, read_fields
from vireid.losses.triplet import BatchHardTripletLoss


class MUNLoss(nn.Module):
    """Compute L = L_id + L_tri + γ L_idc + θ L_ia + σ L_ma (Eq. 17) from the output of a network.

    The triplet loss takes the visible and infrared embeddings of the batch together (A23 in the paper notes). A term of
    weight zero is left out and costs nothing. With γ = θ = σ = 0 this is the loss of the baseline B of Table 1, for a
    network without an auxiliary modality. The defaults are the paper's; :meth:`recommended` has the forms that help.

    The output is any object with the fields ``visible``, ``infrared`` (b d), ``visible_logits`` and
    ``infrared_logits`` (b n); for γ also ``auxiliary_visible_logits`` and ``auxiliary_infrared_logits`` (b n), for θ
    and σ ``auxiliary`` (b d), for L_id^a ``auxiliary_logits`` (b n). Row j of each belongs to pair j.

    Args:
        embedding_dim: Dimension d of the embeddings.
        batch_size: Number of pairs in a batch, P · K.
        iterations: Number of training iterations of the whole run, for the schedule of the prototypes.
        identity_consistency_weight: γ, at least 0; 0.25 in the paper.
        identity_alignment_weight: θ, at least 0; 0.5 in the paper.
        modality_alignment_weight: σ, at least 0; 0.008 in the paper.
        auxiliary_identity_weight: Weight of L_id^a, the identity loss of a third classifier on the auxiliary
            embeddings, which Tables 1 and 5 use in place of L_idc (A19 in the paper notes); at least 0.
        triplet: Replacement for the default L_tri, called with embeddings and identities.
        identity_alignment: Replacement for the default L_ia.
        modality_alignment: Replacement for the default L_ma; the first three arguments are then unused.

    Shape:
        output of b pairs, identities b -> :class:`LossOutput` with the terms ``identity``, ``triplet``,
        ``identity_consistency``, ``identity_alignment``, ``modality_alignment`` and ``auxiliary_identity``.

    Raises:
        ValueError: If an argument is out of its range, the shapes do not match, or (on a CPU) a label has no logit.
        TypeError: If the output lacks a field that a term needs.

    Example:
        >>> from types import SimpleNamespace
        >>> logits, embeddings = torch.zeros(4, 2), torch.rand(4, 8)
        >>> output = SimpleNamespace(
        ...     visible=embeddings, infrared=embeddings, auxiliary=embeddings, visible_logits=logits,
        ...     infrared_logits=logits, auxiliary_visible_logits=logits, auxiliary_infrared_logits=logits)
        >>> total, terms = MUNLoss(8, batch_size=4, iterations=100)(output, torch.tensor([0, 0, 1, 1]))
        >>> list(terms)
        ['identity', 'triplet', 'identity_consistency', 'identity_alignment', 'modality_alignment']

    References:
        Yu et al., Modality Unifying Network for Visible-Infrared Person Re-Identification, ICCV 2023.
    """

    def __init__(
        self,
        embedding_dim: int,
        *,
        batch_size: int,
        iterations: int,
        identity_consistency_weight: float = 0.25,
        identity_alignment_weight: float = 0.5,
        modality_alignment_weight: float = 0.008,
        auxiliary_identity_weight: float = 0.0,
        triplet: nn.Module | None = None,
        identity_alignment: nn.Module | None = None,
        modality_alignment: nn.Module | None = None,
    ) -> None:
        super().__init__()
        check_parts(triplet=triplet, identity_alignment=identity_alignment, modality_alignment=modality_alignment)
        self.gamma = check_number("identity_consistency_weight", identity_consistency_weight, least=0)
        self.theta = check_number("identity_alignment_weight", identity_alignment_weight, least=0)
        self.sigma = check_number("modality_alignment_weight", modality_alignment_weight, least=0)
        self.auxiliary_identity_weight = check_number("auxiliary_identity_weight", auxiliary_identity_weight, least=0)
        self.identity = IdentityLoss()
        self.triplet = triplet or BatchHardTripletLoss()
        self.identity_consistency = IdentityConsistencyLoss()
        self.identity_alignment = identity_alignment or IdentityAlignmentLoss()
        self.modality_alignment: nn.Module | None = None
        if self.sigma:  # without it, the projections would be parameters that no gradient reaches
            self.modality_alignment = modality_alignment or ModalityAlignmentLoss(
                embedding_dim, batch_size=batch_size, iterations=iterations
            )

    @classmethod
    def recommended(cls, embedding_dim: int, *, batch_size: int, iterations: int) -> MUNLoss:
        """Make the loss with L_ia and L_ma in the forms that help on synthetic people, in place of the paper's.

        L_ia is a mean over the people of a batch, of embeddings of unit length, with θ = 16: for 8 people that is a
        sum with θ = 2. L_ma has no projections and is unbiased, with σ = 1, and may be negative. The page "Does it
        help?" has the evidence.

        Args:
            embedding_dim: Dimension d of the embeddings.
            batch_size: Number of pairs in a batch, P · K.
            iterations: Number of training iterations of the whole run.

        Example:
            >>> MUNLoss.recommended(8, batch_size=4, iterations=100).theta
            16.0
        """
        return cls(
            embedding_dim,
            batch_size=batch_size,
            iterations=iterations,
            identity_alignment_weight=16,
            modality_alignment_weight=1,
            identity_alignment=IdentityAlignmentLoss(normalize=True, reduction="mean"),
            modality_alignment=ModalityAlignmentLoss(
                embedding_dim, batch_size=batch_size, iterations=iterations, projection="none", unbiased=True
            ),
        )

    def forward(self, output: Any, identities: Tensor) -> LossOutput:
        """L_id + L_tri + γ L_idc + θ L_ia + σ L_ma, and L_id^a on request."""
        v, r, v_logits, r_logits = read_fields(output, "visible", "infrared", "visible_logits", "infrared_logits")
        terms = {
            "identity": self.identity(v_logits, identities) + self.identity(r_logits, identities),
            "triplet": self.triplet(torch.cat([v, r]), torch.cat([identities, identities])),
        }
        if self.gamma:
            logits = read_fields(output, "auxiliary_visible_logits", "auxiliary_infrared_logits")
            terms["identity_consistency"] = self.gamma * self.identity_consistency(*logits, identities)
        if self.theta:
            (a,) = read_fields(output, "auxiliary")
            terms["identity_alignment"] = self.theta * self.identity_alignment(v, r, a, identities)
        if self.modality_alignment is not None:
            (a,) = read_fields(output, "auxiliary")
            terms["modality_alignment"] = self.sigma * self.modality_alignment(v, r, a, identities)
        if self.auxiliary_identity_weight:
            remedy = "MUN has it with auxiliary_classifier=True."
            (a_logits,) = read_fields(output, "auxiliary_logits", remedy=remedy)
            terms["auxiliary_identity"] = self.auxiliary_identity_weight * self.identity(a_logits, identities)
        return LossOutput.from_terms(terms)

    def extra_repr(self) -> str:
        """Name the weights."""
        return (
            f"identity_consistency_weight={self.gamma}, identity_alignment_weight={self.theta}, "
            f"modality_alignment_weight={self.sigma}, auxiliary_identity_weight={self.auxiliary_identity_weight}"
        )
