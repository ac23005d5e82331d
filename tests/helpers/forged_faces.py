"""Drawn faces, and fakes of them whose manipulation is known."""

from __future__ import annotations

import cv2
import numpy as np

from preprocess.face.mask_images import hull_mask
from preprocess.synthetic import FaceTruth, render_portrait


def portraits(count: int, size: tuple[int, int]) -> list[tuple[np.ndarray, FaceTruth]]:
    """Drawn faces, (height, width, 3) RGB uint8, with their truth."""
    return [render_portrait(np.random.default_rng((5, index)), *size) for index in range(count)]


def forge(image: np.ndarray, truth: FaceTruth) -> tuple[np.ndarray, np.ndarray]:
    """Lay another person's face, turned and coloured otherwise, into a soft hull; the fake and where it was changed."""
    weight = cv2.GaussianBlur(hull_mask(truth.landmarks, image.shape[:2]).astype(np.float32) / 255, (0, 0), 2)
    weight = np.clip(2 * weight - 1, 0, 1)[..., None]
    other = cv2.GaussianBlur(cv2.flip(np.roll(image, 9, axis=0), 1), (0, 0), 1.5)
    fake = np.round(weight * other + (1 - weight) * image).astype(np.uint8)
    return fake, (weight[..., 0] > 0).astype(np.uint8) * 255


def iou(mask: np.ndarray, truth: np.ndarray) -> float:
    """Intersection over union of two grey masks, from 128 on."""
    mask, truth = mask > 127, truth > 127
    return (mask & truth).sum() / (mask | truth).sum()
