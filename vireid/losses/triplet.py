"""Triplet losses: batch-hard, AGW's weighted one, and the one of modality centres."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from vireid._checks import check_embeddings, check_identities, require
from vireid.distances import pairwise_distances


class BatchHardTripletLoss(nn.Module):
    """Hinge on every anchor's farthest positive and nearest negative of the batch (L_tri of Eq. 17, A23).

    MUN takes it over the pooled visible and infrared embeddings together, so that the hardest pairs cross the
    modalities. An anchor without a positive or without a negative has no triplet and does not count; where none has
    one, the loss is a differentiable zero.

    Args:
        margin: wanted distance between the positive and the negative; the field's 0.3.

    Shape:
        embeddings b d, identities b -> scalar, the mean over the anchors that have a triplet.

    Raises:
        ValueError: ``margin`` is negative or the shapes do not match.
        TypeError: the embeddings are not floating point or the identities not integers.

    Example:
        >>> loss = BatchHardTripletLoss(margin=0.5)
        >>> loss(torch.tensor([[0.0], [1.0], [1.25]]), torch.tensor([0, 0, 1]))
        tensor(0.7500)

    References:
        Hermans et al., In Defense of the Triplet Loss for Person Re-Identification, 2017.
    """

    def __init__(self, margin: float = 0.3) -> None:
        super().__init__()
        require(margin >= 0, "margin", "be at least 0", margin)
        self.margin = margin

    def forward(self, embeddings: Tensor, identities: Tensor) -> Tensor:
        """[margin + max d(anchor, positive) − min d(anchor, negative)]₊, the mean over the anchors."""
        check_embeddings("embeddings", embeddings)
        check_identities("identities", identities, embeddings)
        distances = pairwise_distances(embeddings, embeddings)  # b b
        same = identities[:, None] == identities[None]
        positive = same & ~torch.eye(len(identities), dtype=torch.bool, device=same.device)
        farthest = distances.masked_fill(~positive, -torch.inf).amax(1)
        nearest = distances.masked_fill(same, torch.inf).amin(1)
        has_triplet = positive.any(1) & ~same.all(1)
        hinge = torch.relu(self.margin + farthest - nearest).masked_fill(~has_triplet, 0)
        return hinge.sum() / has_triplet.sum().clamp_min(1)


class WeightedRegularizedTripletLoss(nn.Module):
    """Soft margin between the weighted means of every anchor's distances to its positives and its negatives.

    Far positives and near negatives weigh most, by a softmax over the distances; there is no margin to choose. The
    anchor counts among its positives, at distance zero, as in AGW. An anchor without a negative does not count; where
    none has one, the loss is a differentiable zero.

    AGW's code computes the softmax of the negatives relative to a distance of zero and adds 1e-6 to its denominator.
    Beyond distances of about 14 the weights vanish, and the loss no longer pushes negatives away, which users have met
    as runs that rest at ln 2. Here the softmax is exact; ``legacy=True`` is that code's.

    Args:
        legacy: compute the weights as AGW's code does.

    Shape:
        embeddings b d, identities b -> scalar, the mean over the anchors that have a negative.

    Raises:
        ValueError: the shapes do not match.
        TypeError: the embeddings are not floating point or the identities not integers.

    Example:
        >>> loss = WeightedRegularizedTripletLoss()
        >>> loss(torch.tensor([[0.0], [0.0], [40.0], [40.0]]), torch.tensor([0, 1, 0, 1]))
        tensor(40.)

    References:
        Ye et al., Deep Learning for Person Re-identification: A Survey and Outlook, TPAMI 2021.
    """

    def __init__(self, *, legacy: bool = False) -> None:
        super().__init__()
        self.legacy = legacy

    def forward(self, embeddings: Tensor, identities: Tensor) -> Tensor:
        """Mean over the anchors of log(1 + exp(Σ w⁺ d⁺ − Σ w⁻ d⁻))."""
        check_embeddings("embeddings", embeddings)
        check_identities("identities", identities, embeddings)
        distances = pairwise_distances(embeddings, embeddings)  # b b
        same = identities[:, None] == identities[None]
        has_negative = ~same.all(1)
        farther = (self._weights(distances, same) * distances).sum(1)
        nearer = (self._weights(-distances, ~same) * distances).sum(1)
        terms = softplus(farther - nearer).masked_fill(~has_negative, 0)
        return terms.sum() / has_negative.sum().clamp_min(1)

    def _weights(self, logits: Tensor, among: Tensor) -> Tensor:
        """A softmax of each row among the marked columns."""
        if self.legacy:
            logits = logits * among
            powers = torch.exp(logits - logits.amax(1, keepdim=True)) * among
            return powers / (powers.sum(1, keepdim=True) + 1e-6)
        logits = logits.masked_fill(~among, torch.finfo(logits.dtype).min)  # finite: a row may have none
        return logits.softmax(1) * among


class HeteroCenterTripletLoss(nn.Module):
    """Batch-hard triplets of the modality centres: each identity's visible and infrared means.

    Every centre is pulled to its identity's centre in the other modality and pushed from the nearest centre of another
    identity in either. A centre whose identity the batch has in one modality only, or in which there is no other
    identity, does not count; where none counts, the loss is a differentiable zero.

    Args:
        margin: wanted distance between the positive and the negative; 0.3 in the paper, with a weight of 1 to 2.

    Shape:
        visible b d, infrared b d, identities b -> scalar, the mean over the centres. With ``infrared_identities`` the
        modalities have numbers of rows of their own.

    Raises:
        ValueError: ``margin`` is negative or the shapes do not match.
        TypeError: the embeddings are not floating point or the identities not integers.

    Example:
        >>> visible, infrared = torch.tensor([[[0.0], [2.0], [9.0]], [[1.0], [3.0], [9.0]]])
        >>> HeteroCenterTripletLoss(margin=8.0)(visible, infrared, torch.tensor([0, 0, 1]))
        tensor(1.2500)

    References:
        Liu et al., Parameter Sharing Exploration and Hetero-Center Triplet Loss for Visible-Thermal Person
        Re-Identification, TMM 2021.
    """

    def __init__(self, margin: float = 0.3) -> None:
        super().__init__()
        require(margin >= 0, "margin", "be at least 0", margin)
        self.margin = margin

    def forward(
        self, visible: Tensor, infrared: Tensor, identities: Tensor, *, infrared_identities: Tensor | None = None
    ) -> Tensor:
        """[margin + ‖C_i^m − C_i^m'‖ − min_{q≠i} ‖C_i^m − C_q‖]₊, the mean over the centres."""
        infrared_identities = identities if infrared_identities is None else infrared_identities
        check_embeddings("visible", visible)
        check_embeddings("infrared", infrared, like=visible)
        check_identities("identities", identities, visible)
        check_identities("infrared_identities", infrared_identities, infrared)
        rows = torch.cat([visible, infrared])
        labels = torch.cat([identities, infrared_identities])
        modalities = torch.arange(len(rows), device=rows.device) < len(visible)
        same = labels[:, None] == labels[None]
        own = same & (modalities[:, None] == modalities[None])

        # Each row stands for its centre with the weight 1/count, so that neither order nor number of rows matters.
        members = own.to(rows.dtype)
        counts = members.sum(1)
        centres = members @ rows / counts[:, None]
        distances = pairwise_distances(centres, centres)
        other = same & ~own
        positive = distances.masked_fill(~other, -torch.inf).amax(1)
        negative = distances.masked_fill(same, torch.inf).amin(1)
        weights = (1 / counts).masked_fill(~(other.any(1) & ~same.all(1)), 0)
        hinge = torch.relu(self.margin + positive - negative).masked_fill(weights == 0, 0)
        return (weights * hinge).sum() / weights.sum().clamp_min(1)
