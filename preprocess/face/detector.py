"""Find the faces of video frames with MTCNN, in batches."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torchvision.ops import batched_nms

from preprocess.face.mtcnn import Detections, FrameBatch, Mtcnn

# Shorter side that the smallest wanted face has in the frames that are searched. The output network looks at 48 px.
_SEARCHED_FACE_PX = 20
# MTCNN's first network looks at 12 x 12 px.
_SMALLEST_FACE_PX = 12
# Score of a face for which a frame that lost it is searched in full. Prints and leaves, which come and go, have less;
# at 0.99 heads that roll are lost.
_SURE_SCORE = 0.97
# A window for a known face, in its sides: it may have moved by one.
_WINDOW_SIDES = 3.0
# Overlap above which two windows see the same.
_SAME_WINDOW = 0.5


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


class FaceDetector:
    """MTCNN (Zhang et al. 2016) over batches of frames of one video.

    Frames are searched at the scale at which the smallest wanted face has 20 px, which is what MTCNN's cost
    depends on. Of a batch, the first frame, the last one and others between them, `full_search_every` apart at most,
    are searched in full. From there the faces are followed, forth and back, by searching windows around where they
    were in the frame before and after: someone who is first found in a full search is followed back to where they
    came in. A frame in which fewer faces are seen than the full search before or after it is sure of is then searched
    in full as well. Not found is only who is seen between two full searches and in neither.

    Equal frames give equal bytes. With `full_search_every=1` the faces of a frame do not depend on the others of its
    batch. Safe to call from several threads: they take turns on a GPU and run side by side on CPUs.

    Args:
        min_size_px: Shorter side of the smallest face to find, in frame pixels.
        score_threshold: MTCNN score below which a box is no face.
        batch_size: Frames searched at once.
        device: `cpu` or `cuda`.
        full_search_every: Every how many frames the whole frame is searched; 1 follows nobody. Of 684
            faces in 17 clips of one to eight people, sampled at 32 frames, that 1 finds, 4 misses two: both a print's.

    Raises:
        ValueError: `full_search_every` is less than 1.
    """

    def __init__(
        self, *, min_size_px: int, score_threshold: float, batch_size: int, device: str, full_search_every: int = 4
    ):
        if full_search_every < 1:
            raise ValueError(f"full_search_every is {full_search_every}; it must be 1 at least")
        self._min_size_px = min_size_px
        self._score_threshold = score_threshold
        self._batch_size = batch_size
        self._full_search_every = full_search_every
        self.scale = min(1.0, _SEARCHED_FACE_PX / min_size_px)
        smallest = max(_SMALLEST_FACE_PX, round(min_size_px * self.scale))
        self._mtcnn = Mtcnn(min_face_px=smallest, device=torch.device(device))
        self._lock = None if device == "cpu" else threading.Lock()

    def search_size(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) at which a frame of such a size is searched."""
        return max(1, round(height * self.scale)), max(1, round(width * self.scale))

    def shrink(self, frame: np.ndarray) -> np.ndarray:
        """The frame at the scale that is searched."""
        height, width = self.search_size(*frame.shape[:2])
        if (height, width) == frame.shape[:2]:
            return frame
        return cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA)

    def detect(self, shrunken: list[np.ndarray], size: tuple[int, int]) -> list[FaceBoxes]:
        """Find the faces of frames of one video.

        Args:
            shrunken: Frames in the order of the video, each RGB uint8 of the size that `search_size` says.
            size: (height, width) of the frames before shrinking; boxes come in its pixels.

        Returns:
            Faces of each frame, best score first, rounded to 1/100 px and four digits of the score.

        Raises:
            ValueError: A frame is of another size.
        """
        searched = (*self.search_size(*size), 3)
        for frame in shrunken:
            if frame.shape != searched:
                raise ValueError(f"a frame has shape {frame.shape}; frames of {size} are searched as {searched}")
        found = []
        step = self._batch_size
        for begin in range(0, len(shrunken), step):
            batch = np.stack(shrunken[begin : begin + step])
            with self._turn():
                faces = self._search(batch)
            found += self._in_frames(faces, batch.shape, size)
        return found

    @contextlib.contextmanager
    def _turn(self) -> Iterator[None]:
        """A thread's turn on a GPU, which then computes in whole float32 as CPUs do, not in TF32."""
        if self._lock is None:
            yield
            return
        with self._lock, torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
            yield

    @torch.inference_mode()
    def _search(self, frames: np.ndarray) -> Detections:
        """The faces of a batch of shrunken frames (n, height, width, 3)."""
        batch = FrameBatch(frames, self._mtcnn.device)
        # evenly spread, at most full_search_every apart
        n_keys = 1 + -(-(len(batch) - 1) // self._full_search_every)
        keys = np.unique(np.linspace(0, len(batch) - 1, n_keys).round().astype(np.int64))
        found = self._scored(self._mtcnn.search(batch, keys))
        between = np.setdiff1d(np.arange(len(batch)), keys)
        if not len(between) or not len(found.scores):
            return found
        seen = self._follow(batch, found, between)

        sure = found.select(found.scores >= _SURE_SCORE)
        wanted = self._count(sure, len(batch), self._min_size_px * self.scale)
        after = np.searchsorted(keys, between)
        wanted = np.maximum(wanted[keys[after - 1]], wanted[keys[after]])
        again = between[self._count(seen, len(batch), 0)[between] < wanted]
        if len(again):
            seen = seen.select(~torch.isin(seen.frames, torch.from_numpy(again).to(seen.frames)))
            seen = _joined(seen, self._scored(self._mtcnn.search(batch, again)))
        return _joined(found, seen)

    def _follow(self, batch: FrameBatch, found: Detections, between: np.ndarray) -> Detections:
        """Look for the faces found in the frames before and after theirs, and from there on, in the frames `between`.

        Each round goes one frame further on from the faces that the last one saw; windows that see what another one
        saw are left out.
        """
        unsearched = torch.zeros(len(batch) + 2, dtype=torch.bool, device=self._mtcnn.device)
        unsearched[torch.from_numpy(between).to(unsearched.device) + 1] = True
        frames, windows = found.frames[:0], found.boxes[:0]
        seen = found.select(found.frames < 0)
        fresh = found
        for _ in range(self._full_search_every):
            around = _windows(fresh.boxes).repeat(2, 1)
            beside = torch.cat([fresh.frames - 1, fresh.frames + 1])
            inside = unsearched[beside + 1]
            every, every_window = torch.cat([frames, beside[inside]]), torch.cat([windows, around[inside]])
            # the order stands for the rank: windows searched before are kept
            rank = torch.arange(len(every), 0, -1, device=every.device, dtype=torch.float32)
            kept = batched_nms(every_window, rank, every, _SAME_WINDOW)
            kept = kept[kept >= len(frames)]
            if not len(kept):
                break
            fresh = self._scored(self._mtcnn.search_windows(batch, every[kept], every_window[kept]))
            frames, windows = torch.cat([frames, every[kept]]), torch.cat([windows, every_window[kept]])
            seen = _joined(seen, fresh).distinct()
        return seen

    def _scored(self, found: Detections) -> Detections:
        return found.select(found.scores >= self._score_threshold)

    @staticmethod
    def _count(found: Detections, n_frames: int, min_size_px: float) -> np.ndarray:
        """(n_frames,) Faces of at least `min_size_px` in each frame."""
        sides = (found.boxes[:, 2:] - found.boxes[:, :2]).amin(dim=1)
        return np.bincount(found.frames[sides >= min_size_px].cpu().numpy(), minlength=n_frames)

    def _in_frames(self, found: Detections, shape: tuple[int, ...], size: tuple[int, int]) -> list[FaceBoxes]:
        """The faces of each frame, in its pixels."""
        frames, boxes, scores, points = (part.cpu().numpy() for part in found)
        to_frame = np.array([size[1] / shape[2], size[0] / shape[1]])
        boxes = (boxes * np.tile(to_frame, 2)).round(2)
        scores = scores.astype(np.float64).round(4)
        points = (points * to_frame).round(2)
        keep = (scores >= self._score_threshold) & ((boxes[:, 2:] - boxes[:, :2]).min(axis=1) >= self._min_size_px)
        order = np.flatnonzero(keep)[np.argsort(-scores[keep], kind="stable")]
        every = FaceBoxes(boxes, scores, points)
        return [every.select(order[frames[order] == frame]) for frame in range(shape[0])]


def _windows(boxes: torch.Tensor) -> torch.Tensor:
    """(n, 4) square windows around boxes."""
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    reach = _WINDOW_SIDES / 2 * (boxes[:, 2:] - boxes[:, :2]).amax(dim=1, keepdim=True)
    return torch.cat([centres - reach, centres + reach], dim=1)


def _joined(*parts: Detections) -> Detections:
    return Detections(*(torch.cat(tensors) for tensors in zip(*parts, strict=True)))
