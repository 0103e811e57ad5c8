import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.evaluation import references
from vireid.evaluation import compute_metrics, exclude_same_camera, exclude_same_location

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
    apart = draw(st.sampled_from([0.0, 1e-10]))  # too little for float32
    return (
        rng.integers(0, steps, (queries, gallery)) / steps + apart * rng.random((queries, gallery)),
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


@settings(max_examples=100, deadline=None)
@given(retrievals(), st.sampled_from(["location", "camera"]), st.integers(1, 4), st.data())
def test_exclusions_equal_the_loop(retrieval, rule, cameras, data):
    _, queries, gallery, _ = retrieval
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    query_cameras, gallery_cameras = (rng.integers(1, cameras + 1, len(x)) for x in (queries, gallery))
    if rule == "location":
        excluded = exclude_same_location(query_cameras, gallery_cameras, {3: 2})
    else:
        excluded = exclude_same_camera(queries, query_cameras, gallery, gallery_cameras)
    expected = references.exclusions(
        rule, queries.tolist(), query_cameras.tolist(), gallery.tolist(), gallery_cameras.tolist(), {3: 2}
    )
    assert excluded.tolist() == expected


@pytest.mark.parametrize("decimals", [1, 9])
@pytest.mark.parametrize("level", ["identity", "image"])
def test_many_blocks_of_queries_equal_the_loop(level, decimals):
    rng = np.random.default_rng(0)
    queries, gallery = rng.integers(0, 40, 400), rng.integers(0, 40, 1500)  # the first and the last block hold
    queries[:180], queries[-30:] = 99, 99  # queries without a match only
    distances = rng.random((400, 1500)).round(decimals)
    excluded = rng.random((400, 1500)) < 0.4
    cmc, mean_precision, mean_penalty, valid = references.metrics(
        distances.tolist(), queries.tolist(), gallery.tolist(), excluded.tolist(), level, 20
    )
    actual = compute_metrics(distances, queries, gallery, excluded=excluded, cmc_level=level)
    assert actual.cmc.tolist() == pytest.approx(cmc, abs=1e-12)
    assert actual.mAP == pytest.approx(mean_precision, abs=1e-12)
    assert actual.mINP == pytest.approx(mean_penalty, abs=1e-12)
    assert int(actual.valid.sum()) == valid == 190


def test_matches_that_tie_with_each_other_only_are_counted_apart():
    metrics = compute_metrics([[0.2, 0.2, 0.1, 0.3]], [7], [7, 7, 8, 9])
    assert metrics.mAP == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert metrics.mINP == pytest.approx(2 / 3)


def test_distances_that_are_equal_in_float32_rank_in_float64():
    metrics = compute_metrics([[0.2 + 1e-12, 0.2, 1e300, 1.1e300]], [7], [7, 8, 9, 7])
    assert metrics.first_rank.tolist() == [2]
    assert metrics.mAP == pytest.approx((1 / 2 + 2 / 4) / 2)
    assert compute_metrics([[1e300, 2e300]], [7], [7, 8]).mAP == 1


def test_cmc_past_the_last_identity_stays():
    assert compute_metrics([[0.2, 0.1]], [7], [7, 8], max_rank=5).cmc.tolist() == [0, 1, 1, 1, 1]


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


@pytest.mark.parametrize("convert", [np.ascontiguousarray, np.asfortranarray, lambda x: x[::-1, ::-1][::-1, ::-1]])
def test_takes_arrays_of_any_layout_and_leaves_them_as_they_are(convert):
    distances = convert(DISTANCES.numpy().copy())
    distances.flags.writeable = False
    before = distances.copy()
    metrics = compute_metrics(distances, QUERIES.numpy().astype(np.uint16), GALLERY.numpy().astype(np.uint8))
    assert metrics.mAP == compute_metrics(DISTANCES, QUERIES, GALLERY).mAP
    np.testing.assert_array_equal(distances, before)
    assert not compute_metrics(DISTANCES.clone().requires_grad_(), QUERIES, GALLERY).cmc.requires_grad


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("decimals", [1, 9])
def test_device_does_not_matter(decimals):
    distances = torch.rand(50, 60, generator=torch.Generator().manual_seed(0), dtype=torch.float64).round(
        decimals=decimals
    )
    queries, gallery = torch.arange(50) % 7, torch.arange(60) % 8
    expected, actual = (compute_metrics(d, queries, gallery) for d in (distances, distances.cuda()))
    assert actual.cmc.tolist() == expected.cmc.tolist()
    assert actual.mAP == pytest.approx(expected.mAP, abs=1e-12)


def test_same_camera():
    excluded = exclude_same_camera(torch.tensor([5, 6]), torch.tensor([1, 2]), [5, 5, 6, 6], [1, 2, 1, 2])
    assert excluded.tolist() == [[1, 0, 0, 0], [0, 0, 0, 1]]


def test_same_location():
    assert exclude_same_location([3, 2], [3, 1, 2], {3: 2}).tolist() == [[1, 0, 1], [1, 0, 1]]
    assert exclude_same_location([1, 2], [1, 2], {1: 2, 2: 1}).tolist() == [[1, 0], [0, 1]]
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
        ({"max_rank": 0}, ValueError, "max_rank must be an integer of at least 1, got 0"),
        (
            {"distances": torch.where(torch.arange(3)[:, None] == 1, torch.nan, DISTANCES)},
            ValueError,
            r"distances\[1\] must be finite, got nan",
        ),
        (
            {"distances": DISTANCES.index_fill(0, torch.tensor(2), torch.inf)},
            ValueError,
            r"distances\[2\] must be finite",
        ),
        ({"query_identities": [1.0, 2.0, 3.0]}, TypeError, "query_identities must be integers, got torch.float64"),
        ({"query_identities": ["a", "b", "c"]}, TypeError, "query_identities must be integers, got 'str_'"),
        ({"gallery_identities": torch.rand(5)}, TypeError, "gallery_identities must be integers, got torch.float32"),
    ],
)
def test_errors(changed, error, message):
    arguments = {"distances": DISTANCES, "query_identities": QUERIES, "gallery_identities": GALLERY} | changed
    with pytest.raises(error, match=message):
        compute_metrics(**arguments)


def test_exclusions_of_wrong_types():
    with pytest.raises(TypeError, match="gallery_cameras must be integers, got torch.float64"):
        exclude_same_location([1], [0.5])
    with pytest.raises(TypeError, match="query_cameras must be integers, got torch.float64"):
        exclude_same_camera([1], [0.5], [1], [1])
