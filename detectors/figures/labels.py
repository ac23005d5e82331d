"""What the figures of an evaluation show and call things: the mean row of every test data set, titles, intervals."""

from __future__ import annotations

import math

import pandas as pd

from detectors.figures.style import DASHED
from detectors.measures.runs import MEAN_ROW, SUMMARY_ROWS

DOMAINS = {"in": "in domain", "out": "out of domain"}
DOMAIN_LINES = {"in": "-", "out": DASHED}


def mean_rows(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of an evaluation that are means over the seeds: one per test data set."""
    return table[table["seed"] == MEAN_ROW]


def panel_title(row: dict) -> str:
    """Name and domain of a row's data set, on two lines."""
    return f"{row['dataset']}\n{DOMAINS[row['domain']]}"


def with_missing(row: dict) -> str:
    """How many videos a row counts, and how many of them have no prediction."""
    missing = f", {row['n_videos_missing']} missing" if row["n_videos_missing"] else ""
    return f"{row['n_videos']} videos{missing}"


def interval_text(row: dict) -> str:
    """The bootstrap interval of a row's video AUC, or nothing."""
    return "" if math.isnan(row["video_auc_low"]) else f"[{row['video_auc_low']:.3f}, {row['video_auc_high']:.3f}]"


def figure_title(table: pd.DataFrame) -> str:
    """The experiment of a table, and the number of its seeds when there are several."""
    n_seeds = table.loc[~table["seed"].isin(SUMMARY_ROWS), "seed"].nunique()
    return table["experiment"].iloc[0] + (f", {n_seeds} seeds" if n_seeds > 1 else "")
