"""Re-ranking: distances that also compare the neighbours of two images, of all images or of the gallery."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import normalize

from vireid._checks import check_choice, check_embeddings, check_finite, check_integer, check_number, require
from vireid.distances import pairwise_squared_distances


@dataclass(frozen=True)
class KReciprocalReranking:
    """Mix the distances with the Jaccard distance of the images' k-reciprocal neighbours.

    Neighbours are taken among queries and gallery together, so one image's result depends on all the others. No
    protocol of VI-ReID includes re-ranking; results name it.

    Args:
        k1: Number of neighbours that are compared.
        k2: Number of neighbours over which an image's neighbourhood is averaged; 1 leaves it as it is.
        weight: Weight of the original distance, λ in the paper, from 0 to 1.

    Shape:
        queries q d, gallery g d -> q g.

    Raises:
        ValueError: If an argument is out of its range, there are at most k1 or fewer than k2 images, or the embeddings
            do not match, are not finite or are all equal.
        TypeError: If embeddings are not floating point, or an argument has another type.

    Example:
        >>> distances = KReciprocalReranking(k1=2, k2=1)(torch.eye(3), torch.eye(3) + 0.01)
        >>> distances.argmin(1)
        tensor([0, 1, 2])

    References:
        Zhong et al., Re-ranking Person Re-identification with k-reciprocal Encoding, CVPR 2017.
    """

    k1: int = 20
    k2: int = 6
    weight: float = 0.3

    def __post_init__(self) -> None:
        object.__setattr__(self, "k1", check_integer("k1", self.k1, least=1))
        object.__setattr__(self, "k2", check_integer("k2", self.k2, least=1))
        object.__setattr__(self, "weight", check_number("weight", self.weight, least=0, most=1))

    def __str__(self) -> str:
        return f"k-reciprocal re-ranking (k1 = {self.k1}, k2 = {self.k2}, λ = {self.weight:g})"

    def __call__(self, queries: Tensor, gallery: Tensor) -> Tensor:
        """Return the re-ranked distances of every query to every gallery image."""
        _check_both(queries, gallery)
        images = torch.cat([queries, gallery])
        rule = f"be more than k1 = {self.k1} and at least k2 = {self.k2} images together with the queries"
        require(len(images) > self.k1 and len(images) >= self.k2, "gallery", rule, len(images))
        differ = bool((images != images[0]).any())
        require(differ, "gallery", "hold an image that differs from the queries", f"{len(images)} equal embeddings")
        distances = pairwise_squared_distances(images, images)
        distances = distances / distances.amax(1, keepdim=True)  # n n; of each image to its farthest
        itself = distances.diagonal().clone()
        order = distances.fill_diagonal_(-1).topk(max(self.k1 + 1, self.k2), largest=False).indices  # itself first
        distances.diagonal().copy_(itself)
        neighbourhoods = self._encode(distances, order)
        jaccard = _jaccard_distances(neighbourhoods[: len(queries)], neighbourhoods[len(queries) :])
        return (1 - self.weight) * jaccard + self.weight * distances[: len(queries), len(queries) :]

    def _encode(self, distances: Tensor, order: Tensor) -> Tensor:
        """Weigh every image in each image's neighbourhood, n n; the rows sum to 1."""
        near, reciprocal = _reciprocal_neighbours(order[:, : self.k1 + 1])  # n a, n n
        half, of_half = _reciprocal_neighbours(order[:, : round(self.k1 / 2) + 1])  # n b, n n
        members = half[near]  # n a b: the neighbours of an image's neighbours
        counted = of_half.gather(1, half)[near]  # n a b
        rows = torch.arange(len(order), device=order.device)[:, None, None]
        shared = (reciprocal[rows, members] & counted).sum(2)  # n a
        joins = reciprocal.gather(1, near) & (shared > 2 / 3 * counted.sum(2))  # those who are mostly the image's own
        expanded = reciprocal.clone()
        i, a, b = (joins[:, :, None] & counted).nonzero(as_tuple=True)
        expanded[i, members[i, a, b]] = True
        weights = torch.where(expanded, (-distances).exp(), 0)
        weights = weights / weights.sum(1, keepdim=True)
        averaged = weights[order[:, 0]]
        for k in range(1, self.k2):
            averaged += weights[order[:, k]]
        return averaged / self.k2


@dataclass(frozen=True)
class AffinityInference:
    """Add to the cosine similarity how similar the two images are to the same gallery images, as SAAI does.

    Each query and each gallery image is described by its similarities to its k1 nearest gallery images, the others set
    to zero; the description of a gallery image is the mean of those of its k2 nearest, itself included. The products
    of these descriptions, at unit length, are added to the similarities.

    It uses the structure of the gallery, so one image's result depends on all the others, and the authors choose (k1,
    k2) for each protocol by its test set: (4, 1) for SYSU-MM01's all search, (2, 2) for indoor search, (20, 6) for
    multi-shot galleries and (8, 2) for RegDB. No protocol of VI-ReID includes it; results name it. Report results
    without it as well.

    Args:
        k1: Number of gallery images that describe an image.
        k2: Number of gallery images over which a description is averaged; 1 leaves it as it is.

    Shape:
        queries q d, gallery g d -> q g, distances from 0 to 4: two minus the similarity.

    Raises:
        ValueError: If an argument is out of its range, there are fewer than k1 or k2 gallery images, or the embeddings
            do not match or are not finite.
        TypeError: If embeddings are not floating point, or an argument has another type.

    Example:
        >>> distances = AffinityInference(k1=2)(torch.eye(3), torch.eye(3) + 0.01)
        >>> distances.argmin(1)
        tensor([0, 1, 2])

    References:
        Fang et al., Visible-Infrared Person Re-Identification via Semantic Alignment and Affinity Inference, ICCV 2023.
    """

    k1: int = 4
    k2: int = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "k1", check_integer("k1", self.k1, least=1))
        object.__setattr__(self, "k2", check_integer("k2", self.k2, least=1))

    def __str__(self) -> str:
        return f"affinity inference (k1 = {self.k1}, k2 = {self.k2})"

    def __call__(self, queries: Tensor, gallery: Tensor) -> Tensor:
        """Return the re-ranked distances of every query to every gallery image."""
        _check_both(queries, gallery)
        rule = f"be at least k1 = {self.k1} and k2 = {self.k2} images"
        require(len(gallery) >= max(self.k1, self.k2), "gallery", rule, len(gallery))
        queries, gallery = normalize(queries), normalize(gallery)
        similarities, within = queries @ gallery.T, gallery @ gallery.T  # q g, g g
        of_queries, of_gallery = _keep_largest(similarities, self.k1), _keep_largest(within, self.k1)
        of_gallery = of_gallery[within.topk(self.k2).indices].mean(1)
        return 2 - similarities - normalize(of_queries) @ normalize(of_gallery).T


Reranking = KReciprocalReranking | AffinityInference


def create_reranking(name: Literal["none", "k-reciprocal", "affinity"]) -> Reranking | None:
    """Create a re-ranking with its default settings by the name that the command line knows.

    Args:
        name: ``"k-reciprocal"`` for :class:`KReciprocalReranking`, ``"affinity"`` for :class:`AffinityInference`, or
            ``"none"``.

    Raises:
        ValueError: If there is no such re-ranking.
        TypeError: If the name is not a string.

    Example:
        >>> print(create_reranking("affinity"))
        affinity inference (k1 = 4, k2 = 1)
    """
    known: dict[str, Reranking | None] = {"none": None}
    known |= {"k-reciprocal": KReciprocalReranking(), "affinity": AffinityInference()}
    check_choice("name", name, known)
    return known[name]


def _check_both(queries: Tensor, gallery: Tensor) -> None:
    check_embeddings("queries", queries)
    check_embeddings("gallery", gallery, like=queries)
    check_finite("queries", queries)
    check_finite("gallery", gallery)


def _keep_largest(rows: Tensor, k: int) -> Tensor:
    """Set all but the k largest values of each row to zero."""
    values, columns = rows.topk(k)
    return torch.zeros_like(rows).scatter_(1, columns, values)


def _reciprocal_neighbours(near: Tensor) -> tuple[Tensor, Tensor]:
    """Return the given neighbours n k, and whether two images are among each other's, n n."""
    among = torch.zeros(len(near), len(near), dtype=torch.bool, device=near.device).scatter_(1, near, True)
    return near, among & among.T


def _jaccard_distances(x: Tensor, y: Tensor) -> Tensor:
    """One minus Σ min / Σ max of every row of ``x`` and of ``y``, non-negative rows that sum to 1: m n, n' n -> m n'.

    The rows are sparse, so the minima are summed over the columns that two rows share.
    """
    row, column = y.T.nonzero(as_tuple=True)  # sorted by what is a column of y
    counts = torch.bincount(row, minlength=y.shape[1])
    starts = counts.cumsum(0) - counts
    overlap = x.new_zeros(len(x), len(y))
    values = y[column, row]
    for first in range(0, len(x), 256):  # bounds the memory
        i, j = x[first : first + 256].nonzero(as_tuple=True)
        repeats = counts[j]
        entry = torch.repeat_interleave(torch.arange(len(i), device=x.device), repeats)
        within = torch.arange(len(entry), device=x.device) - torch.repeat_interleave(
            repeats.cumsum(0) - repeats, repeats
        )
        other = starts[j][entry] + within
        smaller = torch.minimum(x[first : first + 256][i, j][entry], values[other])
        overlap[first : first + 256].index_put_((i[entry], column[other]), smaller, accumulate=True)
    return 1 - overlap / (2 - overlap)
