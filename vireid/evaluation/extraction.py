"""From a model and images to embeddings, in order, resumably and on several devices."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.functional import normalize
from torch.utils.data import DataLoader, Dataset, Subset

from vireid._checks import check_choice, check_embeddings, check_finite, check_identities, import_extra, require
from vireid.modality import Modality

Flip = Literal["none", "mean", "mean-raw", "sum", "concatenate"]
Part = tuple[Tensor, Tensor, Tensor]  # embeddings, identities, cameras
_PART = 4096  # images whose embeddings are kept together


class EmbeddingSet(NamedTuple):
    """Embeddings of images of one modality, with whom they show and which camera took them.

    Attributes:
        embeddings: one of each image.
        identities: whom it shows.
        cameras: which camera took it.
        modality: of all the images.
        feature: how the embeddings were made, in words that results repeat.

    Shape:
        embeddings n d, identities n, cameras n.

    Example:
        >>> EmbeddingSet(torch.eye(2), torch.tensor([7, 8]), torch.tensor([3, 6]), "infrared").check("query")
    """

    embeddings: Tensor
    identities: Tensor
    cameras: Tensor
    modality: Modality | str
    feature: str = "embedding"

    def select(self, rows: Tensor) -> EmbeddingSet:
        """The same of some rows, by number or by mask."""
        return self._replace(
            embeddings=self.embeddings[rows.to(self.embeddings.device)],
            identities=self.identities[rows.to(self.identities.device)],
            cameras=self.cameras[rows.to(self.cameras.device)],
        )

    def check(self, argument: str, first_row: int = 0) -> None:
        """Require finite embeddings n d with an integer identity and camera each; errors count rows from the first.

        Raises:
            ValueError: a shape is wrong, an embedding is not finite, or there is no such modality.
            TypeError: embeddings are not floating point, or identities or cameras are not integers.
        """
        Modality.of(self.modality)
        check_embeddings(f"{argument}.embeddings", self.embeddings)
        check_identities(f"{argument}.identities", self.identities, self.embeddings)
        check_identities(f"{argument}.cameras", self.cameras, self.embeddings)
        check_finite(f"{argument}.embeddings", self.embeddings, first_row)


class Embedder(Protocol):
    """A network that embeds images of a modality, such as MUN."""

    def embed(self, images: Tensor, modality: Modality | str) -> Tensor:
        """Images b 3 h w -> embeddings b d."""


def extract_embeddings(
    model: Embedder,
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

    Afterwards every module is in the mode in which it was, also after an error. Where ``torch.distributed`` has been
    initialised, every process embeds a part, and all of them return the whole.

    The scripts of the field use an image and its mirror image in different ways, of which not all leave embeddings of
    unit length: ``"mean"`` averages the two embeddings and normalises (CAJ), ``"mean-raw"`` averages them only (SGIEL),
    ``"sum"`` adds (DEEN), ``"concatenate"`` puts one behind the other (CSDN). The length matters to protocols that
    compare by ``"dot"`` or ``"euclidean"``.

    Args:
        model: has ``embed(images, modality)``.
        images: of (image, identity, camera), such as :class:`vireid.data.PersonImages`.
        modality: of all the images.
        batch_size: images that are embedded at a time.
        workers: processes that load images.
        device: where to compute; by default where the model is.
        autocast: compute in this type, such as ``torch.bfloat16``, where autocast deems it safe.
        flip: what becomes of the mirror images.
        progress: show a bar; tqdm draws it.
        cache: folder where parts of the result are kept, 4,096 images each, so that an interrupted extraction goes on
            and a repeated one is read. They are found again by the model's weights, the options and
            ``images.fingerprint()``.

    Shape:
        -> n d float32, n, n, all on the CPU; d is twice as large for ``"concatenate"``.

    Raises:
        ValueError: there is no image, an option is unknown, the images do not match their embeddings in shape, or an
            embedding is not finite.
        TypeError: the model has no ``embed``, or ``images`` have no ``fingerprint`` to be kept by.
        ImportError: a progress bar is asked for and tqdm is not installed.

    Example:
        >>> class Average:
        ...     def embed(self, images, modality):
        ...         return images.mean((2, 3))
        >>> images = [(torch.ones(3, 4, 4), 7, 3), (torch.zeros(3, 4, 4), 8, 6)]
        >>> extract_embeddings(Average(), images, "infrared").identities
        tensor([7, 8])
    """
    modality = Modality.of(modality)
    embeds = callable(getattr(model, "embed", None))
    require(embeds, "model", "have embed(images, modality)", type(model).__name__, error=TypeError)
    check_choice("flip", flip, ("none", "mean", "mean-raw", "sum", "concatenate"))
    require(batch_size >= 1, "batch_size", "be at least 1", batch_size)
    total = len(images)  # type: ignore[arg-type]
    require(total > 0, "images", "hold an image", total)
    if device is None and isinstance(model, nn.Module):
        device = next((parameter.device for parameter in model.parameters()), None)
    device = torch.device(device or "cpu")
    feature = f"{type(model).__name__}.embed"
    feature += "" if flip == "none" else f", flip {flip}"
    feature += "" if autocast is None else f", {str(autocast).removeprefix('torch.')}"
    folder = None if cache is None else Path(cache, _key(model, images, f"{modality.value}, {feature}"))
    tqdm = import_extra("tqdm", "examples").tqdm if progress else None

    mine = _share_of_process(total)
    bar = tqdm(total=len(mine), desc=f"{modality.value} images", disable=mine.start > 0) if tqdm else None

    def embed(batch: Tensor) -> Tensor:
        with torch.inference_mode(), torch.autocast(device.type, autocast, enabled=autocast is not None):
            here = batch.to(device)
            embeddings = model.embed(here, modality).float()
            if flip != "none":
                embeddings = _combine(embeddings, model.embed(here.flip(-1), modality).float(), flip)
        return embeddings.cpu().clone()  # out of inference mode

    def embed_part(start: int, stop: int) -> Part:
        batches = []
        row = start
        for batch, identities, cameras in DataLoader(
            Subset(images, range(start, stop)), batch_size, num_workers=workers
        ):
            embedded = EmbeddingSet(embed(batch), identities, cameras, modality)
            embedded.check("images", row)  # now: not after an hour of further batches
            row += len(identities)
            batches.append((embedded.embeddings, identities, cameras))
            if bar is not None:
                bar.update(len(identities))
        return _concatenate(batches)

    parts: list[Part] = []
    with _evaluation_mode(model):
        for start in mine[::_PART]:
            stop = min(start + _PART, mine.stop)
            kept = None if folder is None else folder / f"{start}-{stop}.pt"
            part = _read(kept)
            if part is None:
                part = embed_part(start, stop)
                _write(kept, part)
            elif bar is not None:
                bar.update(stop - start)
            parts.append(part)
    if bar is not None:
        bar.close()
    return EmbeddingSet(*_concatenate(_gather(parts)), modality, feature)


@contextmanager
def _evaluation_mode(model: Embedder) -> Iterator[None]:
    """Put every module in evaluation mode, and back into the mode in which it was."""
    modules = list(model.modules()) if isinstance(model, nn.Module) else []
    modes = [module.training for module in modules]
    try:
        for module in modules:
            module.training = False
        yield
    finally:
        for module, mode in zip(modules, modes, strict=True):
            module.training = mode


def _share_of_process(total: int) -> range:
    """The images that this process embeds; the last processes may have fewer."""
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


def _key(model: Embedder, images: Dataset[Any], options: str) -> str:
    """What the embeddings depend on, as the name of a folder."""
    rule = "have a fingerprint() to be kept by, as PersonImages has"
    require(hasattr(images, "fingerprint"), "images", rule, type(images).__name__, error=TypeError)
    digest = hashlib.sha256(f"{options}\n{images.fingerprint()}\n{model!r}".encode())  # type: ignore[attr-defined]
    if isinstance(model, nn.Module):
        for name, values in model.state_dict().items():
            digest.update(name.encode())
            digest.update(values.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _read(path: Path | None) -> Part | None:
    """A part that was kept, unless it is not there or damaged."""
    if path is None or not path.is_file():
        return None
    try:
        embeddings, identities, cameras = torch.load(path, weights_only=True)
    except Exception:
        return None
    return embeddings, identities, cameras


def _write(path: Path | None, part: Part) -> None:
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(f".{os.getpid()}")
        torch.save(part, unfinished)
        unfinished.replace(path)
