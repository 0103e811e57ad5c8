"""From a model and batches of images to embeddings."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn

from vireid._checks import require
from vireid.modality import Modality


class EmbeddingSet(NamedTuple):
    """Embeddings with whom they show and which camera took the images.

    Shape:
        embeddings n d, identities n, cameras n.
    """

    embeddings: Tensor
    identities: Tensor
    cameras: Tensor


class Embedder(Protocol):
    """A network that embeds images of a modality, such as MUN."""

    def embed(self, images: Tensor, modality: Modality | str) -> Tensor:
        """Images b 3 h w -> embeddings b d."""


def extract_embeddings(
    model: Embedder,
    batches: Iterable[tuple[Tensor, Tensor, Tensor]],
    modality: Modality | str,
    *,
    device: torch.device | str | None = None,
) -> EmbeddingSet:
    """Embed images of one modality, in order, without gradients and in evaluation mode.

    The modes in which the modules of the model were are restored afterwards, also after an error.

    Args:
        model: has ``embed(images, modality)``.
        batches: of (images, identities, cameras), such as a data loader of :class:`vireid.data.PersonImages`.
        modality: of all the images.
        device: where to compute; by default where the model is.

    Shape:
        -> n d float32, n, n, all on the CPU.

    Raises:
        ValueError: there is no batch, or an embedding has a NaN.

    Example:
        >>> class Average:
        ...     def embed(self, images, modality):
        ...         return images.mean((2, 3))
        >>> batch = torch.ones(2, 3, 4, 4), torch.tensor([0, 1]), torch.tensor([3, 6])
        >>> extract_embeddings(Average(), [batch], "infrared").embeddings.shape
        torch.Size([2, 3])
    """
    modality = Modality.of(modality)
    modules = list(model.modules()) if isinstance(model, nn.Module) else []
    modes = [module.training for module in modules]
    if device is None and isinstance(model, nn.Module):
        device = next((parameter.device for parameter in model.parameters()), None)
    parts: list[tuple[Tensor, Tensor, Tensor]] = []
    try:
        for module in modules:
            module.training = False
        with torch.inference_mode():
            for images, identities, cameras in batches:
                embeddings = model.embed(images.to(device), modality).float().cpu()
                parts.append((embeddings, identities.cpu(), cameras.cpu()))
    finally:
        for module, mode in zip(modules, modes, strict=True):
            module.training = mode
    require(len(parts) > 0, "batches", "hold a batch", 0)
    result = EmbeddingSet(*(torch.cat(part).clone() for part in zip(*parts, strict=True)))
    nan = result.embeddings.isnan().any(1).nonzero().flatten().tolist()
    require(not nan, "embeddings", "be numbers", f"NaN in {len(nan)} rows, the first being row {nan[0] if nan else 0}")
    return result
