"""Panels of a figure, and the files of one."""

from __future__ import annotations

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from detectors.figures.style import empty_figure, panels, write_figure


@pytest.mark.parametrize(
    ("n_items", "places", "below", "left"),
    [
        (1, [(0, 0)], [0], [0]),
        (4, [(0, column) for column in range(4)], [0, 1, 2, 3], [0]),
        # what has no panel below it has the label
        (6, [(0, 0), (0, 1), (0, 2), (0, 3), (1, 0), (1, 1)], [2, 3, 4, 5], [0, 4]),
    ],
)
def test_panels_stand_four_in_a_row_and_the_outer_ones_have_labels(n_items, places, below, left):
    figure = Figure()
    drawn = list(panels(figure, list("abcdef"[:n_items]), height=2, x_label="x", y_label="y"))
    assert [item for _, item in drawn] == list("abcdef"[:n_items])
    assert len(figure.axes) == n_items, "none is left empty"
    specs = [axes.get_subplotspec() for axes, _ in drawn]
    assert [(spec.rowspan.start, spec.colspan.start) for spec in specs] == places
    assert [number for number, (axes, _) in enumerate(drawn) if axes.get_xlabel() == "x"] == below
    assert [number for number, (axes, _) in enumerate(drawn) if axes.get_ylabel() == "y"] == left


def test_a_figure_is_a_png_and_an_svg_of_the_same_bytes_each_time_whatever_the_users_style(tmp_path):
    with matplotlib.rc_context({"font.size": 30, "savefig.dpi": 20}):
        files = write_figure(tmp_path / "a.b", lambda: empty_figure("nothing"))
    again = write_figure(tmp_path / "c", lambda: empty_figure("nothing"))
    assert [path.name for path in files] == ["a.b.png", "a.b.svg"]
    assert [path.read_bytes() for path in files] == [path.read_bytes() for path in again]
    with Image.open(files[0]) as picture:
        # 4.5 x 1.5 inches at 150 dots an inch
        assert picture.size == (675, 225)
        assert np.asarray(picture.convert("L")).min() < 100
    assert b"<dc:date>" not in files[1].read_bytes()
