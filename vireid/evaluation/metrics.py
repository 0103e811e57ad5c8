"""Retrieval metrics: CMC, mAP and mINP as a pure function of distances, identities and exclusions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from vireid._checks import check_choice, check_finite, check_integer, check_type, is_integral, require

Array = Tensor | ArrayLike


@dataclass(frozen=True)
class RetrievalMetrics:
    """Hold the metrics of one gallery, as fractions from 0 to 1, on the CPU.

    Attributes:
        cmc: Fraction of the valid queries with a match in the first 1, 2, … ranks, one value per rank.
        mAP: Mean average precision over the valid queries.
        mINP: Mean inverse negative penalty over the valid queries: number of matches / rank of the last match.
        valid: Whether each query has a match in the gallery and counts.
        average_precision: Average precision of each query, NaN where it is not valid.
        inverse_negative_penalty: Inverse negative penalty of each query, NaN where it is not valid.
        first_rank: Rank of each query's first match, starting at 1; 0 where it is not valid.
    """

    cmc: Tensor
    mAP: float  # noqa: N815
    mINP: float  # noqa: N815
    valid: Tensor
    average_precision: Tensor
    inverse_negative_penalty: Tensor
    first_rank: Tensor


def compute_metrics(
    distances: Array,
    query_identities: Array,
    gallery_identities: Array,
    *,
    excluded: Array | None = None,
    cmc_level: Literal["identity", "image"] = "identity",
    max_rank: int = 20,
) -> RetrievalMetrics:
    """Rank the gallery for every query and compute CMC, mAP and mINP.

    A query without a match in the gallery is not valid and does not count. Equal distances rank in the order of the
    gallery. mAP and mINP rank images; CMC ranks identities, each at its nearest image (SYSU-MM01), or images
    (Market-1501). Where the gallery has fewer of them than ``max_rank``, CMC stays 1 past the last one. Computed in
    float64 on the device of ``distances``.

    Args:
        distances: Distances of every query to every gallery image, finite; negate similarities.
        query_identities: Integer identities of the queries.
        gallery_identities: Integer identities of the gallery images.
        excluded: Mask of the gallery images to exclude for each query, as :func:`exclude_same_location` returns it.
        cmc_level: Level at which CMC ranks: ``"identity"`` or ``"image"``.
        max_rank: Last rank of CMC.

    Shape:
        distances q g, query identities q, gallery identities g, excluded q g.

    Raises:
        ValueError: If shapes do not match, the gallery is empty, a distance is not finite, or no query is valid.
        TypeError: If distances are not real numbers, identities are not integers, or ``excluded`` is not boolean.

    Example:
        >>> metrics = compute_metrics([[0.1, 0.2, 0.3, 0.4]], [7], [7, 8, 9, 7])
        >>> metrics.mAP, metrics.mINP, metrics.cmc[0].item()
        (0.75, 0.5, 1.0)

    References:
        Wu et al., RGB-Infrared Cross-Modality Person Re-Identification, ICCV 2017 (protocol); Ye et al., Deep Learning
        for Person Re-identification, TPAMI 2021 (mINP).
    """
    distances = to_tensor("distances", distances).detach()
    real = distances.is_floating_point() or is_integral(distances)
    require(real, "distances", "be real numbers", distances.dtype, error=TypeError)
    distances = distances.double()
    queries = _integers("query_identities", query_identities).to(distances.device)
    gallery = _integers("gallery_identities", gallery_identities).to(distances.device)
    if excluded is not None:
        excluded = to_tensor("excluded", excluded, "be boolean").to(distances.device)
    _check(distances, queries, gallery, excluded)
    check_choice("cmc_level", cmc_level, ("identity", "image"))
    max_rank = check_integer("max_rank", max_rank, least=1)
    order = gallery.argsort(stable=True)
    number = torch.unique(gallery, return_inverse=True)[1] if cmc_level == "identity" else None
    rows = max(1, 2**18 // distances.shape[1])  # of a block of queries: its intermediate results stay in the cache
    measures = []
    for start in range(0, len(distances), rows):
        block = slice(start, start + rows)
        hidden = None if excluded is None else excluded[block]
        matches, present = _find_matches(queries[block], gallery[order], order, hidden)
        measures.append(_measure_queries(distances[block], matches, present, hidden, number))
    valid, average_precision, inverse_negative_penalty, first = map(torch.cat, zip(*measures, strict=True))
    require(bool(valid.any()), "query_identities", "have a match in the gallery for one query at least", "none")
    reached = first[valid, None] <= torch.arange(1, max_rank + 1, device=first.device)
    return RetrievalMetrics(
        cmc=reached.double().mean(0).cpu(),
        mAP=average_precision[valid].mean().item(),
        mINP=inverse_negative_penalty[valid].mean().item(),
        valid=valid.cpu(),
        average_precision=average_precision.where(valid, torch.nan).cpu(),
        inverse_negative_penalty=inverse_negative_penalty.where(valid, torch.nan).cpu(),
        first_rank=first.where(valid, torch.zeros_like(first)).cpu(),
    )


def exclude_same_location(
    query_cameras: Array, gallery_cameras: Array, locations: Mapping[int, int] | None = None
) -> Tensor:
    """Mark the gallery images taken at the query's location, of any identity: the rule of SYSU-MM01.

    Args:
        query_cameras: Integer cameras of the queries.
        gallery_cameras: Integer cameras of the gallery images.
        locations: Location of each camera; a camera that is not listed stands at the location of its own number.

    Shape:
        q, g -> q g, boolean.

    Raises:
        TypeError: If cameras are not integers, or ``locations`` is not a mapping of integers.

    Example:
        >>> exclude_same_location([3, 6], [1, 2], {3: 2})
        tensor([[False,  True],
                [False, False]])
    """
    query, gallery = _integers("query_cameras", query_cameras), _integers("gallery_cameras", gallery_cameras)
    query_places, gallery_places = query.clone(), gallery.clone()
    locations = {} if locations is None else locations
    check_type("locations", locations, Mapping, "map cameras to locations")
    for camera, location in locations.items():
        check_integer("locations", camera)
        check_integer("locations", location)
        query_places[query == camera] = location
        gallery_places[gallery == camera] = location
    return query_places[:, None] == gallery_places


def exclude_same_camera(
    query_identities: Array, query_cameras: Array, gallery_identities: Array, gallery_cameras: Array
) -> Tensor:
    """Mark the gallery images of the query's identity from the query's camera: the rule of Market-1501 and LLCM.

    Args:
        query_identities: Integer identities of the queries.
        query_cameras: Integer cameras of the queries.
        gallery_identities: Integer identities of the gallery images.
        gallery_cameras: Integer cameras of the gallery images.

    Shape:
        q, q, g, g -> q g, boolean.

    Raises:
        TypeError: If identities or cameras are not integers.
        ValueError: If identities and cameras differ in number.

    Example:
        >>> exclude_same_camera([5], [1], [5, 5, 6], [1, 2, 1])
        tensor([[ True, False, False]])
    """
    queries, gallery = (
        _integers("query_identities", query_identities),
        _integers("gallery_identities", gallery_identities),
    )
    query_places = _integers("query_cameras", query_cameras, like=queries)
    gallery_places = _integers("gallery_cameras", gallery_cameras, like=gallery)
    return (queries[:, None] == gallery) & (query_places[:, None] == gallery_places)


def _find_matches(queries: Tensor, identities: Tensor, order: Tensor, excluded: Tensor | None) -> tuple[Tensor, Tensor]:
    """Find the matches of each query, q p, in a gallery sorted by identity, and whether a place has one, q p."""
    first, end = (torch.searchsorted(identities, queries, right=right) for right in (False, True))
    number = torch.arange(max(1, int((end - first).max())), device=order.device)
    images = order[(first[:, None] + number).clamp_max(len(order) - 1)]
    present = number < (end - first)[:, None]
    return images, present if excluded is None else present & ~excluded.gather(1, images)


def _measure_queries(
    distances: Tensor, matches: Tensor, present: Tensor, excluded: Tensor | None, number: Tensor | None
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Validity, average precision, inverse negative penalty and first rank of every query."""
    rank, first, uncertain = _rank_matches(distances, matches, present, excluded, number)
    if uncertain.any():  # the places in the stable order are all different, and exact in float32
        rows = uncertain.nonzero()[:, 0]
        hidden = None if excluded is None else excluded[rows]
        placed = distances[rows] if hidden is None else distances[rows].masked_fill(hidden, torch.inf)
        placed = placed.argsort(dim=1, stable=True).argsort(dim=1).double()
        rank[rows], first[rows], _ = _rank_matches(placed, matches[rows], present[rows], hidden, number)
    positives = present.sum(1)
    ordinal = torch.arange(1, rank.shape[1] + 1, device=rank.device)
    precision = torch.where(ordinal <= positives[:, None], ordinal.double() / rank, 0)  # q p
    last = precision.gather(1, positives.sub(1).clamp_min(0)[:, None])[:, 0]
    return positives > 0, precision.sum(1) / positives, last, first


def _rank_matches(
    distances: Tensor, matches: Tensor, present: Tensor, excluded: Tensor | None, number: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Rank each query's matches, q p, and the first one in CMC, q; the last result marks the queries to rank again.

    The distances are sorted in float32, which is much faster. The ranks are exact unless another image is as far as a
    match in float32. ``number`` numbers the identities of the gallery if CMC ranks them.
    """
    nearest = distances.gather(1, matches).masked_fill(~present, torch.inf).sort(dim=1).values  # q p
    keys, sought = distances.float(), nearest.float()
    if excluded is not None:
        keys = keys.masked_fill(excluded, torch.inf)
    on_cpu = keys.device.type == "cpu"  # where NumPy is much faster
    keys = torch.from_numpy(np.sort(keys.numpy(), axis=1)) if on_cpu else keys.sort(dim=1).values
    before = torch.searchsorted(keys, sought)  # q p
    following = keys.gather(1, before.add(1).clamp_max(keys.shape[1] - 1))
    uncertain = ((following == sought) & (nearest < torch.inf) & (before < keys.shape[1] - 1)).any(1)
    if number is None:
        return before + 1, before[:, 0] + 1, uncertain
    nearer = distances < nearest[:, :1]
    query, image = (nearer if excluded is None else nearer & ~excluded).nonzero(as_tuple=True)
    seen = nearer.new_zeros(len(nearer), len(number))
    seen[query, number[image]] = True
    return before + 1, seen.sum(1) + 1, uncertain


def to_tensor(argument: str, values: Array, rule: str = "be an array of numbers") -> Tensor:
    """Return a tensor as it is, and any array or list of numbers as a tensor that owns its memory."""
    if isinstance(values, Tensor):
        return values
    try:
        array = np.array(values, order="C")
    except ValueError:  # rows of different lengths
        require(False, argument, rule, type(values).__name__)
    kind, size = array.dtype.kind, array.dtype.itemsize
    found = type(array.flat[0]).__name__ if array.size else array.dtype
    require(kind in "biufc", argument, rule, found, error=TypeError)
    native = {"i": "i8", "u": "i8", "f": f"f{min(size, 8)}"}.get(kind)  # torch knows few others
    return torch.from_numpy(array if native is None else array.astype(native, copy=False))


def _integers(argument: str, values: Array, like: Tensor | None = None) -> Tensor:
    """The values as a vector of integers, as long as ``like`` if it is given."""
    tensor = to_tensor(argument, values, "be integers")
    empty = tensor.numel() == 0  # an empty list has no type
    require(is_integral(tensor) or empty, argument, "be integers", tensor.dtype, error=TypeError)
    require(tensor.dim() == 1, argument, "have one dimension", tuple(tensor.shape))
    if like is not None:
        require(len(tensor) == len(like), argument, f"be {len(like)}, one for each identity", len(tensor))
    return tensor.long()


def _check(distances: Tensor, queries: Tensor, gallery: Tensor, excluded: Tensor | None) -> None:
    shape = tuple(distances.shape)
    require(len(shape) == 2, "distances", "have shape (q, g)", shape)
    require(shape[1] > 0, "distances", "have a gallery image", shape)
    for name, identities, size, side in (
        ("query_identities", queries, shape[0], "row"),
        ("gallery_identities", gallery, shape[1], "column"),
    ):
        rule = f"have shape ({size},), one for each {side} of distances"
        require(tuple(identities.shape) == (size,), name, rule, tuple(identities.shape))
    if excluded is not None:
        require(excluded.shape == shape, "excluded", f"have the shape of distances, {shape}", tuple(excluded.shape))
        require(excluded.dtype == torch.bool, "excluded", "be boolean", excluded.dtype, error=TypeError)
    check_finite("distances", distances)
