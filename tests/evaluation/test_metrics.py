import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.evaluation import references
from vireid.evaluation import compute_metrics, exclude_same_location

DISTANCES = torch.tensor(
    [
        [0.1, 0.2, 0.3, 0.4, 0.5],
        [0.5, 0.4, 0.3, 0.2, 0.1],
        [0.3, 0.1, 0.2, 0.5, 0.4],
    ]
)
QUERIES, GALLERY = torch.tensor([1, 2, 3]), torch.tensor([1, 2, 1, 2, 4])


def test_by_hand():
    # Query 1 ranks 1 2 1 2 4: hits at 1 and 3. Query 2 ranks 4 2 1 2 1: hits at 2 and 4. Query 3 has no match.
    metrics = compute_metrics(DISTANCES, QUERIES, GALLERY, max_rank=4)
    assert metrics.valid.tolist() == [True, True, False]
    assert metrics.first_rank.tolist() == [1, 2, 0]
    assert metrics.average_precision[:2].tolist() == pytest.approx([(1 + 2 / 3) / 2, (1 / 2 + 2 / 4) / 2])
    assert metrics.inverse_negative_penalty[:2].tolist() == pytest.approx([2 / 3, 2 / 4])
    assert metrics.average_precision[2].isnan()
    assert metrics.cmc.tolist() == [0.5, 1, 1, 1]
    assert metrics.mAP == pytest.approx((5 / 6 + 1 / 2) / 2)
    assert metrics.mINP == pytest.approx((2 / 3 + 1 / 2) / 2)


def test_identity_level_counts_an_identity_once():
    distances, queries, gallery = [[0.1, 0.2, 0.3, 0.4]], [7], [5, 5, 6, 7]
    assert compute_metrics(distances, queries, gallery, max_rank=4).cmc.tolist() == [0, 0, 1, 1]
    by_image = compute_metrics(distances, queries, gallery, max_rank=4, cmc_level="image")
    assert by_image.cmc.tolist() == [0, 0, 0, 1]
    assert by_image.mAP == 0.25


def test_excluded_images_are_not_there():
    excluded = torch.zeros(3, 5, dtype=torch.bool)
    excluded[0, 0] = excluded[1, 1] = excluded[1, 3] = True
    metrics = compute_metrics(DISTANCES, QUERIES, GALLERY, excluded=excluded, max_rank=3)
    # Query 1 ranks 2 1 2 4, its match at 2; query 2 has lost both matches.
    assert metrics.valid.tolist() == [True, False, False]
    assert metrics.cmc.tolist() == [0, 1, 1]
    assert metrics.mAP == 0.5


def test_ties_rank_in_gallery_order():
    assert (
        compute_metrics(torch.zeros(1, 50), [1], [0] * 20 + [1] * 30).mAP
        < compute_metrics(torch.zeros(1, 50), [1], [1] * 30 + [0] * 20).mAP
    )
    assert compute_metrics(torch.zeros(1, 50), [1], [0] * 49 + [1]).mINP == pytest.approx(1 / 50)


def test_similarities_below_zero_do_not_matter():
    distances = 1 - torch.tensor([[0.9, 0.8, -0.7, -0.6]])
    metrics = compute_metrics(distances, [1], [1, 0, 1, 1])
    assert metrics.mAP == pytest.approx((1 + 2 / 3 + 3 / 4) / 3)
    assert compute_metrics(distances - 5, [1], [1, 0, 1, 1]).mAP == metrics.mAP


@st.composite
def retrievals(draw):
    queries, gallery = draw(st.integers(1, 6)), draw(st.integers(1, 12))
    seed, steps = draw(st.integers(0, 10_000)), draw(st.sampled_from([2, 4, 1000]))  # few steps make many ties
    rng = np.random.default_rng(seed)
    people = draw(st.integers(1, 5))
    return (
        rng.integers(0, steps, (queries, gallery)) / steps,
        rng.integers(0, people, queries),
        rng.integers(0, people, gallery),
        rng.random((queries, gallery)) < draw(st.sampled_from([0.0, 0.3, 0.8])),
    )


@settings(max_examples=300, deadline=None)
@given(retrievals(), st.sampled_from(["identity", "image"]), st.integers(1, 15))
def test_equals_the_loop(retrieval, level, max_rank):
    distances, queries, gallery, excluded = retrieval
    assume(((queries[:, None] == gallery) & ~excluded).any())
    cmc, mean_precision, mean_penalty, valid = references.metrics(
        distances.tolist(), queries.tolist(), gallery.tolist(), excluded.tolist(), level, max_rank
    )
    actual = compute_metrics(distances, queries, gallery, excluded=excluded, cmc_level=level, max_rank=max_rank)
    assert actual.cmc.tolist() == pytest.approx(cmc, abs=1e-12)
    assert actual.mAP == pytest.approx(mean_precision, abs=1e-12)
    assert actual.mINP == pytest.approx(mean_penalty, abs=1e-12)
    assert int(actual.valid.sum()) == valid


def test_order_of_queries_and_gallery_does_not_matter():
    generator = torch.Generator().manual_seed(0)
    distances = torch.rand(9, 14, generator=generator)
    queries, gallery = torch.arange(9) % 4, torch.arange(14) % 5
    rows, columns = torch.randperm(9, generator=generator), torch.randperm(14, generator=generator)
    expected = compute_metrics(distances, queries, gallery)
    actual = compute_metrics(distances[rows][:, columns], queries[rows], gallery[columns])
    torch.testing.assert_close(actual.cmc, expected.cmc)
    assert actual.mAP == pytest.approx(expected.mAP)
    assert actual.mINP == pytest.approx(expected.mINP)


@pytest.mark.parametrize("convert", [torch.Tensor.half, torch.Tensor.numpy, torch.Tensor.tolist])
def test_takes_arrays_of_any_kind(convert):
    expected = compute_metrics(DISTANCES, QUERIES, GALLERY)
    actual = compute_metrics(convert(DISTANCES), QUERIES.numpy(), GALLERY.tolist())
    torch.testing.assert_close(actual.cmc, expected.cmc)
    assert actual.mAP == expected.mAP


def test_same_location():
    assert exclude_same_location(torch.tensor([2, 6]), torch.tensor([1, 2, 2])).tolist() == [[0, 1, 1], [0, 0, 0]]


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"distances": torch.rand(3)}, ValueError, r"distances must have shape \(q, g\), got \(3,\)"),
        ({"distances": torch.rand(3, 0)}, ValueError, r"distances must have a gallery image, got \(3, 0\)"),
        (
            {"query_identities": [1, 2]},
            ValueError,
            r"query_identities must have shape \(3,\), one for each row of dist",
        ),
        ({"gallery_identities": [1, 2]}, ValueError, r"gallery_identities must have shape \(5,\), one for each column"),
        ({"excluded": np.zeros((3, 4), bool)}, ValueError, r"excluded must have the shape of distances, \(3, 5\), got"),
        ({"excluded": np.zeros((3, 5))}, TypeError, "excluded must be boolean, got torch.float64"),
        ({"query_identities": [8, 8, 8]}, ValueError, "query_identities must have a match in the gallery for one"),
        ({"cmc_level": "images"}, ValueError, "cmc_level must be one of 'identity', 'image', got 'images'. Did you"),
        ({"max_rank": 0}, ValueError, "max_rank must be at least 1, got 0"),
        (
            {"distances": torch.where(torch.arange(3)[:, None] == 1, torch.nan, DISTANCES)},
            ValueError,
            "distances must be numbers, got 'NaN in 1 rows, the first being row 1'",
        ),
    ],
)
def test_errors(changed, error, message):
    arguments = {"distances": DISTANCES, "query_identities": QUERIES, "gallery_identities": GALLERY} | changed
    with pytest.raises(error, match=message):
        compute_metrics(**arguments)
