"""The error grammar: ``<argument> must <rule>, got <value>.`` followed by the remedy, when one can be named.

Every message about a user's mistake is built here, before any work is done. A value of the wrong type is a
``TypeError``; one of the right type that is out of range is a ``ValueError``.
"""

from __future__ import annotations

import difflib
import importlib
import math
import operator
from collections.abc import Iterable, Sequence
from numbers import Real
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

IDENTITIES_OF = {"visible": "identities", "infrared": "infrared_identities", "auxiliary": "auxiliary_identities"}
_LONGEST = 200  # characters of a value that a message repeats


def require(
    condition: bool,
    argument: str,
    rule: str,
    value: object,
    remedy: str = "",
    *,
    error: type[Exception] = ValueError,
) -> None:
    """Raise ``error`` with the grammar's message unless ``condition`` holds."""
    if not condition:
        shown = repr(value)
        shown = shown if len(shown) <= _LONGEST else f"{shown[:_LONGEST]} …"
        raise error(f"{argument} must {rule}, got {shown}.{remedy and f' {remedy}'}")


def check_integer(argument: str, value: Any, *, least: int | None = None, most: int | None = None) -> int:
    """Require an integer of Python, NumPy or torch, from ``least`` to ``most``; return it as an ``int``."""
    integer = None if _is_boolean(value) else _to_integer(value)
    inside = integer is not None and (least is None or integer >= least) and (most is None or integer <= most)
    number = integer is not None or (isinstance(value, Real) and not _is_boolean(value))
    rule = f"be an integer{_bounds(least, most)}"
    require(inside, argument, rule, value, error=ValueError if number else TypeError)
    return cast(int, integer)


def check_number(
    argument: str,
    value: Any,
    *,
    least: float | None = None,
    most: float | None = None,
    above: float | None = None,
    below: float | None = None,
) -> float:
    """Require a finite real number of Python or NumPy within the bounds; return it as a ``float``."""
    rule = f"be a finite number{_bounds(least, most, above, below)}"
    real = isinstance(value, Real) and not _is_boolean(value)
    require(real, argument, rule, value, error=TypeError)
    inside = (
        math.isfinite(value)
        and (least is None or value >= least)
        and (most is None or value <= most)
        and (above is None or value > above)
        and (below is None or value < below)
    )
    require(inside, argument, rule, value)
    return float(value)


def check_flags(**flags: Any) -> None:
    """Require ``True`` or ``False`` for every named argument: a text such as ``"no"`` would count as true."""
    for argument, value in flags.items():
        require(_is_boolean(value), argument, "be True or False", value, error=TypeError)


def check_size(argument: str, size: Any, *, least: tuple[int, int] = (1, 1)) -> tuple[int, int]:
    """Require (height, width) in integer pixels of at least ``least``; return them as two ``int``."""
    rule = f"be (height, width) in pixels, at least {least}"
    pair = isinstance(size, Sequence) and not isinstance(size, (str, bytes)) and len(size) == 2
    require(pair, argument, rule, size, error=ValueError if isinstance(size, Sequence) else TypeError)
    height, width = (
        check_integer(f"{argument}[{i}]", length, least=shortest)
        for i, (length, shortest) in enumerate(zip(size, least, strict=True))
    )
    return height, width


def check_type(argument: str, value: object, types: type | tuple[type, ...], rule: str) -> None:
    """Require an instance of ``types``, in words ``rule``, such as "be a module"."""
    require(isinstance(value, types), argument, rule, type(value).__name__, error=TypeError)


def check_callable(argument: str, value: object, rule: str = "be callable") -> None:
    """Require something that can be called."""
    require(callable(value), argument, rule, type(value).__name__, error=TypeError)


def check_choice(argument: str, value: object, options: Iterable[str], rule: str = "") -> None:
    """Require that ``value`` is one of ``options``; a near miss is answered with the likeliest ones."""
    options = tuple(options)
    if isinstance(value, str) and value in options:
        return
    close = difflib.get_close_matches(str(value), options, n=2) if isinstance(value, str) else []
    remedy = f"Did you mean {' or '.join(map(repr, close))}?" if close else ""
    error = ValueError if isinstance(value, str) else TypeError
    require(False, argument, rule or f"be one of {', '.join(map(repr, options))}", value, remedy, error=error)


def check_tensor(argument: str, value: object) -> None:
    """Require a tensor."""
    require(isinstance(value, Tensor), argument, "be a tensor", type(value).__name__, error=TypeError)


def check_image_batch(argument: str, images: Tensor) -> None:
    """Require normalised images b 3 h w, as networks take them."""
    check_tensor(argument, images)
    shape = tuple(images.shape)
    require(len(shape) == 4 and shape[1] == 3, argument, "have shape (b, 3, height, width)", shape)
    remedy = "Scale 8-bit images to [0, 1] and normalise them first."
    require(images.is_floating_point(), argument, "be floating point", images.dtype, remedy, error=TypeError)


def check_like_weights(argument: str, tensor: Tensor, weight: Tensor) -> None:
    """Require the device and type of a network's weights; under autocast any floating type will do."""
    device, dtype = tensor.device, tensor.dtype
    require(device == weight.device, argument, f"be on {weight.device} like the weights", device)
    fits = dtype == weight.dtype or (dtype.is_floating_point and torch.is_autocast_enabled(device.type))
    require(fits, argument, f"be {weight.dtype} like the weights", dtype, error=TypeError)


def check_embeddings(argument: str, embeddings: Tensor, like: Tensor | None = None) -> None:
    """Require floating-point embeddings of shape (b, d), of the width and device of ``like`` if it is given."""
    check_tensor(argument, embeddings)
    shape = tuple(embeddings.shape)
    remedy = "Pool the feature map first." if len(shape) == 4 else ""
    require(len(shape) == 2, argument, "have shape (b, d)", shape, remedy)
    require(embeddings.numel() > 0, argument, "have at least one row and one column", shape)
    require(embeddings.is_floating_point(), argument, "be floating point", embeddings.dtype, error=TypeError)
    if like is not None:
        require(shape[1] == like.shape[1], argument, f"have d = {like.shape[1]} like the others", shape)
        require(embeddings.device == like.device, argument, f"be on {like.device} like the others", embeddings.device)


def check_identities(argument: str, identities: Tensor, rows: Tensor, remedy: str = "") -> None:
    """Require one integer identity for each row of ``rows``, on the same device."""
    check_tensor(argument, identities)
    require(is_integral(identities), argument, "be integers", identities.dtype, error=TypeError)
    require(
        identities.shape == rows.shape[:1],
        argument,
        f"have shape ({rows.shape[0]},), one for each embedding",
        tuple(identities.shape),
        remedy,
    )
    require(identities.device == rows.device, argument, f"be on {rows.device} like the embeddings", identities.device)


def check_modalities(modalities: Sequence[Tensor], identities: Sequence[Tensor | None]) -> list[Tensor]:
    """Require embeddings of each modality with identities, by default those of the first; return the identities."""
    found: list[Tensor] = []
    for (name, label), rows, own in zip(IDENTITIES_OF.items(), modalities, identities, strict=False):
        check_embeddings(name, rows, like=modalities[0])
        remedy = "Their default is identities." if own is None else ""
        found.append(cast(Tensor, identities[0] if own is None else own))
        check_identities(label, found[-1], rows, remedy)
    return found


def is_integral(tensor: Tensor) -> bool:
    """Whether a tensor holds integers; booleans are none."""
    return not (tensor.is_floating_point() or tensor.is_complex() or tensor.dtype == torch.bool)


def check_finite(argument: str, rows: Tensor, first: int = 0) -> None:
    """Require finite rows; the error names the first that is not, counted from ``first``."""
    if rows.sum().isfinite():  # much faster, although finite rows may have an infinite sum
        return
    finite = rows.isfinite()
    if not finite.all():  # finding the row takes time
        row = int(finite.all(1).int().argmin())
        value = rows[row][~finite[row]][0].item()
        require(False, f"{argument}[{first + row}]", "be finite", value)


def values_can_be_checked(tensor: Tensor) -> bool:
    """Whether reading the tensor's values costs neither a device synchronisation nor a graph break."""
    return tensor.device.type == "cpu" and not torch.compiler.is_compiling()


def import_extra(module: str, extra: str) -> Any:
    """Import an optional library, or say which extra of vireid brings it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        library = module.partition(".")[0]
        cause = "" if getattr(error, "name", None) in {library, module} else f" ({error})"
        raise ImportError(f"{library} must be installed for this: pip install 'vireid[{extra}]'.{cause}") from error


def _to_integer(value: Any) -> int | None:
    try:
        return operator.index(value)
    except TypeError:
        return None


def _is_boolean(value: object) -> bool:
    return isinstance(value, (bool, np.bool_)) or (isinstance(value, Tensor) and value.dtype == torch.bool)


def _bounds(
    least: float | None = None, most: float | None = None, above: float | None = None, below: float | None = None
) -> str:
    """The bounds of a number in words."""
    if least is not None and most is not None:
        return f" from {least} to {most}"
    words = [
        f"{word} {bound:g}" if isinstance(bound, float) else f"{word} {bound}"
        for word, bound in (("of at least", least), ("of at most", most), ("above", above), ("below", below))
        if bound is not None
    ]
    return f" {' and '.join(words)}" if words else ""
