"""The hard mask of a self-blended image: what part of a face is pasted, from its landmarks.

A mask has a grid of pixels of its own. It covers the paper's loose crop, `loose_box`, with a width and a height drawn
for each sample: blurs and elastic deformation are measured in its pixels.
"""

from __future__ import annotations

import cv2
import numpy as np

from detectors.data.landmarks import BROWS, EYES, JAW, MOUTH, NOSE
from preprocess.store.schemas import N_LANDMARKS

MASK_PX = 256  # side of the array that holds a mask grid, whatever its own sides
_SHORT_HULL_PROBABILITY = 0.25  # 68 points instead of 81
_WHOLE_FACE_PROBABILITY = 0.5

_POINTS = np.arange(N_LANDMARKS)
# Points of hulls whose union is a mask. What the paper leaves open was chosen here.
_PART_SHAPES = (
    # the face below its eyes, and brows, eyes and nose: all but forehead and temples
    (_POINTS[JAW], np.r_[BROWS, NOSE, EYES]),
    # brows, eyes and nose
    (np.r_[BROWS, NOSE, EYES],),
    # nose, mouth and chin
    (np.r_[_POINTS[JAW][3:14], _POINTS[NOSE][3:], MOUTH],),
)


def loose_box(points: np.ndarray) -> np.ndarray:
    """The loose crop around a face: the box of its 68 points, half of it wider on each side, 1 above and 0.4 below.

    Args:
        points: (81, 2) landmarks x, y in pixels of an image.

    Returns:
        (4,) x0, y0, x1, y1 in pixels of the image; may reach outside.
    """
    low, high = points[:68].min(axis=0), points[:68].max(axis=0)
    width, height = high - low
    return np.array([low[0] - width / 2, low[1] - height, high[0] + width / 2, high[1] + 0.4 * height])


def draw_face_mask(points: np.ndarray, mask_size: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The hard mask of a blend: with probability 0.5 the hull of the landmarks, else one of three parts of it.

    Args:
        points: (81, 2) landmarks x, y in pixels of the image.
        mask_size: (2,) width and height of the mask grid in pixels.
        rng: Of the sample.

    Returns:
        (256, 256) uint8: 1 inside the mask, else 0; the grid's pixels are the first rows and columns.
    """
    whole, short, shape = rng.random(), rng.random(), rng.integers(len(_PART_SHAPES))
    parts = _PART_SHAPES[shape]
    if whole < _WHOLE_FACE_PROBABILITY:
        parts = (_POINTS[: 68 if short < _SHORT_HULL_PROBABILITY else 81],)
    x0, y0, x1, y1 = loose_box(points)
    on_grid = (points - (x0, y0)) * mask_size / (x1 - x0, y1 - y0) - 0.5
    mask = np.zeros((MASK_PX, MASK_PX), np.uint8)
    for part in parts:
        hull = cv2.convexHull(on_grid[part].astype(np.float32))
        cv2.fillConvexPoly(mask, np.round(hull * 16).astype(np.int32), 1, shift=4)
    return mask
