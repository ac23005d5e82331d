"""What is printed and written of scores, from a table made by hand."""

from __future__ import annotations

import csv
import json
import math

import numpy as np
import pandas as pd
import pytest

from detectors.scoring.output import format_scores, write_scores_csv, write_scores_json
from detectors.scoring.scores import Scores

FILES = pd.DataFrame(
    [
        ("b.mp4", "partial", "3 of 4 frames", 0.75, "fake", 2, 5, 4),
        ("a.png", "ok", "", 0.25, "real", 1, 1, 1),
        ("c.mp4", "no_face", "no face is seen", math.nan, "", 0, 0, 4),
    ],
    columns=["path", "status", "message", "score", "verdict", "n_tracks", "n_faces", "n_frames_sampled"],
)
TRACKS = pd.DataFrame(
    [
        ("b.mp4", 0, 0.5, "fake", 3, 1.25, 2.5),
        ("b.mp4", 1, 0.875, "fake", 2, 0.5, 4.0),
        ("a.png", 0, 0.25, "real", 1, 0.0, 0.0),
    ],
    columns=["path", "track_id", "score", "verdict", "n_faces", "begin_seconds", "end_seconds"],
)
FACES = pd.DataFrame(
    [
        ("b.mp4", 0, 7, 1.25, 0.5),
        ("b.mp4", 0, 9, 2.5, 0.5),
        ("b.mp4", 1, 3, 0.5, 0.875),
        ("a.png", 0, 0, 0.0, math.nan),
    ],
    columns=["path", "track_id", "frame_index", "pts_seconds", "score"],
)
SCORES = Scores(FILES, TRACKS, FACES, 0.5, "mean")


def test_a_line_is_a_file_and_below_it_its_tracks_where_there_are_several():
    lines = [line.split() for line in format_scores(SCORES).splitlines() if "─" not in line and "---" not in line]
    assert lines[0] == ["file", "verdict", "score", "tracks", "faces", "seconds", "note"]
    # from where the first of its tracks begins to where the last one ends
    assert " ".join(lines[1]) == "b.mp4 fake 0.750 2 5 0.50–4.00 partial: 3 of 4 frames"
    assert lines[2] == ["track", "0", "fake", "0.500", "3", "1.25–2.50"]
    assert lines[3] == ["track", "1", "fake", "0.875", "2", "0.50–4.00"]
    # a moment is no span, and one track is no list
    assert lines[4] == ["a.png", "real", "0.250", "1", "1", "0.00"]
    assert lines[5][0] == "c.mp4"
    assert " ".join(lines[5][-7:]) == "0 0 no_face: no face is seen"
    assert len(lines) == 6


def test_the_document_holds_files_their_tracks_and_their_faces(tmp_path):
    write_scores_json(tmp_path / "s.json", SCORES, {"detectors": ["mine"]})
    document = json.loads((tmp_path / "s.json").read_text())
    assert (document["detectors"], document["aggregation"], document["threshold"]) == (["mine"], "mean", 0.5)
    assert [file["path"] for file in document["files"]] == ["b.mp4", "a.png", "c.mp4"]
    first, second = document["files"][0]["tracks"]
    assert "path" not in first
    assert (first["track_id"], first["score"], first["begin_seconds"]) == (0, 0.5, 1.25)
    assert first["faces"] == [
        {"frame_index": 7, "pts_seconds": 1.25, "score": 0.5},
        {"frame_index": 9, "pts_seconds": 2.5, "score": 0.5},
    ]
    assert [face["frame_index"] for face in second["faces"]] == [3]
    assert document["files"][1]["tracks"][0]["faces"][0]["score"] is None, "JSON has no NaN"
    assert document["files"][2]["tracks"] == []
    assert document["files"][2]["score"] is None


@pytest.mark.parametrize("tracks", [TRACKS, TRACKS[:0]])
def test_the_table_has_a_row_of_each_file_and_then_of_its_tracks(tracks, tmp_path):
    write_scores_csv(tmp_path / "s.csv", Scores(FILES, tracks, FACES, np.nan, "mean"))
    with open(tmp_path / "s.csv") as file:
        rows = [(row["path"], row["track_id"], row["n_faces"], row["threshold"]) for row in csv.DictReader(file)]
    expected = [("b.mp4", "", "5", ""), ("b.mp4", "0", "3", ""), ("b.mp4", "1", "2", "")]
    expected += [("a.png", "", "1", ""), ("a.png", "0", "1", ""), ("c.mp4", "", "0", "")]
    assert rows == [row for row in expected if not row[1] or len(tracks)]
