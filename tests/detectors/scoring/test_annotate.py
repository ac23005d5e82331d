"""Boxes follow their faces from sampled frame to sampled frame."""

from __future__ import annotations

import numpy as np
import pytest

from detectors.scoring.annotate import DrawnTrack, draw_tracks


def test_a_box_moves_on_a_straight_line_between_sampled_frames_and_is_drawn_there():
    boxes = np.array([[10, 20, 30, 40], [20, 20, 40, 40]], float)
    track = DrawnTrack(np.array([4, 8]), boxes, "fake", 0.93)
    assert track.box_at(6).tolist() == [15, 20, 35, 40]
    assert track.box_at(3) is None
    assert track.box_at(9) is None
    assert track.text == "fake 0.93"
    blank = np.zeros((60, 120, 3), np.uint8)
    assert not draw_tracks(blank.copy(), 9, [track]).any()
    drawn = draw_tracks(blank.copy(), 6, [track])
    columns = np.flatnonzero((drawn[30:38] == (230, 159, 0)).all(axis=2).all(axis=0))
    assert columns.min() == pytest.approx(15, abs=1)
    assert columns.max() == pytest.approx(34, abs=1)
