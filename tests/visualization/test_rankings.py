import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from vireid.visualization import plot_rankings


def ranked(rows, correct):
    return SimpleNamespace(rows=torch.tensor(rows), correct=torch.tensor(correct))


@pytest.fixture
def case():
    torch.manual_seed(0)
    return ranked([[1, 3], [2, 0]], [[True, False], [False, True]]), torch.rand(2, 3, 8, 4), torch.rand(4, 3, 8, 4)


def test_rows_show_query_then_gallery_and_frames_say_what_is_right(case):
    ranking, queries, gallery = case
    figure = plot_rankings(ranking, queries, gallery)
    assert [axes.get_title() for axes in figure.axes] == ["query", "1 ✓", "2 ✗", "query", "1 ✗", "2 ✓"]
    shown = [axes.images[0].get_array() for axes in figure.axes]
    expected = [queries[0], gallery[1], gallery[3], queries[1], gallery[2], gallery[0]]
    for array, image in zip(shown, expected, strict=True):
        np.testing.assert_allclose(array, image.permute(1, 2, 0).numpy())
    colours = [axes.spines["left"].get_edgecolor() for axes in figure.axes]
    assert colours[1] == colours[5]
    assert colours[2] == colours[4]
    assert len(set(colours)) == 3


class Recorded:
    """Records of bytes as data sets give them, which remember what was read."""

    def __init__(self, images):
        self.images, self.read = images, []

    def __len__(self):
        return len(self.images)

    def __getitem__(self, row):
        self.read.append(row)
        return self.images[row], 7, 1


def test_spreads_over_the_queries_and_reads_what_it_draws():
    images = (torch.rand(20, 3, 8, 4) * 255).byte()
    queries, gallery = Recorded(images[:10]), Recorded(images)
    rows = torch.stack([torch.arange(10), torch.arange(10, 20)], dim=1)
    figure = plot_rankings(SimpleNamespace(rows=rows, correct=rows > 12), queries, gallery, number=4)
    assert queries.read == [0, 2, 5, 7]
    assert gallery.read == [0, 10, 2, 12, 5, 15, 7, 17]
    assert len(figure.axes) == 12
    np.testing.assert_array_equal(figure.axes[0].images[0].get_array(), images[0].permute(1, 2, 0))
    assert len(plot_rankings(SimpleNamespace(rows=rows, correct=rows > 12), queries, gallery, number=99).axes) == 30


def test_without_labels_no_frame_is_right_or_wrong(case):
    ranking, queries, gallery = case
    figure = plot_rankings(SimpleNamespace(rows=ranking.rows, correct=None), queries, gallery)
    assert [axes.get_title() for axes in figure.axes] == ["query", "1", "2", "query", "1", "2"]
    colours = {axes.spines["left"].get_edgecolor() for axes in plot_rankings(*case).axes[1:3]}
    unknown = {figure.axes[i].spines["left"].get_edgecolor() for i in (1, 2, 4, 5)}
    assert len(unknown) == 1
    assert not unknown & colours


def test_rows_that_are_none_are_left_out_and_nobody_is_said(case):
    _, queries, gallery = case
    figure = plot_rankings(ranked([[1, -1], [-1, -1]], [[True, False], [False, False]]), queries, gallery)
    assert [axes.get_title() for axes in figure.axes] == ["query", "1 ✓", "query", ""]
    assert [text.get_text() for axes in figure.axes for text in axes.texts] == ["nobody"]
    figure = plot_rankings(ranked([[-1], [-1]], [[False], [False]]), queries, gallery)
    assert [text.get_text() for axes in figure.axes for text in axes.texts] == ["nobody"] * 2


def test_names_and_distances_are_shown(case):
    ranking, queries, gallery = case
    ranking.distances = torch.tensor([[0.123, 0.456], [1.5, float("nan")]])
    names = {
        "query_names": ["night/a.png", "b"],
        "gallery_names": [f"a/long/path/to/some/folder/{i}.png" for i in "0123"],
    }
    figure = plot_rankings(ranking, queries, gallery, **names)
    titles = [axes.get_title() for axes in figure.axes]
    assert titles == ["query", "1 ✓  0.123", "2 ✗  0.456", "query", "1 ✗  1.500", "2 ✓  nan"]
    labels = [axes.get_xlabel() for axes in figure.axes]
    assert labels[0] == "night/a.png"
    assert labels[1] == "…/folder/1.png"
    names["query_names"] = ["shop/family4/kamera-1_0001_noon.jpg", "one-name-that-is-longer-than-an-image.png"]
    labels = [axes.get_xlabel() for axes in plot_rankings(ranking, queries, gallery, **names).axes]
    assert labels[0] == "family4/\nkamera-1_0001_noon.jpg"
    assert labels[3] == "…nger-than-an-image.png"
    with pytest.raises(ValueError, match="query_names must have a name for each of 2 images, got 1"):
        plot_rankings(ranking, queries, gallery, query_names=["a"])
    ranking.distances = ranking.distances[:, :1]
    with pytest.raises(ValueError, match=r"ranking.distances must have shape \(2, 2\) like rows, got \(2, 1\)"):
        plot_rankings(ranking, queries, gallery)


def test_errors(case, monkeypatch):
    ranking, queries, gallery = case
    with pytest.raises(TypeError, match="ranking must have the fields rows and correct, got 'Tensor'. Pass the result"):
        plot_rankings(ranking.rows, queries, gallery)
    with pytest.raises(ValueError, match=r"ranking.rows must have shape \(q, k\), both at least 1, got \(0, 2\)"):
        plot_rankings(SimpleNamespace(rows=ranking.rows[:0], correct=ranking.correct[:0]), [], gallery)
    with pytest.raises(ValueError, match=r"ranking.correct must have shape \(2, 2\) like rows, got \(2, 1\)"):
        plot_rankings(SimpleNamespace(rows=ranking.rows, correct=ranking.correct[:, :1]), queries, gallery)
    with pytest.raises(TypeError, match=r"ranking.correct must be booleans, got torch.int64"):
        plot_rankings(SimpleNamespace(rows=ranking.rows, correct=ranking.rows), queries, gallery)
    with pytest.raises(TypeError, match=r"ranking.rows must be integers, got torch.bool"):
        plot_rankings(SimpleNamespace(rows=ranking.correct, correct=ranking.correct), queries, gallery)
    with pytest.raises(ValueError, match="queries must have an image for each of 2 rows, got 1"):
        plot_rankings(ranking, queries[:1], gallery)
    with pytest.raises(ValueError, match="gallery must have an image for each row of the ranking, at least 4, got 3"):
        plot_rankings(ranking, queries, gallery[:3])
    with pytest.raises(TypeError, match="gallery must be a sequence of images, got 'dict'"):
        plot_rankings(ranking, queries, {"visible": gallery})
    with pytest.raises(
        ValueError, match=r"gallery\[1\] must have values from 0 to 1, got .* Pass images without their no"
    ):
        plot_rankings(ranking, queries, gallery * 4 - 2)
    with pytest.raises(ValueError, match=r"queries\[0\] must be an image \(3, h, w\), got \(8, 4\)"):
        plot_rankings(ranking, queries[:, 0], gallery)
    with pytest.raises(TypeError, match=r"queries\[0\] must be uint8 or floating point, got torch.int64"):
        plot_rankings(ranking, queries.long(), gallery)
    with pytest.raises(TypeError, match=r"queries\[0\] must be a tensor, got 'str'"):
        plot_rankings(ranking, ["a.jpg", "b.jpg"], gallery)
    with pytest.raises(ValueError, match="number must be an integer of at least 1, got 0"):
        plot_rankings(ranking, queries, gallery, number=0)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"matplotlib must be installed for this: pip install 'vireid\[viz\]'."):
        plot_rankings(ranking, queries, gallery)


def test_title_says_which_queries_are_shown_and_how_many_are_found():
    rows, correct = torch.zeros(20, 1, dtype=torch.long), torch.arange(20)[:, None] < 5
    images = torch.rand(20, 3, 8, 4)
    figure = plot_rankings(SimpleNamespace(rows=rows, correct=correct), images, images, number=4)
    assert figure.get_suptitle() == "4 of 20 queries, evenly spread\nfirst image right for 25.00 % of all"
    matched = torch.arange(20) < 8
    ranking = SimpleNamespace(rows=rows, correct=correct, matched=matched)
    figure = plot_rankings(ranking, images, images, number=20)
    assert figure.get_suptitle() == "all 20 queries\nfirst image right for 62.50 % of the 8 with a match"
    figure = plot_rankings(SimpleNamespace(rows=rows[:1], correct=correct[:1]), images[:1], images)
    assert figure.get_suptitle() == "the only query\nfirst image right for 100.00 % of all"
    with pytest.raises(ValueError, match=r"ranking.matched must have shape \(20,\), got \(8,\)"):
        plot_rankings(SimpleNamespace(rows=rows, correct=correct, matched=matched[:8]), images, images)
    with pytest.raises(TypeError, match=r"ranking.matched must be booleans, got torch.int64"):
        plot_rankings(SimpleNamespace(rows=rows, correct=correct, matched=matched.long()), images, images)
    figure = plot_rankings(SimpleNamespace(rows=rows, correct=None), images, images, number=50)
    assert figure.get_suptitle() == "all 20 queries"
