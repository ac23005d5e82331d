"""What detectors say of files: the scores of faces, put together to those of their tracks and files."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from detectors.measures.aggregation import BOX_COLUMNS, video_scores
from detectors.scoring.loose_files import FileFaces
from detectors.scoring.trained import Decision
from preprocess.store.tables import read_table

REAL, FAKE = "real", "fake"

_FACE_COLUMNS = ["video_id", "frame_index", "pts_seconds", "track_id", *BOX_COLUMNS]


@dataclass(frozen=True)
class Scores:
    """What detectors say of files.

    Attributes:
        files: A row per file, in order: `path`, `status`, `message`, `score`, `verdict`, `n_tracks`, `n_faces`,
            `n_frames_sampled`. `score` is NaN where the status is neither `ok` nor `partial`, and `verdict` then empty.
        tracks: A row per face track: `path`, `track_id`, `score`, `verdict`, `n_faces`, `begin_seconds`, `end_seconds`.
        faces: A row per face: `path`, `track_id`, `frame_index`, `pts_seconds`, box `x0`, `y0`, `x1`, `y1` in frame
            pixels, `score`.
        threshold: A video score at or above it is fake; NaN when there is none.
        aggregation: How scores of files and tracks came from those of their faces.
    """

    files: pd.DataFrame
    tracks: pd.DataFrame
    faces: pd.DataFrame
    threshold: float
    aggregation: str


def combine_scores(found: FileFaces, scores: np.ndarray, decision: Decision) -> Scores:
    """Scores of files and of their tracks, with verdicts, from those of their faces.

    Args:
        found: The files and their N faces.
        scores: (N,) of the faces.
        decision: What to make of them. A file is a video of the aggregation, and so is each of its tracks.
    """
    paths = {video["video_id"]: str(path) for video, path in zip(found.videos, found.files, strict=True)}
    faces = read_table(found.samples, _FACE_COLUMNS).to_pandas().assign(label=0, score=scores)
    faces.insert(0, "path", faces["video_id"].map(paths))
    return Scores(
        files=_files(found.ledger, paths, faces, decision),
        tracks=_tracks(faces, decision),
        faces=faces[["path", "track_id", "frame_index", "pts_seconds", *BOX_COLUMNS, "score"]],
        threshold=decision.threshold,
        aggregation=decision.aggregation,
    )


def _files(ledger: list[dict], paths: dict[str, str], faces: pd.DataFrame, decision: Decision) -> pd.DataFrame:
    files = pd.DataFrame(ledger)
    by_file = video_scores(faces, decision.aggregation).set_index("video_id")["score"]
    score = files["video_id"].map(by_file).astype(np.float64)
    return pd.DataFrame(
        {
            "path": files["video_id"].map(paths),
            "status": files["status"],
            "message": files["message"],
            "score": score,
            "verdict": verdicts(score, decision.threshold),
            "n_tracks": files["n_tracks"],
            "n_faces": files["n_crops"],
            "n_frames_sampled": files["n_frames_sampled"],
        }
    )


def _tracks(faces: pd.DataFrame, decision: Decision) -> pd.DataFrame:
    groups = faces.groupby(["video_id", "track_id"], sort=True)
    of_tracks = groups.agg(
        path=("path", "first"),
        n_faces=("score", "size"),
        begin_seconds=("pts_seconds", "min"),
        end_seconds=("pts_seconds", "max"),
    ).reset_index()
    # both in the order of the groups
    score = video_scores(faces.assign(video_id=groups.ngroup()), decision.aggregation)["score"]
    of_tracks = of_tracks.assign(score=score, verdict=verdicts(score, decision.threshold))
    return of_tracks[["path", "track_id", "score", "verdict", "n_faces", "begin_seconds", "end_seconds"]]


def verdicts(scores: pd.Series, threshold: float) -> np.ndarray:
    """(N,) `fake`, `real`, or empty where there is no score or no threshold."""
    known = scores.notna().to_numpy() & (not math.isnan(threshold))
    return np.where(known, np.where(scores.to_numpy() >= threshold, FAKE, REAL), "")
