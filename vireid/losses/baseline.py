"""The loss of a baseline: identity and metric terms, and the auxiliary modality's on request."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from vireid._checks import check_identities, check_number, require
from vireid.losses.identity import IdentityLoss
from vireid.losses.outputs import LossOutput, check_parts, read_fields


class BaselineLoss(nn.Module):
    """Add the metric losses of your choice to the identity loss of all images, from the output of a network.

    The identity loss is the mean over the images of both modalities, as in AGW, where MUN adds up the modalities. Each
    infrared image may have several visible ones, such as CAJ's two views, in the order of
    ``torch.cat(views.unbind(1))`` for views b 2 3 h w: all first views, then all second ones.

    The output is any object with the fields ``visible``, ``infrared`` (b d), ``visible_logits`` and
    ``infrared_logits`` (b n); for ``identity_consistency`` also ``auxiliary_visible_logits`` and
    ``auxiliary_infrared_logits`` (b n).

    Args:
        label_smoothing: Share of the identity loss's target spread over all identities, in [0, 1).
        triplet: Loss of embeddings and identities, called with those of both modalities together.
        center_triplet: Loss such as :class:`HeteroCenterTripletLoss`, called with ``(visible, infrared,
            visible_identities, infrared_identities=…)``.
        mmd: Loss such as :class:`IdentityMMDLoss`, called with ``(visible, infrared, visible_identities,
            infrared_identities)``.
        mmd_weight: Weight of ``mmd``, at least 0; 0.25 in MMD-ReID.
        identity_consistency: Loss such as :class:`IdentityConsistencyLoss`, for a network with an auxiliary modality.
        identity_consistency_weight: Weight of ``identity_consistency``, at least 0; MUN's γ = 0.25.

    Shape:
        output of b pairs, identities b -> :class:`LossOutput` with the terms ``identity``, ``triplet``,
        ``center_triplet``, ``mmd`` and ``identity_consistency``, as far as they are given. With v views the visible
        fields have v · b rows.

    Raises:
        ValueError: If an argument is out of its range, the shapes do not match, or (on a CPU) a label has no logit.
        TypeError: If the output lacks a field that a term needs.

    Example:
        >>> from types import SimpleNamespace
        >>> from vireid.losses import WeightedRegularizedTripletLoss
        >>> logits, embeddings = torch.zeros(4, 2), torch.rand(4, 8)
        >>> output = SimpleNamespace(
        ...     visible=embeddings, infrared=embeddings, visible_logits=logits, infrared_logits=logits)
        >>> loss = BaselineLoss(triplet=WeightedRegularizedTripletLoss())  # AGW's
        >>> list(loss(output, torch.tensor([0, 0, 1, 1])).terms)
        ['identity', 'triplet']

    References:
        Ye et al., Deep Learning for Person Re-identification: A Survey and Outlook, TPAMI 2021.
    """

    def __init__(
        self,
        *,
        label_smoothing: float = 0.0,
        triplet: nn.Module | None = None,
        center_triplet: nn.Module | None = None,
        mmd: nn.Module | None = None,
        mmd_weight: float = 0.25,
        identity_consistency: nn.Module | None = None,
        identity_consistency_weight: float = 0.25,
    ) -> None:
        super().__init__()
        check_parts(triplet=triplet, center_triplet=center_triplet, mmd=mmd, identity_consistency=identity_consistency)
        self.identity = IdentityLoss(label_smoothing=label_smoothing)
        self.triplet = triplet
        self.center_triplet = center_triplet
        self.mmd = mmd
        self.mmd_weight = check_number("mmd_weight", mmd_weight, least=0)
        self.identity_consistency = identity_consistency
        self.identity_consistency_weight = check_number(
            "identity_consistency_weight", identity_consistency_weight, least=0
        )

    def forward(self, output: Any, identities: Tensor) -> LossOutput:
        """Compute every term that was given, and their sum."""
        v, r, v_logits, r_logits = read_fields(output, "visible", "infrared", "visible_logits", "infrared_logits")
        check_identities("identities", identities, r)
        whole = f"have the rows of one or more views of the {len(r)} pairs"
        require(len(v) % len(r) == 0, "output.visible", whole, tuple(v.shape))
        v_identities = identities.repeat(len(v) // len(r))
        both = torch.cat([v_identities, identities])

        terms = {"identity": self.identity(torch.cat([v_logits, r_logits]), both)}
        if self.triplet is not None:
            terms["triplet"] = self.triplet(torch.cat([v, r]), both)
        if self.center_triplet is not None:
            terms["center_triplet"] = self.center_triplet(v, r, v_identities, infrared_identities=identities)
        if self.mmd is not None:
            terms["mmd"] = self.mmd_weight * self.mmd(v, r, v_identities, identities)
        if self.identity_consistency is not None:
            logits = read_fields(output, "auxiliary_visible_logits", "auxiliary_infrared_logits")
            terms["identity_consistency"] = self.identity_consistency_weight * self.identity_consistency(
                *logits, identities
            )
        return LossOutput.from_terms(terms)

    def extra_repr(self) -> str:
        """Name the weights."""
        return f"mmd_weight={self.mmd_weight}, identity_consistency_weight={self.identity_consistency_weight}"
