"""SIFT: gradients around key points, each classified, and the mean of their scores.

Lowe, *Distinctive image features from scale-invariant keypoints*, IJCV 60(2), 2004; key points and descriptors are
OpenCV's. A face without a key point gets the score 0.5.
"""

from __future__ import annotations

from typing import ClassVar

import cv2
import numpy as np
import torch
from torch import Tensor

from detectors.families.handmade.detector import HandmadeDetector
from detectors.families.settings import HandmadeSettings, SiftSettings
from preprocess.running.parallel import ordered_map

_LENGTH = 128


class Sift(HandmadeDetector):
    """See the module."""

    Settings: ClassVar[type[HandmadeSettings]] = SiftSettings
    settings: SiftSettings

    def describe(self, images: Tensor) -> tuple[Tensor, Tensor]:
        pictures = images.permute(0, 2, 3, 1).contiguous().cpu().numpy()
        found = list(ordered_map(self._descriptors, pictures, self.settings.cpu_threads))
        counts = torch.tensor([len(descriptors) for descriptors in found])
        vectors = torch.from_numpy(np.concatenate(found)).to(images.device)
        return vectors, torch.arange(len(images)).repeat_interleave(counts).to(images.device)

    def _descriptors(self, picture: np.ndarray) -> np.ndarray:
        grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
        return keypoint_descriptors(grey, self.settings.max_keypoints, self.settings.min_contrast)


def keypoint_descriptors(grey: np.ndarray, max_keypoints: int, min_contrast: float = 0.04) -> np.ndarray:
    """(k, 128) float32 descriptors of length 1 of a uint8 image, of the key points with the most contrast.

    Where several have the same contrast as the last one, all of them are taken.
    """
    # a detector object holds buffers of its own, which threads cannot share
    finder = cv2.SIFT.create(nfeatures=max_keypoints, contrastThreshold=min_contrast)
    _, descriptors = finder.detectAndCompute(grey, None)
    if descriptors is None:
        return np.empty((0, _LENGTH), np.float32)
    return descriptors / np.maximum(np.linalg.norm(descriptors, axis=1, keepdims=True), 1e-6)
