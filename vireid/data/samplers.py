"""Batches of aligned cross-modality pairs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

import numpy as np
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
    of the field draw both with replacement.

    One seed, drawn at the start, determines every epoch; each iteration is the next one. Processes that train together
    take every ``num_replicas``-th batch each: as many as the others, none of them twice, and those of one step show
    different identities as long as there are enough. They need the same seed.

    Args:
        visible_identities: label of every visible image, n_v.
        infrared_identities: label of every infrared image, n_r.
        identities_per_batch: P.
        images_per_identity: K, images of each modality.
        replacement: draw the images of an identity with replacement, as the scripts do.
        batches_per_epoch: of all processes together; by default ⌊max(n_v, n_r) / (P·K)⌋, at least one a process; AGW
            takes one more. What does not divide among the processes is dropped.
        num_replicas: number of processes that train together.
        rank: which of them this is, from 0.
        generator: of the seed; by default torch's global one.

    Raises:
        ValueError: an argument is out of its range, or fewer than P identities were seen in both modalities.
        TypeError: the labels are not integers.

    Example:
        >>> generator = torch.Generator().manual_seed(0)
        >>> sampler = CrossModalityIdentitySampler(
        ...     [0, 0, 1], [1, 0], identities_per_batch=2, images_per_identity=1, generator=generator
        ... )
        >>> len(sampler), [sorted(batch) for batch in sampler]
        (1, [[(1, 1), (2, 0)]])
    """

    def __init__(
        self,
        visible_identities: Tensor | Sequence[int],
        infrared_identities: Tensor | Sequence[int],
        *,
        identities_per_batch: int = 8,
        images_per_identity: int = 4,
        replacement: bool = False,
        batches_per_epoch: int | None = None,
        num_replicas: int = 1,
        rank: int = 0,
        generator: torch.Generator | None = None,
    ) -> None:
        visible = _images_of("visible_identities", visible_identities)
        infrared = _images_of("infrared_identities", infrared_identities)
        shared = sorted(visible.keys() & infrared.keys())
        rule = f"be at most {len(shared)}, the identities seen in both modalities"
        require(identities_per_batch <= len(shared), "identities_per_batch", rule, identities_per_batch)
        require(identities_per_batch >= 1, "identities_per_batch", "be at least 1", identities_per_batch)
        require(images_per_identity >= 1, "images_per_identity", "be at least 1", images_per_identity)
        require(num_replicas >= 1, "num_replicas", "be at least 1", num_replicas)
        require(0 <= rank < num_replicas, "rank", f"be from 0 to {num_replicas - 1}", rank)
        if batches_per_epoch is None:
            images = max(len(visible_identities), len(infrared_identities))
            batches_per_epoch = max(num_replicas, images // (identities_per_batch * images_per_identity))
        rule = f"be at least {num_replicas}, one for each process"
        require(batches_per_epoch >= num_replicas, "batches_per_epoch", rule, batches_per_epoch)
        self.images = [(visible[identity], infrared[identity]) for identity in shared]
        self.identities_per_batch = identities_per_batch
        self.images_per_identity = images_per_identity
        self.replacement = replacement
        self.batches = batches_per_epoch // num_replicas
        self.num_replicas = num_replicas
        self.rank = rank
        self.seed = int(torch.randint(2**62, (), generator=generator))
        self.set_epoch(0)

    def __len__(self) -> int:
        """The batches of this process in a whole epoch."""
        return self.batches

    def set_epoch(self, epoch: int, first_batch: int = 0) -> None:
        """Say which epoch the next iteration is, and where in it to begin: to go on where a run was interrupted.

        Args:
            epoch: from 0; every further iteration is the next one.
            first_batch: how many batches of the epoch this process has already had.

        Raises:
            ValueError: the epoch is negative or has no such batch.
        """
        require(epoch >= 0, "epoch", "be at least 0", epoch)
        require(0 <= first_batch <= self.batches, "first_batch", f"be from 0 to {self.batches}", first_batch)
        self.next_epoch, self.first_batch = epoch, first_batch

    def __iter__(self) -> Iterator[list[Pair]]:
        """The next epoch, which begins with its first batch: data loaders ask for more iterators than they use."""
        epoch, first = self.next_epoch, self.first_batch
        self.set_epoch(epoch + 1)
        yield from islice(self._epoch(epoch), first * self.num_replicas + self.rank, None, self.num_replicas)

    def _epoch(self, epoch: int) -> Iterator[list[Pair]]:
        """The batches of all processes, those of a step one after the other."""
        seed = np.random.SeedSequence((self.seed, epoch)).generate_state(1, np.uint64)[0]
        generator = torch.Generator().manual_seed(int(seed))
        waiting: list[int] = []
        for batch in range(self.batches * self.num_replicas):
            step = self.identities_per_batch * (self.num_replicas - batch % self.num_replicas)
            if len(waiting) < min(step, len(self.images)):
                round_ = torch.randperm(len(self.images), generator=generator).tolist()
                # Those that still wait come first; the new round puts them last, so that no batch has them twice.
                waiting += [i for i in round_ if i not in waiting] + [i for i in round_ if i in waiting]
            taken, waiting = waiting[: self.identities_per_batch], waiting[self.identities_per_batch :]
            yield [
                pair
                for i in taken
                for pair in zip(*(self._draw(images, generator) for images in self.images[i]), strict=True)
            ]

    def _draw(self, images: Tensor, generator: torch.Generator) -> list[int]:
        if self.replacement:
            order = torch.randint(len(images), (self.images_per_identity,), generator=generator)
        else:
            rounds = -(-self.images_per_identity // len(images))
            order = torch.cat([torch.randperm(len(images), generator=generator) for _ in range(rounds)])
        drawn: list[int] = images[order[: self.images_per_identity]].tolist()
        return drawn


def _images_of(argument: str, identities: Tensor | Sequence[int]) -> dict[int, Tensor]:
    """The indices of each identity's images."""
    try:
        labels = torch.as_tensor(identities)
    except (TypeError, ValueError) as error:  # texts, for example
        raise TypeError(f"{argument} must be integers, got {identities!r:.60}.") from error
    require(labels.ndim == 1, argument, "have shape (n,)", tuple(labels.shape))
    require(len(labels) > 0, argument, "label an image", 0)
    require(not labels.is_floating_point(), argument, "be integers", labels.dtype, error=TypeError)
    return {identity: (labels == identity).nonzero().flatten() for identity in set(labels.tolist())}
