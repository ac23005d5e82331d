"""Link face boxes of consecutive sampled frames into face tracks by the overlap of boxes."""

from __future__ import annotations

import numpy as np
from scipy.optimize import linear_sum_assignment


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


def link_tracks(frames: list[np.ndarray], *, iou_threshold: float, max_gap: int) -> list[np.ndarray]:
    """Give every box the id of its face track.

    In each frame the boxes are assigned one to one to the tracks seen in the last `max_gap + 1` frames, so
    that the sum of the overlaps is largest (Hungarian method); an overlap below the threshold links nothing.
    The greatest sum, instead of each box's best, keeps two people apart who come close.

    Args:
        frames: One (n, 4) array of boxes x0, y0, x1, y1 for each sampled frame, in order.
        iou_threshold: Least overlap of two boxes of one track.
        max_gap: Sampled frames that a face may be unseen within its track.

    Returns:
        One (n,) int array of track ids for each frame; ids count from 0 in the order in which tracks begin.
    """
    last_box: dict[int, np.ndarray] = {}
    last_seen: dict[int, int] = {}
    linked = []
    for now, boxes in enumerate(frames):
        ids = np.full(len(boxes), -1)
        alive = [track for track, seen in last_seen.items() if now - seen <= max_gap + 1]
        if alive and len(boxes):
            overlap = box_iou(np.stack([last_box[track] for track in alive]), boxes)
            overlap[overlap < iou_threshold] = 0
            for row, column in zip(*linear_sum_assignment(-overlap), strict=True):
                if overlap[row, column] > 0:
                    ids[column] = alive[row]
        for column in np.flatnonzero(ids < 0):
            ids[column] = len(last_seen)
            last_seen[len(last_seen)] = now
        for track, box in zip(ids, boxes, strict=True):
            last_box[int(track)], last_seen[int(track)] = box, now
        linked.append(ids)
    return linked
