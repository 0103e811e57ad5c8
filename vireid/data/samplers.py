"""Batches of aligned cross-modality pairs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.utils.data import Sampler

from vireid._checks import require

Pair = tuple[int, int]


class CrossModalityIdentitySampler(Sampler[list[Pair]]):
    """Batches of P identities × K pairs; both images of a pair show one identity.

    An epoch goes through shuffled rounds of all identities that both modalities have seen, so that they come equally
    often up to one round; the identities of a batch are distinct. Of an identity the K visible and the K infrared
    images are drawn without replacement; where it has fewer than K, all are taken before any is repeated. The scripts
    of the field draw both with replacement. Epochs differ from each other, and are the same for the same state of the
    generator.

    Args:
        visible_identities: label of every visible image, n_v.
        infrared_identities: label of every infrared image, n_r.
        identities_per_batch: P.
        images_per_identity: K, images of each modality.
        batches_per_epoch: by default ⌊max(n_v, n_r) / (P·K)⌋, at least 1; AGW takes one more.
        generator: of the random draws; by default torch's global one.

    Raises:
        ValueError: an argument is out of its range, or fewer than P identities were seen in both modalities.
        TypeError: the labels are not integers.

    Example:
        >>> generator = torch.Generator().manual_seed(0)
        >>> sampler = CrossModalityIdentitySampler(
        ...     [0, 0, 1], [1, 0], identities_per_batch=2, images_per_identity=1, generator=generator
        ... )
        >>> len(sampler), [sorted(batch) for batch in sampler]
        (1, [[(0, 1), (2, 0)]])
    """

    def __init__(
        self,
        visible_identities: Tensor | Sequence[int],
        infrared_identities: Tensor | Sequence[int],
        *,
        identities_per_batch: int = 8,
        images_per_identity: int = 4,
        batches_per_epoch: int | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        visible = _images_of("visible_identities", visible_identities)
        infrared = _images_of("infrared_identities", infrared_identities)
        shared = sorted(visible.keys() & infrared.keys())
        rule = f"be at most {len(shared)}, the identities seen in both modalities"
        require(identities_per_batch <= len(shared), "identities_per_batch", rule, identities_per_batch)
        require(identities_per_batch >= 1, "identities_per_batch", "be at least 1", identities_per_batch)
        require(images_per_identity >= 1, "images_per_identity", "be at least 1", images_per_identity)
        if batches_per_epoch is None:
            images = max(len(visible_identities), len(infrared_identities))
            batches_per_epoch = max(1, images // (identities_per_batch * images_per_identity))
        require(batches_per_epoch >= 1, "batches_per_epoch", "be at least 1", batches_per_epoch)
        self.images = [(visible[identity], infrared[identity]) for identity in shared]
        self.identities_per_batch = identities_per_batch
        self.images_per_identity = images_per_identity
        self.batches_per_epoch = batches_per_epoch
        self.generator = generator

    def __len__(self) -> int:
        return self.batches_per_epoch

    def __iter__(self) -> Iterator[list[Pair]]:
        """One epoch, which a single draw from the generator determines."""
        seed = int(torch.randint(2**62, (), generator=self.generator))
        epoch = torch.Generator().manual_seed(seed)
        waiting: list[int] = []
        for _ in range(self.batches_per_epoch):
            if len(waiting) < self.identities_per_batch:
                round_ = torch.randperm(len(self.images), generator=epoch).tolist()
                # Those that still wait come first; the new round puts them last, so that no batch has them twice.
                waiting += [i for i in round_ if i not in waiting] + [i for i in round_ if i in waiting]
            batch, waiting = waiting[: self.identities_per_batch], waiting[self.identities_per_batch :]
            yield [
                pair
                for i in batch
                for pair in zip(*(self._draw(images, epoch) for images in self.images[i]), strict=True)
            ]

    def _draw(self, images: Tensor, generator: torch.Generator) -> list[int]:
        rounds = -(-self.images_per_identity // len(images))
        order = torch.cat([torch.randperm(len(images), generator=generator) for _ in range(rounds)])
        drawn: list[int] = images[order[: self.images_per_identity]].tolist()
        return drawn


def _images_of(argument: str, identities: Tensor | Sequence[int]) -> dict[int, Tensor]:
    """The indices of each identity's images."""
    labels = torch.as_tensor(identities)
    require(labels.ndim == 1, argument, "have shape (n,)", tuple(labels.shape))
    require(len(labels) > 0, argument, "label an image", 0)
    require(not labels.is_floating_point(), argument, "be integers", labels.dtype, error=TypeError)
    return {identity: (labels == identity).nonzero().flatten() for identity in set(labels.tolist())}
