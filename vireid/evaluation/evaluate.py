"""Evaluation of a model in one call."""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping
from typing import Any

import torch
from torch.utils.data import Dataset

from vireid._checks import check_type, require
from vireid.evaluation.corrupted import CorruptedProtocol
from vireid.evaluation.extraction import Flip, extract_embeddings
from vireid.evaluation.results import RetrievalResult
from vireid.evaluation.retrieval import RetrievalProtocol
from vireid.modality import Modality


def evaluate(
    model: Any,
    images_by_modality: Mapping[Any, Any],
    protocols: Mapping[str, RetrievalProtocol | CorruptedProtocol] | RetrievalProtocol | CorruptedProtocol,
    *,
    batch_size: int = 128,
    workers: int = 0,
    device: torch.device | str | None = None,
    autocast: torch.dtype | None = None,
    flip: Flip = "none",
    progress: bool = False,
    cache: str | os.PathLike[str] | None = None,
) -> dict[str, RetrievalResult]:
    """Embed the test images of both modalities and evaluate them with every protocol.

    To see rankings as well, call :func:`extract_embeddings` for each modality and then a protocol's ``evaluate`` and
    ``rank``, which is all that this function does.

    Args:
        model: Model with a method ``embed(images, modality)``, or any function that is called so, as for
            :func:`extract_embeddings`.
        images_by_modality: Images of ``"visible"`` and ``"infrared"``, as ``dataset.test_images(transform)`` returns
            them. For a :class:`CorruptedProtocol` the visible ones are a list of datasets, one for each draw.
        protocols: Protocols by name, such as ``create_protocols("sysu")``, or one protocol.
        batch_size: Number of images embedded at a time.
        workers: Number of processes that load images.
        device: Device to compute on; by default the model's.
        autocast: Type that autocast computes in where it is safe, such as ``torch.bfloat16``.
        flip: How the embeddings of an image and its mirror image are combined, as for :func:`extract_embeddings`.
        progress: Whether to show a bar, which needs tqdm.
        cache: Folder in which to keep embeddings, so that an interrupted evaluation resumes.

    Returns:
        Results by the names of the protocols; a single protocol's name is its description.

    Raises:
        ValueError: If images of a modality are missing, there is no protocol, or as for :func:`extract_embeddings` and
            the protocols.
        TypeError: If an argument has another type, or as for :func:`extract_embeddings` and the protocols.
        RuntimeError: If a process that loads images is killed.

    Example:
        >>> from vireid.evaluation import LLCMProtocol
        >>> images = [(torch.full((3, 4, 4), float(i)), i, 1) for i in range(3)]
        >>> results = evaluate(
        ...     lambda images, modality: torch.stack([images.mean((1, 2, 3)), torch.ones(len(images))], dim=1),
        ...     {"visible": images, "infrared": [(image, i, 2) for image, i, _ in images]},
        ...     {"infrared → visible": LLCMProtocol("infrared")},
        ... )
        >>> print(results["infrared → visible"])
        LLCM infrared → visible, galleries × 10: rank-1 100.00 ± 0.00  ...
    """
    kinds = (RetrievalProtocol, CorruptedProtocol)
    if isinstance(protocols, kinds):
        protocols = {str(protocols): protocols}
    check_type("protocols", protocols, Mapping, "be a protocol, or a mapping of names to protocols")
    require(len(protocols) > 0, "protocols", "hold a protocol", {})
    for name, protocol in protocols.items():
        check_type(f"protocols[{name!r}]", protocol, kinds, "be a protocol")
    check_type("images_by_modality", images_by_modality, Mapping, "map 'visible' and 'infrared' to images")
    known = set(images_by_modality) == {"visible", "infrared"}
    require(known, "images_by_modality", "have the keys 'visible' and 'infrared'", list(images_by_modality))

    embed = functools.partial(
        extract_embeddings,
        model,
        batch_size=batch_size,
        workers=workers,
        device=device,
        autocast=autocast,
        flip=flip,
        progress=progress,
        cache=cache,
    )
    sides: list[Any] = []
    for modality in (Modality.VISIBLE, Modality.INFRARED):
        images = images_by_modality[modality]
        draws = isinstance(images, (list, tuple)) and len(images) > 0 and isinstance(images[0], Dataset)
        sides.append([embed(draw, modality) for draw in images] if draws else embed(images, modality))
    return {name: protocol.evaluate(*sides) for name, protocol in protocols.items()}
