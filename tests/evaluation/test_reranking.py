import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vireid.evaluation import KReciprocalReranking


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
