"""Losses on embeddings, logits and identities, and the losses of whole methods on the output of a network."""

from vireid.losses.alignment import IdentityAlignmentLoss, ModalityAlignmentLoss
from vireid.losses.auxiliary import AuxiliaryModalityLoss
from vireid.losses.baseline import BaselineLoss
from vireid.losses.consistency import ConsistentViewsLoss, JensenShannonLoss, ViewCrossEntropyLoss
from vireid.losses.deen import CenterGuidedPairMiningLoss, DEENLoss, OrthogonalExpansionLoss
from vireid.losses.diagnostics import describe_auxiliary
from vireid.losses.direct import DirectAlignmentLoss
from vireid.losses.identity import IdentityConsistencyLoss, IdentityLoss
from vireid.losses.mmd import IdentityMMDLoss
from vireid.losses.mpanet import CenterClusterLoss, MaskSeparationLoss, MPANetLoss, MutualLearningLoss
from vireid.losses.mun import MUNLoss
from vireid.losses.outputs import LossOutput
from vireid.losses.pmt import DiscriminativeCenterLoss, ModalitySharedEnhancementLoss, PMTLoss
from vireid.losses.saai import AttentionDiversityLoss
from vireid.losses.triplet import BatchHardTripletLoss, HeteroCenterTripletLoss, WeightedRegularizedTripletLoss

__all__ = [
    "AttentionDiversityLoss",
    "AuxiliaryModalityLoss",
    "BaselineLoss",
    "BatchHardTripletLoss",
    "CenterClusterLoss",
    "CenterGuidedPairMiningLoss",
    "ConsistentViewsLoss",
    "DEENLoss",
    "DirectAlignmentLoss",
    "DiscriminativeCenterLoss",
    "HeteroCenterTripletLoss",
    "IdentityAlignmentLoss",
    "IdentityConsistencyLoss",
    "IdentityLoss",
    "IdentityMMDLoss",
    "JensenShannonLoss",
    "LossOutput",
    "MPANetLoss",
    "MUNLoss",
    "MaskSeparationLoss",
    "ModalityAlignmentLoss",
    "ModalitySharedEnhancementLoss",
    "MutualLearningLoss",
    "OrthogonalExpansionLoss",
    "PMTLoss",
    "ViewCrossEntropyLoss",
    "WeightedRegularizedTripletLoss",
    "describe_auxiliary",
]
