"""Masks of a face crop as images: the hull of its landmarks, a mask video's, and where a fake differs from its real."""

from __future__ import annotations

import cv2
import numpy as np

# Constants of the structural similarity (Wang et al. 2004) for 8-bit images.
_SSIM_WINDOW_PX = 11
_SSIM_SIGMA_PX = 1.5
_SSIM_C1 = (0.01 * 255) ** 2
_SSIM_C2 = (0.03 * 255) ** 2

# Masks from differences: lengths as shares of the face's size, the root of its box's area. Chosen, with the defaults of
# `preprocess.settings.masks.MasksSettings`, on rendered collections with known masks (x264 crf 23 and 40).
_SMOOTHING = 0.08
_OPENING = 0.05
_NOISE_PERCENTILE = 90
_NOISE_MARGIN = 0.1  # of the box: what lies outside the box and this margin is taken as not manipulated

# Size of the face at which a difference is blurred and judged; larger ones are reduced to it. Against known masks of 24
# drawn faces under JPEG the IoU is 0.86, at full size 0.85, in a sixth of the time.
_BLURRED_FACE_PX = 64

# Convex polygons are drawn with corners in sixteenths of a pixel.
_POLYGON_SHIFT = 4


def hull_mask(points: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The convex hull of landmarks, filled.

    Args:
        points: (P, 2) landmarks x, y in pixels of the crop; they may lie outside.
        size: (height, width) of the crop.

    Returns:
        (height, width) uint8: 255 inside the hull, 0 outside.
    """
    mask = np.zeros(size, np.uint8)
    hull = cv2.convexHull(np.asarray(points, np.float32))
    corners = np.round(hull * (1 << _POLYGON_SHIFT)).astype(np.int32)
    cv2.fillConvexPoly(mask, corners, 255, shift=_POLYGON_SHIFT)
    return mask


def cut_mask(mask: np.ndarray, frame_size: tuple[int, int], crop_to_frame: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Cut a crop's window from a mask frame, which may be smaller or larger than the fake's frames.

    Args:
        mask: (height, width) uint8 grey values of the mask frame.
        frame_size: (height, width) of the fake's frames.
        crop_to_frame: (2, 3) affine from crop to frame points.
        size: (height, width) of the crop.

    Returns:
        uint8 grey values of the size of the crop; what lies outside the mask frame is black.
    """
    scale = np.array([mask.shape[1] / frame_size[1], mask.shape[0] / frame_size[0]])
    # pixel centres at whole numbers: (x + 0.5) * scale - 0.5
    crop_to_mask = crop_to_frame * scale[:, None]
    crop_to_mask[:, 2] += 0.5 * scale - 0.5
    return cv2.warpAffine(
        mask, crop_to_mask, (int(size[1]), int(size[0])), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    )


def structural_difference(real: np.ndarray, fake: np.ndarray) -> np.ndarray:
    """1 - SSIM of two images, pixel by pixel.

    The structural similarity of Wang et al., "Image quality assessment: from error visibility to structural
    similarity" (2004), equation 13, in an 11 x 11 Gaussian window with a standard deviation of 1.5 px. Of the grey
    values, since codecs keep colours only roughly.

    Args:
        real, fake: (height, width, 3) uint8 of one size.

    Returns:
        (height, width) float32: 0 where the two are equal, up to 2.
    """

    def local_mean(image: np.ndarray) -> np.ndarray:
        return cv2.GaussianBlur(image, (_SSIM_WINDOW_PX, _SSIM_WINDOW_PX), _SSIM_SIGMA_PX)

    x, y = (cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32) for image in (real, fake))
    mean_x, mean_y = local_mean(x), local_mean(y)
    variances = local_mean(x * x) - mean_x**2 + local_mean(y * y) - mean_y**2
    covariance = local_mean(x * y) - mean_x * mean_y
    similarity = (2 * mean_x * mean_y + _SSIM_C1) / (mean_x**2 + mean_y**2 + _SSIM_C1)
    similarity *= (2 * covariance + _SSIM_C2) / (variances + _SSIM_C2)
    return 1 - similarity


def difference_mask(
    real: np.ndarray, fake: np.ndarray, box: np.ndarray, *, threshold: float, noise_factor: float
) -> np.ndarray:
    """The manipulation mask of a fake crop, by comparison with the real one.

    The structural difference is blurred, since compression scatters small differences everywhere. What exceeds both
    the threshold and the difference around the face is manipulated, if it lies in the face box; narrow parts are
    removed. The mask is the convex hull of the rest: manipulations are blended in as one piece, also where the cheek
    between a changed eye and a changed mouth looks the same.

    Args:
        real, fake: (height, width, 3) uint8 of one size.
        box: (4,) face box x0, y0, x1, y1 in pixels of the crop.
        threshold: Smoothed structural difference from which a pixel counts as manipulated.
        noise_factor: How far above the difference around the face, which compression makes, it must be.

    Returns:
        (height, width) uint8: 255 where the face was manipulated, else 0.
    """
    difference = structural_difference(real, fake)
    # what the blur leaves needs few pixels
    scale = min(1.0, _BLURRED_FACE_PX / _face_px(box))
    small = [max(1, round(side * scale)) for side in difference.shape[::-1]]
    to_small = np.array(small) / difference.shape[::-1]
    difference = cv2.resize(difference, small, interpolation=cv2.INTER_AREA)
    small_box = box * np.tile(to_small, 2)
    difference = cv2.GaussianBlur(difference, (0, 0), _SMOOTHING * _face_px(small_box))
    around = difference[~_inside(small_box, _NOISE_MARGIN, difference.shape)]
    noise = np.percentile(around, _NOISE_PERCENTILE) if around.size else 0.0
    changed = difference > max(threshold, noise_factor * noise)
    changed &= _inside(small_box, 0.0, difference.shape)
    side = 2 * round(_OPENING * _face_px(small_box)) + 1
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    rows, columns = np.nonzero(cv2.morphologyEx(changed.astype(np.uint8), cv2.MORPH_OPEN, disc))
    if not len(rows):
        return np.zeros(real.shape[:2], np.uint8)
    # pixel centres lie at whole numbers at both sizes, hence the halves
    return hull_mask((np.column_stack([columns, rows]) + 0.5) / to_small - 0.5, real.shape[:2])


def _face_px(box: np.ndarray) -> float:
    return float(np.sqrt((box[2] - box[0]) * (box[3] - box[1])))


def _inside(box: np.ndarray, margin: float, size: tuple[int, int]) -> np.ndarray:
    """(height, width) bool: pixels inside a box that is grown by a share of its width and height on each side."""
    grow = margin * (box[2:] - box[:2])
    (x0, y0), (x1, y1) = (np.round(np.maximum(corner, 0)).astype(int) for corner in (box[:2] - grow, box[2:] + grow))
    inside = np.zeros(size, bool)
    inside[y0:y1, x0:x1] = True
    return inside
