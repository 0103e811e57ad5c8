"""Alignment of visible and infrared embeddings on top of the loss of any method, without a third modality."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from vireid._checks import check_number, check_type
from vireid.losses.alignment import IdentityAlignmentLoss
from vireid.losses.centers import widen
from vireid.losses.mmd import IdentityMMDLoss
from vireid.losses.outputs import LossOutput, add_term, check_parts, compute_terms, read_fields


class DirectAlignmentLoss(nn.Module):
    """Add θ L_ia and σ L_ma of visible and infrared embeddings themselves to the loss of any method.

    It is the counterpart of :class:`AuxiliaryModalityLoss` for a network without an auxiliary modality, and needs
    nothing but embeddings: no generator, no third pass, no weights and no state. L_ia (Eq. 12) has the visible
    embeddings in the auxiliary ones' place, and L_ma is the MMD between the modalities (Eq. 16), as in the first row of
    MUN's Table 3.

    The output has the fields that ``loss`` needs, and ``visible`` and ``infrared`` (b d). With v views the visible
    field has v · b rows, all first views first; the alignments take those.

    Args:
        loss: Loss of a method, a module called with the output and the identities that returns a :class:`LossOutput`.
        identity_alignment_weight: θ, at least 0.
        modality_alignment_weight: σ, at least 0.
        identity_alignment: Replacement for ``IdentityAlignmentLoss(normalize=True, reduction="mean")``.
        modality_alignment: Replacement for ``IdentityMMDLoss(unbiased=True)``, which needs two images of a person in
            each modality; called with both embeddings and the identities.

    Shape:
        output of b pairs, identities b -> :class:`LossOutput` with the terms of ``loss``, ``identity_alignment`` and
        ``modality_alignment``; a term of weight zero is left out.

    Raises:
        ValueError: If a weight is out of its range, the shapes do not match, or ``loss`` has such a term already.
        TypeError: If the output lacks a field that a term needs, or ``loss`` returns something else.

    Example:
        >>> import torch
        >>> from types import SimpleNamespace
        >>> from vireid.losses import BaselineLoss
        >>> logits, embeddings = torch.zeros(4, 2), torch.rand(4, 8)
        >>> output = SimpleNamespace(
        ...     visible=embeddings, infrared=embeddings, visible_logits=logits, infrared_logits=logits)
        >>> list(DirectAlignmentLoss(BaselineLoss())(output, torch.tensor([0, 0, 1, 1])).terms)
        ['identity', 'identity_alignment', 'modality_alignment']

    References:
        Yu et al., Modality Unifying Network for Visible-Infrared Person Re-Identification, ICCV 2023.
    """

    def __init__(
        self,
        loss: nn.Module,
        *,
        identity_alignment_weight: float = 16.0,
        modality_alignment_weight: float = 1.0,
        identity_alignment: nn.Module | None = None,
        modality_alignment: nn.Module | None = None,
    ) -> None:
        super().__init__()
        check_type("loss", loss, nn.Module, "be a module")
        check_parts(identity_alignment=identity_alignment, modality_alignment=modality_alignment)
        self.theta = check_number("identity_alignment_weight", identity_alignment_weight, least=0)
        self.sigma = check_number("modality_alignment_weight", modality_alignment_weight, least=0)
        self.loss = loss
        self.identity_alignment = identity_alignment or IdentityAlignmentLoss(normalize=True, reduction="mean")
        self.modality_alignment = modality_alignment or IdentityMMDLoss(unbiased=True)

    def forward(self, output: Any, identities: Tensor) -> LossOutput:
        """Compute the terms of the method, θ L_ia and σ L_ma."""
        terms = compute_terms(self.loss, output, identities)
        v, r = read_fields(output, "visible", "infrared")
        v = widen(v[: len(r)])  # its two parts in L_ia have one gradient, which is rounded once
        if self.theta:
            add_term(terms, "identity_alignment", self.theta * self.identity_alignment(v, r, v, identities))
        if self.sigma:
            add_term(terms, "modality_alignment", self.sigma * self.modality_alignment(v, r, identities))
        return LossOutput.from_terms(terms)

    def extra_repr(self) -> str:
        """Name the weights."""
        return f"identity_alignment_weight={self.theta}, modality_alignment_weight={self.sigma}"
