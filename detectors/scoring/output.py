"""Scores of files, told: as a table on the screen, as JSON and as CSV."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pandas as pd

from detectors.figures.tables import decimals, text_table, write_csv
from detectors.scoring.scores import Scores
from preprocess.store.atomic import atomic_path
from preprocess.video.outcomes import OK

CSV_COLUMNS = (
    *("path", "track_id", "status", "message", "score", "verdict", "threshold"),
    *("n_tracks", "n_faces", "n_frames_sampled", "begin_seconds", "end_seconds"),
)


def format_scores(scores: Scores) -> str:
    """The scores as lines for a person: a file, below it its face tracks where it has several."""
    rows = [["file", "verdict", "score", "tracks", "faces", "seconds", "note"]]
    for file in scores.files.to_dict("records"):
        of_file = scores.tracks[scores.tracks["path"] == file["path"]]
        note = "" if file["status"] == OK else f"{file['status']}: {file['message']}"
        counts = [str(file["n_tracks"]), str(file["n_faces"])]
        span = _span(of_file["begin_seconds"].min(), of_file["end_seconds"].max()) if len(of_file) else ""
        rows.append([file["path"], file["verdict"], decimals(file["score"]), *counts, span, note])
        for track in of_file.to_dict("records") if len(of_file) > 1 else []:
            span = _span(track["begin_seconds"], track["end_seconds"])
            place = [f"  track {track['track_id']}", track["verdict"], decimals(track["score"])]
            rows.append([*place, "", str(track["n_faces"]), span, ""])
    return text_table(rows)


def _span(begin_seconds: float, end_seconds: float) -> str:
    return f"{begin_seconds:.2f}" + (f"–{end_seconds:.2f}" if end_seconds > begin_seconds else "")


def write_scores_json(path: Path, scores: Scores, made_by: dict) -> None:
    """Write everything: what made the scores, and each file with its tracks and their faces.

    Args:
        path: File to write.
        scores: Of the files.
        made_by: Detectors and settings; for the head of the document.
    """
    by_path = dict(list(scores.tracks.groupby("path")))
    by_track = dict(list(scores.faces.groupby(["path", "track_id"])))
    files = []
    for file in scores.files.to_dict("records"):
        tracks = []
        for track in by_path.get(file["path"], scores.tracks[:0]).to_dict("records"):
            faces = by_track[file["path"], track["track_id"]].drop(columns=["path", "track_id"])
            tracks.append({key: track[key] for key in track if key != "path"} | {"faces": faces.to_dict("records")})
        files.append({**file, "tracks": tracks})
    document = {
        **made_by,
        "aggregation": scores.aggregation,
        "threshold": scores.threshold,
        "files": files,
    }
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(_without_nan(document), indent=2, ensure_ascii=False) + "\n")


def _without_nan(value: object) -> object:
    """JSON has no NaN."""
    if isinstance(value, dict):
        return {key: _without_nan(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_without_nan(inner) for inner in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def write_scores_csv(path: Path, scores: Scores) -> None:
    """Write a row for every file, whose `track_id` is empty, and after it a row for each of its face tracks."""
    files = scores.files.assign(file=range(len(scores.files)), track_id=-1)
    order = files.set_index("path")["file"]
    tracks = scores.tracks.assign(file=scores.tracks["path"].map(order))
    tables = [table for table in (files, tracks) if len(table)]
    rows = pd.concat(tables).sort_values(["file", "track_id"], kind="stable")
    whole = ("track_id", "n_tracks", "n_faces", "n_frames_sampled")
    rows = rows.assign(track_id=rows["track_id"].where(rows["track_id"] >= 0), threshold=scores.threshold)
    rows = rows.reindex(columns=list(CSV_COLUMNS))
    rows = rows.astype(dict.fromkeys(whole, "Int64"))
    write_csv(path, rows)
