import numpy as np
import pytest
import torch

from vireid.visualization import plot_bars


def test_bars_show_means_deviations_values_and_references():
    panels = {"rank-1": {"B": [20.0, 24.0], "MUN": [30.0]}, "mAP": {"B": [1.0, 2.0, 3.0]}}
    figure = plot_bars(panels, references={"rank-1": {"MUN": 35.0}}, reference_name="the paper", label="percent")
    first, second = figure.axes
    assert [bar.get_width() for bar in first.patches] == [22, 30]
    assert [bar.get_width() for bar in second.patches] == [2]
    (error,) = [part for part in second.collections if len(part.get_segments()) == 1]
    assert [x for x, _ in error.get_segments()[0]] == [1, 3]  # the standard deviation of a sample is 1
    points = [line.get_xdata() for line in first.lines if line.get_marker() == "o"]
    assert [list(values) for values in points] == [[20, 24], [30]]
    (diamond,) = [line for line in first.lines if line.get_marker() == "D"]
    assert (diamond.get_xdata()[0], diamond.get_ydata()[0]) == (35, 1)
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["rank-1", "mAP"]
    assert second.get_xlabel() == "percent"
    assert figure.legends[0].get_texts()[0].get_text() == "the paper"
    assert first.get_ylim()[0] > first.get_ylim()[1]  # the first row is on top


def test_references_of_other_conditions_have_an_axis_of_their_own():
    panels = {"Table 1": {"B": [20.0, 24.0], "MUN": [30.0, 31.0]}, "Table 2": {"X": [25.0]}}
    references = {"Table 1": {"MUN": 76.0}}
    options = {"reference_name": "the paper", "label": "here", "reference_label": "there"}
    figure = plot_bars(panels, references=references, **options)
    bars, paper, more_bars, no_reference = figure.axes
    assert not any(line.get_marker() == "D" for line in bars.lines)
    (diamond,) = paper.lines
    assert (diamond.get_xdata()[0], diamond.get_ydata()[0]) == (76, 1)
    assert paper.get_ylim() == bars.get_ylim()
    assert bars.get_xlim()[1] < 40
    assert paper.get_xlim()[1] > 76
    assert paper.get_xlim()[0] == 0
    assert paper.get_title(loc="left") == "the paper"
    assert (more_bars.get_xlabel(), no_reference.get_xlabel()) == ("here", "there")
    assert not no_reference.lines
    assert not figure.legends
    assert len(plot_bars(panels, reference_label="there").axes) == 4


def test_errors():
    with pytest.raises(ValueError, match="panels must map the title of each panel to the panel, got {}"):
        plot_bars({})
    with pytest.raises(ValueError, match=r"panels\['rank-1'\]\['B'\] must have a value, got \[\]"):
        plot_bars({"rank-1": {"B": []}})
    for references in ({"rank-1": {"C": 1.0}}, {"mAP": {"B": 1.0}}):
        with pytest.raises(ValueError, match="references must be of rows of the panels, got {'"):
            plot_bars({"rank-1": {"B": [1.0]}}, references=references)
    with pytest.raises(
        TypeError, match=r"panels\['B'\] must map the names of its rows to their values, got \[20.0, 22.0\]"
    ):
        plot_bars({"B": [20.0, 22.0]})
    with pytest.raises(TypeError, match=r"panels\['rank-1'\]\['B'\] must be a sequence of numbers, got 20.0"):
        plot_bars({"rank-1": {"B": 20.0}})
    with pytest.raises(ValueError, match=r"panels\['rank-1'\]\['B'\]\[1\] must be a finite number, got nan"):
        plot_bars({"rank-1": {"B": [1.0, float("nan")]}})
    with pytest.raises(TypeError, match=r"references\['rank-1'\]\['B'\] must be a finite number, got '25'"):
        plot_bars({"rank-1": {"B": [1.0]}}, references={"rank-1": {"B": "25"}})


def test_takes_tensors_and_arrays():
    (axes,) = plot_bars({"rank-1": {"B": torch.tensor([1.0, 3.0]), "MUN": np.array([4.0])}}).axes
    assert [bar.get_width() for bar in axes.patches] == [2, 4]
