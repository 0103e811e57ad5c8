"""Visible-infrared person re-identification: composable modules, losses, data and exact evaluation protocols."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vireid import data, evaluation, losses, models, visualization
    from vireid.evaluation import evaluate
    from vireid.losses import IdentityAlignmentLoss, ModalityAlignmentLoss, MUNLoss
    from vireid.modality import Modality
    from vireid.models import (
        MUN,
        AuxiliaryGenerator,
        CrossModalityLearner,
        IntraModalityLearner,
        TwoStreamEmbedder,
        create_backbone,
    )
    from vireid.phases import Phases, set_epoch

__version__ = "0.1.0.dev0"

__all__ = [
    "MUN",
    "AuxiliaryGenerator",
    "CrossModalityLearner",
    "IdentityAlignmentLoss",
    "IntraModalityLearner",
    "MUNLoss",
    "Modality",
    "ModalityAlignmentLoss",
    "Phases",
    "TwoStreamEmbedder",
    "create_backbone",
    "data",
    "evaluate",
    "evaluation",
    "losses",
    "models",
    "set_epoch",
    "visualization",
]

_HOMES = {  # where a name is defined; it is imported, and timm or torchvision with it, when it is first asked for
    "Modality": "vireid.modality",
    "IdentityAlignmentLoss": "vireid.losses",
    "ModalityAlignmentLoss": "vireid.losses",
    "MUNLoss": "vireid.losses",
    "evaluate": "vireid.evaluation",
    "Phases": "vireid.phases",
    "set_epoch": "vireid.phases",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'vireid' has no attribute {name!r}")
    if name in {"data", "evaluation", "losses", "models", "visualization"}:
        return importlib.import_module(f"vireid.{name}")
    return getattr(importlib.import_module(_HOMES.get(name, "vireid.models")), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
