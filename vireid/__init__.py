"""Visible-infrared person re-identification: composable modules, losses, data and exact evaluation protocols."""

import importlib
from typing import TYPE_CHECKING, Any

from vireid.losses import IdentityAlignmentLoss, ModalityAlignmentLoss
from vireid.modality import Modality

if TYPE_CHECKING:
    from vireid.models import MUN, AuxiliaryGenerator, CrossModalityLearner, IntraModalityLearner, create_backbone

__version__ = "0.1.0.dev0"

__all__ = [
    "MUN",
    "AuxiliaryGenerator",
    "CrossModalityLearner",
    "IdentityAlignmentLoss",
    "IntraModalityLearner",
    "Modality",
    "ModalityAlignmentLoss",
    "create_backbone",
]


def __getattr__(name: str) -> Any:
    """Import the networks, and timm with them, when one is first asked for."""
    if name in __all__:
        return getattr(importlib.import_module("vireid.models"), name)
    raise AttributeError(f"module 'vireid' has no attribute {name!r}")
