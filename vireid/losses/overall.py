"""The overall loss of MUN (Sec. 3.5, Eq. 17)."""

from __future__ import annotations

from typing import NamedTuple, Protocol, cast

import torch
from torch import Tensor, nn

from vireid._checks import require
from vireid.losses.alignment import IdentityAlignmentLoss, ModalityAlignmentLoss
from vireid.losses.identity import IdentityConsistencyLoss, IdentityLoss
from vireid.losses.triplet import BatchHardTripletLoss


class OverallLossOutput(NamedTuple):
    """The weighted sum, and every term by name before its weight."""

    total: Tensor
    terms: dict[str, Tensor]


class OverallLoss(nn.Module):
    """L = L_id + L_tri + γ L_idc + θ L_ia + σ L_ma (Eq. 17), with every term by its name.

    A term of weight zero is left out and costs nothing; without γ, θ and σ it is the loss of B of Table 1, which takes
    the output of a network without an auxiliary modality. The triplet loss takes the visible and infrared embeddings of
    the batch together (A23).

    Args:
        embedding_dim: d of the embeddings.
        batch_size: b, the pairs in a batch, P · K.
        iterations: training iterations of the whole run, for the schedule of the prototypes (A27).
        identity_consistency_weight: γ; the paper's 0.25.
        identity_alignment_weight: θ; the paper's 0.5.
        modality_alignment_weight: σ; the paper's 0.008.
        auxiliary_identity_weight: of L_id^a, the identity loss of a third classifier on the auxiliary embeddings, which
            the paper's Tables 1 and 5 use in place of L_idc (A19).
        triplet: L_tri with other settings, or another loss of embeddings and identities.
        identity_alignment: L_ia with other settings.
        modality_alignment: L_ma with other settings.

    Shape:
        the output of a model such as MUN, identities b -> :class:`OverallLossOutput`.

    Raises:
        ValueError: an argument is out of its range, the shapes do not match, or (on a CPU) a label has no logit.

    Example:
        >>> from types import SimpleNamespace
        >>> logits, embeddings = torch.zeros(4, 2), torch.rand(4, 8)
        >>> output = SimpleNamespace(
        ...     visible=embeddings, infrared=embeddings, auxiliary=embeddings, visible_logits=logits,
        ...     infrared_logits=logits, auxiliary_visible_logits=logits, auxiliary_infrared_logits=logits)
        >>> total, terms = OverallLoss(8, batch_size=4, iterations=100)(output, torch.tensor([0, 0, 1, 1]))
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
        identity_alignment: IdentityAlignmentLoss | None = None,
        modality_alignment: ModalityAlignmentLoss | None = None,
    ) -> None:
        super().__init__()
        self.weights = {
            "identity": 1.0,
            "triplet": 1.0,
            "identity_consistency": identity_consistency_weight,
            "identity_alignment": identity_alignment_weight,
            "modality_alignment": modality_alignment_weight,
            "auxiliary_identity": auxiliary_identity_weight,
        }
        self.identity = IdentityLoss()
        self.triplet = triplet or BatchHardTripletLoss()
        self.identity_consistency = IdentityConsistencyLoss()
        self.identity_alignment = identity_alignment or IdentityAlignmentLoss()
        if modality_alignment_weight:
            self.modality_alignment = modality_alignment or ModalityAlignmentLoss(
                embedding_dim, batch_size=batch_size, iterations=iterations
            )

    def forward(self, output: TwoStreamOutput, identities: Tensor) -> OverallLossOutput:
        """Every term of Eq. 17 and their weighted sum."""
        v, r = output.visible, output.infrared
        terms = {
            "identity": self.identity(output.visible_logits, identities)
            + self.identity(output.infrared_logits, identities),
            "triplet": self.triplet(torch.cat([v, r]), torch.cat([identities, identities])),
        }
        paired = cast("PairedOutput", output)
        if self.weights["identity_consistency"]:
            terms["identity_consistency"] = self.identity_consistency(
                paired.auxiliary_visible_logits, paired.auxiliary_infrared_logits, identities
            )
        if self.weights["identity_alignment"]:
            terms["identity_alignment"] = self.identity_alignment(v, r, paired.auxiliary, identities)
        if self.weights["modality_alignment"]:
            terms["modality_alignment"] = self.modality_alignment(v, r, paired.auxiliary, identities)
        if self.weights["auxiliary_identity"]:
            remedy = "MUN has them with auxiliary_classifier=True."
            logits = paired.auxiliary_logits
            require(logits is not None, "output", "have auxiliary_logits for auxiliary_identity_weight", None, remedy)
            terms["auxiliary_identity"] = self.identity(logits, identities)
        total = torch.stack([self.weights[name] * term for name, term in terms.items()]).sum()
        return OverallLossOutput(total, terms)


class TwoStreamOutput(Protocol):
    """What :class:`OverallLoss` needs of any model's output: Z^v and Z^r (b d) and the classifiers' logits (b n)."""

    @property
    def visible(self) -> Tensor: ...  # noqa: D102
    @property
    def infrared(self) -> Tensor: ...  # noqa: D102
    @property
    def visible_logits(self) -> Tensor: ...  # noqa: D102
    @property
    def infrared_logits(self) -> Tensor: ...  # noqa: D102


class PairedOutput(TwoStreamOutput, Protocol):
    """What it needs for the terms of the auxiliary modality: Z^a (b d) and the classifiers' logits of it (b n)."""

    @property
    def auxiliary(self) -> Tensor: ...  # noqa: D102
    @property
    def auxiliary_visible_logits(self) -> Tensor: ...  # noqa: D102
    @property
    def auxiliary_infrared_logits(self) -> Tensor: ...  # noqa: D102
    @property
    def auxiliary_logits(self) -> Tensor | None: ...  # noqa: D102
