"""Saving and loading the state of a training run; nothing in it is executed."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Mapping
from numbers import Real
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vireid._checks import check_type, require
from vireid._files import CHECKSUM, UNSEALED, check_file, lock_folder, write_file

__all__ = ["load_training_state", "lock_folder", "save_training_state"]


def save_training_state(path: str | os.PathLike[str], state: Mapping[str, Any]) -> None:
    """Write the state of a training run whole: an error or a kill leaves an earlier file as it was.

    Args:
        path: Path of the file; its folder is made if need be.
        state: Dictionary of tensors, numbers, strings, lists, tuples, sets and dictionaries, as the ``state_dict`` of
            modules and optimizers give. NumPy's numbers and arrays are refused, for reading them would execute code.

    Raises:
        OSError: If the file cannot be written, for want of space or of permission.
        TypeError: If ``state`` holds something that :func:`load_training_state` cannot read.
        ValueError: If ``state`` is nested deeper than 100.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_training_state(f"{folder}/last.pt", {"epoch": 3})
        ...     load_training_state(f"{folder}/last.pt")
        {'epoch': 3}
    """
    check_type("state", state, Mapping, "be a dictionary")
    state = dict(state)
    _check_readable(state)

    def write(unfinished: Path) -> None:
        torch.save(state, unfinished)
        comment = f"{CHECKSUM} {UNSEALED}".encode()
        with unfinished.open("r+b") as file:
            file.seek(-2, os.SEEK_END)  # a zip archive ends with the length of its comment and the comment
            file.write(len(comment).to_bytes(2, "little") + comment)

    write_file(path, write)


def load_training_state(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read the file of :func:`save_training_state`, to the CPU, and verify its checksum. Nothing in it is executed.

    Args:
        path: Path of the file.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is damaged, or was not written by :func:`save_training_state`.
    """
    remedy = "It is damaged, or save_training_state did not write it."
    require(check_file(path), "path", "be a whole training state", str(path), remedy)
    try:
        return torch.load(path, map_location="cpu", weights_only=True)  # type: ignore[no-any-return]
    except Exception as error:  # torch raises many types, and may advise to trust the file
        raise ValueError(f"path must be a whole training state, got {str(path)!r}. {remedy}") from error


_READABLE = (
    bool,
    int,
    float,
    complex,
    str,
    bytes,
    type(None),
    Tensor,
    nn.Parameter,
    torch.Size,
    torch.dtype,
    torch.device,
)
_CONTAINERS = (dict, OrderedDict, list, tuple, set)


def _check_readable(state: dict[str, Any]) -> None:
    """Require that torch reads the state without executing code: exact types, for it refuses their subclasses."""
    stack: list[tuple[str, int, Any]] = [("state", 0, state)]
    seen = set()
    while stack:
        name, depth, value = stack.pop()
        require(depth <= 100, name, "be nested at most 100 deep", type(value).__name__)
        if type(value) in _CONTAINERS and id(value) not in seen:
            seen.add(id(value))
            keyed = isinstance(value, dict)
            stack += [(f"key of {name}", depth + 1, key) for key in value] if keyed else []
            pairs = value.items() if keyed else enumerate(value)
            stack += [(f"{name}[{key!r}]", depth + 1, item) for key, item in pairs]
        elif type(value) not in (*_READABLE, *_CONTAINERS):
            kind = f"{type(value).__module__}.{type(value).__qualname__}"
            remedy = (
                "Write float(x) or int(x)." if isinstance(value, Real) else "Write torch.from_numpy(x) or x.tolist()."
            )
            rule = "be a tensor, a number, a string, or a list or dictionary of such"
            require(False, name, rule, kind, remedy if kind.startswith("numpy") else "", error=TypeError)
