"""Checks of the nested mappings that the plots take: panels, their rows or curves, and the values of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from vireid._checks import check_number, require


def check_mapping(argument: str, value: Any, rule: str) -> None:
    """Require a mapping that is not empty, in words ``rule``, such as "map titles to panels"."""
    require(isinstance(value, Mapping), argument, rule, value, error=TypeError)
    require(len(value) > 0, argument, rule, dict(value))


def check_panels(panels: Any, part: str) -> None:
    """Require a mapping of titles to panels, and for each panel a mapping of names to its parts, such as "rows"."""
    check_mapping("panels", panels, "map the title of each panel to the panel")
    for title, rows in panels.items():
        check_mapping(f"panels[{title!r}]", rows, f"map the names of its {part} to their values")


def check_values(argument: str, values: Any) -> list[float]:
    """Require finite numbers, at least one; return them as a list."""
    if isinstance(values, (Tensor, np.ndarray)):
        values = values.tolist()
    several = isinstance(values, Sequence) and not isinstance(values, (str, bytes))
    require(several, argument, "be a sequence of numbers", values, error=TypeError)
    require(len(values) > 0, argument, "have a value", values)
    return [check_number(f"{argument}[{i}]", value) for i, value in enumerate(values)]
