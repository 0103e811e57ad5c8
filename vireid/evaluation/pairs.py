"""Pairs of labelled images and their distances: what thresholds are chosen and judged by."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from vireid._checks import check_choice, check_embeddings, check_type, require
from vireid.evaluation.comparison import Distance, check_lengths, compare
from vireid.evaluation.extraction import EmbeddingSet

_CHUNK = 2**21  # distances computed at a time

Exclude = Literal["none", "same camera"]


class PairDistances(NamedTuple):
    """Hold the distance of each pair of images, and whether both show the same person.

    Shape:
        distances n float64, same n; both on the CPU.
    """

    distances: Tensor
    same: Tensor


def compare_pairs(
    query: EmbeddingSet,
    gallery: EmbeddingSet | None = None,
    *,
    distance: Distance = "cosine",
    exclude: Exclude = "none",
) -> PairDistances:
    """Compute the distances of all pairs of images, between two sets or within one.

    Within one set every pair counts once, and no image is paired with itself. A pair takes 9 bytes of memory.

    Args:
        query: Labelled embeddings.
        gallery: Labelled embeddings to pair them with; without them, pairs are those within ``query``.
        distance: Distance of two embeddings, ``"cosine"``, ``"euclidean"`` or ``"dot"``, the negative inner product.
        exclude: Pairs to leave out: ``"none"``, or those from the ``"same camera"``, of which the background is alike.

    Raises:
        ValueError: If the sets do not match, an identity is negative, which marks an image without a label, an
            embedding is not finite or has no direction to compare, or an option is unknown.
        TypeError: If an argument has another type, embeddings are not floating point, or identities or cameras are not
            integers.

    Example:
        >>> rows = torch.tensor([[0.0], [1.0], [3.0]])
        >>> images = EmbeddingSet(rows, torch.tensor([7, 7, 8]), torch.tensor([1, 2, 1]), "infrared")
        >>> compare_pairs(images, distance="euclidean")
        PairDistances(distances=tensor([1., 3., 2.], dtype=torch.float64), same=tensor([ True, False, False]))
    """
    pairs = ImagePairs(query, gallery, distance, exclude)
    parts = [(chunk.distances[chunk.counted].cpu(), chunk.same[chunk.counted].cpu()) for chunk in pairs.chunks()]
    distances, same = (torch.cat(part) for part in zip(*parts, strict=True))
    return PairDistances(distances, same)


class _Chunk(NamedTuple):
    distances: Tensor  # q g, from row `start` of the queries
    same: Tensor
    counted: Tensor
    start: int


class ImagePairs:
    """Check two sets of images, or one for the pairs within it, and compare them a chunk of queries at a time.

    Attributes:
        people: Number of people in both sets together.
        query_people: Number of the person on each query, from 0.
        gallery_people: Number of the person on each gallery image.
    """

    def __init__(self, query: EmbeddingSet, gallery: EmbeddingSet | None, distance: Distance, exclude: Exclude) -> None:
        check_choice("distance", distance, ("cosine", "euclidean", "dot"))
        check_choice("exclude", exclude, ("none", "same camera"))
        self.within = gallery is None or gallery is query
        for name, part in (("query", query), ("gallery", query if gallery is None else gallery)):
            check_type(name, part, EmbeddingSet, "be an EmbeddingSet")
            part.check(name)
            check_lengths(f"{name}.embeddings", part.embeddings, distance)
            least, remedy = int(part.identities.min()), "Negative ones mark images without a label; select the others."
            require(least >= 0, f"{name}.identities", "be at least 0", least, remedy)
        self.query, self.gallery = query, query if gallery is None else gallery
        check_embeddings("gallery.embeddings", self.gallery.embeddings, like=query.embeddings)
        rule = f"be that of query, {query.feature!r}"
        require(self.gallery.feature == query.feature, "gallery.feature", rule, self.gallery.feature)
        same = not query.network or not self.gallery.network or query.network == self.gallery.network
        require(same, "gallery.network", f"be that of query, {query.network!r}", self.gallery.network)
        cameras = {*query.cameras.tolist(), *self.gallery.cameras.tolist()}
        rule, remedy = "be 'none' where all images have one camera", "It would exclude every pair."
        require(exclude == "none" or len(cameras) > 1, "exclude", rule, exclude, remedy)
        self.distance, self.exclude = distance, exclude
        identities = torch.cat([query.identities, self.gallery.identities]).cpu()
        unique, number = torch.unique(identities, return_inverse=True)
        self.people = len(unique)
        self.query_people, self.gallery_people = number.split([len(query.identities), len(self.gallery.identities)])

    def chunks(self) -> Iterator[_Chunk]:
        """Yield the distances of a chunk of queries to the gallery, and the pairs that are of one person and count."""
        query, gallery = self.query, self.gallery
        step = max(1, _CHUNK // len(gallery.identities))
        for start in range(0, len(query.identities), step):
            part = query.select(slice(start, start + step))
            distances = compare(part.embeddings, gallery.embeddings, self.distance)
            if self.distance == "euclidean":
                distances = distances.clamp_min(0).sqrt()
            counted = torch.ones_like(distances, dtype=torch.bool)
            if self.within:
                counted = counted.triu(start + 1)
            if self.exclude == "same camera":
                counted &= part.cameras[:, None] != gallery.cameras
            yield _Chunk(distances, part.identities[:, None] == gallery.identities, counted, start)

    def count_impostors(self, groups: Tensor) -> Tensor:
        """Count the pairs of different people within groups of people, g p boolean -> g, without comparing them."""
        cameras = torch.cat([self.query.cameras, self.gallery.cameras]).cpu()
        unique, number = torch.unique(cameras, return_inverse=True)
        query_cameras, gallery_cameras = number.split([len(self.query.cameras), len(self.gallery.cameras)])

        def images(people: Tensor, cameras: Tensor) -> Tensor:
            place = people * len(unique) + cameras
            return torch.bincount(place, minlength=self.people * len(unique)).view(self.people, -1).double()  # p c

        def different(query: Tensor, gallery: Tensor) -> Tensor:  # p c, p c -> g c
            return (members @ query) * (members @ gallery) - members @ (query * gallery)

        members = groups.double()
        searching = images(self.query_people, query_cameras)
        searched = images(self.gallery_people, gallery_cameras)
        count = different(searching.sum(1, keepdim=True), searched.sum(1, keepdim=True)).sum(1)
        if self.exclude == "same camera":
            count = count - different(searching, searched).sum(1)
        return (count / 2 if self.within else count).round().long()
