import sys

import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex

from vireid.modality import Modality
from vireid.visualization import plot_embeddings, project_embeddings

COLOURS = {"visible": "#1f4fd8", "infrared": "#d7191c", "auxiliary": "#1a9641"}


@pytest.mark.parametrize("dimensions", [2, 3])
def test_projection_separates_clusters_and_repeats(dimensions):
    torch.manual_seed(0)
    embeddings = torch.randn(40, 8, dtype=torch.float64)
    embeddings[20:] += 20
    before = embeddings.clone()
    points = project_embeddings(embeddings, dimensions=dimensions, perplexity=15)
    assert points.shape == (40, dimensions)
    assert points.dtype == torch.float32
    centres = torch.stack([points[:20].mean(0), points[20:].mean(0)])
    own = torch.tensor([0] * 20 + [1] * 20)
    assert torch.equal(torch.cdist(points, centres).argmin(1), own)
    assert torch.equal(project_embeddings(embeddings, dimensions=dimensions, perplexity=15), points)
    assert not torch.allclose(project_embeddings(embeddings, dimensions=dimensions, perplexity=10), points, atol=1e-2)
    assert torch.equal(embeddings, before)


def test_projection_takes_half_precision_and_gradients():
    embeddings = torch.randn(20, 4).bfloat16().requires_grad_()
    assert not project_embeddings(embeddings, perplexity=5).requires_grad


def test_seed_reaches_tsne(monkeypatch):
    seen = {}

    class TSNE:
        def __init__(self, dimensions, **options):
            seen.update(options, dimensions=dimensions)

        def fit_transform(self, rows):
            return rows[:, :2]

    monkeypatch.setattr("sklearn.manifold.TSNE", TSNE)
    points = project_embeddings(torch.arange(12.0).view(4, 3), perplexity=2, seed=7)
    assert seen == {"dimensions": 2, "perplexity": 2.0, "learning_rate": 4 / 48, "init": "pca", "random_state": 7}
    assert points.tolist() == [[0, 1], [3, 4], [6, 7], [9, 10]]


def test_projection_errors(monkeypatch):
    rows = torch.rand(10, 4)
    with pytest.raises(
        ValueError, match=r"perplexity must be above 0 and below b = 10, got 30.0. Pass perplexity=3, or more"
    ):
        project_embeddings(rows)
    with pytest.raises(ValueError, match=r"perplexity must be above 0 and below b = 10, got 0"):
        project_embeddings(rows, perplexity=0)
    with pytest.raises(ValueError, match="dimensions must be 2 or 3, got 4"):
        project_embeddings(rows, dimensions=4)
    with pytest.raises(ValueError, match=r"embeddings must have shape \(b, d\), got \(10, 4, 1, 1\)"):
        project_embeddings(rows[..., None, None])
    with pytest.raises(ValueError, match=r"embeddings must have at least 3 rows and columns, got \(10, 2\)"):
        project_embeddings(rows[:, :2], dimensions=3)
    with pytest.raises(ValueError, match=r"embeddings\[1\] must be finite, got nan"):
        project_embeddings(torch.tensor([[0.0, 1.0], [torch.nan, 1.0]]), perplexity=1)
    with pytest.raises(ValueError, match="embeddings must differ from each other, got '10 equal rows'"):
        project_embeddings(torch.ones(10, 4), perplexity=3)
    with pytest.raises(TypeError, match=r"embeddings must be floating point, got torch.int64"):
        project_embeddings(rows.long())
    monkeypatch.setitem(sys.modules, "sklearn.manifold", None)
    with pytest.raises(ImportError, match=r"sklearn must be installed for this: pip install 'vireid\[viz\]'."):
        project_embeddings(rows, perplexity=3)


def drawn(axes):
    """Points, colour and marker of everything scattered on axes."""
    for points in axes.collections:
        coordinates = np.stack(points._offsets3d, axis=1) if axes.name == "3d" else np.asarray(points.get_offsets())
        if len(coordinates) > 0:
            yield coordinates, to_hex(points.get_facecolor()[0]), points.get_paths()[0].vertices.tobytes()


@pytest.mark.parametrize("dimensions", [2, 3])
def test_colour_is_the_modality_and_shape_the_identity(dimensions):
    torch.manual_seed(0)
    identities = torch.arange(10).repeat(3) + 40
    modalities = ["visible"] * 10 + ["infrared"] * 10 + [Modality.AUXILIARY] * 10
    panels = {"epoch 0": torch.rand(30, dimensions), "epoch 5": torch.rand(30, dimensions).requires_grad_()}
    figure = plot_embeddings(panels, identities, modalities)
    assert [axes.get_title() for axes in figure.axes] == ["epoch 0", "epoch 5"]
    for axes, points in zip(figure.axes, panels.values()):
        rows, shapes = [], {}
        for coordinates, colour, shape in drawn(axes):
            for coordinate in coordinates:
                row = int((points.detach() - torch.tensor(coordinate)).norm(dim=1).argmin())
                np.testing.assert_allclose(coordinate, points[row].detach().numpy(), rtol=1e-6)
                assert colour == COLOURS[Modality(modalities[row]).value]
                shapes.setdefault(shape, set()).add(identities[row].item())
                rows.append(row)
        assert sorted(rows) == list(range(30))
        assert sorted(shapes.values(), key=min) == [{identity} for identity in range(40, 50)]
        assert not axes.texts  # numbers would cover each other
        assert len(axes.get_xticks()) == len(axes.get_yticks()) == 0
        assert axes.name == ("3d" if dimensions == 3 else "rectilinear")
    legend, shapes = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["visible", "infrared", "auxiliary"]
    assert [to_hex(line.get_color()) for line in legend.get_lines()] == list(COLOURS.values())
    assert [text.get_text() for text in shapes.get_texts()] == [str(identity) for identity in range(40, 50)]
    assert len({line.get_marker() for line in shapes.get_lines()}) == 10


def test_points_fill_their_panel_and_more_than_twelve_identities_are_told_apart():
    torch.manual_seed(0)
    points = torch.rand(48, 2) * torch.tensor([10.0, 1.0])
    figure = plot_embeddings({"": points}, torch.arange(24).repeat(2), ["visible", "infrared"] * 24)
    axes = figure.axes[0]
    for (low, high), values in zip((axes.get_xlim(), axes.get_ylim()), points.T):
        assert (values.max() - values.min()) / (high - low) > 0.9
    keys = {(line.get_marker(), line.get_fillstyle()) for line in figure.legends[1].get_lines()}
    assert len(keys) == 24


def test_lines_lead_to_the_centre_and_the_legend_names_what_is_there():
    points = torch.tensor([[0.0, 0.0], [2.0, 4.0], [5.0, 5.0]])
    figure = plot_embeddings({"": points}, torch.tensor([7, 7, 2]), ["infrared", "visible", "infrared"])
    segments = [line.get_xydata() for line in figure.axes[0].lines if len(line.get_xydata()) > 0]
    ends = {tuple(segment[:2].flatten().tolist()) for segment in segments}
    assert ends == {(0, 0, 1, 2), (2, 4, 1, 2), (5, 5, 5, 5)}
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["visible", "infrared"]


def test_saves_a_picture(tmp_path):
    panels = {str(number): torch.rand(4, 2 + number % 2) for number in range(5)}
    figure = plot_embeddings(panels, torch.tensor([1, 1, 2, 2]), ["visible", "infrared"] * 2)
    figure.savefig(tmp_path / "points.png")
    assert (tmp_path / "points.png").stat().st_size > 1000
    assert figure.axes[4].get_subplotspec().rowspan.start == 1


def test_plot_errors(monkeypatch):
    points, identities, modalities = torch.rand(2, 2), torch.tensor([1, 2]), ["visible", "infrared"]
    with pytest.raises(ValueError, match=r"panels must map the title of each panel to its points, got \{\}"):
        plot_embeddings({}, identities, modalities)
    with pytest.raises(
        ValueError, match=r"panels\['a'\] must have shape \(b, 2\) or \(b, 3\), got \(2, 8\). Call project_e"
    ):
        plot_embeddings({"a": torch.rand(2, 8)}, identities, modalities)
    with pytest.raises(ValueError, match=r"panels\['a'\] must have shape \(b, d\), got \(2,\)"):
        plot_embeddings({"a": torch.rand(2)}, identities, modalities)
    with pytest.raises(ValueError, match=r"panels\['a'\]\[1\] must be finite, got inf"):
        plot_embeddings({"a": torch.tensor([[0.0, 0.0], [0.0, torch.inf]])}, identities, modalities)
    with pytest.raises(ValueError, match=r"identities must have shape \(3,\), one for each embedding, got \(2,\)"):
        plot_embeddings({"a": points, "b": torch.rand(3, 2)}, identities, modalities)
    with pytest.raises(ValueError, match="modalities must have 2 items, one for each point, got 1"):
        plot_embeddings({"a": points}, identities, ["visible"])
    with pytest.raises(ValueError, match=r"modalities\[1\] must be one of 'visible', .*, got 'infared'. Did you mean"):
        plot_embeddings({"a": points}, identities, ["visible", "infared"])
    with pytest.raises(TypeError, match=r"panels\['a'\] must be floating point, got torch.int64"):
        plot_embeddings({"a": points.long()}, identities, modalities)
    with pytest.raises(TypeError, match=r"panels\['a'\] must be a tensor, got 'list'"):
        plot_embeddings({"a": points.tolist()}, identities, modalities)
    with pytest.raises(TypeError, match=r"identities must be integers, got torch.float32"):
        plot_embeddings({"a": points}, identities.float(), modalities)
    with pytest.raises(TypeError, match=r"identities must be a tensor, got 'list'"):
        plot_embeddings({"a": points}, [1, 2], modalities)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"matplotlib must be installed for this: pip install 'vireid\[viz\]'."):
        plot_embeddings({"a": points}, identities, modalities)
