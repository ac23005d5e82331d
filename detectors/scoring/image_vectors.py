"""A picture as one vector, by which pictures are compared: features of a network, or of corners and key points."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from torch import Tensor

from detectors.families.handmade.sift import keypoint_descriptors
from detectors.networks.backbones import VectorNetwork, feature_strides
from preprocess.running.cli import UserError

HARRIS, SIFT = "harris", "sift"
COSINE, EUCLIDEAN = "cosine", "euclidean"
DISTANCES = (COSINE, EUCLIDEAN)

_MAX_KEYPOINTS = 200
# a corner counts with this share of the strongest one's response, and at this distance from stronger ones
_CORNER_QUALITY, _CORNER_DISTANCE_PX = 0.01, 5
_CORNER_SIZE_PX = 16.0


class ImageVectors:
    """Turns uint8 RGB images (n, 3, height, width) into vectors (n, d) float32.

    Args:
        features: `harris`, SIFT descriptors at Harris corners; `sift`, those at SIFT's own key points; of both the mean
            and the standard deviation over the picture (256 numbers); or the timm name of a network, whose features
            before its last layer are taken.
        pretrained: For a network, as for `backbones.VectorNetwork`.
        device: For a network.

    Raises:
        UserError: No such network, or its weights cannot be loaded.
    """

    def __init__(self, features: str, *, pretrained: bool | str = True, device: str = "cpu"):
        self.features = features
        self._device = device
        self._network = None
        if features not in (HARRIS, SIFT):
            stride = max(feature_strides(features))
            self._network = VectorNetwork(features, pretrained=pretrained, stride=stride).eval().to(device)
            self._mean, self._std = (
                255 * torch.tensor(values, device=device).view(1, 3, 1, 1)
                for values in (IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD)
            )

    @torch.inference_mode()
    def __call__(self, images: Tensor) -> np.ndarray:
        if self._network is not None:
            images = images.to(self._device)
            return self._network((images - self._mean) / self._std).float().cpu().numpy()
        pictures = images.permute(0, 2, 3, 1).contiguous().numpy()
        return np.stack([self._of_keypoints(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)) for picture in pictures])

    def _of_keypoints(self, grey: np.ndarray) -> np.ndarray:
        find = corner_descriptors if self.features == HARRIS else keypoint_descriptors
        descriptors = find(grey, _MAX_KEYPOINTS)
        if not len(descriptors):
            return np.zeros(2 * descriptors.shape[1], np.float32)
        return np.concatenate([descriptors.mean(0), descriptors.std(0)])


def corner_descriptors(grey: np.ndarray, max_corners: int) -> np.ndarray:
    """(k, 128) float32 SIFT descriptors, upright and of length 1, at the strongest Harris corners of a uint8 image."""
    corners = cv2.goodFeaturesToTrack(
        grey, max_corners, _CORNER_QUALITY, _CORNER_DISTANCE_PX, useHarrisDetector=True, k=0.04
    )
    if corners is None:
        return np.empty((0, 128), np.float32)
    points = [cv2.KeyPoint(float(x), float(y), _CORNER_SIZE_PX, 0) for x, y in corners[:, 0]]
    _, descriptors = cv2.SIFT.create().compute(grey, points)
    return descriptors / np.maximum(np.linalg.norm(descriptors, axis=1, keepdims=True), 1e-6)


def distances(query: np.ndarray, vectors: np.ndarray, distance: str) -> np.ndarray:
    """(n,) distances of vectors (n, d) from one (d,).

    Args:
        query: One vector.
        vectors: Others.
        distance: `cosine`, one minus the cosine of the angle (a vector of zeros is at right angles to all); or
            `euclidean`.

    Raises:
        UserError: An unknown distance.
    """
    query, vectors = query.astype(np.float64), vectors.astype(np.float64)
    if distance == EUCLIDEAN:
        return np.linalg.norm(vectors - query, axis=1)
    if distance != COSINE:
        raise UserError(f"distance: found {distance!r}; allowed: {', '.join(DISTANCES)}")
    lengths = np.linalg.norm(vectors, axis=1) * np.linalg.norm(query)
    return 1 - (vectors @ query) / np.where(lengths > 0, lengths, np.inf)
