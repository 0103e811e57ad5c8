import numpy as np
import pytest
import torch
from sklearn.metrics import roc_curve

from vireid.evaluation import compute_open_set_metrics, exclude_same_camera

# People 1 and 2 are in the gallery; queries 1, 2, 1, 2 are known, queries 7, 8, 9, 7 are not.
GALLERY = [1, 2]
QUERIES = [1, 2, 1, 2, 7, 8, 9, 7]
DISTANCES = [
    [0.10, 0.90],  # right at 0.10
    [0.80, 0.25],  # right at 0.25
    [0.70, 0.45],  # wrong at 0.45: never counts
    [0.95, 0.55],  # right at 0.55
    [0.30, 0.60],  # nobody at 0.30
    [0.90, 0.50],  # 0.50
    [0.65, 0.85],  # 0.65
    [0.99, 0.97],  # 0.97
]


@pytest.mark.parametrize(
    ("rate", "found", "threshold"),
    [
        (0.25, 2 / 4, 0.45),  # one false positive, at 0.30; the next at 0.50
        (0.49, 2 / 4, 0.45),
        (0.50, 3 / 4, 0.55),  # two, the next at 0.65
        (0.75, 3 / 4, 0.65),
    ],
)
def test_by_hand(rate, found, threshold):
    metrics = compute_open_set_metrics(DISTANCES, QUERIES, GALLERY, false_positive_rates=[rate])
    assert metrics.true_positive_rates == (found,)
    assert metrics.thresholds == pytest.approx((threshold,))
    assert metrics.false_positive_rates == (rate,)
    assert (metrics.known_queries, metrics.unknown_queries) == (4, 4)


def test_prints_its_rates():
    metrics = compute_open_set_metrics(DISTANCES, QUERIES, GALLERY, false_positive_rates=[0.25, 0.5])
    expected = "TPIR 50.00 % at FPIR 25 %, TPIR 75.00 % at FPIR 50 %; 4 queries of people in the gallery, 4 of others"
    assert str(metrics) == expected


@pytest.mark.parametrize("decimals", [1, 17])
def test_equals_scikit_learn_and_a_loop(decimals):
    rng = np.random.default_rng(decimals)
    queries, gallery = rng.integers(0, 30, 300), rng.integers(0, 20, 60)
    distances = np.round(rng.random((300, 60)) - 0.3 * (queries[:, None] == gallery), decimals)
    rates = [0.02, 0.05, 0.1, 0.5]
    metrics = compute_open_set_metrics(distances, queries, gallery, false_positive_rates=rates)
    known, right, nearest = [], [], []
    for row, query in zip(distances, queries):
        best = min(range(60), key=lambda j: (row[j], j))
        known.append(query in gallery)
        right.append(gallery[best] == query)
        nearest.append(row[best])
    known, right, nearest = map(np.array, (known, right, nearest))
    assert (metrics.known_queries, metrics.unknown_queries) == (known.sum(), (~known).sum())
    scores = np.where(known & ~right, -np.inf, -nearest)  # a wrong person never counts as found
    accepted, found, _ = roc_curve(known, np.where(np.isinf(scores), -9.0, scores), drop_intermediate=False)
    for rate, value, threshold in zip(rates, metrics.true_positive_rates, metrics.thresholds):
        assert value == pytest.approx(found[accepted <= rate + 1e-12][-1])
        assert (nearest[~known] <= threshold).mean() <= rate
        assert (right[known] & (nearest[known] <= threshold)).mean() == pytest.approx(value)


def test_ties_belong_to_the_first_image_of_the_gallery():
    for gallery, found in ([1, 2], 1.0), ([2, 1], 0.0):
        metrics = compute_open_set_metrics(
            [[0.2, 0.2], [0.5, 0.5], [0.9, 0.9]], [1, 8, 9], gallery, false_positive_rates=[0.5]
        )
        assert metrics.true_positive_rates == (found,)


def test_a_rate_that_nobody_can_keep_accepts_nobody():
    metrics = compute_open_set_metrics([[0.1], [0.1], [0.1]], [1, 8, 9], [1], false_positive_rates=[0.5])
    assert metrics.true_positive_rates == (0.0,)
    assert metrics.thresholds == (-torch.inf,)


def test_excluded_images_are_not_in_the_gallery():
    labels = ([1, 2, 8], [1, 2])
    excluded = exclude_same_camera(labels[0], [1, 1, 1], labels[1], [1, 2])
    metrics = compute_open_set_metrics(
        [[0.1, 0.6], [0.9, 0.2], [0.4, 0.5]], *labels, excluded=excluded, false_positive_rates=[0.5]
    )
    assert (metrics.known_queries, metrics.unknown_queries) == (1, 2)
    assert metrics.thresholds == pytest.approx((0.4,))  # without the query of person 1 at 0.6
    assert metrics.true_positive_rates == (1.0,)


def test_errors():
    with pytest.raises(
        ValueError,
        match=r"false_positive_rates\[0\] must be at least 0.25, one of 4 queries of people who are not in the gallery",
    ):
        compute_open_set_metrics(DISTANCES, QUERIES, GALLERY)
    with pytest.raises(ValueError, match="query_identities must have people who are in the gallery, and others"):
        compute_open_set_metrics(DISTANCES, [1] * 8, GALLERY)
    with pytest.raises(ValueError, match="query_identities must be at least 0, got -1. Negative ones mark images"):
        compute_open_set_metrics(DISTANCES, [-1] * 8, GALLERY)
