"""The contract of the losses of a whole method: ``loss(output, identities) -> LossOutput``."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from vireid._checks import check_type, require


class LossOutput(NamedTuple):
    """Hold the loss of a method and its parts."""

    total: Tensor
    """The sum of the terms, a scalar."""
    terms: dict[str, Tensor]
    """Every term by name, after its weight."""

    @classmethod
    def from_terms(cls, terms: dict[str, Tensor]) -> LossOutput:
        """Add up the terms."""
        return cls(torch.stack(list(terms.values())).sum(), terms)


def read_fields(output: object, *fields: str, remedy: str = "") -> tuple[Tensor, ...]:
    """Read tensors by name from the output of a network."""
    missing = [field for field in fields if not isinstance(getattr(output, field, None), Tensor)]
    rule = f"have the tensor{'' if len(missing) == 1 else 's'} {', '.join(missing)}"
    if isinstance(output, dict):
        remedy = "types.SimpleNamespace(**output) makes fields of its keys."
    require(not missing, "output", rule, type(output).__name__, remedy, error=TypeError)
    return tuple(getattr(output, field) for field in fields)


def compute_terms(loss: nn.Module, output: object, identities: Tensor) -> dict[str, Tensor]:
    """Return the terms of the loss of any method."""
    found = loss(output, identities)
    remedy = 'LossOutput.from_terms({"identity": …}) makes one of named terms.'
    require(isinstance(found, LossOutput), "loss", "return a LossOutput", type(found).__name__, remedy, error=TypeError)
    return dict(found.terms)


def add_term(terms: dict[str, Tensor], name: str, term: Tensor) -> None:
    """Add a term to those of a loss, which must not have one of that name."""
    remedy = f"{name}_weight=0 leaves the second one out."
    require(name not in terms, "loss", f"have no term {name!r}", [*terms], remedy)
    terms[name] = term


def check_parts(**parts: nn.Module | None) -> None:
    """Require a module or None for every named argument."""
    for argument, part in parts.items():
        check_type(argument, part, (nn.Module, type(None)), "be a module or None")
