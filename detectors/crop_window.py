"""A detector's own crop, cut from a stored face crop when it is read."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from preprocess.margin import parse_margin

SHAPES = ("square", "pad", "stretch")


@dataclass(frozen=True)
class Geometry:
    """How a window is moved before it is cut, told by what happens to the picture that it shows.

    Attributes:
        rotation_degrees: Counter-clockwise, about the centre.
        scale: Enlargement; 1.1 shows a tenth less of the surroundings.
        shift: (x, y) to the right and downwards, as fractions of the window's width and height.
        flip: Mirror left to right, after all of the above.
    """

    rotation_degrees: float = 0.0
    scale: float = 1.0
    shift: tuple[float, float] = (0.0, 0.0)
    flip: bool = False


AS_IT_IS = Geometry()


@dataclass(frozen=True)
class CropWindow:
    """A window around a face box, resampled to the square input of a detector.

    Attributes:
        margin: Room on each side: a fraction, or pixels of the frame such as `30px`. A fraction is of the box's longer
            side for the shape `square`, and of its width and height for the others.
        size: Side of the result in pixels.
        shape: `square`: a square around the box's centre. `pad`: the box with its margins, its longer side resampled
            to `size`, the rest black. `stretch`: the box with its margins, both sides resampled to `size`.
    """

    margin: float | str
    size: int
    shape: str = "square"

    def cut(
        self,
        image: np.ndarray,
        box: np.ndarray,
        crop_to_frame: np.ndarray,
        *,
        geometry: Geometry = AS_IT_IS,
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
            geometry: How to move the window; corners are filled from the stored crop.

        Returns:
            `(size, size, 3)` uint8.
        """
        if rotation_degrees or flip:
            geometry = Geometry(rotation_degrees=rotation_degrees, flip=flip)
        centre, sides = self._window(np.asarray(box, np.float64), crop_to_frame)
        width, height = (max(1, round(float(side))) for side in sides / geometry.scale)
        turn = _rotation(geometry.rotation_degrees)
        # the picture moves right when the window moves left
        centre = centre - turn @ (np.array(geometry.shift) * (width, height))
        x0, y0 = np.round(centre - (width / 2, height / 2)).astype(int)
        if geometry.rotation_degrees:
            window = _cut_rotated(image, x0, y0, width, height, turn)
        else:
            window = _cut(image, x0, y0, width, height)
        pixels = self._fit(window)
        return np.ascontiguousarray(pixels[:, ::-1]) if geometry.flip else pixels

    def _window(self, box: np.ndarray, crop_to_frame: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Centre (x, y) and sides (width, height) of the window as it is, in pixels of the stored crop."""
        scale = crop_to_frame[[0, 1], [0, 1]]
        # pixel i covers i - 0.5 to i + 0.5 in point coordinates, hence the halves
        corners = (box.reshape(2, 2) - 0.5 - crop_to_frame[:, 2]) / scale + 0.5
        sides = corners[1] - corners[0]
        if self.shape == "square":
            sides = np.full(2, sides.max())
        amount, unit = parse_margin(self.margin)
        return corners.mean(axis=0), sides + 2 * amount / scale if unit == "px" else sides * (1 + 2 * amount)

    def _fit(self, window: np.ndarray) -> np.ndarray:
        """The window's pixels, resampled to `(size, size, 3)`."""
        if self.shape != "pad":
            return _resample(window, self.size, self.size)
        height, width = window.shape[:2]
        shrink = self.size / max(height, width)
        pixels = _resample(window, max(1, round(width * shrink)), max(1, round(height * shrink)))
        top, left = ((self.size - side) // 2 for side in pixels.shape[:2])
        padded = np.zeros((self.size, self.size, 3), np.uint8)
        padded[top : top + pixels.shape[0], left : left + pixels.shape[1]] = pixels
        return padded


def _resample(window: np.ndarray, width: int, height: int) -> np.ndarray:
    """Pixels resampled to another width and height: by area where it shrinks, then linearly where it grows."""
    old_height, old_width = window.shape[:2]
    if old_width > width or old_height > height:
        window = _shrink(window, min(width, old_width), min(height, old_height))
        if window.shape[:2] == (height, width):
            return window
    return cv2.resize(window, (width, height), interpolation=cv2.INTER_LINEAR)


def _shrink(window: np.ndarray, width: int, height: int) -> np.ndarray:
    if window.shape[1] % width == 0 and window.shape[0] % height == 0:
        return cv2.resize(window, (width, height), interpolation=cv2.INTER_AREA)
    # OpenCV takes two thirds of the time for floats that it takes for bytes, to the same result
    return cv2.convertScaleAbs(cv2.resize(window.astype(np.float32), (width, height), interpolation=cv2.INTER_AREA))


def _cut(image: np.ndarray, x0: int, y0: int, width: int, height: int) -> np.ndarray:
    image_height, image_width = image.shape[:2]
    left, top = np.clip((x0, y0), 0, (image_width, image_height))
    right, bottom = np.clip((x0 + width, y0 + height), 0, (image_width, image_height))
    if right - left == width and bottom - top == height:
        return image[top:bottom, left:right]
    window = np.zeros((height, width, 3), np.uint8)
    window[top - y0 : bottom - y0, left - x0 : right - x0] = image[top:bottom, left:right]
    return window


def _rotation(degrees: float) -> np.ndarray:
    """(2, 2) from directions in the window to directions in the stored crop."""
    turn = np.radians(degrees)
    return np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])


def _cut_rotated(image: np.ndarray, x0: int, y0: int, width: int, height: int, turn: np.ndarray) -> np.ndarray:
    middle = np.array([(width - 1) / 2, (height - 1) / 2])
    window_to_image = np.column_stack([turn, np.array([x0, y0]) + middle - turn @ middle])
    return cv2.warpAffine(image, window_to_image, (width, height), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
