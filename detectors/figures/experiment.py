"""All figures of an evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pandas as pd

from detectors.figures.curves import draw_precision_recall, draw_roc
from detectors.figures.style import write_figure
from detectors.figures.thresholds import draw_confusion, draw_scores, draw_thresholds
from detectors.measures.runs import DetectorRun

FIGURES = {
    "roc": draw_roc,
    "precision_recall": draw_precision_recall,
    "scores": draw_scores,
    "thresholds": draw_thresholds,
    "confusion": draw_confusion,
}


def draw_figures(folder: str | Path, runs: Sequence[DetectorRun], table: pd.DataFrame) -> list[Path]:
    """Draw all figures of an evaluation.

    Args:
        folder: Where each of `FIGURES` is written, as .png and .svg.
        runs: Every seed on every test data set, as `detectors.evaluation.thresholds.complete_runs` gives them.
        table: What `detectors.evaluation.eval_table.make_eval_table` made of them.

    Returns:
        The files written.
    """
    return [
        path for name, draw in FIGURES.items() for path in write_figure(Path(folder) / name, partial(draw, runs, table))
    ]
