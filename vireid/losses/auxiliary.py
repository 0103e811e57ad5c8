"""The losses of MUN's auxiliary modality on top of those of any method."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from vireid._checks import check_number, check_type
from vireid.losses.alignment import IdentityAlignmentLoss
from vireid.losses.identity import IdentityConsistencyLoss
from vireid.losses.outputs import LossOutput, add_term, check_parts, compute_terms, read_fields


class AuxiliaryModalityLoss(nn.Module):
    """Add γ L_idc, θ L_ia and, where it is given, σ L_ma to the loss of any method (Eq. 11-16).

    It answers one question for any baseline: does the auxiliary modality help it? The network is one with a generator,
    such as ``TwoStreamBaseline(…, generator="inputs")``. L_idc counts a classifier twice that serves both modalities.
    Unlike in :class:`MUNLoss`, the defaults are not the paper's but those that gained most on synthetic people: L_ia is
    a mean over the people of a batch, of embeddings of unit length, θ is 16 and σ is 1. L_ma then has no projections W
    and is unbiased: ``modality_alignment=ModalityAlignmentLoss(d, …, projection="none", unbiased=True)``.

    The output has the fields that ``loss`` needs, and ``auxiliary_visible_logits`` and ``auxiliary_infrared_logits``
    (b n) for γ, ``visible``, ``infrared`` and ``auxiliary`` (b d) for θ and σ. With v views the visible fields have
    v · b rows, all first views first; the alignments take those, from which the auxiliary modality is made.

    Args:
        loss: Loss of a method, a module called with the output and the identities that returns a :class:`LossOutput`.
        identity_consistency_weight: γ, at least 0; 0.25 in MUN.
        identity_alignment_weight: θ, at least 0; 0.5 in MUN, whose L_ia is a sum over the people, 8 in a batch.
        modality_alignment_weight: σ, at least 0, if L_ma is given; 0.008 in MUN.
        identity_consistency: Replacement for the default L_idc.
        identity_alignment: Replacement for ``IdentityAlignmentLoss(normalize=True, reduction="mean")``.
        modality_alignment: L_ma, such as :class:`ModalityAlignmentLoss`; None leaves it out.

    Shape:
        output of b pairs, identities b -> :class:`LossOutput` with the terms of ``loss``, ``identity_consistency``,
        ``identity_alignment`` and ``modality_alignment``; a term of weight zero is left out.

    Raises:
        ValueError: If a weight is out of its range, the shapes do not match, or ``loss`` has such a term already.
        TypeError: If the output lacks a field that a term needs, or ``loss`` returns something else.

    Example:
        >>> import torch
        >>> from types import SimpleNamespace
        >>> from vireid.losses import BaselineLoss
        >>> logits, embeddings = torch.zeros(4, 2), torch.rand(4, 8)
        >>> output = SimpleNamespace(
        ...     visible=embeddings, infrared=embeddings, auxiliary=embeddings,
        ...     visible_logits=logits, infrared_logits=logits,
        ...     auxiliary_visible_logits=logits, auxiliary_infrared_logits=logits)
        >>> list(AuxiliaryModalityLoss(BaselineLoss())(output, torch.tensor([0, 0, 1, 1])).terms)
        ['identity', 'identity_consistency', 'identity_alignment']

    References:
        Yu et al., Modality Unifying Network for Visible-Infrared Person Re-Identification, ICCV 2023.
    """

    def __init__(
        self,
        loss: nn.Module,
        *,
        identity_consistency_weight: float = 0.25,
        identity_alignment_weight: float = 16.0,
        modality_alignment_weight: float = 1.0,
        identity_consistency: nn.Module | None = None,
        identity_alignment: nn.Module | None = None,
        modality_alignment: nn.Module | None = None,
    ) -> None:
        super().__init__()
        check_type("loss", loss, nn.Module, "be a module")
        check_parts(
            identity_consistency=identity_consistency,
            identity_alignment=identity_alignment,
            modality_alignment=modality_alignment,
        )
        self.gamma = check_number("identity_consistency_weight", identity_consistency_weight, least=0)
        self.theta = check_number("identity_alignment_weight", identity_alignment_weight, least=0)
        self.sigma = check_number("modality_alignment_weight", modality_alignment_weight, least=0)
        self.loss = loss
        self.identity_consistency = identity_consistency or IdentityConsistencyLoss()
        self.identity_alignment = identity_alignment or IdentityAlignmentLoss(normalize=True, reduction="mean")
        self.modality_alignment = modality_alignment if self.sigma else None

    def forward(self, output: Any, identities: Tensor) -> LossOutput:
        """Compute the terms of the method, γ L_idc, θ L_ia and σ L_ma."""
        terms = compute_terms(self.loss, output, identities)
        if self.gamma:
            remedy = "A network with a generator has them."
            logits = read_fields(output, "auxiliary_visible_logits", "auxiliary_infrared_logits", remedy=remedy)
            add_term(terms, "identity_consistency", self.gamma * self.identity_consistency(*logits, identities))
        if self.theta:
            v, r, a = read_fields(output, "visible", "infrared", "auxiliary")
            add_term(terms, "identity_alignment", self.theta * self.identity_alignment(v[: len(r)], r, a, identities))
        if self.modality_alignment is not None:
            v, r, a = read_fields(output, "visible", "infrared", "auxiliary")
            add_term(terms, "modality_alignment", self.sigma * self.modality_alignment(v[: len(r)], r, a, identities))
        return LossOutput.from_terms(terms)

    def extra_repr(self) -> str:
        """Name the weights."""
        weights = f"identity_consistency_weight={self.gamma}, identity_alignment_weight={self.theta}"
        return f"{weights}, modality_alignment_weight={self.sigma}"
