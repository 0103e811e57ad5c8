"""Networks: the modules of MUN, its assembly, and two-stream backbones."""

from vireid.models.aggregation import AggregatedStage, ChannelAggregation, SpatialAggregation
from vireid.models.agw import create_agw
from vireid.models.alleviation import ModalityAlleviation
from vireid.models.auxiliary import (
    AuxiliaryGenerator,
    CrossModalityLearner,
    FixedGenerator,
    IntraModalityLearner,
    pair_by_identity,
)
from vireid.models.auxiliary_branch import AuxiliaryBranch
from vireid.models.backbone import TwoStreamBackbone, create_backbone
from vireid.models.baseline import BaselineOutput, TwoStreamBaseline
from vireid.models.batchnorm import AuxiliaryBatchNorm
from vireid.models.checkpoints import load_training_state, lock_folder, save_training_state
from vireid.models.deen import DEEN, DEENOutput, create_deen
from vireid.models.embedder import TwoStreamEmbedder
from vireid.models.expansion import DiverseEmbeddingExpansion, ExpandedNeck, ExpandedPooling
from vireid.models.export import ExportedEmbedder, ExportReport, ParityReport, check_export, export, load_exported
from vireid.models.head import BNNeck, DualBNNeck, GeneralizedMeanPool
from vireid.models.intermediate import (
    IntermediateModalityNetwork,
    MiddleModality,
    MixedModality,
    SyncreticModality,
    XModality,
)
from vireid.models.mpanet import MPANet, MPANetOutput, MutualMeanClassifiers, MutualMeanLogits, create_mpanet
from vireid.models.mun import MUN, MUNOutput
from vireid.models.non_local import NonLocalBlock
from vireid.models.parts import MaskPartPooling, PrototypePartPooling
from vireid.models.pmt import create_pmt
from vireid.models.saai import create_saai

__all__ = [
    "DEEN",
    "MUN",
    "AggregatedStage",
    "AuxiliaryBatchNorm",
    "AuxiliaryBranch",
    "AuxiliaryGenerator",
    "BNNeck",
    "BaselineOutput",
    "ChannelAggregation",
    "CrossModalityLearner",
    "DEENOutput",
    "DiverseEmbeddingExpansion",
    "DualBNNeck",
    "ExpandedNeck",
    "ExpandedPooling",
    "ExportReport",
    "ExportedEmbedder",
    "FixedGenerator",
    "GeneralizedMeanPool",
    "IntermediateModalityNetwork",
    "IntraModalityLearner",
    "MPANet",
    "MPANetOutput",
    "MUNOutput",
    "MaskPartPooling",
    "MiddleModality",
    "MixedModality",
    "ModalityAlleviation",
    "MutualMeanClassifiers",
    "MutualMeanLogits",
    "NonLocalBlock",
    "ParityReport",
    "PrototypePartPooling",
    "SpatialAggregation",
    "SyncreticModality",
    "TwoStreamBackbone",
    "TwoStreamBaseline",
    "TwoStreamEmbedder",
    "XModality",
    "check_export",
    "create_agw",
    "create_backbone",
    "create_deen",
    "create_mpanet",
    "create_pmt",
    "create_saai",
    "export",
    "load_exported",
    "load_training_state",
    "lock_folder",
    "pair_by_identity",
    "save_training_state",
]
