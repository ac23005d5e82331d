"""Words in figures: what they say of a row."""

from __future__ import annotations

import math

import pandas as pd

from detectors.figures.labels import figure_title, interval_text, mean_rows, panel_title, with_missing


def table(seeds: list) -> pd.DataFrame:
    return pd.DataFrame({"experiment": "ucf", "seed": seeds, "dataset": "ff"})


def test_a_title_names_the_seeds_where_there_are_several():
    assert figure_title(table([0, "mean"])) == "ucf"
    assert figure_title(table([0, 7, "mean", "std", "best"])) == "ucf, 2 seeds"


def test_a_data_set_is_the_row_of_the_mean():
    assert mean_rows(table([0, 7, "mean", "std", "best"])).index.tolist() == [2]


def test_missing_videos_are_told_where_there_are_any():
    assert with_missing({"n_videos": 5, "n_videos_missing": 0}) == "5 videos"
    assert with_missing({"n_videos": 5, "n_videos_missing": 2}) == "5 videos, 2 missing"


def test_an_interval_is_told_where_it_is_known():
    assert interval_text({"video_auc_low": 0.5, "video_auc_high": 0.75}) == "[0.500, 0.750]"
    assert interval_text({"video_auc_low": math.nan, "video_auc_high": math.nan}) == ""


def test_a_panel_is_named_by_data_set_and_domain():
    assert panel_title({"dataset": "ff", "domain": "in"}).splitlines()[0] == "ff"
    assert panel_title({"dataset": "ff", "domain": "in"}) != panel_title({"dataset": "ff", "domain": "out"})
