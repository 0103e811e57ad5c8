"""The batch-hard triplet loss."""

from __future__ import annotations

import torch
from torch import Tensor, nn

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
