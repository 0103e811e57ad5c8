"""Triplet losses: batch-hard, the weighted regularisation of AGW and CAJ, and hetero-centre."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from vireid._checks import check_embeddings, check_flags, check_identities, check_modalities, check_number
from vireid.distances import pairwise_distances
from vireid.losses.centers import identity_centers


class BatchHardTripletLoss(nn.Module):
    """Push every anchor's nearest negative beyond its farthest positive by a margin (L_tri of Eq. 17).

    MUN applies it to the pooled visible and infrared embeddings together, so that the hardest pairs cross the
    modalities (A23 in the paper notes). An anchor without a positive or without a negative does not count; without any
    triplet the loss is a differentiable zero.

    Args:
        margin: Distance by which a negative should be farther than a positive, at least 0; usually 0.3.

    Shape:
        embeddings b d, identities b -> scalar, the mean over the anchors that have a triplet.

    Raises:
        ValueError: If ``margin`` is negative or the shapes do not match.
        TypeError: If the embeddings are not floating point or the identities not integers.

    Example:
        >>> loss = BatchHardTripletLoss(margin=0.5)
        >>> loss(torch.tensor([[0.0], [1.0], [1.25]]), torch.tensor([0, 0, 1]))
        tensor(0.7500)

    References:
        Hermans et al., In Defense of the Triplet Loss for Person Re-Identification, 2017.
    """

    def __init__(self, margin: float = 0.3) -> None:
        super().__init__()
        self.margin = check_number("margin", margin, least=0)

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

    def extra_repr(self) -> str:
        """Name the settings."""
        return f"margin={self.margin}"


class WeightedRegularizedTripletLoss(nn.Module):
    """Compare every anchor's weighted mean distances to its positives and to its negatives by a soft margin.

    A softmax over the distances gives far positives and near negatives the largest weights; there is no margin to
    choose. As in AGW, the anchor counts among its positives, at distance zero. An anchor without a negative does not
    count; without any negative the loss is a differentiable zero.

    AGW's code computes the softmax of the negatives relative to a distance of zero and adds 1e-6 to its denominator.
    Beyond distances of about 14 its weights vanish and the loss no longer pushes negatives away: such runs stay at
    ln 2. Here the softmax is exact.

    CAJ squares the difference x of the two means and keeps its sign: violations above 1 are punished more, satisfied
    anchors beyond 1 are pushed on less, and the gradient is zero at x = 0. A softplus of x² needs no bound; CAJ's code
    clamps x² to 88, so that violations beyond 9.4 no longer have a gradient.

    Args:
        legacy: Whether to compute the weights as AGW's code does, and to clamp the squared difference as CAJ's does.
        squared: Whether to compare the squared difference, as in CAJ, where α = γ = 1.

    Shape:
        embeddings b d, identities b -> scalar, the mean over the anchors that have a negative.

    Raises:
        ValueError: If the shapes do not match.
        TypeError: If the embeddings are not floating point or the identities not integers.

    Example:
        >>> loss = WeightedRegularizedTripletLoss()
        >>> loss(torch.tensor([[0.0], [0.0], [40.0], [40.0]]), torch.tensor([0, 1, 0, 1]))
        tensor(40.)

    References:
        Ye et al., Deep Learning for Person Re-identification: A Survey and Outlook, TPAMI 2021; Ye et al., Channel
        Augmented Joint Learning for Visible-Infrared Recognition, ICCV 2021.
    """

    def __init__(self, *, legacy: bool = False, squared: bool = False) -> None:
        super().__init__()
        check_flags(legacy=legacy, squared=squared)
        self.legacy = legacy
        self.squared = squared

    def forward(self, embeddings: Tensor, identities: Tensor) -> Tensor:
        """Mean over the anchors of log(1 + exp(x)) with x = Σ w⁺ d⁺ − Σ w⁻ d⁻, or sign(x) x²."""
        check_embeddings("embeddings", embeddings)
        check_identities("identities", identities, embeddings)
        distances = pairwise_distances(embeddings, embeddings)  # b b
        same = identities[:, None] == identities[None]
        has_negative = ~same.all(1)
        farther = (self._weights(distances, same) * distances).sum(1)
        nearer = (self._weights(-distances, ~same) * distances).sum(1)
        difference = farther - nearer
        if self.squared:
            difference = difference * difference.abs()
            difference = difference.clamp(-88, 88) if self.legacy else difference
        terms = softplus(difference).masked_fill(~has_negative, 0)
        return terms.sum() / has_negative.sum().clamp_min(1)

    def extra_repr(self) -> str:
        """Name the settings."""
        return f"legacy={self.legacy}, squared={self.squared}"

    def _weights(self, logits: Tensor, among: Tensor) -> Tensor:
        """Compute the softmax of each row over the marked columns."""
        if self.legacy:
            logits = logits * among
            powers = torch.exp(logits - logits.amax(1, keepdim=True)) * among
            return powers / (powers.sum(1, keepdim=True) + 1e-6)
        logits = logits.masked_fill(~among, torch.finfo(logits.dtype).min)  # finite: a row may have none
        return logits.softmax(1) * among


class HeteroCenterTripletLoss(nn.Module):
    """Pull each identity's visible and infrared centres together and other identities' centres away.

    A centre is the mean of an identity's embeddings in one modality. Its positive is its identity's centre in the other
    modality, its negative the nearest centre of another identity in either. A centre without a positive or without a
    negative does not count; without any triplet the loss is a differentiable zero.

    Args:
        margin: Distance by which a negative should be farther than the positive, at least 0; 0.3 in the paper, which
            gives the loss a weight of 1 to 2.

    Shape:
        visible b d, infrared b d, identities b -> scalar, the mean over the centres. With ``infrared_identities`` each
        modality has its own number and order of rows.

    Raises:
        ValueError: If ``margin`` is negative or the shapes do not match.
        TypeError: If the embeddings are not floating point or the identities not integers.

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
        self.margin = check_number("margin", margin, least=0)

    def forward(
        self, visible: Tensor, infrared: Tensor, identities: Tensor, *, infrared_identities: Tensor | None = None
    ) -> Tensor:
        """[margin + ‖C_i^m − C_i^m'‖ − min_{q≠i} ‖C_i^m − C_q‖]₊, the mean over the centres."""
        identities, infrared_identities = check_modalities((visible, infrared), (identities, infrared_identities))
        labels = torch.cat([identities, infrared_identities])
        same = labels[:, None] == labels[None]
        is_visible = torch.arange(len(labels), device=labels.device) < len(visible)
        other = same & (is_visible[:, None] != is_visible[None])  # the same identity in the other modality

        # Each row stands for its centre with the weight 1/count, so that neither order nor number of rows matters.
        visible_centers, visible_counts = identity_centers(visible, identities)
        infrared_centers, infrared_counts = identity_centers(infrared, infrared_identities)
        centers, counts = torch.cat([visible_centers, infrared_centers]), torch.cat([visible_counts, infrared_counts])
        distances = pairwise_distances(centers, centers)
        positive = distances.masked_fill(~other, -torch.inf).amax(1)
        negative = distances.masked_fill(same, torch.inf).amin(1)
        weights = (1 / counts).masked_fill(~(other.any(1) & ~same.all(1)), 0)
        hinge = torch.relu(self.margin + positive - negative).masked_fill(weights == 0, 0)
        return (weights * hinge).sum() / weights.sum().clamp_min(1)

    def extra_repr(self) -> str:
        """Name the settings."""
        return f"margin={self.margin}"
