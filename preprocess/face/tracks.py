"""Link face boxes of sampled frames into face tracks by overlap, motion, looks and scene, a frame at a time."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

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
# Share of two frames' colours that agree, below which a cut lies between them. Moving scenes agree by 0.74 and more
# half a second apart; of 60 rendered cuts between rooms of like colours, all but two by 0.45 or less, those by 0.6.
_SAME_SCENE = 0.67
# Rows and columns of the small picture that tells people apart, and the room around the face box that it shows, in
# sides of the box: hair and clothes below the chin tell people apart, the wall beside them tells places apart.
_LOOKS_SIZE = (8, 4)
_LOOKS_MARGIN = np.array([0.0, -0.2, 0.0, 0.9])
# Share of the last looks in what a track remembers; the rest is older, so that a passer-by does not replace it.
_LOOKS_UPDATE = 0.5
# A face and a track whose looks differ more than this share more than those of another pair do not belong together.
# In grey levels, one person half a second later differs by 7 on rendered clips and 15 among real people who walk
# (median; 95 %: 20 and 44), two people by 38 and 48 (5 %: 21 and 26).
_LOOKS_RATIO = 0.7
# Difference of looks, in grey levels, up to which a face goes on a track that neither overlap nor motion leads to, and
# how far it may be: people who cross walk at 10 sides of their face a second at most.
_LOOKS_LIMIT = 25.0
_SIDES_PER_SECOND = 10.0
_MAX_REACH = 4.0


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
    sides = np.maximum(sides, 0)
    overlap = sides[..., 0] * sides[..., 1]
    return overlap / np.maximum(_areas(a) + _areas(b) - overlap, 1e-9)


def colour_histogram(frame: np.ndarray) -> np.ndarray:
    """Share of the pixels of an RGB uint8 frame in each of 8 x 8 x 8 colours, as (512,) float32.

    Two frames of a scene share most of their colours even when everything in it moves; a cut changes them
    (histogram intersection, Swain and Ballard 1991).
    """
    small = cv2.resize(frame, (64, 64), interpolation=cv2.INTER_AREA)
    return cv2.calcHist([small], [0, 1, 2], None, [8, 8, 8], [0, 256] * 3).ravel() / (64 * 64)


def looks_of(frame: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """What the people of a frame look like: tiny pictures of their heads and shoulders, for comparing people.

    Args:
        frame: (height, width, 3) uint8.
        boxes: (n, 4) face boxes x0, y0, x1, y1 in its pixels; may reach beyond it.

    Returns:
        (n, 96) float32 grey levels of 8 x 4 pixels in three colours; zeros for a box outside the frame.
    """
    boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
    sides = boxes[:, 2:] - boxes[:, :2]
    limits = np.tile(frame.shape[1::-1], 2)
    windows = np.clip(np.round(boxes + _LOOKS_MARGIN * np.tile(sides, 2)), 0, limits).astype(int)
    looks = np.zeros((len(boxes), *_LOOKS_SIZE, 3), np.float32)
    for small, (x0, y0, x1, y1) in zip(looks, windows.tolist(), strict=True):
        if x1 > x0 and y1 > y0:
            small[:] = cv2.resize(frame[y0:y1, x0:x1], _LOOKS_SIZE[::-1], interpolation=cv2.INTER_AREA)
    return looks.reshape(len(boxes), math.prod(looks.shape[1:]))


@dataclass(frozen=True)
class _Tracks:
    """Tracks in the order in which they began, as they were when last seen.

    Attributes:
        ids: (T,) int.
        boxes: (T, 4) x0, y0, x1, y1.
        velocity: (T, 2) px a sampled frame, NaN when seen once.
        seen: (T,) number of the sampled frame.
        pts_seconds: (T,) its time.
        looks: (T, k) what the person looks like; k is 0 when looks are not compared.
    """

    ids: np.ndarray
    boxes: np.ndarray
    velocity: np.ndarray
    seen: np.ndarray
    pts_seconds: np.ndarray
    looks: np.ndarray

    @classmethod
    def begin(cls, ids: np.ndarray, boxes: np.ndarray, looks: np.ndarray, now: int, pts_seconds: float) -> _Tracks:
        """Tracks that were seen once."""
        n = len(ids)
        return cls(ids, boxes, np.full((n, 2), np.nan), np.full(n, now), np.full(n, pts_seconds, np.float64), looks)

    def select(self, chosen: np.ndarray) -> _Tracks:
        """The tracks that `chosen`, a mask or indices, names."""
        return _Tracks(*(getattr(self, field.name)[chosen] for field in fields(self)))

    def join(self, others: _Tracks) -> _Tracks:
        """These tracks, then the others."""
        pairs = ((getattr(self, field.name), getattr(others, field.name)) for field in fields(self))
        return _Tracks(*(np.concatenate(pair) for pair in pairs))

    def predict(self, now: int) -> np.ndarray:
        """(T, 4) boxes where the faces are now if they go on as they went."""
        moved = np.nan_to_num(self.velocity) * (now - self.seen)[:, None]
        return self.boxes + np.concatenate([moved, moved], axis=1)

    def extend(self, rows: np.ndarray, boxes: np.ndarray, looks: np.ndarray, now: int, pts_seconds: float) -> None:
        """Give each of the tracks `rows` its next box."""
        steps = (now - self.seen[rows])[:, None]
        self.velocity[rows] = (_centres(boxes) - _centres(self.boxes[rows])) / steps
        self.boxes[rows], self.seen[rows], self.pts_seconds[rows] = boxes, now, pts_seconds
        self.looks[rows] += _LOOKS_UPDATE * (looks - self.looks[rows])


class FaceTracker:
    """Gives every box of a video the id of its face track, frame by frame.

    In each frame the boxes are assigned one to one to the tracks seen in the last `max_gap + 1` frames, so
    that the sum of the overlaps is largest (Hungarian method). The greatest sum, instead of each box's best,
    keeps two people apart who come close. With `max_jump`, the overlap that counts is the one with the box
    where the face should be now if it goes on as it went: two people who cross keep their ids. A box may then
    also continue a track that it does not overlap, when it lies near enough and is of like size.

    Looks decide what places leave open: a box does not continue a track when another box of the frame, or another
    track, is much more alike; and it continues one that it is most alike within the reach of a walk. They keep people
    who cross apart when frames are sampled too sparsely to know their motion.

    Only the tracks that can still go on are held, so that memory does not grow with the length of a video.

    Args:
        iou_threshold: Overlap with a track's last box above which a box links by itself. A box whose overlap is
            exactly the threshold does not: protocols say "IoU > 0.75", and 0 then means any overlap.
        max_gap: Sampled frames that a face may be unseen within its track.
        max_jump: How far a face seen once may go to the next sampled frame, in sides of its box. 0 links by the
            overlap with the last box alone, whatever people look like.
        scene_cuts: End a track where its last frame and the present one are of different scenes; a single black or
            flashed frame is a gap like any other.
    """

    def __init__(self, *, iou_threshold: float, max_gap: int, max_jump: float, scene_cuts: bool = True):
        self._iou_threshold = iou_threshold
        self._max_gap = max_gap
        self._max_jump = max_jump
        self._scene_cuts = scene_cuts
        self._now = -1
        self._n_tracks = 0
        self._tracks: _Tracks | None = None
        self._histograms: dict[int, np.ndarray] = {}  # of the frames in which these tracks were last seen

    def add(
        self,
        boxes: np.ndarray,
        *,
        pts_seconds: float,
        histogram: np.ndarray | None = None,
        looks: np.ndarray | None = None,
    ) -> np.ndarray:
        """Link the boxes of the next sampled frame.

        Args:
            boxes: (n, 4) x0, y0, x1, y1; n may be 0.
            pts_seconds: Time of the frame; motion is used over a quarter of a second at most.
            histogram: `colour_histogram` of the frame; needed when scene cuts end tracks.
            looks: `looks_of` the boxes, for every frame or for none; None compares places only.

        Returns:
            (n,) int64 track ids; ids count from 0 in the order in which tracks begin.
        """
        self._now += 1
        boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
        looks = np.zeros((len(boxes), 0), np.float32) if looks is None else looks
        ids = np.full(len(boxes), -1)
        if self._tracks is None:
            self._tracks = _Tracks.begin(ids[:0], boxes[:0], looks[:0], self._now, pts_seconds)
        tracks = self._tracks.select(self._now - self._tracks.seen <= self._max_gap + 1)
        rows = np.flatnonzero(self._in_scene(tracks, histogram))
        if len(rows) and len(boxes):
            affinity = self._affinity(tracks.select(rows), boxes, looks, pts_seconds)
            linked, columns = linear_sum_assignment(-affinity)
            good = affinity[linked, columns] > 0
            linked, columns = rows[linked[good]], columns[good]
            ids[columns] = tracks.ids[linked]
            tracks.extend(linked, boxes[columns], looks[columns], self._now, pts_seconds)
        first = ids < 0
        ids[first] = self._n_tracks + np.arange(first.sum())
        self._n_tracks += int(first.sum())
        self._tracks = tracks.join(_Tracks.begin(ids[first], boxes[first], looks[first], self._now, pts_seconds))
        if self._scene_cuts:
            self._histograms[self._now] = histogram
            self._histograms = {seen: self._histograms[seen] for seen in set(self._tracks.seen.tolist())}
        return ids

    def _in_scene(self, tracks: _Tracks, histogram: np.ndarray | None) -> np.ndarray:
        """(T,) bool: whether a track was last seen in the scene of the present frame."""
        if not self._scene_cuts:
            return np.ones(len(tracks.ids), bool)
        same = {seen: _same_scene(self._histograms[seen], histogram) for seen in set(tracks.seen.tolist())}
        return np.array([same[seen] for seen in tracks.seen.tolist()], bool)

    def _affinity(self, tracks: _Tracks, boxes: np.ndarray, looks: np.ndarray, pts_seconds: float) -> np.ndarray:
        """(T, n) float64, larger for better pairs, 0 for those that do not link."""
        overlap = box_iou(tracks.boxes, boxes)
        overlapping = overlap > self._iou_threshold
        affinity = np.where(overlapping, overlap, 0.0)
        if self._max_jump > 0:
            moving = pts_seconds - tracks.pts_seconds <= _MOTION_SECONDS
            motion = _motion_affinity(tracks, boxes, self._now, overlapping, self._max_jump)
            affinity = np.where(moving[:, None], motion, affinity)
            if looks.shape[1]:
                affinity = _judge_by_looks(affinity, tracks, boxes, looks, pts_seconds)
        return affinity


def _motion_affinity(
    tracks: _Tracks, boxes: np.ndarray, now: int, overlapping: np.ndarray, max_jump: float
) -> np.ndarray:
    """(tracks, boxes) float64, larger for better pairs, 0 for those that neither overlap nor motion links."""
    predicted = tracks.predict(now)
    sides, box_sides = _sides(tracks.boxes)[:, None], _sides(boxes)[None]
    like_size = np.maximum(sides, box_sides) <= _MAX_SIZE_RATIO * np.minimum(sides, box_sides)
    shift_last, shift = (_distances(start, boxes) / sides for start in (tracks.boxes, predicted))
    unknown_motion = np.isnan(tracks.velocity[:, 0]) & (now - tracks.seen == 1)
    reach = np.where(unknown_motion, max_jump, _MAX_SHIFT)
    near = (shift <= reach[:, None]) | (shift_last <= _MAX_SHIFT)
    # distance ranks what does not overlap, and is too small to outweigh an overlap
    return np.where(overlapping | (like_size & near), box_iou(predicted, boxes) + 0.01 / (1 + shift), 0.0)


def _judge_by_looks(
    affinity: np.ndarray, tracks: _Tracks, boxes: np.ndarray, looks: np.ndarray, pts_seconds: float
) -> np.ndarray:
    """The affinities (tracks, boxes), 0 for pairs that look wrong, and small for pairs that only looks link."""
    sides, box_sides = _sides(tracks.boxes)[:, None], _sides(boxes)[None]
    like_size = np.maximum(sides, box_sides) <= _MAX_SIZE_RATIO * np.minimum(sides, box_sides)
    shift = _distances(tracks.boxes, boxes) / sides
    reach = np.minimum(_SIDES_PER_SECOND * (pts_seconds - tracks.pts_seconds), _MAX_REACH)[:, None]
    possible = (affinity > 0) | (like_size & (shift <= reach))
    difference = np.abs(tracks.looks[:, None] - looks[None]).mean(axis=2)
    rivals = np.where(possible, difference, np.inf)
    rival = np.minimum(_smallest_of_the_others(rivals), _smallest_of_the_others(rivals.T).T)
    wrong = _LOOKS_RATIO * difference > rival
    alike = possible & (difference <= _LOOKS_LIMIT)
    # too small to outweigh an overlap
    return np.where(wrong, 0.0, np.where(alike, np.maximum(affinity, 0.005 / (1 + shift)), affinity))


def _smallest_of_the_others(values: np.ndarray) -> np.ndarray:
    """For each value of a matrix the smallest of the other values in its row; infinite when there are none."""
    padded = np.column_stack([values, np.full(len(values), np.inf)])
    first, second = np.partition(padded, 1, axis=1)[:, :2].T
    return np.where(values == first[:, None], second[:, None], first[:, None])


def _same_scene(histogram_a: np.ndarray, histogram_b: np.ndarray) -> bool:
    return float(np.minimum(histogram_a, histogram_b).sum()) >= _SAME_SCENE


def _areas(boxes: np.ndarray) -> np.ndarray:
    return (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])


def _centres(boxes: np.ndarray) -> np.ndarray:
    return (boxes[..., :2] + boxes[..., 2:]) / 2


def _distances(boxes_a: np.ndarray, boxes_b: np.ndarray) -> np.ndarray:
    return np.linalg.norm(_centres(boxes_a)[:, None] - _centres(boxes_b)[None], axis=-1)


def _sides(boxes: np.ndarray) -> np.ndarray:
    """Geometric mean of width and height, which a turning head changes less than either."""
    return np.maximum(np.sqrt(_areas(boxes)), 1e-9)
