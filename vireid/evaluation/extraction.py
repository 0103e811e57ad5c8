"""Embeddings of images, in order, resumable and on several devices."""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal, NamedTuple, cast

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.functional import normalize
from torch.utils.data import DataLoader, Dataset, Subset

from vireid._checks import (
    check_callable,
    check_choice,
    check_embeddings,
    check_finite,
    check_flags,
    check_identities,
    check_integer,
    check_type,
    import_extra,
    require,
)
from vireid._files import digest_weights
from vireid.evaluation.cache import EmbeddingCache, Part
from vireid.evaluation.metrics import to_tensor
from vireid.modality import Modality

Flip = Literal["none", "mean", "mean-raw", "sum", "concatenate"]
Embed = Callable[[Tensor, Modality], Tensor]
_PART = 4096  # images whose embeddings are kept together


class _Fields(NamedTuple):
    embeddings: Tensor
    identities: Tensor
    cameras: Tensor
    modality: Modality | str
    feature: str = "embedding"
    network: str = ""


class EmbeddingSet(_Fields):
    """Hold the embeddings of images of one modality with their identities and cameras.

    NumPy arrays are converted to tensors.

    Attributes:
        embeddings: Embedding of each image.
        identities: Integer identity of each image.
        cameras: Integer camera of each image.
        modality: Modality of all the images.
        feature: Description of how the embeddings were made, which results repeat.
        network: Digest of the weights of the network that made them, ``""`` if it is unknown.

    Shape:
        embeddings n d, identities n, cameras n.

    Example:
        >>> EmbeddingSet(torch.eye(2), np.array([7, 8]), np.array([3, 6]), "infrared").identities
        tensor([7, 8])
    """

    __slots__ = ()

    def __new__(  # noqa: PLR0917  (the fields)
        cls,
        embeddings: Tensor | np.ndarray,
        identities: Tensor | np.ndarray,
        cameras: Tensor | np.ndarray,
        modality: Modality | str,
        feature: str = "embedding",
        network: str = "",
    ) -> EmbeddingSet:
        """Convert arrays to tensors."""
        arrays = {"embeddings": embeddings, "identities": identities, "cameras": cameras}
        tensors = {name: to_tensor(name, x) if isinstance(x, np.ndarray) else x for name, x in arrays.items()}
        return super().__new__(cls, **tensors, modality=modality, feature=feature, network=network)

    @classmethod
    def _make(cls, iterable: Iterable[Any]) -> EmbeddingSet:  # type: ignore[override]  # `_replace` comes through here
        return cls(*iterable)

    def select(self, rows: Tensor | np.ndarray | slice) -> EmbeddingSet:
        """Return the set of some rows.

        Args:
            rows: Row numbers, a boolean mask, or a slice.

        Raises:
            TypeError: If ``rows`` is something else.
            ValueError: If a row is out of range, or the mask has another length.
        """
        check_type("rows", rows, (Tensor, np.ndarray, slice), "be a tensor, an array or a slice")
        index = rows if isinstance(rows, slice) else to_tensor("rows", rows)
        try:
            chosen = [x[index if isinstance(index, slice) else index.to(x.device)] for x in self[:3]]
            return self._make([*chosen, *self[3:]])
        except IndexError as error:
            raise ValueError(f"rows must be rows of a set of {len(self.embeddings)}: {error}.") from error

    def check(self, argument: str, first_row: int = 0) -> None:
        """Require finite embeddings n d with an integer identity and camera each.

        Args:
            argument: Name of the set in errors.
            first_row: Number of the first row in errors.

        Raises:
            ValueError: If a shape is wrong, an embedding is not finite, or there is no such modality.
            TypeError: If embeddings are not floating point, or identities or cameras are not integers.
        """
        check_choice(f"{argument}.modality", self.modality, (Modality.VISIBLE.value, Modality.INFRARED.value))
        check_embeddings(f"{argument}.embeddings", self.embeddings)
        check_identities(f"{argument}.identities", self.identities, self.embeddings)
        check_identities(f"{argument}.cameras", self.cameras, self.embeddings)
        check_finite(f"{argument}.embeddings", self.embeddings, first_row)


def extract_embeddings(
    model: Any,
    images: Dataset[Any],
    modality: Modality | str,
    *,
    batch_size: int = 128,
    workers: int = 0,
    device: torch.device | str | None = None,
    autocast: torch.dtype | None = None,
    flip: Flip = "none",
    progress: bool = False,
    cache: str | os.PathLike[str] | None = None,
) -> EmbeddingSet:
    """Embed images of one modality, in order, without gradients and in evaluation mode.

    Every module returns to its own mode afterwards, also after an error. Where ``torch.distributed`` is initialised,
    every process embeds a share of the images, and all of them return the whole.

    Published scripts use an image and its mirror image in different ways, and not all of them leave embeddings of unit
    length: ``"mean"`` averages the two embeddings and normalises (CAJ), ``"mean-raw"`` only averages (SGIEL), ``"sum"``
    adds (DEEN), ``"concatenate"`` joins (CSDN). The length matters to protocols that compare by ``"dot"`` or
    ``"euclidean"``.

    Args:
        model: Model with a method ``embed(images, modality)`` that returns embeddings b d, or any function or module
            that is called so, such as ``nn.DataParallel(model.embedder)`` or
            ``lambda images, modality: network(images)[0]``. A lambda does not show its network: put that in evaluation
            mode yourself and give its device.
        images: Dataset of (image, identity, camera), such as :class:`vireid.data.PersonImages`.
        modality: Modality of all the images.
        batch_size: Number of images embedded at a time.
        workers: Number of processes that load images.
        device: Device to compute on; by default the model's.
        autocast: Type that autocast computes in where it is safe, such as ``torch.bfloat16``.
        flip: How the embeddings of an image and its mirror image are combined.
        progress: Whether to show a bar, which needs tqdm.
        cache: Folder in which to keep parts of the result, 4,096 images each, so that an interrupted extraction
            resumes and a repeated one is read. They are found by the model's state, the options and
            ``images.fingerprint()``; after editing the code of a model in a module of your own, delete the folder.

    Shape:
        -> n d float32, n, n, all on the CPU; d is twice as large for ``"concatenate"``.

    Raises:
        ValueError: If there is no image, an option is unknown, the model returns another shape, or an embedding is not
            finite.
        TypeError: If an argument has another type, the model cannot be called or returns something else than a tensor,
            or ``images`` have no ``fingerprint`` for the cache.
        RuntimeError: If a process that loads images is killed.
        ImportError: If a bar is asked for and tqdm is not installed.

    Example:
        >>> images = [(torch.ones(3, 4, 4), 7, 3), (torch.zeros(3, 4, 4), 8, 6)]
        >>> extract_embeddings(lambda images, modality: images.mean((2, 3)), images, "infrared").identities
        tensor([7, 8])
    """
    check_choice("modality", modality, (Modality.VISIBLE.value, Modality.INFRARED.value))
    modality = Modality(modality)
    embed = getattr(model, "embed", model)
    check_callable("model", embed, "have embed(images, modality) or be a function of both")
    _check_arguments(embed)
    check_choice("flip", flip, ("none", "mean", "mean-raw", "sum", "concatenate"))
    batch_size = check_integer("batch_size", batch_size, least=1)
    workers = check_integer("workers", workers, least=0)
    check_type("autocast", autocast, (torch.dtype, type(None)), "be a torch.dtype or None")
    check_flags(progress=progress)
    mine = _share_of_process(images)
    function = model.func if isinstance(model, functools.partial) else model
    network = getattr(function, "__self__", model)  # of a bound method
    device = _device(device, network)
    feature = _describe(model, flip, autocast)
    kept = None if cache is None else EmbeddingCache(cache, model, images, f"{modality.value}, {feature}")
    tqdm = import_extra("tqdm", "examples").tqdm if progress else None
    bar = tqdm(total=len(mine), desc=f"{modality.value} images", disable=mine.start > 0) if tqdm else None

    def embed_batch(batch: Tensor) -> Tensor:
        with torch.inference_mode(), torch.autocast(device.type, autocast, enabled=autocast is not None):
            here = batch.to(device)
            with _told_of_pixels(here):
                embeddings = _check_output(embed(here, modality), len(batch)).float()
            if flip != "none":
                mirrored = _check_output(embed(here.flip(-1), modality), len(batch)).float()
                embeddings = _combine(embeddings, mirrored, flip)
        return embeddings.cpu().clone()  # out of inference mode

    def embed_part(start: int, stop: int) -> Part:
        batches: list[Part] = []
        row = start
        loader = DataLoader(Subset(images, range(start, stop)), batch_size, num_workers=workers)
        for batch, identities, cameras in map(_check_batch, loader):
            embedded = EmbeddingSet(embed_batch(batch), identities, cameras, modality)
            embedded.check("images", row)  # now: not after an hour of further batches
            row += len(identities)
            batches.append(embedded[:3])
            if bar is not None:
                bar.update(len(identities))
        return _concatenate(batches)

    parts: list[Part] = []
    with _evaluation_mode(network), _told_of_killed_workers():
        for start in mine[::_PART]:
            stop = min(start + _PART, mine.stop)
            part = None if kept is None else kept.read(start, stop)
            if part is not None and bar is not None:
                bar.update(stop - start)
            if part is None:
                part = embed_part(start, stop)
                if kept is not None:
                    kept.write(start, stop, part)
            parts.append(part)
    if bar is not None:
        bar.close()
    return EmbeddingSet(*_concatenate(_gather(parts)), modality, feature, _digest(network))


def _device(device: torch.device | str | None, network: Any) -> torch.device:
    """The device that is asked for, or the network's."""
    check_type("device", device, (str, torch.device, type(None)), "be a device or its name")
    if device is None and isinstance(network, nn.Module):
        device = next((parameter.device for parameter in network.parameters()), None)
    try:
        return torch.device(device or "cpu")
    except RuntimeError as error:
        raise ValueError(f"device must be a device of torch, got {device!r}: {error}.") from error


def _digest(network: Any) -> str:
    """The weights of a network, those of its embedder if it has one; what an exported file says; or nothing."""
    network = getattr(network, "embedder", network)
    if isinstance(network, nn.Module):
        return digest_weights(network)
    said = getattr(network, "network", "")
    return said if isinstance(said, str) else ""


def _describe(model: Any, flip: Flip, autocast: torch.dtype | None) -> str:
    """How the embeddings are made, for results."""
    function = model.func if isinstance(model, functools.partial) else model
    name = str(getattr(function, "__qualname__", type(function).__name__))
    name += ".embed" if hasattr(function, "embed") else ""
    if isinstance(model, functools.partial):
        plain = {option: value for option, value in model.keywords.items() if isinstance(value, (str, int, float))}
        name += "".join(f", {option} {value}" for option, value in plain.items())
    name += "" if flip == "none" else f", flip {flip}"
    return name + ("" if autocast is None else f", {str(autocast).removeprefix('torch.')}")


def _check_arguments(embed: Callable[..., Any]) -> None:
    """Require a function that takes images and their modality, as far as it tells."""
    try:
        signature = inspect.signature(embed.forward if isinstance(embed, nn.Module) else embed)
    except (TypeError, ValueError):  # written in C
        return
    try:
        signature.bind(None, None)
    except TypeError:
        remedy = "If it has one way for both modalities: lambda images, modality: model(images)."
        require(False, "model", "take (images, modality)", f"parameters {signature}", remedy, error=TypeError)


@contextmanager
def _told_of_pixels(images: Tensor) -> Iterator[None]:
    """Say that images have no transform, where a model fails on their bytes."""
    try:
        yield
    except RuntimeError as error:
        if images.dtype != torch.uint8:
            raise
        remedy = "Give them a transform: dataset.test_images(create_test_transform(size))."
        raise ValueError(f"images must be of a type that the model takes, got uint8. {remedy} ({error})") from error


def _check_output(output: object, images: int) -> Tensor:
    """Require what a model must return."""
    output = torch.from_numpy(output) if isinstance(output, np.ndarray) else output
    parts = f" of {len(output)}" if isinstance(output, (tuple, list)) else ""
    remedy = "Pick the embeddings: lambda images, modality: model(images, modality)[0]." if parts else ""
    found = type(output).__name__ + parts
    require(isinstance(output, Tensor), "model", "return embeddings as one tensor", found, remedy, error=TypeError)
    embeddings = cast(Tensor, output)
    shape = tuple(embeddings.shape)
    remedy = "Pool the feature map first." if len(shape) == 4 else ""
    fits = len(shape) == 2 and shape[0] == images and shape[1] > 0
    require(fits, "model", f"return embeddings of shape (b, d) with b = {images}", shape, remedy)
    floating = embeddings.is_floating_point()
    require(floating, "model", "return floating-point embeddings", embeddings.dtype, error=TypeError)
    return embeddings


def _check_batch(batch: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Require what a dataset must give."""
    triple = isinstance(batch, (tuple, list)) and len(batch) == 3 and all(isinstance(x, Tensor) for x in batch)
    found = ", ".join(type(x).__name__ for x in batch) if isinstance(batch, (tuple, list)) else type(batch).__name__
    require(triple, "images", "give (image, identity, camera), a tensor and two integers", found, error=TypeError)
    return tuple(batch)


@contextmanager
def _told_of_killed_workers() -> Iterator[None]:
    """Say what it means when a process that loads images is killed, or images have no common size."""
    try:
        yield
    except RuntimeError as error:
        if "stack expects each tensor to be equal size" in str(error):
            remedy = "Give them a transform that resizes: dataset.test_images(create_test_transform(size))."
            raise ValueError(f"images must have one size, got several. {remedy}") from error
        if not str(error).startswith("DataLoader worker"):
            raise
        remedy = "Memory or shared memory ran out, most likely: use fewer workers, or smaller batches."
        raise RuntimeError(f"A process that loads images was killed. {remedy} ({error})") from error


@contextmanager
def _evaluation_mode(model: Any) -> Iterator[None]:
    """Put every module in evaluation mode, and back into its own mode afterwards."""
    modules = list(model.modules()) if isinstance(model, nn.Module) else []
    modes = [module.training for module in modules]
    try:
        for module in modules:
            module.training = False
        yield
    finally:
        for module, mode in zip(modules, modes, strict=True):
            module.training = mode


def _share_of_process(images: Any) -> range:
    """The images that this process embeds; the last processes may have fewer."""
    sized = hasattr(images, "__len__") and hasattr(images, "__getitem__")
    require(sized, "images", "be a dataset with a length", type(images).__name__, error=TypeError)
    total = len(images)
    require(total > 0, "images", "hold an image", total)
    processes, rank = (dist.get_world_size(), dist.get_rank()) if dist.is_initialized() else (1, 0)
    share = -(-total // processes)
    return range(min(rank * share, total), min((rank + 1) * share, total))


def _gather(parts: list[Part]) -> list[Part]:
    """The parts of all processes, in their order."""
    if not dist.is_initialized():
        return parts
    gathered: list[list[Part]] = [[] for _ in range(dist.get_world_size())]
    dist.all_gather_object(gathered, parts)
    return [part for of_process in gathered for part in of_process]


def _concatenate(parts: Sequence[Part]) -> Part:
    embeddings, identities, cameras = (torch.cat(rows) for rows in zip(*parts, strict=True))
    return embeddings, identities, cameras


def _combine(embeddings: Tensor, mirrored: Tensor, flip: Flip) -> Tensor:
    if flip == "concatenate":
        return torch.cat([embeddings, mirrored], dim=1)
    both = embeddings + mirrored
    return both if flip == "sum" else both / 2 if flip == "mean-raw" else normalize(both)
