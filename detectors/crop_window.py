"""A detector's own crop, cut from a stored face crop when it is read."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np


@dataclass(frozen=True)
class CropWindow:
    """A square window around a face box, resampled to the input of a detector.

    Attributes:
        margin: Room on each side, a fraction of the box's longer side.
        size: Side of the result in pixels.
    """

    margin: float
    size: int

    def cut(
        self,
        image: np.ndarray,
        box: np.ndarray,
        crop_to_frame: np.ndarray,
        *,
        rotation_degrees: float = 0.0,
        flip: bool = False,
    ) -> np.ndarray:
        """Cut the window, centred on the box; what the stored crop does not hold is black.

        The window is rounded to whole pixels of the stored crop, so that only one resampling (area when
        shrinking, bilinear when growing) touches the pixels; a rotation adds a second, bilinear one.

        Args:
            image: Stored crop, `(height, width, 3)` uint8.
            box: (4,) face box x0, y0, x1, y1 in frame pixels, x1 and y1 exclusive.
            crop_to_frame: (2, 3) affine from points of the stored crop to points of the frame, an axis-aligned
                scaling and shift.
            rotation_degrees: Turns the window clockwise around its centre (so the face counter-clockwise).
            flip: Mirror the result left to right.

        Returns:
            `(size, size, 3)` uint8.
        """
        scale = crop_to_frame[[0, 1], [0, 1]]
        # pixel i covers i - 0.5 to i + 0.5 in point coordinates, hence the halves
        corners = (np.asarray(box, np.float64).reshape(2, 2) - 0.5 - crop_to_frame[:, 2]) / scale + 0.5
        centre = corners.mean(axis=0)
        side = max(1, round(float((corners[1] - corners[0]).max()) * (1 + 2 * self.margin)))
        x0, y0 = np.round(centre - side / 2).astype(int)
        window = _cut_rotated(image, x0, y0, side, rotation_degrees) if rotation_degrees else _cut(image, x0, y0, side)
        pixels = _resample(window, self.size)
        return np.ascontiguousarray(pixels[:, ::-1]) if flip else pixels


def _resample(window: np.ndarray, side: int) -> np.ndarray:
    """A square of pixels, resampled to another side."""
    size = (side, side)
    if len(window) <= side:
        return cv2.resize(window, size, interpolation=cv2.INTER_LINEAR)
    if len(window) % side == 0:
        return cv2.resize(window, size, interpolation=cv2.INTER_AREA)
    # OpenCV takes two thirds of the time for floats that it takes for bytes, to the same result
    return cv2.convertScaleAbs(cv2.resize(window.astype(np.float32), size, interpolation=cv2.INTER_AREA))


def _cut(image: np.ndarray, x0: int, y0: int, side: int) -> np.ndarray:
    height, width = image.shape[:2]
    left, top = np.clip((x0, y0), 0, (width, height))
    right, bottom = np.clip((x0 + side, y0 + side), 0, (width, height))
    if right - left == side and bottom - top == side:
        return image[top:bottom, left:right]
    window = np.zeros((side, side, 3), np.uint8)
    window[top - y0 : bottom - y0, left - x0 : right - x0] = image[top:bottom, left:right]
    return window


def _cut_rotated(image: np.ndarray, x0: int, y0: int, side: int, degrees: float) -> np.ndarray:
    turn = np.radians(degrees)
    middle = (side - 1) / 2
    linear = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    shift = np.array([x0 + middle, y0 + middle]) - linear @ (middle, middle)
    window_to_image = np.column_stack([linear, shift])
    return cv2.warpAffine(image, window_to_image, (side, side), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
