"""A mask is cut as its crop is, and a pixel of which half is manipulated counts."""

from __future__ import annotations

import numpy as np

from detectors.data.crop_store import CropStore
from detectors.data.crop_window import CropWindow
from detectors.data.mask_store import MaskStore
from detectors.data.samples import Samples
from helpers.tiny_masks import add_landmarks_and_masks
from helpers.tiny_store import make_store


def test_a_pixel_of_which_half_is_manipulated_counts(tmp_path):
    samples = Samples.read([make_store(tmp_path, splits=("val",), n_groups=1).samples])
    add_landmarks_and_masks(tmp_path)
    # 42 px around the 40 px that are manipulated, at half the size: half of each edge, a quarter of each corner
    window = CropWindow(margin="1px", size=21)
    row = int(np.flatnonzero(samples.label == 1)[0])
    _, *place = CropStore(tmp_path / "crops", samples, window).stored(row)
    mask = MaskStore(tmp_path / "masks", samples, window).read(row, *place)
    expected = np.ones((21, 21), np.uint8)
    expected[[0, 0, -1, -1], [0, -1, 0, -1]] = 0
    assert np.array_equal(mask, expected)
