"""Networks: the modules of MUN, its assembly, and two-stream backbones."""

from vireid.models.auxiliary import AuxiliaryGenerator, CrossModalityLearner, IntraModalityLearner
from vireid.models.backbone import TwoStreamBackbone, create_backbone
from vireid.models.baselines import BaselineOutput, NonLocalBlock, TwoStreamBaseline
from vireid.models.checkpoints import load_training_state, save_training_state
from vireid.models.head import BNNeck, GeneralizedMeanPool
from vireid.models.intermediate import MiddleModality, MixedModality, SyncreticModality, XModality
from vireid.models.mun import MUN, MUNOutput
from vireid.models.statistics import OwnStatistics

__all__ = [
    "MUN",
    "AuxiliaryGenerator",
    "BNNeck",
    "BaselineOutput",
    "CrossModalityLearner",
    "GeneralizedMeanPool",
    "IntraModalityLearner",
    "MUNOutput",
    "MiddleModality",
    "MixedModality",
    "NonLocalBlock",
    "OwnStatistics",
    "SyncreticModality",
    "TwoStreamBackbone",
    "TwoStreamBaseline",
    "XModality",
    "create_backbone",
    "load_training_state",
    "save_training_state",
]
