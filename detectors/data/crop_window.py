"""A detector's own crop, cut from a stored face crop when it is read."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from preprocess.face.margin import parse_margin

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
    ) -> np.ndarray:
        """Cut the window, centred on the box; what the stored crop does not hold is black.

        The window is rounded to whole pixels of the stored crop, so that only one resampling (area when
        shrinking, bilinear when growing) touches the pixels; a rotation adds a second, bilinear one.

        Args:
            image: Stored crop, `(height, width, 3)` uint8, or a mask of it, `(height, width)` uint8.
            box: (4,) face box x0, y0, x1, y1 in frame pixels, x1 and y1 exclusive.
            crop_to_frame: (2, 3) affine from points of the stored crop to points of the frame, an axis-aligned
                scaling and shift.
            geometry: How to move the window; corners are filled from the stored crop.

        Returns:
            `(size, size, 3)` uint8, or `(size, size)` for a mask.
        """
        x0, y0, width, height = self._place(box, crop_to_frame, geometry)
        if geometry.rotation_degrees:
            turn = _rotation(geometry.rotation_degrees)
            window = _cut_rotated(image, x0, y0, width, height, turn)
        else:
            window = _cut(image, x0, y0, width, height)
        pixels = self._fit(window)
        return np.ascontiguousarray(pixels[:, ::-1]) if geometry.flip else pixels

    def points(
        self, points: np.ndarray, box: np.ndarray, crop_to_frame: np.ndarray, *, geometry: Geometry = AS_IT_IS
    ) -> np.ndarray:
        """Points of the frame → points of the cut that `cut` makes with the same box, transform and geometry.

        Args:
            points: (..., 2) x, y in frame pixels.
            box, crop_to_frame, geometry: As for `cut`.

        Returns:
            (..., 2) float64 x, y in pixels of the cut; they may lie outside.
        """
        x0, y0, width, height = self._place(box, crop_to_frame, geometry)
        in_crop = (np.asarray(points, np.float64) - crop_to_frame[:, 2]) / crop_to_frame[[0, 1], [0, 1]]
        middle = np.array([(width - 1) / 2, (height - 1) / 2])
        # the product with rows is the inverse turn
        in_window = (in_crop - (x0, y0) - middle) @ _rotation(geometry.rotation_degrees) + middle
        new_width, new_height, left, top = self._placement(width, height)
        moved = (in_window + 0.5) * (new_width / width, new_height / height) - 0.5 + (left, top)
        if geometry.flip:
            moved[..., 0] = self.size - 1 - moved[..., 0]
        return moved

    def _place(self, box: np.ndarray, crop_to_frame: np.ndarray, geometry: Geometry) -> tuple[int, int, int, int]:
        """Top left corner x0, y0, width and height of the moved window before it is turned, in stored pixels."""
        centre, sides = self._window(np.asarray(box, np.float64), crop_to_frame)
        width, height = (max(1, round(float(side))) for side in sides / geometry.scale)
        # the picture moves right when the window moves left
        centre = centre - _rotation(geometry.rotation_degrees) @ (np.array(geometry.shift) * (width, height))
        x0, y0 = np.round(centre - (width / 2, height / 2)).astype(int)
        return x0, y0, width, height

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
        """The window's pixels, resampled to `(size, size, ...)`."""
        width, height, left, top = self._placement(window.shape[1], window.shape[0])
        pixels = _resample(window, width, height)
        if self.shape != "pad":
            return pixels
        padded = np.zeros((self.size, self.size, *window.shape[2:]), np.uint8)
        padded[top : top + height, left : left + width] = pixels
        return padded

    def _placement(self, width: int, height: int) -> tuple[int, int, int, int]:
        """Width, height, left and top that a window's pixels have in the result."""
        if self.shape != "pad":
            return self.size, self.size, 0, 0
        shrink = self.size / max(height, width)
        width, height = max(1, round(width * shrink)), max(1, round(height * shrink))
        return width, height, (self.size - width) // 2, (self.size - height) // 2


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
    window = np.zeros((height, width, *image.shape[2:]), np.uint8)
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
