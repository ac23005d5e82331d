"""Link face boxes of sampled frames into face tracks by overlap, motion, appearance and scene, a frame at a time."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from scipy.optimize import linear_sum_assignment

from preprocess.face.appearance import colours_in_common


@dataclass(frozen=True)
class TrackingLimits:
    """What a face, a person or a scene may do and still be the same. Lengths are in sides of the face box.

    What was measured was measured on rendered scenes with known tracks and on clips of real people who walk and cross.

    Attributes:
        max_shift: How far from its last or its predicted place a face may be found. For a face seen once, whose motion
            nobody knows, the setting `max_jump` takes its place.
        max_size_ratio: Sides of two boxes that do not overlap enough, the longer over the shorter.
        motion_seconds: How long motion can be trusted. Of a group of people who walk and cross, no two share a track
            when sampled up to 0.2 s apart; at 0.28 s people are mistaken for each other, and overlap alone is safer.
        min_colours_in_common: Share of two frames' colours that agree, below which a cut lies between them. Moving
            scenes agree by 0.74 and more half a second apart; of 60 rendered cuts between rooms of like colours, all
            but two by 0.45 or less, those by 0.6.
        appearance_update: Share of the last appearance in what a track remembers; the rest is older, so that a
            passer-by does not replace it.
        max_rival_ratio: Ratio test: reject a pair if a rival pairing, of the same track or the same box, has under
            this share of its appearance difference.
        max_appearance_difference: Up to which a face goes on a track that neither overlap nor motion leads to, in grey
            levels. One person half a second later differs by 7 on rendered clips and by 15 among real people who walk
            (median; 95 %: 20 and 44), two people by 38 and 48 (5 %: 21 and 26).
        sides_per_second: How fast such a face may have gone: people who cross walk at 10 sides of their face a second
            at most.
        max_reach: How far it may have gone at most.
        motion_weight: Affinity of a pair that only motion links, at no distance: too little to outweigh an overlap.
        appearance_weight: Affinity of a pair that only appearance links, at no distance: less than by motion.
    """

    max_shift: float = 0.75
    max_size_ratio: float = 1.5
    motion_seconds: float = 0.25
    min_colours_in_common: float = 0.67
    appearance_update: float = 0.5
    max_rival_ratio: float = 0.7
    max_appearance_difference: float = 25.0
    sides_per_second: float = 10.0
    max_reach: float = 4.0
    motion_weight: float = 0.01
    appearance_weight: float = 0.005


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


@dataclass(frozen=True)
class _Tracks:
    """Tracks in the order in which they began, as they were when last seen.

    Attributes:
        ids: (T,) int.
        boxes: (T, 4) x0, y0, x1, y1.
        velocity: (T, 2) px a sampled frame, NaN when seen once.
        seen: (T,) number of the sampled frame.
        pts_seconds: (T,) its time.
        appearance: (T, k) what the person looks like; k is 0 when appearance is not compared.
    """

    ids: np.ndarray
    boxes: np.ndarray
    velocity: np.ndarray
    seen: np.ndarray
    pts_seconds: np.ndarray
    appearance: np.ndarray

    @classmethod
    def begin(cls, ids: np.ndarray, boxes: np.ndarray, appearance: np.ndarray, now: int, pts_seconds: float) -> _Tracks:
        """Tracks that were seen once."""
        n = len(ids)
        return cls(
            ids, boxes, np.full((n, 2), np.nan), np.full(n, now), np.full(n, pts_seconds, np.float64), appearance
        )

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

    def extend(self, rows: np.ndarray, boxes: np.ndarray, appearance: np.ndarray, now: int, pts_seconds: float) -> None:
        """Give each of the tracks `rows` its next box, and what it remembers of its appearance."""
        steps = (now - self.seen[rows])[:, None]
        self.velocity[rows] = (_centres(boxes) - _centres(self.boxes[rows])) / steps
        self.boxes[rows], self.seen[rows], self.pts_seconds[rows] = boxes, now, pts_seconds
        self.appearance[rows] = appearance


class FaceTracker:
    """Gives every box of a video the id of its face track, frame by frame.

    In each frame the boxes are assigned one to one to the tracks seen in the last `max_gap + 1` frames, so
    that the sum of the overlaps is largest (Hungarian method). The greatest sum, instead of each box's best,
    keeps two people apart who come close. With `max_jump`, the overlap that counts is the one with the box
    where the face should be now if it goes on as it went: two people who cross keep their ids. A box may then
    also continue a track that it does not overlap, when it lies near enough and is of like size.

    Appearance decides what places leave open: a box does not continue a track when another box of the frame, or another
    track, is much more alike; and it continues one that it is most alike within the reach of a walk. They keep people
    who cross apart when frames are sampled too sparsely to know their motion.

    Only the tracks that can still go on are held, so that memory does not grow with the length of a video.

    Args:
        iou_threshold: Overlap with a track's last box above which a box links by itself. A box whose overlap is
            exactly the threshold does not: protocols say "IoU > 0.75", and 0 then means any overlap.
        max_gap: Consecutive sampled frames a face may be missed before its track ends.
        max_jump: How far a face seen once may go to the next sampled frame, in sides of its box. 0 links by the
            overlap with the last box alone, whatever people look like.
        scene_cuts: End a track where its last frame and the present one are of different scenes; a single black or
            flashed frame is a gap like any other.
        limits: What else must hold for a box to continue a track.
    """

    def __init__(
        self,
        *,
        iou_threshold: float,
        max_gap: int,
        max_jump: float,
        scene_cuts: bool = True,
        limits: TrackingLimits = TrackingLimits(),
    ):
        self._iou_threshold = iou_threshold
        self._max_gap = max_gap
        self._max_jump = max_jump
        self._scene_cuts = scene_cuts
        self._limits = limits
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
        appearance: np.ndarray | None = None,
    ) -> np.ndarray:
        """Link the boxes of the next sampled frame.

        Args:
            boxes: (n, 4) x0, y0, x1, y1; n may be 0.
            pts_seconds: Time of the frame; motion is used over a quarter of a second at most.
            histogram: `colour_histogram` of the frame; needed when scene cuts end tracks.
            appearance: `appearance_of` the boxes, for every frame or for none; None compares places only.

        Returns:
            (n,) int64 track ids; ids count from 0 in the order in which tracks begin.
        """
        self._now += 1
        boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
        appearance = np.zeros((len(boxes), 0), np.float32) if appearance is None else appearance
        ids = np.full(len(boxes), -1)
        if self._tracks is None:
            self._tracks = _Tracks.begin(ids[:0], boxes[:0], appearance[:0], self._now, pts_seconds)
        tracks = self._tracks.select(self._now - self._tracks.seen <= self._max_gap + 1)
        rows = np.flatnonzero(self._in_scene(tracks, histogram))
        if len(rows) and len(boxes):
            affinity = self._affinity(tracks.select(rows), boxes, appearance, pts_seconds)
            linked, columns = linear_sum_assignment(-affinity)
            good = affinity[linked, columns] > 0
            linked, columns = rows[linked[good]], columns[good]
            ids[columns] = tracks.ids[linked]
            before = tracks.appearance[linked]
            remembered = before + self._limits.appearance_update * (appearance[columns] - before)
            tracks.extend(linked, boxes[columns], remembered, self._now, pts_seconds)
        first = ids < 0
        ids[first] = self._n_tracks + np.arange(first.sum())
        self._n_tracks += int(first.sum())
        self._tracks = tracks.join(_Tracks.begin(ids[first], boxes[first], appearance[first], self._now, pts_seconds))
        if self._scene_cuts:
            assert histogram is not None, "scene cuts end tracks: each frame needs its histogram"
            self._histograms[self._now] = histogram
            self._histograms = {seen: self._histograms[seen] for seen in set(self._tracks.seen.tolist())}
        return ids

    def _in_scene(self, tracks: _Tracks, histogram: np.ndarray | None) -> np.ndarray:
        """(T,) bool: whether a track was last seen in the scene of the present frame."""
        if not self._scene_cuts:
            return np.ones(len(tracks.ids), bool)
        assert histogram is not None, "scene cuts end tracks: each frame needs its histogram"
        common = {seen: colours_in_common(self._histograms[seen], histogram) for seen in set(tracks.seen.tolist())}
        return np.array([common[seen] >= self._limits.min_colours_in_common for seen in tracks.seen.tolist()], bool)

    def _affinity(self, tracks: _Tracks, boxes: np.ndarray, appearance: np.ndarray, pts_seconds: float) -> np.ndarray:
        """(T, n) float64, larger for better pairs, 0 for those that do not link."""
        overlap = box_iou(tracks.boxes, boxes)
        overlapping = overlap > self._iou_threshold
        affinity = np.where(overlapping, overlap, 0.0)
        if self._max_jump > 0:
            elapsed = pts_seconds - tracks.pts_seconds
            moving = elapsed <= self._limits.motion_seconds
            motion = _motion_affinity(tracks, boxes, self._now, overlapping, self._max_jump, self._limits)
            affinity = np.where(moving[:, None], motion, affinity)
            if appearance.shape[1]:
                affinity = _judge_by_appearance(affinity, tracks, boxes, appearance, elapsed, self._limits)
        return affinity


def _motion_affinity(
    tracks: _Tracks, boxes: np.ndarray, now: int, overlapping: np.ndarray, max_jump: float, limits: TrackingLimits
) -> np.ndarray:
    """(tracks, boxes) float64, larger for better pairs, 0 for those that neither overlap nor motion links."""
    predicted = tracks.predict(now)
    sides = _sides(tracks.boxes)[:, None]
    shift_last, shift = (_distances(start, boxes) / sides for start in (tracks.boxes, predicted))
    unknown_motion = np.isnan(tracks.velocity[:, 0]) & (now - tracks.seen == 1)
    reach = np.where(unknown_motion, max_jump, limits.max_shift)
    near = (shift <= reach[:, None]) | (shift_last <= limits.max_shift)
    linked = overlapping | (_of_like_size(tracks.boxes, boxes, limits) & near)
    # distance ranks what does not overlap
    return np.where(linked, box_iou(predicted, boxes) + limits.motion_weight / (1 + shift), 0.0)


def _judge_by_appearance(
    affinity: np.ndarray,
    tracks: _Tracks,
    boxes: np.ndarray,
    appearance: np.ndarray,
    elapsed: np.ndarray,
    limits: TrackingLimits,
) -> np.ndarray:
    """The affinities (tracks, boxes), 0 for pairs that look wrong, and small for pairs that only appearance links.

    `elapsed` is the time since each track was last seen, in seconds.
    """
    shift = _distances(tracks.boxes, boxes) / _sides(tracks.boxes)[:, None]
    reach = np.minimum(limits.sides_per_second * elapsed, limits.max_reach)[:, None]
    possible = (affinity > 0) | (_of_like_size(tracks.boxes, boxes, limits) & (shift <= reach))
    difference = np.abs(tracks.appearance[:, None] - appearance[None]).mean(axis=2)
    rivals = np.where(possible, difference, np.inf)
    rival = np.minimum(_smallest_of_the_others(rivals), _smallest_of_the_others(rivals.T).T)
    wrong = limits.max_rival_ratio * difference > rival
    alike = possible & (difference <= limits.max_appearance_difference)
    linked = np.where(alike, np.maximum(affinity, limits.appearance_weight / (1 + shift)), affinity)
    return np.where(wrong, 0.0, linked)


def _of_like_size(boxes_a: np.ndarray, boxes_b: np.ndarray, limits: TrackingLimits) -> np.ndarray:
    """(A, B) bool."""
    a, b = _sides(boxes_a)[:, None], _sides(boxes_b)[None]
    return np.maximum(a, b) <= limits.max_size_ratio * np.minimum(a, b)


def _smallest_of_the_others(values: np.ndarray) -> np.ndarray:
    """For each value of a matrix the smallest of the other values in its row; infinite when there are none."""
    padded = np.column_stack([values, np.full(len(values), np.inf)])
    first, second = np.partition(padded, 1, axis=1)[:, :2].T
    return np.where(values == first[:, None], second[:, None], first[:, None])


def _areas(boxes: np.ndarray) -> np.ndarray:
    return (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])


def _centres(boxes: np.ndarray) -> np.ndarray:
    return (boxes[..., :2] + boxes[..., 2:]) / 2


def _distances(boxes_a: np.ndarray, boxes_b: np.ndarray) -> np.ndarray:
    return np.linalg.norm(_centres(boxes_a)[:, None] - _centres(boxes_b)[None], axis=-1)


def _sides(boxes: np.ndarray) -> np.ndarray:
    """Geometric mean of width and height, which a turning head changes less than either."""
    return np.maximum(np.sqrt(_areas(boxes)), 1e-9)
