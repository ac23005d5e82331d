"""Making a frame fake: swap, reenact, resample, synthesise or warp a face, blend it in, and say where.

All take a filmed frame and the truth of the face in it and return a `Forgery`; nothing outside its mask is
changed. They leave traces that detectors look for: edges of a blend, colours that do not fit, and the absence
of the camera's noise and of high frequencies.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from preprocess.synthetic import geometry
from preprocess.synthetic.appearance import fill

# Blending weights below this are cut to nothing, so that the mask ends somewhere.
_LEAST_WEIGHT = 0.06


@dataclass(frozen=True)
class Forgery:
    """A manipulated frame.

    Attributes:
        frame: (height, width, 3) uint8 RGB.
        mask: (height, width) uint8, 255 where the frame was manipulated, else 0.
        landmarks: (81, 2) float32 points of the face as it is now.
    """

    frame: np.ndarray
    mask: np.ndarray
    landmarks: np.ndarray


@dataclass(frozen=True)
class Swap:
    """How a face is swapped.

    Attributes:
        resolution_px: Width at which the new face was made; what is finer is lost.
        feather: Width of the soft edge as a share of the face's width.
        colour_fit: 0 keeps the new face's colours, 1 gives it the mean and deviation of the old one.
        sharpen: Strength of an unsharp mask on the new face.
        whole_face: Mask the hull of all 81 points, else of jaw and brows.
    """

    resolution_px: int = 64
    feather: float = 0.05
    colour_fit: float = 0.8
    sharpen: float = 0.0
    whole_face: bool = True


def _hull_weight(shape: tuple[int, int], points: np.ndarray, feather_px: float) -> np.ndarray:
    """Blending weight (height, width) float32: 1 inside the convex hull of points, soft towards its edge, 0 outside."""
    mask = np.zeros(shape, np.uint8)
    fill(mask, cv2.convexHull(points.astype(np.float32))[:, 0], 255)
    weight = mask.astype(np.float32) / 255
    soft = cv2.GaussianBlur(weight, (0, 0), max(feather_px, 0.5))
    # from 0 at the hull's edge, where the blurred mask is a half
    return np.clip(2 * soft - 1, 0, 1) * (mask > 0)


def _blend(frame: np.ndarray, altered: np.ndarray, weight: np.ndarray, landmarks: np.ndarray) -> Forgery:
    weight = np.where(weight < _LEAST_WEIGHT, 0, weight).astype(np.float32)
    mixed = cv2.blendLinear(altered, frame, weight, 1 - weight)
    inside = weight > 0
    return Forgery(np.where(inside[..., None], mixed, frame), inside.astype(np.uint8) * 255, landmarks)


def _resample(image: np.ndarray, factor: float) -> np.ndarray:
    """Shrink an image by a factor below 1 and enlarge it again."""
    height, width = image.shape[:2]
    small = (max(int(width * factor), 2), max(int(height * factor), 2))
    shrunk = cv2.resize(image, small, interpolation=cv2.INTER_AREA)
    return cv2.resize(shrunk, (width, height), interpolation=cv2.INTER_LINEAR)


def _fit_colour(image: np.ndarray, like: np.ndarray, weight: np.ndarray, strength: float) -> np.ndarray:
    """Give an image the mean and deviation of another inside a mask, in Lab (Reinhard et al., 2001)."""
    inside = (weight > 0.5).astype(np.uint8)
    if not inside.any():
        return image
    lab, other = cv2.cvtColor(image, cv2.COLOR_RGB2LAB), cv2.cvtColor(like, cv2.COLOR_RGB2LAB)
    (mean, deviation), (to_mean, to_deviation) = (cv2.meanStdDev(picture, mask=inside) for picture in (lab, other))
    mean, deviation, to_mean, to_deviation = (a[:, 0] for a in (mean, deviation, to_mean, to_deviation))
    gain = 1 + strength * (np.clip(to_deviation / np.maximum(deviation, 1), 0.6, 1.6) - 1)
    levels = np.arange(256)[:, None]
    table = (levels - mean) * gain + mean + strength * (to_mean - mean)
    table = np.clip(table + 0.5, 0, 255).astype(np.uint8)[None]
    return cv2.cvtColor(cv2.LUT(lab, table), cv2.COLOR_LAB2RGB)


def _affine(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Least-squares affine (2, 3) that moves source points (N, 2) onto target points (N, 2)."""
    lifted = np.column_stack([source, np.ones(len(source))]).astype(float)
    return np.linalg.lstsq(lifted, target.astype(float), rcond=None)[0].T


def swap_face(
    frame: np.ndarray, landmarks: np.ndarray, donor: np.ndarray, donor_landmarks: np.ndarray, how: Swap
) -> Forgery:
    """Lay a donor's face on the face of a frame.

    The donor's picture is moved by an affine fitted to brows, nose, eyes and mouth, fitted in colour, and blended
    inside the hull of the target's landmarks where the donor's face covers it.

    Args:
        frame: (height, width, 3) uint8 RGB.
        landmarks: (81, 2) points of the face in it.
        donor: (donor height, donor width, 3) uint8 RGB picture of the donor.
        donor_landmarks: (81, 2) points of the donor's face in that picture.
        how: Strengths.
    """
    size = frame.shape[1::-1]
    matrix = _affine(donor_landmarks[17:68], landmarks[17:68])
    face_px = np.ptp(landmarks[:, 0])
    donor_px = np.ptp(donor_landmarks[:, 0])
    if how.resolution_px < donor_px:
        donor = _resample(donor, how.resolution_px / donor_px)
    moved = cv2.warpAffine(donor, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    outline = slice(0, 81) if how.whole_face else slice(0, 68)
    weight = _hull_weight(frame.shape[:2], landmarks[outline], how.feather * face_px)
    covered = donor_landmarks[outline] @ matrix[:, :2].T + matrix[:, 2]
    weight = np.minimum(weight, _hull_weight(frame.shape[:2], covered, 0.5 * how.feather * face_px))
    moved = _fit_colour(moved, frame, weight, how.colour_fit)
    if how.sharpen:
        soft = cv2.GaussianBlur(moved, (0, 0), 1.2)
        moved = cv2.addWeighted(moved, 1 + how.sharpen, soft, -how.sharpen, 0)
    # brows, nose, eyes and mouth are the donor's now, the outline of the head is still the target's
    mixed = landmarks.astype(np.float32)
    mixed[17:68] = donor_landmarks[17:68] @ matrix[:, :2].T + matrix[:, 2]
    return _blend(frame, moved, weight, mixed)


def resample_face(frame: np.ndarray, landmarks: np.ndarray, resolution_px: int, feather: float) -> Forgery:
    """Lose the face's high frequencies: shrink it to a width of `resolution_px`, enlarge it, blend it in."""
    face_px = np.ptp(landmarks[:, 0])
    weight = _hull_weight(frame.shape[:2], landmarks, feather * face_px)
    return _blend(frame, _resample(frame, min(resolution_px / face_px, 1)), weight, landmarks)


def synthesise_mouth(
    frame: np.ndarray, landmarks: np.ndarray, donor: np.ndarray, donor_landmarks: np.ndarray, amplitude: float
) -> Forgery:
    """Replace the lower face by another rendering of it, with the chequerboard of a transposed convolution.

    The pattern (Odena et al., 2016) has a period of four pixels and `amplitude` grey levels.
    """
    lower = np.concatenate([landmarks[2:15], landmarks[[31, 35]], donor_landmarks[geometry.MOUTH]])
    weight = _hull_weight(frame.shape[:2], lower, 0.05 * np.ptp(landmarks[:, 0]))
    altered = _fit_colour(cv2.GaussianBlur(donor, (0, 0), 1.2), frame, weight, 0.9)
    y, x = np.mgrid[: frame.shape[0], : frame.shape[1]]
    pattern = np.where((x // 2 + y // 2) % 2 == 0, amplitude, -amplitude).astype(np.float32)
    altered = cv2.add(altered, cv2.merge([pattern] * 3), dtype=cv2.CV_8U)
    mixed = landmarks.copy()
    mixed[geometry.MOUTH] = donor_landmarks[geometry.MOUTH]
    mixed[4:13] = donor_landmarks[4:13]
    return _blend(frame, altered, weight, mixed)


def warp_face(frame: np.ndarray, landmarks: np.ndarray, swell: float, recolour: np.ndarray) -> Forgery:
    """Swell (or shrink) eyes and mouth and shift the face's colours.

    Around the centre c of each part, with radius r, a point p moves by `(p - c) swell exp(-|p - c|^2 / 2 r^2)`.

    Args:
        frame: (height, width, 3) uint8 RGB.
        landmarks: (81, 2) points.
        swell: Strength, -0.3 to 0.3.
        recolour: (3,) factors of the colours, RGB.
    """
    face_px = np.ptp(landmarks[:, 0])
    weight = _hull_weight(frame.shape[:2], landmarks, 0.05 * face_px)
    parts = ((geometry.LEFT_EYE, 0.13), (geometry.RIGHT_EYE, 0.13), (geometry.MOUTH, 0.2))

    def movement(points: np.ndarray) -> np.ndarray:
        total = np.zeros_like(points)
        for part, radius in parts:
            away = points - landmarks[part].mean(axis=0)
            total += away * swell * np.exp(-np.sum(away**2, axis=-1, keepdims=True) / (2 * (radius * face_px) ** 2))
        return total

    if not weight.any():
        return Forgery(frame, np.zeros(frame.shape[:2], np.uint8), landmarks)
    x0, y0, width, height = cv2.boundingRect(np.argwhere(weight > 0)[:, ::-1].astype(np.int32))
    grid = np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=2).astype(np.float32)
    grid += np.array([x0, y0], np.float32)
    read = grid
    for _ in range(4):
        read = grid - movement(read)
    altered = frame.copy()
    altered[y0 : y0 + height, x0 : x0 + width] = cv2.remap(
        frame, read[..., 0], read[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    factors = (*np.asarray(recolour, float).tolist(), 1.0)  # OpenCV's types name no numbers here
    altered = cv2.multiply(cv2.GaussianBlur(altered, (0, 0), 1.0), factors)  # type: ignore[call-overload]
    moved = landmarks.astype(np.float32) + movement(landmarks.astype(np.float32))
    return _blend(frame, altered, weight, moved)
