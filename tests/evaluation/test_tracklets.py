import pytest
import torch

from vireid.evaluation import compare_tracklets, pool_tracklets

ROWS = torch.randn(9, 4, generator=torch.Generator().manual_seed(0))
TRACKLETS = [5, 2, 5, 9, 2, 5, 9, 2, 7]


@pytest.mark.parametrize("how", ["mean", "maximum", "longest"])
def test_pooling_is_that_of_a_loop(how):
    pooled = pool_tracklets(ROWS, TRACKLETS, how=how)
    assert pooled.tracklets.tolist() == [2, 5, 7, 9]
    for row, number in zip(pooled.embeddings, pooled.tracklets):
        images = torch.stack([x for x, t in zip(ROWS, TRACKLETS) if t == number])
        expected = {
            "mean": images.mean(0),
            "maximum": images.amax(0),
            "longest": images[max(range(len(images)), key=lambda i: images[i].norm())],
        }
        torch.testing.assert_close(row, expected[how])


@pytest.mark.parametrize("how", ["minimum", "mean"])
def test_distances_are_those_of_a_loop(how):
    distances = torch.rand(9, 5, generator=torch.Generator().manual_seed(1))
    gallery = torch.tensor([3, 1, 3, 1, 1])
    found = compare_tracklets(distances, TRACKLETS, gallery, how=how)
    assert found.shape == (4, 2)
    for i, first in enumerate([2, 5, 7, 9]):
        for j, second in enumerate([1, 3]):
            values = [
                distances[a, b]
                for a, x in enumerate(TRACKLETS)
                for b, y in enumerate(gallery)
                if (x, y) == (first, second)
            ]
            assert found[i, j] == pytest.approx(min(values) if how == "minimum" else sum(values) / len(values))
    images = compare_tracklets(distances, TRACKLETS, how=how)
    torch.testing.assert_close(images, compare_tracklets(distances, TRACKLETS, torch.arange(5), how=how))


def test_order_of_the_images_does_not_matter_and_inputs_stay():
    order = torch.randperm(9)
    rows = ROWS.clone()
    for how in ("mean", "maximum", "longest"):
        expected = pool_tracklets(rows, TRACKLETS, how=how)
        found = pool_tracklets(rows[order], torch.tensor(TRACKLETS)[order], how=how)
        torch.testing.assert_close(found.embeddings, expected.embeddings)
    assert torch.equal(rows, ROWS)


def test_half_precision_keeps_its_type():
    assert pool_tracklets(ROWS.half(), TRACKLETS).embeddings.dtype == torch.float16
