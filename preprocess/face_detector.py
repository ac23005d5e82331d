"""Find the faces of video frames with MTCNN, in batches."""

from __future__ import annotations

import contextlib
import threading
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from facenet_pytorch import MTCNN

# MTCNN's first network looks at 12 x 12 px; below this side of a face its boxes are too coarse.
_DETECTION_FACE_PX = 20


@dataclass(frozen=True)
class FaceBoxes:
    """Faces of one frame.

    Attributes:
        boxes: (n, 4) x0, y0, x1, y1 in frame pixels; may reach beyond the frame.
        scores: (n,) MTCNN score in [0, 1].
        points: (n, 5, 2) x, y of left eye, right eye, nose, left and right corner of the mouth (as seen in the image).
    """

    boxes: np.ndarray
    scores: np.ndarray
    points: np.ndarray

    def select(self, chosen: np.ndarray) -> FaceBoxes:
        """The faces that `chosen`, a mask or indices, names."""
        return FaceBoxes(self.boxes[chosen], self.scores[chosen], self.points[chosen])


_NO_FACES = FaceBoxes(np.zeros((0, 4)), np.zeros(0), np.zeros((0, 5, 2)))


class FaceDetector:
    """MTCNN (Zhang et al. 2016, facenet-pytorch's weights) over batches of frames of one size.

    Frames are searched at the scale at which the smallest wanted face has 20 px, which is what MTCNN's cost
    depends on. Safe to call from several threads: they take turns on a GPU and run side by side on CPUs.

    Args:
        min_size_px: Shorter side of the smallest face to find, in frame pixels.
        score_threshold: MTCNN score below which a box is no face.
        batch_size: Frames searched at once.
        device: `cpu` or `cuda`.
    """

    def __init__(self, *, min_size_px: int, score_threshold: float, batch_size: int, device: str):
        self._min_size_px = min_size_px
        self._score_threshold = score_threshold
        self._batch_size = batch_size
        self.scale = min(1.0, _DETECTION_FACE_PX / min_size_px)
        self._mtcnn = MTCNN(
            keep_all=True,
            min_face_size=max(_DETECTION_FACE_PX, round(min_size_px * self.scale)),
            device=torch.device(device),
            select_largest=False,
        )
        self._turn = contextlib.nullcontext() if device == "cpu" else threading.Lock()

    def shrink(self, frame: np.ndarray) -> np.ndarray:
        """The frame at the scale that is searched."""
        if self.scale == 1.0:
            return frame
        return cv2.resize(frame, self.search_size(*frame.shape[:2])[::-1], interpolation=cv2.INTER_AREA)

    def search_size(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) at which frames of the given size are searched."""
        return max(1, round(height * self.scale)), max(1, round(width * self.scale))

    def detect(self, shrunken: list[np.ndarray], size: tuple[int, int]) -> list[FaceBoxes]:
        """Find the faces of frames of one video.

        Args:
            shrunken: Frames, each RGB uint8 at the scale of `shrink`, all of one size.
            size: (height, width) of the frames before shrinking; boxes come in its pixels.

        Returns:
            Faces of each frame, best score first, rounded to 1/100 px.
        """
        found = []
        step = self._batch_size
        for begin in range(0, len(shrunken), step):
            found += self._detect_batch(np.stack(shrunken[begin : begin + step]), size)
        return found

    def _detect_batch(self, batch: np.ndarray, size: tuple[int, int]) -> list[FaceBoxes]:
        if min(batch.shape[1:3]) < self._mtcnn.min_face_size:
            return [_NO_FACES] * len(batch)
        with self._turn:
            all_boxes, all_scores, all_points = self._mtcnn.detect(batch, landmarks=True)
        to_frame = np.array([size[1] / batch.shape[2], size[0] / batch.shape[1]])
        faces = []
        for boxes, scores, points in zip(all_boxes, all_scores, all_points, strict=True):
            if boxes is None:
                faces.append(_NO_FACES)
                continue
            boxes = np.asarray(boxes, np.float64) * np.tile(to_frame, 2)
            scores = np.asarray(scores, np.float64)
            points = np.asarray(points, np.float64) * to_frame
            sides = np.minimum(boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1])
            keep = (scores >= self._score_threshold) & (sides >= self._min_size_px)
            order = np.flatnonzero(keep)[np.argsort(-scores[keep], kind="stable")]
            faces.append(FaceBoxes(boxes.round(2), scores.round(4), points.round(2)).select(order))
        return faces
