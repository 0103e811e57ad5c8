"""Losses on embeddings, logits and identities; each returns one scalar."""

from vireid.losses.alignment import IdentityAlignmentLoss, ModalityAlignmentLoss
from vireid.losses.identity import IdentityConsistencyLoss, IdentityLoss
from vireid.losses.mmd import IdentityMMDLoss
from vireid.losses.overall import OverallLoss, OverallLossOutput
from vireid.losses.triplet import BatchHardTripletLoss, HeteroCenterTripletLoss, WeightedRegularizedTripletLoss

__all__ = [
    "BatchHardTripletLoss",
    "HeteroCenterTripletLoss",
    "IdentityAlignmentLoss",
    "IdentityConsistencyLoss",
    "IdentityLoss",
    "IdentityMMDLoss",
    "ModalityAlignmentLoss",
    "OverallLoss",
    "OverallLossOutput",
    "WeightedRegularizedTripletLoss",
]
