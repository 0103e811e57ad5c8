import pytest

from vireid.visualization import plot_curves


def test_draws_what_it_is_given():
    figure = plot_curves({"loss": {"identity": [3.0, 1.0, 2.0], "triplet": [1.0, 1.0]}, "rank-1": {"all": [0.5]}})
    loss, rank = figure.axes
    assert [line.get_label() for line in loss.lines] == ["identity", "triplet"]
    assert loss.lines[0].get_xydata().tolist() == [[1, 3], [2, 1], [3, 2]]
    assert rank.lines[0].get_ydata().tolist() == [0.5]


def test_smoothing_is_a_running_mean_over_the_faint_values():
    (axes,) = plot_curves({"loss": {"identity": [4.0, 2.0, 6.0]}}, smoothing=2).axes
    raw, smooth = axes.lines
    assert raw.get_ydata().tolist() == [4, 2, 6]
    assert smooth.get_ydata().tolist() == [4, 3, 4]


def test_measurements_stand_where_they_were_made():
    (axes,) = plot_curves({"rank-1": {"all": {0: 2.0, 50: 10.0}}}, smoothing=5).axes
    assert axes.lines[0].get_xydata().tolist() == [[0, 2], [50, 10]]
    assert axes.lines[0].get_marker() == "o"


def test_values_below_zero_are_seen():
    below, above = plot_curves({"mmd": {"unbiased": [1.0, -2.0]}, "loss": {"identity": [1.0, 2.0]}}).axes
    assert below.get_ylim()[0] < -2
    assert above.get_ylim()[0] == 0


def test_the_legend_is_off_the_curves():
    figure = plot_curves({"loss": {"identity": [3.0, 1.0], "a term with a long name": [1.0, 1.0]}})
    figure.draw_without_rendering()
    (axes,) = figure.axes
    legend, curves = axes.get_legend().get_window_extent(), axes.get_window_extent()
    assert not legend.overlaps(curves)
    assert legend.x1 <= figure.bbox.x1


def test_saves_a_picture(tmp_path):
    plot_curves({"loss": {"identity": [1.0]}}).savefig(tmp_path / "curves.png")
    assert (tmp_path / "curves.png").stat().st_size > 1000


def test_errors():
    with pytest.raises(ValueError, match=r"panels must map the title of each panel to the panel, got \{\}"):
        plot_curves({})
    with pytest.raises(ValueError, match=r"panels\['loss'\]\['identity'\] must have a value, got \[\]"):
        plot_curves({"loss": {"identity": []}})
    with pytest.raises(ValueError, match="smoothing must be an integer of at least 1, got 0"):
        plot_curves({"loss": {"identity": [1.0]}}, smoothing=0)
    with pytest.raises(TypeError, match=r"panels\['loss'\] must map the names of its curves to their values, got \[1"):
        plot_curves({"loss": [1.0, 2.0]})
    with pytest.raises(ValueError, match=r"panels\['loss'\]\['identity'\]\[1\] must be a finite number, got inf"):
        plot_curves({"loss": {"identity": [1.0, float("inf")]}})
    with pytest.raises(
        TypeError, match=r"an iteration of panels\['loss'\]\['identity'\] must be a finite number, got '0'"
    ):
        plot_curves({"loss": {"identity": {"0": 1.0}}})
