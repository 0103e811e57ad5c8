"""Embeddings kept on disk: parts of an extraction, found again by all that they depend on."""

from __future__ import annotations

import hashlib
import os
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import BuiltinFunctionType, CodeType, FunctionType, ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from vireid._checks import check_type, is_integral, require
from vireid._files import load_tensors, save_tensors

Part = tuple[Tensor, Tensor, Tensor]  # embeddings, identities, cameras


class EmbeddingCache:
    """Keep the parts of one extraction in a folder named after everything that its embeddings depend on.

    A part is used only if its checksum holds and its shape, types and values are those of the part that is asked for.
    Where nothing can be written, the extraction goes on without the cache, with one warning.

    Args:
        cache: Folder of all caches; each extraction has a folder of its own in it.
        model: Model, told apart by its class and all of its attributes, a function by its code and the values that it
            uses. A method ``fingerprint()`` of the model, if it has one, takes their place.
        images: Images, told apart by their ``fingerprint()``.
        options: All other choices, as a string.

    Raises:
        TypeError: If the images have no ``fingerprint()``, or the model needs one.
    """

    def __init__(self, cache: str | os.PathLike[str], model: object, images: Any, options: str) -> None:
        check_type("cache", cache, (str, os.PathLike), "be the path of a folder or None")
        rule = "have a fingerprint() for the cache, as PersonImages has"
        require(callable(getattr(images, "fingerprint", None)), "images", rule, type(images).__name__, error=TypeError)
        digest = hashlib.sha256(f"{options}\n{images.fingerprint()}\n".encode())
        for piece in _describe(getattr(model, "_orig_mod", model), {}):
            digest.update(piece)
        self._folder = Path(cache, digest.hexdigest())
        self._writes = True

    def read(self, start: int, stop: int) -> Part | None:
        """Return the part of images ``start`` to ``stop``, or None if there is none that is whole and fits."""
        try:
            tensors, _ = load_tensors(self._path(start, stop))
            part = tensors["embeddings"], tensors["identities"], tensors["cameras"]
        except (OSError, ValueError, KeyError):
            return None
        embeddings, *labels = part
        fits = (
            embeddings.dim() == 2
            and embeddings.dtype == torch.float32
            and len(embeddings) == stop - start
            and bool(embeddings.isfinite().all())
            and all(is_integral(x) and x.shape == embeddings.shape[:1] for x in labels)
        )
        return part if fits else None

    def write(self, start: int, stop: int, part: Part) -> None:
        """Keep a part."""
        if self._writes:
            try:
                save_tensors(
                    self._path(start, stop), dict(zip(("embeddings", "identities", "cameras"), part, strict=True)), {}
                )
            except OSError as error:
                self._writes = False
                warnings.warn(f"The embeddings are computed, but not kept in the cache: {error}", stacklevel=3)

    def _path(self, start: int, stop: int) -> Path:
        return self._folder / f"{start}-{stop}.safetensors"


def _describe(value: Any, seen: dict[int, tuple[int, object]]) -> Iterator[bytes | memoryview]:
    """Describe a value by its state, the same in every process; things with a name by it, all others by their code."""
    if value is None or isinstance(value, (bool, int, float, complex, str, bytes, torch.dtype, torch.device)):
        yield f"{value!r};".encode()
    elif id(value) in seen:
        yield f"#{seen[id(value)][0]};".encode()
    else:
        seen[id(value)] = len(seen), value  # kept alive, so that no other object gets its address
        yield f"{type(value).__qualname__}(".encode()
        for part in _parts(value):
            yield from [part] if isinstance(part, memoryview) else _describe(part, seen)
        yield b")"


def _parts(value: Any) -> Iterator[Any]:
    """What a value consists of."""
    match value:
        case Tensor():
            yield from (str(value.dtype), tuple(value.shape))
            yield memoryview(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())  # type: ignore[arg-type]
        case list() | tuple():
            yield from value
        case set() | frozenset():
            yield from sorted(map(repr, value))
        case dict():
            yield from (part for item in value.items() for part in item)
        case ModuleType():
            yield value.__name__
        case CodeType():
            yield from (value.co_code, value.co_names, value.co_consts)
        case type() | FunctionType() | BuiltinFunctionType():
            yield f"{value.__module__}.{value.__qualname__}"
            if not _is_imported(value):
                yield from _code(value)
        case object(fingerprint=method) if callable(method):
            yield from (type(value), method())
        case nn.Module():
            yield from (type(value), {name: part for name, part in vars(value).items() if name != "training"})
        case _:
            yield from _reduce(value)


def _code(value: type | FunctionType | BuiltinFunctionType) -> Iterator[Any]:
    """The code of a class or function that cannot be imported by its name, and the values that it uses."""
    if isinstance(value, FunctionType):
        yield from (value.__code__, value.__defaults__, value.__kwdefaults__)
        yield from (cell.cell_contents for cell in value.__closure__ or ())
        yield from (value.__globals__[name] for name in _names(value.__code__) if name in value.__globals__)
    elif isinstance(value, type):
        yield value.__bases__
        for name, attribute in vars(value).items():
            part = getattr(
                attribute, "__func__", getattr(attribute, "fget", attribute)
            )  # of a static method, a property
            if isinstance(part, (FunctionType, bool, int, float, str, tuple)) and name != "__doc__":
                yield from (name, part)


def _names(code: CodeType) -> Iterator[str]:
    """The names that a function and the functions in it use."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


def _is_imported(value: type | FunctionType | BuiltinFunctionType) -> bool:
    """Whether other programs get the value by its name."""
    place: Any = sys.modules.get(value.__module__ or "")
    for name in value.__qualname__.split("."):
        place = getattr(place, name, None)
    return place is value and value.__module__ != "__main__"


def _reduce(value: object) -> Iterator[Any]:
    """The state of any other object, as pickle takes it."""
    try:
        reduced = value.__reduce_ex__(4)
    except Exception as error:
        rule = "consist of modules, tensors and plain objects to be known by the cache"
        remedy = "Give it a method fingerprint() that returns a string."
        name = type(value).__name__
        require(False, "model", rule, name, f"{remedy} ({error})", error=TypeError)
    if isinstance(reduced, str):
        yield reduced
    else:
        _, arguments, state, items, pairs = (*reduced, None, None, None)[:5]
        yield from (arguments, state, list(items or ()), list(pairs or ()))
