"""Batches of aligned cross-modality pairs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import count, islice

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Sampler

from vireid._checks import check_flags, check_integer, check_type, is_integral, require
from vireid.data.images import Pair


class CrossModalityIdentitySampler(Sampler[list[Pair]]):
    """Draw batches of P identities × K pairs; both images of a pair show one identity.

    An epoch goes through shuffled rounds of all identities that both modalities have seen, so that the numbers of their
    appearances differ by at most one; the identities of a batch are distinct. The K visible and the K infrared images
    of an identity are drawn without replacement; if it has fewer than K, all are taken before any is repeated. The
    field's scripts draw with replacement.

    One seed, drawn in the constructor, determines every epoch; each iteration is the next epoch. Each :class:`Pair`
    carries a seed of its own, from which :class:`PairedImages` draws its augmentations in whichever worker. Processes
    that train together take every ``num_replicas``-th batch: equally many each, none twice, and the batches of one step
    show different identities as long as there are enough. They need the same seed.

    Args:
        visible_identities: Label of every visible image, n_v.
        infrared_identities: Label of every infrared image, n_r.
        identities_per_batch: Number of identities in a batch, P.
        images_per_identity: Number of images of each identity and modality, K.
        replacement: Whether the images of an identity are drawn with replacement, as the field's scripts do.
        batches_per_epoch: Number of batches of all processes together; by default ⌊max(n_v, n_r) / (P·K)⌋, at least one
            per process; AGW takes one more. A remainder that does not divide among the processes is dropped.
        num_replicas: Number of processes that train together.
        rank: Index of this process, starting at 0.
        generator: Generator of the seed; by default torch's global one.

    Raises:
        ValueError: If an argument is out of range, or fewer than P identities were seen in both modalities.
        TypeError: If the labels are not integers, or an argument has another type.

    Example:
        >>> generator = torch.Generator().manual_seed(0)
        >>> sampler = CrossModalityIdentitySampler(
        ...     [0, 0, 1], [1, 0], identities_per_batch=2, images_per_identity=1, generator=generator
        ... )
        >>> len(sampler), [sorted((pair.visible, pair.infrared) for pair in batch) for batch in sampler]
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
        identities_per_batch = check_integer("identities_per_batch", identities_per_batch, least=1)
        rule = f"be at most {len(shared)}, the identities seen in both modalities"
        require(identities_per_batch <= len(shared), "identities_per_batch", rule, identities_per_batch)
        images_per_identity = check_integer("images_per_identity", images_per_identity, least=1)
        num_replicas = check_integer("num_replicas", num_replicas, least=1)
        rank = check_integer("rank", rank, least=0, most=num_replicas - 1)
        check_flags(replacement=replacement)
        if generator is not None:
            check_type("generator", generator, torch.Generator, "be None or a torch.Generator")
        if batches_per_epoch is None:
            images = max(len(visible_identities), len(infrared_identities))
            batches_per_epoch = max(num_replicas, images // (identities_per_batch * images_per_identity))
        batches_per_epoch = check_integer("batches_per_epoch", batches_per_epoch)
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
        """Return the number of batches of this process in a whole epoch."""
        return self.batches

    def set_epoch(self, epoch: int, first_batch: int = 0) -> None:
        """Set the next epoch and first batch, to resume an interrupted run.

        Args:
            epoch: Index of the epoch, starting at 0; each further iteration is the next epoch.
            first_batch: Number of batches of the epoch that this process has already had.

        Raises:
            ValueError: If the epoch is negative or has no such batch.
            TypeError: If an argument is no integer.
        """
        epoch = check_integer("epoch", epoch, least=0)
        first_batch = check_integer("first_batch", first_batch, least=0, most=self.batches)
        self.next_epoch, self.first_batch = epoch, first_batch

    def __iter__(self) -> Iterator[list[Pair]]:
        """Yield the next epoch, counted from its first batch on: data loaders ask for more iterators than they use."""
        epoch, first = self.next_epoch, self.first_batch
        self.set_epoch(epoch + 1)
        yield from islice(self._epoch(epoch), first * self.num_replicas + self.rank, None, self.num_replicas)

    def _epoch(self, epoch: int) -> Iterator[list[Pair]]:
        """Yield the batches of all processes, those of a step one after the other."""
        seeds = np.random.SeedSequence((self.seed, epoch)).generate_state(2, np.uint64)
        generator = torch.Generator().manual_seed(int(seeds[0]))
        pair_seeds = count(int(seeds[1]) % 2**62)
        waiting: list[int] = []
        for batch in range(self.batches * self.num_replicas):
            step = self.identities_per_batch * (self.num_replicas - batch % self.num_replicas)
            if len(waiting) < min(step, len(self.images)):
                round_ = torch.randperm(len(self.images), generator=generator).tolist()
                # Those that still wait come first; the new round puts them last, so that no batch has them twice.
                waiting += [i for i in round_ if i not in waiting] + [i for i in round_ if i in waiting]
            taken, waiting = waiting[: self.identities_per_batch], waiting[self.identities_per_batch :]
            yield [
                Pair(visible, infrared, next(pair_seeds))
                for i in taken
                for visible, infrared in zip(*(self._draw(images, generator) for images in self.images[i]), strict=True)
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
    """Return the indices of each identity's images, in ascending order."""
    try:
        labels = torch.as_tensor(identities)
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:  # strings, for example
        raise TypeError(f"{argument} must be integers, got {identities!r:.60}.") from error
    require(labels.ndim == 1, argument, "have shape (n,)", tuple(labels.shape))
    require(len(labels) > 0, argument, "label an image", 0)
    require(is_integral(labels), argument, "be integers", labels.dtype, error=TypeError)
    found, sizes = torch.unique_consecutive(labels.sort().values, return_counts=True)
    indices = torch.split(labels.argsort(stable=True), sizes.tolist())
    return dict(zip(found.tolist(), indices, strict=True))
