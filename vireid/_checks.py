"""The error grammar: ``<argument> must <rule>, got <value>.`` followed by the remedy, when one can be named.

Every message about a user's mistake is built here, before any work is done.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterable
from numbers import Integral
from typing import Any

import torch
from torch import Tensor


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
        raise error(f"{argument} must {rule}, got {value!r}.{remedy and f' {remedy}'}")


def is_whole(value: object) -> bool:
    """Whether a value is a whole number, of Python or of NumPy."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def check_choice(argument: str, value: object, options: Iterable[str], rule: str = "") -> None:
    """Require that ``value`` is one of ``options``; a near miss is answered with the likeliest ones."""
    options = tuple(options)
    if value in options:
        return
    close = difflib.get_close_matches(str(value), options, n=2)
    remedy = f"Did you mean {' or '.join(map(repr, close))}?" if close else ""
    require(False, argument, rule or f"be one of {', '.join(map(repr, options))}", value, remedy)


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


def check_embeddings(argument: str, embeddings: Tensor, like: Tensor | None = None) -> None:
    """Require floating-point embeddings of shape (b, d), of the width, dtype and device of ``like`` if it is given."""
    check_tensor(argument, embeddings)
    shape = tuple(embeddings.shape)
    remedy = "Pool the feature map first." if len(shape) == 4 else ""
    require(len(shape) == 2, argument, "have shape (b, d)", shape, remedy)
    require(shape[0] > 0, argument, "have a row at least", shape)
    require(embeddings.is_floating_point(), argument, "be floating point", embeddings.dtype, error=TypeError)
    if like is not None:
        require(shape[1] == like.shape[1], argument, f"have d = {like.shape[1]} like the others", shape)
        require(embeddings.dtype == like.dtype, argument, f"be {like.dtype} like the others", embeddings.dtype)
        require(embeddings.device == like.device, argument, f"be on {like.device} like the others", embeddings.device)


def check_identities(argument: str, identities: Tensor, rows: Tensor) -> None:
    """Require one integer identity for each row of ``rows``, on the same device."""
    check_tensor(argument, identities)
    require(not identities.is_floating_point(), argument, "be integers", identities.dtype, error=TypeError)
    require(
        identities.shape == rows.shape[:1],
        argument,
        f"have shape ({rows.shape[0]},), one for each embedding",
        tuple(identities.shape),
    )
    require(identities.device == rows.device, argument, f"be on {rows.device} like the embeddings", identities.device)


def check_finite(argument: str, rows: Tensor, first: int = 0) -> None:
    """Require finite rows; the error names the first that is not, counted from ``first``."""
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
