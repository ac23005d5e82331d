"""A video's score from the scores of its face crops."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd

MEAN, MAX_THEN_MEAN, CONFIDENT = "mean", "max_then_mean", "confident"
AGGREGATIONS = (MEAN, MAX_THEN_MEAN, CONFIDENT)

# of the largest face of the frame; smaller ones stand in the background (Shiohara and Yamasaki, CVPR 2022)
MIN_AREA_SHARE = 0.5
CONFIDENT_SHARE = 0.5

BOX_COLUMNS = ["x0", "y0", "x1", "y1"]


def common_aggregation(own: Iterable[str]) -> str:
    """The aggregation of several detectors together: their own, or the mean where they do not agree.

    Args:
        own: Of each of them, at least one.
    """
    found = set(own)
    return found.pop() if len(found) == 1 else MEAN


def video_scores(samples: pd.DataFrame, aggregation: str = MEAN) -> pd.DataFrame:
    """Score of every video from its samples, which are its face crops.

    - `mean`: over all face crops.
    - `max_then_mean`: the highest score of a frame's faces, then the mean over frames (SBI). Where boxes are known,
      a face with less than half the area of the frame's largest face does not count.
    - `confident`: the mean over the half of the face crops (rounded up) whose scores are farthest from 0.5; as the
      order of the samples must not matter, all that are as far as the last of that half belong to it.

    Args:
        samples: A row per sample: `video_id`, `label`, `score`; for `max_then_mean` also `frame_index` and, where
            known, the box `x0`, `y0`, `x1`, `y1` in pixels of the frame (null where it is not).
        aggregation: One of `AGGREGATIONS`.

    Returns:
        One row per video, sorted by `video_id`: `video_id`, `label`, `score` (float64).
    """
    samples = samples.assign(score=samples["score"].astype(np.float64))
    if aggregation == MAX_THEN_MEAN:
        samples = _highest_of_frames(_main_faces(samples))
    elif aggregation == CONFIDENT:
        samples = _most_confident(samples)
    elif aggregation != MEAN:
        raise ValueError(f"aggregation: found {aggregation!r}; allowed: {', '.join(AGGREGATIONS)}")
    by_video = samples.groupby("video_id", sort=True)
    return by_video.agg(label=("label", "first"), score=("score", "mean")).reset_index()


def _main_faces(samples: pd.DataFrame) -> pd.DataFrame:
    """Without the faces whose area is below half of the largest in their frame; all, where there are no boxes."""
    if not set(BOX_COLUMNS) <= set(samples):
        return samples
    area = (samples["x1"] - samples["x0"]) * (samples["y1"] - samples["y0"])
    largest = area.groupby([samples["video_id"], samples["frame_index"]]).transform("max")
    return samples[~(area < MIN_AREA_SHARE * largest)]


def _highest_of_frames(samples: pd.DataFrame) -> pd.DataFrame:
    frames = samples.groupby(["video_id", "frame_index"], sort=True)
    return frames.agg(label=("label", "first"), score=("score", "max")).reset_index()


def _most_confident(samples: pd.DataFrame) -> pd.DataFrame:
    confidence = (samples["score"] - 0.5).abs()
    of_video = confidence.groupby(samples["video_id"])
    n_kept = np.ceil(CONFIDENT_SHARE * of_video.transform("size"))
    # the rank of the first of its equals
    return samples[of_video.rank(method="min", ascending=False) <= n_kept]
