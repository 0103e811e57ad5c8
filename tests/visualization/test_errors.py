import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.stats import norm

from vireid.visualization import plot_det, plot_histograms

torch.manual_seed(0)
SAME = torch.rand(400) < 0.4
DISTANCES = torch.rand(400).double() + 0.7 * ~SAME


def rates(accept, reject):
    return SimpleNamespace(false_accept=torch.tensor(accept).double(), false_reject=torch.tensor(reject).double())


def test_det_draws_the_rates_on_normal_axes():
    figure = plot_det({"a": rates([0, 0.01, 0.2, 1], [1, 0.3, 0.05, 0]), "b": rates([0, 0.5], [0.1, 0.02])})
    (axes,) = figure.axes
    first, second, diagonal = axes.lines
    np.testing.assert_allclose(first.get_xdata(), norm.ppf([0.01, 0.2]), atol=1e-3)
    np.testing.assert_allclose(first.get_ydata(), norm.ppf([0.3, 0.05]), atol=1e-3)
    np.testing.assert_allclose(second.get_xdata(), norm.ppf([0.5]), atol=1e-3)
    assert diagonal.get_slope() == 1
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["a", "b"]
    ticks = dict(zip((label.get_text() for label in axes.get_xticklabels()), axes.get_xticks()))
    assert ticks["1"] == pytest.approx(norm.ppf(0.01))
    for line in (first, second):
        assert axes.get_xlim()[0] < min(line.get_xdata())
        assert max(line.get_ydata()) < axes.get_ylim()[1]


def test_det_marks_a_rate():
    plain, marked = (plot_det({"a": rates([0.2], [0.3])}, false_accept_rate=rate).axes[0] for rate in (None, 1e-4))
    assert len(marked.lines) == len(plain.lines) + 1
    assert any(
        line.get_xdata()[0] == pytest.approx(norm.ppf(1e-4)) for line in marked.lines[1:] if len(line.get_xdata())
    )
    assert marked.get_xlim()[0] < norm.ppf(1e-4) < plain.get_xlim()[0]


def test_det_of_many_pairs_draws_few_points(tmp_path):
    steps = torch.linspace(0, 1, 300_000, dtype=torch.float64)
    figure = plot_det({"many": rates(steps.tolist(), (1 - steps).tolist())})
    assert len(figure.axes[0].lines[0].get_xdata()) < 10_000
    figure.savefig(tmp_path / "det.png")
    assert (tmp_path / "det.png").stat().st_size > 1000


def test_histograms_equal_counting():
    figure = plot_histograms({"pair": (DISTANCES, SAME), "other": (DISTANCES, SAME)}, thresholds={"pair": 0.6}, bins=7)
    axes, other = figure.axes
    extremes = DISTANCES.min().item(), DISTANCES.max().item()
    for patch, kind in zip(axes.patches, (DISTANCES[SAME], DISTANCES[~SAME])):
        density, edges, _ = patch.get_data()
        counts, _ = np.histogram(kind, 7, extremes)
        np.testing.assert_allclose(density, counts / len(kind) / np.diff(edges), atol=1e-9)
    (line,) = axes.lines
    assert line.get_xdata()[0] == 0.6
    same, different = ((kind <= 0.6).double().mean() for kind in (DISTANCES[SAME], DISTANCES[~SAME]))
    assert [text.get_text() for text in axes.get_legend().get_texts()] == [
        f"same person, {100 * same:.3g} % accepted",
        f"different people, {100 * different:.3g} % accepted",
        "threshold 0.6",
    ]
    assert not other.lines
    assert [axes.get_title() for axes in figure.axes] == ["pair", "other"]


def test_histograms_of_one_kind_or_of_equal_distances(tmp_path):
    figure = plot_histograms({"one": (torch.full((3,), 0.5), torch.ones(3, dtype=torch.bool))}, thresholds={"one": 0.5})
    texts = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert {"same person, 100 % accepted", "different people, no pair"} <= set(texts)
    figure.savefig(tmp_path / "histograms.png")
    assert (tmp_path / "histograms.png").stat().st_size > 1000


def test_without_matplotlib(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    for draw in (lambda: plot_det({"a": rates([0.2], [0.3])}), lambda: plot_histograms({"a": (DISTANCES, SAME)})):
        with pytest.raises(ImportError, match=r"pip install 'vireid\[viz\]'"):
            draw()
