import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vireid.evaluation import AffinityInference, EmbeddingSet, KReciprocalReranking, OwnProtocol, create_reranking


def rerank_in_loops(queries, gallery, k1, k2, weight):
    """The method of the paper, image by image."""
    rows = np.concatenate([queries, gallery])
    distances = np.array([[((a - b) ** 2).sum() for b in rows] for a in rows])
    distances = np.array([row / row.max() for row in distances])
    order = [sorted(range(len(rows)), key=row.__getitem__) for row in distances.tolist()]

    def mutual(i, k):
        return [j for j in order[i][: k + 1] if i in order[j][: k + 1]]

    encoded = np.zeros_like(distances)
    for i in range(len(rows)):
        near = mutual(i, k1)
        neighbourhood = set(near)
        for j in near:
            of_j = mutual(j, round(k1 / 2))
            if len(set(of_j) & set(near)) > 2 / 3 * len(of_j):
                neighbourhood |= set(of_j)
        for j in neighbourhood:
            encoded[i, j] = np.exp(-distances[i, j])
        encoded[i] /= encoded[i].sum()
    encoded = np.array([np.mean([encoded[j] for j in order[i][:k2]], axis=0) for i in range(len(rows))])
    result = np.zeros((len(queries), len(gallery)))
    for i in range(len(queries)):
        for j in range(len(gallery)):
            pair = encoded[i], encoded[len(queries) + j]
            jaccard = 1 - np.minimum(*pair).sum() / np.maximum(*pair).sum()
            result[i, j] = (1 - weight) * jaccard + weight * distances[i, len(queries) + j]
    return result


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 10_000),
    st.integers(2, 12),
    st.integers(5, 14),
    st.integers(1, 6),
    st.integers(1, 4),
    st.floats(0, 1),
)
def test_equals_the_loops(seed, queries, gallery, k1, k2, weight):
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(3, 4))
    x, y = (centres[rng.integers(3, size=n)] + 0.7 * rng.normal(size=(n, 4)) for n in (queries, gallery))
    actual = KReciprocalReranking(k1=k1, k2=k2, weight=weight)(torch.from_numpy(x), torch.from_numpy(y))
    np.testing.assert_allclose(actual.numpy(), rerank_in_loops(x, y, k1, k2, weight), rtol=0, atol=1e-10)


def test_many_queries_are_taken_in_blocks():
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.randn(n, 6, generator=generator, dtype=torch.float64) for n in (600, 30))
    together = KReciprocalReranking(k1=8, k2=3)(x, y)
    expected = rerank_in_loops(x.numpy(), y.numpy(), 8, 3, 0.3)
    np.testing.assert_allclose(together.numpy(), expected, rtol=0, atol=1e-10)


def infer_in_loops(queries, gallery, k1, k2):
    """SAAI's affinity inference, image by image."""
    x, y = ([row / np.sqrt((row**2).sum()) for row in rows] for rows in (queries, gallery))

    def nearest(row, k):
        return sorted(range(len(y)), key=lambda j: -(row @ y[j]))[:k]

    def describe(row):
        description = np.zeros(len(y))
        for j in nearest(row, k1):
            description[j] = row @ y[j]
        return description

    described = [describe(row) for row in y]
    averaged = [np.mean([described[j] for j in nearest(row, k2)], axis=0) for row in y]
    result = np.zeros((len(x), len(y)))
    for i, row in enumerate(x):
        for j, other in enumerate(averaged):
            mine = describe(row)
            affinity = mine @ other / np.sqrt((mine**2).sum() * (other**2).sum())
            result[i, j] = 2 - affinity - row @ y[j]
    return result


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 8), st.integers(6, 14), st.integers(1, 6), st.integers(1, 6))
def test_affinity_inference_equals_the_loops(seed, queries, gallery, k1, k2):
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(queries, 4)), rng.normal(size=(gallery, 4))
    inference = AffinityInference(k1=k1, k2=k2)
    actual = inference(torch.from_numpy(x), torch.from_numpy(y))
    np.testing.assert_allclose(actual.numpy(), infer_in_loops(x, y, k1, k2), rtol=0, atol=1e-10)
    order = torch.from_numpy(rng.permutation(gallery))
    np.testing.assert_allclose(inference(torch.from_numpy(x), torch.from_numpy(y)[order]), actual[:, order], atol=1e-10)


def test_affinity_inference_by_hand():
    queries = torch.tensor([[1.0, 0.0]])
    gallery = torch.tensor([[0.8, 0.6], [0.6, 0.8], [0.0, 1.0]])
    # k1 = 1: the query is described by image 0, and every gallery image by itself.
    expected = torch.tensor([[2 - 1 - 0.8, 2 - 0.6, 2.0]])
    torch.testing.assert_close(AffinityInference(k1=1)(queries, gallery), expected)


def test_results_name_the_affinity_inference():
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(6).repeat(2)
    sets = {
        modality: EmbeddingSet(torch.randn(12, 8, generator=generator), labels, torch.full((12,), camera), modality)
        for camera, modality in enumerate(("visible", "infrared"))
    }
    inference = AffinityInference(k1=3, k2=2)
    result = OwnProtocol("visible", reranking=inference).evaluate(sets["visible"], sets["infrared"])
    plain = OwnProtocol("visible").evaluate(sets["visible"], sets["infrared"])
    assert result.settings["reranking"] == str(inference) == "affinity inference (k1 = 3, k2 = 2)"
    assert "affinity inference" in result.protocol
    assert result.to_dict()["mean"] != plain.to_dict()["mean"]
    rank = OwnProtocol("visible", reranking=inference).rank(sets["visible"], sets["infrared"], k=3)
    rows = [sets[modality].embeddings.double() for modality in ("visible", "infrared")]
    torch.testing.assert_close(rank.distances, inference(*rows).sort(dim=1).values[:, :3])
    names = ("none", "k-reciprocal", "affinity")
    assert [create_reranking(name) for name in names] == [None, KReciprocalReranking(), AffinityInference()]
    with pytest.raises(ValueError, match="distance must be 'cosine' for affinity inference, got 'euclidean'"):
        OwnProtocol("visible", reranking=inference, distance="euclidean")


def test_errors_of_affinity_inference():
    for options, message in [
        ({"k1": 0}, "k1 must be an integer of at least 1, got 0"),
        ({"k2": 0}, "k2 must be an integer of at least 1, got 0"),
    ]:
        with pytest.raises(ValueError, match=message):
            AffinityInference(**options)
    with pytest.raises(ValueError, match="gallery must be at least k1 = 5 and k2 = 1 images, got 4"):
        AffinityInference(k1=5)(torch.eye(4), torch.eye(4))


def test_errors():
    rows = torch.eye(4)
    for options, message in [
        ({"k1": 0}, "k1 must be an integer of at least 1, got 0"),
        ({"k2": 0}, "k2 must be an integer of at least 1, got 0"),
        ({"weight": 1.5}, "weight must be a finite number from 0 to 1, got 1.5"),
    ]:
        with pytest.raises(ValueError, match=message):
            KReciprocalReranking(**options)
    with pytest.raises(
        ValueError,
        match="gallery must be more than k1 = 20 and at least k2 = 6 images together with the queries, got 8",
    ):
        KReciprocalReranking()(rows, rows)
    with pytest.raises(ValueError, match=r"gallery must have d = 4 like the others, got \(4, 3\)"):
        KReciprocalReranking(k1=2)(rows, rows[:, :3])
    with pytest.raises(TypeError, match="queries must be floating point, got torch.int64"):
        KReciprocalReranking(k1=2)(rows.long(), rows.long())


def test_many_equal_images_give_numbers():
    rows = torch.eye(4).repeat(12, 1)  # more copies of an image than it may have neighbours
    for k1 in (3, 8):
        assert KReciprocalReranking(k1=k1, k2=2)(rows[:8], rows[8:]).isfinite().all()


def test_senseless_embeddings_are_refused():
    rows = torch.rand(6, 3)
    broken = rows.clone()
    broken[4, 1] = torch.nan
    with pytest.raises(ValueError, match=r"queries\[4\] must be finite, got nan"):
        KReciprocalReranking(k1=2)(broken, rows)
    with pytest.raises(ValueError, match=r"gallery\[4\] must be finite, got nan"):
        KReciprocalReranking(k1=2)(rows, broken)
    with pytest.raises(
        ValueError, match="gallery must hold an image that differs from the queries, got '12 equal embed"
    ):
        KReciprocalReranking(k1=2)(torch.ones(6, 3), torch.ones(6, 3))
