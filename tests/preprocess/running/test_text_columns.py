"""Rows of texts as lines."""

from __future__ import annotations

from preprocess.running.text_columns import align_columns


def test_columns_are_aligned_left_or_right_and_lines_end_with_their_text():
    rows = [("stage", "done", "next"), ("a", "12,345", ""), ("crops", "7", "b.csv")]
    assert align_columns(rows, right_columns=[1]) == [
        "stage    done  next",
        "a      12,345",
        "crops       7  b.csv",
    ]
