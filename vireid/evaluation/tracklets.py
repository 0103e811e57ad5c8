"""Tracklets: the images that a tracker has put together, as one embedding or as sets with a distance."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from vireid._checks import check_choice, check_embeddings, check_finite, check_identities, is_integral, require
from vireid.evaluation.metrics import Array, to_tensor


class Tracklets(NamedTuple):
    """Hold one embedding for each tracklet.

    Attributes:
        embeddings: Embedding of each tracklet.
        tracklets: Number of each tracklet, ascending.

    Shape:
        embeddings t d, tracklets t.
    """

    embeddings: Tensor
    tracklets: Tensor


def pool_tracklets(
    embeddings: Tensor, tracklets: Array, *, how: Literal["mean", "maximum", "longest"] = "mean"
) -> Tracklets:
    """Pool the embeddings of each tracklet into one.

    The result is not of unit length; :class:`GalleryIndex` and the cosine distance do not need that.

    Args:
        embeddings: Embeddings of the images, finite, in any order.
        tracklets: Integer number of the tracklet that each image belongs to, as a tracker gives it.
        how: Way to pool: the ``"mean"`` of the embeddings, the ``"maximum"`` of each value, or the ``"longest"``
            embedding, the image that the network answers most strongly to, which needs embeddings before normalisation.

    Shape:
        b d, b -> t d, t.

    Raises:
        ValueError: If a shape is wrong, an embedding is not finite, or ``how`` is unknown.
        TypeError: If embeddings are not floating point, or tracklets are not integers.

    Example:
        >>> pool_tracklets(torch.tensor([[1.0, 0.0], [0.0, 1.0], [4.0, 2.0]]), [3, 3, 8])
        Tracklets(embeddings=tensor([[0.5000, 0.5000],
                [4.0000, 2.0000]]), tracklets=tensor([3, 8]))
    """
    check_embeddings("embeddings", embeddings)
    check_finite("embeddings", embeddings)
    check_choice("how", how, ("mean", "maximum", "longest"))
    unique, number = _number("tracklets", tracklets, embeddings)
    if how == "longest":
        order = torch.linalg.vector_norm(embeddings, dim=1, dtype=torch.float64).sort(stable=True).indices
        rank = torch.empty_like(order).scatter_(0, order, torch.arange(len(order), device=order.device))
        longest = rank.new_zeros(len(unique)).scatter_reduce_(0, number, rank, "amax")
        return Tracklets(embeddings[order[longest]], unique)
    reduce = "mean" if how == "mean" else "amax"
    return Tracklets(_reduce(embeddings, number, len(unique), reduce), unique)


def compare_tracklets(
    distances: Tensor,
    query_tracklets: Array,
    gallery_tracklets: Array | None = None,
    *,
    how: Literal["minimum", "mean"] = "minimum",
) -> Tensor:
    """Compute the distances of tracklets from the distances of their images.

    Args:
        distances: Distances of every query image to every gallery image.
        query_tracklets: Integer number of each query image's tracklet.
        gallery_tracklets: Integer number of each gallery image's tracklet; by default every image is one of its own.
        how: Distance of two tracklets: the ``"minimum"`` or the ``"mean"`` over their pairs of images.

    Shape:
        distances q g, query tracklets q, gallery tracklets g -> t s; rows and columns in ascending order of the
        tracklets' numbers, that is, of ``torch.unique(tracklets)``.

    Raises:
        ValueError: If a shape is wrong, a distance is not finite, or ``how`` is unknown.
        TypeError: If distances are not floating point, or tracklets are not integers.

    Example:
        >>> compare_tracklets(torch.tensor([[0.1, 0.6], [0.3, 0.2], [0.5, 0.4]]), [1, 1, 2])
        tensor([[0.1000, 0.2000],
                [0.5000, 0.4000]])
    """
    check_embeddings("distances", distances)
    check_finite("distances", distances)
    check_choice("how", how, ("minimum", "mean"))
    reduce = "amin" if how == "minimum" else "mean"
    unique, number = _number("query_tracklets", query_tracklets, distances)
    distances = _reduce(distances, number, len(unique), reduce)
    if gallery_tracklets is None:
        return distances
    unique, number = _number("gallery_tracklets", gallery_tracklets, distances.T)
    return _reduce(distances.T, number, len(unique), reduce).T


def _number(argument: str, tracklets: Array, rows: Tensor) -> tuple[Tensor, Tensor]:
    """The tracklets in ascending order, and the place of each row's among them."""
    tensor = to_tensor(argument, tracklets, "be integers").to(rows.device)
    require(is_integral(tensor), argument, "be integers", tensor.dtype, error=TypeError)
    check_identities(argument, tensor, rows)
    unique, number = torch.unique(tensor, return_inverse=True)
    return unique, number


def _reduce(rows: Tensor, number: Tensor, size: int, reduce: str) -> Tensor:
    """Reduce the rows of each number to one."""
    places = number[:, None].expand_as(rows)
    return rows.new_zeros(size, rows.shape[1]).scatter_reduce(0, places, rows, reduce, include_self=False)
