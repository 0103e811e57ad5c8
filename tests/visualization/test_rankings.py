import sys

import numpy as np
import pytest
import torch

from vireid.visualization import plot_rankings


def test_rows_show_query_then_gallery_and_frames_say_what_is_right():
    images = torch.rand(6, 3, 8, 4)
    figure = plot_rankings(images[:2], [images[2:4], images[4:6]], [[True, False], [False, True]])
    assert [axes.get_title() for axes in figure.axes] == ["query", "1 ✓", "2 ✗", "query", "1 ✗", "2 ✓"]
    shown = [axes.images[0].get_array() for axes in figure.axes]
    for array, image in zip(shown, images[[0, 2, 3, 1, 4, 5]]):
        np.testing.assert_allclose(array, image.permute(1, 2, 0).numpy())
    colours = [axes.spines["left"].get_edgecolor() for axes in figure.axes]
    assert colours[1] == colours[5]
    assert colours[2] == colours[4]
    assert len(set(colours)) == 3


def test_errors(monkeypatch):
    image = torch.rand(3, 8, 4)
    with pytest.raises(ValueError, match="queries must have an image, got 0"):
        plot_rankings([], [], [])
    with pytest.raises(
        ValueError, match="rankings must have a row for each of the 1 queries, as long as the one of co"
    ):
        plot_rankings([image], [[image, image]], [[True]])
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"matplotlib must be installed for this: pip install 'vireid\[viz\]'."):
        plot_rankings([image], [[image]], [[True]])
