"""Link face boxes of sampled frames into face tracks, by overlap, motion and scene."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from scipy.optimize import linear_sum_assignment

# How far from its last or its predicted place a face may be found, in sides of its box; `max_jump` takes its place
# for a face seen once, whose motion nobody knows.
_MAX_SHIFT = 0.75
# Sides of two boxes that do not overlap enough, the longer over the shorter.
_MAX_SIZE_RATIO = 1.5
# How long motion can be trusted. Of a group of people who walk and cross, no two share a track when sampled up to
# 0.2 s apart; at 0.28 s people are mistaken for each other, and overlap alone is safer.
_MOTION_SECONDS = 0.25
# Share of two frames' colours that agree, below which a cut lies between them. Moving scenes agree by 0.9 and more
# half a second apart; unrelated videos by 0.45 or less in nine pairs of ten.
_SAME_SCENE = 0.6


def box_iou(boxes_a: np.ndarray, boxes_b: np.ndarray) -> np.ndarray:
    """Intersection over union of every pair of boxes.

    Args:
        boxes_a: (A, 4) x0, y0, x1, y1.
        boxes_b: (B, 4) x0, y0, x1, y1.

    Returns:
        (A, B) float64 in [0, 1].
    """
    a = np.asarray(boxes_a, np.float64).reshape(-1, 1, 4)
    b = np.asarray(boxes_b, np.float64).reshape(1, -1, 4)
    sides = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    overlap = np.prod(np.clip(sides, 0, None), axis=-1)
    area_a = np.prod(a[..., 2:] - a[..., :2], axis=-1)
    area_b = np.prod(b[..., 2:] - b[..., :2], axis=-1)
    return overlap / np.maximum(area_a + area_b - overlap, 1e-9)


def colour_histogram(frame: np.ndarray) -> np.ndarray:
    """Share of the pixels of an RGB uint8 frame in each of 8 x 8 x 8 colours, as (512,) float32.

    Two frames of a scene share most of their colours even when everything in it moves; a cut changes them
    (histogram intersection, Swain and Ballard 1991).
    """
    small = cv2.resize(frame, (64, 64), interpolation=cv2.INTER_AREA)
    return cv2.calcHist([small], [0, 1, 2], None, [8, 8, 8], [0, 256] * 3).ravel() / (64 * 64)


@dataclass
class _Track:
    """Where a face was last seen, and how it moved."""

    box: np.ndarray
    seen: int
    velocity: np.ndarray | None = None  # px a sampled frame, None when seen once

    def predict(self, now: int) -> np.ndarray:
        if self.velocity is None:
            return self.box
        return self.box + np.tile(self.velocity * (now - self.seen), 2)

    def extend(self, box: np.ndarray, now: int) -> None:
        self.velocity = (_centres(box) - _centres(self.box)) / (now - self.seen)
        self.box, self.seen = box, now


def link_tracks(
    frames: list[np.ndarray],
    *,
    iou_threshold: float,
    max_gap: int,
    max_jump: float = 0.0,
    pts_seconds: list[float] | None = None,
    histograms: list[np.ndarray] | None = None,
) -> list[np.ndarray]:
    """Give every box the id of its face track.

    In each frame the boxes are assigned one to one to the tracks seen in the last `max_gap + 1` frames, so
    that the sum of the overlaps is largest (Hungarian method). The greatest sum, instead of each box's best,
    keeps two people apart who come close. With `max_jump`, the overlap that counts is the one with the box
    where the face should be now if it goes on as it went: two people who cross keep their ids. A box may then
    also continue a track that it does not overlap, when it lies near enough and is of like size.

    Args:
        frames: One (n, 4) array of boxes x0, y0, x1, y1 for each sampled frame, in order.
        iou_threshold: Least overlap with a track's last box that links by itself.
        max_gap: Sampled frames that a face may be unseen within its track.
        max_jump: How far a face seen once may go to the next sampled frame, in sides of its box. 0 links by the
            overlap with the last box alone.
        pts_seconds: Time of each frame; motion is used over a quarter of a second at most. Needed with `max_jump`.
        histograms: `colour_histogram` of each frame. A track ends where its last frame and the present one are of
            different scenes; a single black or flashed frame is a gap like any other.

    Returns:
        One (n,) int array of track ids for each frame; ids count from 0 in the order in which tracks begin.
    """
    tracks: list[_Track] = []
    linked = []
    for now, boxes in enumerate(frames):
        ids = np.full(len(boxes), -1)
        alive = [key for key, track in enumerate(tracks) if now - track.seen <= max_gap + 1]
        if histograms is not None:
            alive = [key for key in alive if _same_scene(histograms[tracks[key].seen], histograms[now])]
        if alive and len(boxes):
            candidates = [tracks[key] for key in alive]
            overlap = box_iou(np.stack([track.box for track in candidates]), boxes)
            affinity = np.where(overlap >= iou_threshold, overlap, 0.0)
            if max_jump > 0:
                moving = [pts_seconds[now] - pts_seconds[track.seen] <= _MOTION_SECONDS for track in candidates]
                affinity[moving] = _motion_affinity(
                    [track for track, moves in zip(candidates, moving, strict=True) if moves],
                    boxes,
                    now,
                    affinity[moving] > 0,
                    max_jump,
                )
            for row, column in zip(*linear_sum_assignment(-affinity), strict=True):
                if affinity[row, column] > 0:
                    ids[column] = alive[row]
                    tracks[alive[row]].extend(boxes[column], now)
        for column in np.flatnonzero(ids < 0):
            ids[column] = len(tracks)
            tracks.append(_Track(boxes[column], now))
        linked.append(ids)
    return linked


def _motion_affinity(
    tracks: list[_Track], boxes: np.ndarray, now: int, overlapping: np.ndarray, max_jump: float
) -> np.ndarray:
    """(tracks, boxes) float64, larger for better pairs, 0 for those that neither overlap nor motion links."""
    if not tracks:
        return np.zeros((0, len(boxes)))
    last = np.stack([track.box for track in tracks])
    predicted = np.stack([track.predict(now) for track in tracks])
    sides, box_sides = _sides(last)[:, None], _sides(boxes)[None]
    like_size = np.maximum(sides, box_sides) <= _MAX_SIZE_RATIO * np.minimum(sides, box_sides)
    shift_last, shift = (_distances(start, boxes) / sides for start in (last, predicted))
    reach = [max_jump if track.velocity is None and now - track.seen == 1 else _MAX_SHIFT for track in tracks]
    near = (shift <= np.array(reach)[:, None]) | (shift_last <= _MAX_SHIFT)
    # distance ranks what does not overlap, and is too small to outweigh an overlap
    return np.where(overlapping | (like_size & near), box_iou(predicted, boxes) + 0.01 / (1 + shift), 0.0)


def _same_scene(histogram_a: np.ndarray, histogram_b: np.ndarray) -> bool:
    return float(np.minimum(histogram_a, histogram_b).sum()) >= _SAME_SCENE


def _centres(boxes: np.ndarray) -> np.ndarray:
    return (boxes[..., :2] + boxes[..., 2:]) / 2


def _distances(boxes_a: np.ndarray, boxes_b: np.ndarray) -> np.ndarray:
    return np.linalg.norm(_centres(boxes_a)[:, None] - _centres(boxes_b)[None], axis=-1)


def _sides(boxes: np.ndarray) -> np.ndarray:
    """Geometric mean of width and height, which a turning head changes less than either."""
    return np.maximum(np.sqrt(np.prod(boxes[..., 2:] - boxes[..., :2], axis=-1)), 1e-9)
