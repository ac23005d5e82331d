"""What a frame and the people in it look like, in few numbers: for telling scenes and people apart."""

from __future__ import annotations

import math

import cv2
import numpy as np

# Rows and columns of the small picture that tells people apart.
_SIZE = (8, 4)
# What it shows around the face box: left, top, right, bottom in sides of the box. Hair and clothes below the chin tell
# people apart, the wall beside them tells places apart.
_MARGIN = np.array([0.0, -0.2, 0.0, 0.9])


def colour_histogram(frame: np.ndarray) -> np.ndarray:
    """Share of the pixels of an RGB uint8 frame in each of 8 x 8 x 8 colours, as (512,) float32.

    Two frames of a scene share most of their colours even when everything in it moves; a cut changes them
    (histogram intersection, Swain and Ballard 1991).
    """
    small = cv2.resize(frame, (64, 64), interpolation=cv2.INTER_AREA)
    return cv2.calcHist([small], [0, 1, 2], None, [8, 8, 8], [0, 256] * 3).ravel() / (64 * 64)


def colours_in_common(histogram_a: np.ndarray, histogram_b: np.ndarray) -> float:
    """Share of the colours of two frames that agree, in [0, 1]; the arguments are `colour_histogram` of each."""
    return float(np.minimum(histogram_a, histogram_b).sum())


def appearance_of(frame: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """The appearance of the people of a frame: tiny pictures of their heads and shoulders, for comparing people.

    Args:
        frame: (height, width, 3) uint8.
        boxes: (n, 4) face boxes x0, y0, x1, y1 in its pixels; may reach beyond it.

    Returns:
        (n, 96) float32 grey levels of 8 x 4 pixels in three colours; zeros for a box outside the frame.
    """
    boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
    sides = boxes[:, 2:] - boxes[:, :2]
    limits = np.tile(frame.shape[1::-1], 2)
    windows = np.clip(np.round(boxes + _MARGIN * np.tile(sides, 2)), 0, limits).astype(int)
    pictures = np.zeros((len(boxes), *_SIZE, 3), np.float32)
    for small, (x0, y0, x1, y1) in zip(pictures, windows.tolist(), strict=True):
        if x1 > x0 and y1 > y0:
            small[:] = cv2.resize(frame[y0:y1, x0:x1], _SIZE[::-1], interpolation=cv2.INTER_AREA)
    return pictures.reshape(len(boxes), math.prod(pictures.shape[1:]))
