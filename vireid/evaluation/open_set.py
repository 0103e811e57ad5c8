"""Open-set identification: the person in the gallery, or nobody."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from vireid._checks import check_identities, check_number, is_integral, require
from vireid.evaluation.calibration import check_distances, check_share
from vireid.evaluation.metrics import Array, to_tensor


@dataclass(frozen=True)
class OpenSetMetrics:
    """Hold the true-positive identification rates (TPIR) at false-positive identification rates (FPIR).

    Attributes:
        false_positive_rates: Requested FPIR.
        true_positive_rates: TPIR at each of them.
        thresholds: Largest distance that a search accepts at each of them, −∞ if none is accepted.
        known_queries: Number of queries of people in the gallery.
        unknown_queries: Number of queries of people who are not in the gallery.

    Shape:
        false positive rates r, true positive rates r, thresholds r.
    """

    false_positive_rates: tuple[float, ...]
    true_positive_rates: tuple[float, ...]
    thresholds: tuple[float, ...]
    known_queries: int
    unknown_queries: int

    def __str__(self) -> str:
        rates = zip(self.true_positive_rates, self.false_positive_rates, strict=True)
        cells = ", ".join(f"TPIR {100 * found:.2f} % at FPIR {100 * rate:.3g} %" for found, rate in rates)
        return f"{cells}; {self.known_queries:,} queries of people in the gallery, {self.unknown_queries:,} of others"


def compute_open_set_metrics(
    distances: Array,
    query_identities: Array,
    gallery_identities: Array,
    *,
    excluded: Array | None = None,
    false_positive_rates: Sequence[float] = (0.01, 0.1),
) -> OpenSetMetrics:
    """Compute the true-positive identification rate at given false-positive identification rates.

    A search returns the nearest gallery image of a query if it lies within the threshold, and nobody otherwise. FPIR is
    the share of the queries of people outside the gallery that return somebody. TPIR is the share of the queries of
    people in the gallery that return the right person. Each FPIR takes the largest threshold that it allows. Of images
    at equal distance the first in the gallery is the nearest.

    Args:
        distances: Distances of every query to every gallery image, finite; negate similarities.
        query_identities: Integer identities of the queries, at least 0.
        gallery_identities: Integer identities of the gallery images, at least 0.
        excluded: Mask of the gallery images to exclude for each query, as :func:`exclude_same_camera` returns it. A
            person whose images are all excluded is not in the gallery for that query.
        false_positive_rates: FPIR to report, between 0 and 1.

    Shape:
        distances q g, query identities q, gallery identities g, excluded q g.

    Raises:
        ValueError: If shapes do not match, a distance is not finite, an identity is negative, which marks an image
            without a label, there is no query of either kind, or a rate is out of range or below one of the queries of
            unknown people.
        TypeError: If distances or rates are not numbers, identities are not integers, or ``excluded`` is not boolean.

    Example:
        >>> distances = [[0.1, 0.5], [0.4, 0.3], [0.2, 0.6], [0.7, 0.6]]
        >>> print(compute_open_set_metrics(distances, [1, 2, 8, 9], [1, 2], false_positive_rates=[0.5]))
        TPIR 100.00 % at FPIR 50 %; 2 queries of people in the gallery, 2 of others

    References:
        Grother and Ngan, Face Recognition Vendor Test, NISTIR 8009, 2014 (the two rates).
    """
    matrix = check_distances(distances)
    require(matrix.dim() == 2, "distances", "have shape (q, g)", tuple(matrix.shape))
    queries = _check_labels("query_identities", query_identities, matrix)
    gallery = _check_labels("gallery_identities", gallery_identities, matrix.T)
    same = queries[:, None] == gallery
    if excluded is not None:
        mask = to_tensor("excluded", excluded, "be boolean").cpu()
        require(mask.dtype == torch.bool, "excluded", "be boolean", mask.dtype, error=TypeError)
        rule = f"have the shape of distances, {tuple(matrix.shape)}"
        require(mask.shape == matrix.shape, "excluded", rule, tuple(mask.shape))
        same, matrix = same & ~mask, matrix.masked_fill(mask, torch.inf)
    known = same.any(1)
    number, total = int(known.sum()), len(known)
    rule = "have people who are in the gallery, and others"
    require(0 < number < total, "query_identities", rule, f"{number} of {total} queries in the gallery")
    listed = isinstance(false_positive_rates, Sequence) and not isinstance(false_positive_rates, (str, bytes))
    require(listed, "false_positive_rates", "be a list of numbers", false_positive_rates, error=TypeError)
    require(len(false_positive_rates) > 0, "false_positive_rates", "have a number", false_positive_rates)
    names = [f"false_positive_rates[{i}]" for i in range(len(false_positive_rates))]
    rates = [check_number(*pair, above=0, below=1) for pair in zip(names, false_positive_rates, strict=True)]
    allowed = [
        check_share(*pair, total - number, "queries of people who are not in the gallery")
        for pair in zip(names, rates, strict=True)
    ]

    nearest = matrix.amin(1)
    image = (matrix == nearest[:, None]).int().argmax(1)  # the first of equals
    right = nearest[known & same.gather(1, image[:, None])[:, 0]]
    limits = nearest[~known].sort().values[torch.tensor(allowed)]  # the first that must not be accepted
    thresholds = [nearest[nearest < limit].amax().item() if (nearest < limit).any() else -torch.inf for limit in limits]
    found = [int((right < limit).sum()) / number for limit in limits]
    return OpenSetMetrics(tuple(rates), tuple(found), tuple(thresholds), number, total - number)


def _check_labels(argument: str, identities: Array, rows: Tensor) -> Tensor:
    tensor = to_tensor(argument, identities, "be integers").cpu()
    require(is_integral(tensor), argument, "be integers", tensor.dtype, error=TypeError)
    check_identities(argument, tensor, rows)
    least, remedy = int(tensor.min()), "Negative ones mark images without a label; select the others."
    require(least >= 0, argument, "be at least 0", least, remedy)
    return tensor
