"""From a model and batches of images to embeddings."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn

from vireid._checks import check_embeddings, check_finite, check_identities, require
from vireid.modality import Modality


class EmbeddingSet(NamedTuple):
    """Embeddings with whom they show and which camera took the images.

    Shape:
        embeddings n d, identities n, cameras n.

    Example:
        >>> EmbeddingSet(torch.eye(2), torch.tensor([7, 8]), torch.tensor([3, 6])).check("query")
    """

    embeddings: Tensor
    identities: Tensor
    cameras: Tensor

    def check(self, argument: str, first_row: int = 0) -> None:
        """Require finite embeddings n d with an integer identity and camera each; errors count rows from the first.

        Raises:
            ValueError: a shape is wrong, or an embedding is not finite.
            TypeError: embeddings are not floating point, or identities or cameras are not integers.
        """
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
    batches: Iterable[tuple[Tensor, Tensor, Tensor]],
    modality: Modality | str,
    *,
    device: torch.device | str | None = None,
) -> EmbeddingSet:
    """Embed images of one modality, in order, without gradients and in evaluation mode.

    Afterwards every module is in the mode in which it was, also after an error.

    Args:
        model: has ``embed(images, modality)``.
        batches: of (images, identities, cameras), such as a data loader of :class:`vireid.data.PersonImages`.
        modality: of all the images.
        device: where to compute; by default where the model is.

    Shape:
        -> n d float32, n, n, all on the CPU.

    Raises:
        ValueError: there is no batch, modality is unknown, a batch does not match its embeddings in shape, or an
            embedding is not finite.

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
    parts: list[EmbeddingSet] = []
    rows = 0
    try:
        for module in modules:
            module.training = False
        with torch.inference_mode():
            for images, identities, cameras in batches:
                embeddings = model.embed(images.to(device), modality).float().cpu()
                parts.append(EmbeddingSet(embeddings, identities.cpu(), cameras.cpu()))
                parts[-1].check("batches", rows)  # now: not after an hour of further batches
                rows += len(embeddings)
    finally:
        for module, mode in zip(modules, modes, strict=True):
            module.training = mode
    require(rows > 0, "batches", "hold an image", rows)
    return EmbeddingSet(*(torch.cat(part) for part in zip(*parts, strict=True)))
