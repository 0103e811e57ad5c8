"""Retrieval metrics: CMC, mAP and mINP as a pure function of distances, identities and exclusions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from vireid._checks import check_choice, require

Array = Tensor | ArrayLike


@dataclass(frozen=True)
class RetrievalMetrics:
    """Metrics of one gallery, as shares from 0 to 1.

    Attributes:
        cmc: share of the valid queries with a match in the first 1, 2, … ranks, one value a rank.
        mAP: mean average precision over the valid queries.
        mINP: mean inverse negative penalty over the valid queries.
        valid: which queries have a match in the gallery and count.
        average_precision: of every query, NaN where it is not valid.
        inverse_negative_penalty: of every query, NaN where it is not valid.
        first_rank: of every query the rank of its first match, from 1; 0 where it is not valid.
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

    A query that has no match left in the gallery is not valid and counts nowhere. Equal distances rank in the order of
    the gallery. mAP and mINP rank images; CMC ranks identities, each at its nearest image, as SYSU-MM01 does, or images
    as Market-1501 does. Past the last rank of a small gallery CMC stays what it was.

    Args:
        distances: of every query to every gallery image, smaller is nearer; a torch tensor stays on its device.
        query_identities: whom the queries show.
        gallery_identities: whom the gallery images show.
        excluded: gallery images that a query is not to see, such as those of its own place.
        cmc_level: what a rank of CMC is: ``"identity"`` or ``"image"``.
        max_rank: last rank of CMC.

    Shape:
        distances q g, query identities q, gallery identities g, excluded q g.

    Raises:
        ValueError: the shapes do not match, the gallery is empty, a distance is NaN, or no query is valid.

    Example:
        >>> metrics = compute_metrics([[0.1, 0.2, 0.3, 0.4]], [7], [7, 8, 9, 7])
        >>> metrics.mAP, metrics.mINP, metrics.cmc[0].item()
        (0.75, 0.5, 1.0)

    References:
        Wu et al., RGB-Infrared Cross-Modality Person Re-Identification, ICCV 2017 (protocol); Ye et al., Deep Learning
        for Person Re-identification, TPAMI 2021 (mINP).
    """
    distances = _tensor(distances)
    queries, gallery = (_tensor(i).to(distances.device) for i in (query_identities, gallery_identities))
    excluded = torch.zeros_like(distances, dtype=torch.bool) if excluded is None else _tensor(excluded)
    excluded = excluded.to(distances.device)
    _check(distances, queries, gallery, excluded)
    check_choice("cmc_level", cmc_level, ("identity", "image"))
    require(max_rank >= 1, "max_rank", "be at least 1", max_rank)

    order = distances.argsort(dim=1, stable=True)  # q g
    kept = ~excluded.gather(1, order)
    ranked = gallery[order]
    hit = (ranked == queries[:, None]) & kept
    rank = kept.cumsum(1)  # from 1; that of an excluded image means nothing
    positives = hit.sum(1)
    valid = positives > 0
    require(bool(valid.any()), "query_identities", "have a match in the gallery for one query at least", "none")

    precision = torch.where(hit, hit.cumsum(1).double() / rank.clamp_min(1), 0)
    average_precision = precision.sum(1) / positives
    last = torch.where(hit, rank, 0).amax(1)
    inverse_negative_penalty = positives.double() / last
    never = distances.shape[1] + 1
    first = torch.where(hit, rank, never).amin(1)
    if cmc_level == "identity":
        first = _identity_rank(ranked, rank.where(kept, torch.full_like(rank, never)), first)
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


def exclude_same_location(query_locations: Array, gallery_locations: Array) -> Tensor:
    """Mark the gallery images taken where the query was, the rule of SYSU-MM01.

    Shape:
        q, g -> q g, boolean.

    Example:
        >>> exclude_same_location([2, 6], [1, 2])
        tensor([[False,  True],
                [False, False]])
    """
    return _tensor(query_locations)[:, None] == _tensor(gallery_locations)


def _identity_rank(ranked: Tensor, rank: Tensor, first: Tensor) -> Tensor:
    """Rank of each query's first match among the identities, each at its best rank.

    It is one more than the number of other identities whose best rank comes before the match.
    """
    identities, compact = torch.unique(ranked, return_inverse=True)
    best = torch.full((len(ranked), len(identities)), rank.shape[1] + 1, device=rank.device)
    best.scatter_reduce_(1, compact, rank, "amin")
    return 1 + (best < first[:, None]).sum(1)


def _tensor(values: Array) -> Tensor:
    return values if isinstance(values, Tensor) else torch.as_tensor(np.asarray(values))


def _check(distances: Tensor, queries: Tensor, gallery: Tensor, excluded: Tensor) -> None:
    shape = tuple(distances.shape)
    require(len(shape) == 2, "distances", "have shape (q, g)", shape)
    require(shape[1] > 0, "distances", "have a gallery image", shape)
    rule = f"have shape ({shape[0]},), one for each row of distances"
    require(queries.shape == shape[:1], "query_identities", rule, tuple(queries.shape))
    rule = f"have shape ({shape[1]},), one for each column of distances"
    require(gallery.shape == shape[1:], "gallery_identities", rule, tuple(gallery.shape))
    require(excluded.shape == shape, "excluded", f"have the shape of distances, {shape}", tuple(excluded.shape))
    require(excluded.dtype == torch.bool, "excluded", "be boolean", excluded.dtype, error=TypeError)
    nan = distances.isnan().any(1).nonzero().flatten().tolist()
    require(not nan, "distances", "be numbers", f"NaN in {len(nan)} rows, the first being row {nan[0] if nan else 0}")
