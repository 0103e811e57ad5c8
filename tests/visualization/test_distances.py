import sys

import numpy as np
import pytest
import torch

from vireid.visualization import distances as module
from vireid.visualization import plot_distances

KINDS = ["same identity", "different identity"]


def made_up(**sizes):
    torch.manual_seed(0)
    embeddings = {name: torch.randn(size, 3, dtype=torch.float64) for name, size in sizes.items()}
    return embeddings, {name: torch.randint(0, 3, (size,)) for name, size in sizes.items()}


def pairs(embeddings, identities, first, second):
    """Distances of same-identity and of different-identity pairs, one pair after the other."""
    found = ([], [])
    for i, (x, a) in enumerate(zip(embeddings[first], identities[first])):
        for j, (y, b) in enumerate(zip(embeddings[second], identities[second])):
            if first != second or i != j:
                found[int(a != b)].append(((x - y) ** 2).sum().sqrt().item())
    return found


@pytest.mark.parametrize("chunk", [1, 15, 2**22])
def test_equals_counting_in_a_loop(chunk, monkeypatch):
    monkeypatch.setattr(module, "_CHUNK", chunk)
    embeddings, identities = made_up(visible=7, infrared=5)
    figure = plot_distances(embeddings, identities, bins=9)
    panels = {
        "within visible": ("visible", "visible"),
        "within infrared": ("infrared", "infrared"),
        "between visible and infrared": ("visible", "infrared"),
    }
    assert [axes.get_title() for axes in figure.axes] == list(panels)
    expected = [pairs(embeddings, identities, *names) for names in panels.values()]
    everything = [distance for both in expected for kind in both for distance in kind]
    for axes, both in zip(figure.axes, expected):
        assert axes.get_xlim() == pytest.approx((min(everything), max(everything)))
        assert len(axes.patches) == len(axes.lines) == 2
        for patch, line, label, kind in zip(axes.patches, axes.lines, KINDS, both):
            density, edges, _ = patch.get_data()
            counts, _ = np.histogram(kind, 9, (min(everything), max(everything)))
            np.testing.assert_allclose(density, counts / len(kind) / np.diff(edges), atol=1e-9)
            assert (density * np.diff(edges)).sum() == pytest.approx(1)
            assert line.get_xdata()[0] == pytest.approx(np.mean(kind))
            assert line.get_label() == f"{label}, mean {np.mean(kind):.3g}"
        assert [text.get_text() for text in axes.get_legend().get_texts()] == [line.get_label() for line in axes.lines]


def test_by_hand():
    # Identities 0 0 1 at 0, 3 and 7: the pair of the same identity is 3 apart, the others 7 and 4.
    rows = torch.tensor([[0.0, 0.0], [3.0, 0.0], [7.0, 0.0]])
    (axes,) = plot_distances({"visible": rows}, {"visible": torch.tensor([0, 0, 1])}, bins=2).axes
    same, different = (patch.get_data().values * 2 for patch in axes.patches)  # bins of width 2: 3 to 5, 5 to 7
    assert same.tolist() == pytest.approx([1, 0])
    assert different.tolist() == pytest.approx([0.5, 0.5])
    assert [line.get_xdata()[0] for line in axes.lines] == pytest.approx([3, 5.5])


def test_panels_of_three_modalities():
    figure = plot_distances(*made_up(visible=4, infrared=4, auxiliary=4))
    assert [axes.get_title() for axes in figure.axes] == [
        "within visible",
        "within infrared",
        "within auxiliary",
        "between visible and infrared",
        "between visible and auxiliary",
        "between infrared and auxiliary",
    ]
    assert len({axes.get_xlim() for axes in figure.axes}) == 1
    assert len(figure.axes[0].patches[0].get_data().values) == 60


def test_moving_and_permuting_changes_nothing():
    embeddings, identities = made_up(visible=8, infrared=6)
    order = torch.randperm(8)
    moved = {"visible": embeddings["visible"][order] + 5, "infrared": embeddings["infrared"] + 5}
    identities_moved = {"visible": identities["visible"][order], "infrared": identities["infrared"]}
    figures = plot_distances(embeddings, identities, bins=4), plot_distances(moved, identities_moved, bins=4)
    for one, other in zip(*(figure.axes for figure in figures)):
        for a, b in zip(one.lines, other.lines):
            assert a.get_xdata() == pytest.approx(b.get_xdata())


def test_a_kind_without_pairs_is_said_to_have_none():
    embeddings = {"visible": torch.zeros(1, 2), "infrared": torch.ones(1, 2).requires_grad_()}
    identities = {"visible": torch.tensor([0]), "infrared": torch.tensor([1])}
    figure = plot_distances(embeddings, identities)
    labels = [[text.get_text() for text in axes.get_legend().get_texts()] for axes in figure.axes]
    none = [f"{kind}, no pair" for kind in KINDS]
    assert labels == [none, none, [none[0], "different identity, mean 1.41"]]


def test_saves_a_picture(tmp_path):
    plot_distances(*made_up(visible=4)).savefig(tmp_path / "distances.png")
    assert (tmp_path / "distances.png").stat().st_size > 1000


def test_errors(monkeypatch):
    embeddings, identities = made_up(visible=4, infrared=3)
    with pytest.raises(ValueError, match=r"embeddings must map the names of modalities to embeddings, got \{\}"):
        plot_distances({}, {})
    with pytest.raises(
        ValueError, match=r"identities must have the names \['visible', 'infrared'\], got \['visible'\]"
    ):
        plot_distances(embeddings, {"visible": identities["visible"]})
    with pytest.raises(ValueError, match=r"embeddings\['visible'\] must have shape \(b, d\), got \(4, 3, 1\)"):
        plot_distances({"visible": torch.rand(4, 3, 1)}, {"visible": identities["visible"]})
    with pytest.raises(ValueError, match=r"embeddings\['infrared'\] must have d = 3 like the others, got \(3, 2\)"):
        plot_distances({**embeddings, "infrared": embeddings["infrared"][:, :2]}, identities)
    with pytest.raises(ValueError, match=r"embeddings\['visible'\]\[0\] must be finite, got nan"):
        plot_distances({"visible": torch.full((4, 2), torch.nan)}, {"visible": identities["visible"]})
    with pytest.raises(
        ValueError, match=r"identities\['infrared'\] must have shape \(3,\), one for each embedding, got"
    ):
        plot_distances(embeddings, {**identities, "infrared": identities["visible"]})
    with pytest.raises(ValueError, match="embeddings must have two rows to compare, got 1"):
        plot_distances({"visible": torch.rand(1, 2)}, {"visible": torch.tensor([0])})
    for bins in (0, 1.5):
        with pytest.raises(ValueError, match=f"bins must be an integer from 1 to 10000, got {bins}"):
            plot_distances(embeddings, identities, bins=bins)
    with pytest.raises(TypeError, match=r"embeddings\['visible'\] must be floating point, got torch.int64"):
        plot_distances({"visible": embeddings["visible"].long()}, {"visible": identities["visible"]})
    with pytest.raises(TypeError, match=r"embeddings\['visible'\] must be a tensor, got 'list'"):
        plot_distances({"visible": [[0.0]]}, {"visible": identities["visible"]})
    with pytest.raises(TypeError, match=r"identities\['visible'\] must be integers, got torch.float32"):
        plot_distances(embeddings, {**identities, "visible": torch.zeros(4)})
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"matplotlib must be installed for this: pip install 'vireid\[viz\]'."):
        plot_distances(embeddings, identities)
