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


def test_saves_a_picture(tmp_path):
    plot_curves({"loss": {"identity": [1.0]}}).savefig(tmp_path / "curves.png")
    assert (tmp_path / "curves.png").stat().st_size > 1000


def test_errors():
    with pytest.raises(ValueError, match=r"panels must have a panel, got \{\}"):
        plot_curves({})
    with pytest.raises(ValueError, match=r"panels must have a value of 'identity', got \[\]"):
        plot_curves({"loss": {"identity": []}})
    with pytest.raises(ValueError, match="smoothing must be at least 1, got 0"):
        plot_curves({"loss": {"identity": [1.0]}}, smoothing=0)
