"""What the settings of the evaluation give runs: thresholds, and scores of videos without a prediction."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd

from detectors.evaluation.settings import EvaluateSettings
from detectors.measures.runs import (
    LEVELS,
    DetectorRun,
    labelled_videos,
    read_thresholds,
    with_missing_videos,
)
from preprocess.running.cli import UserError

log = logging.getLogger("detectors.evaluate")


def complete_runs(
    runs: Sequence[DetectorRun], ledgers: dict[str, pd.DataFrame], missing_score: float | None
) -> list[DetectorRun]:
    """The runs with a score for every labelled video of the split, if `missing_score` gives one.

    Raises:
        UserError: A ledger is absent, or tells of other videos than the predictions.
    """
    for run in runs:
        if run.dataset not in ledgers:
            raise UserError(f"data set {run.dataset!r} has no ledger among --ledgers: {sorted(ledgers)}")
    return [with_missing_videos(run, labelled_videos(ledgers[run.dataset], run.split), missing_score) for run in runs]


def choose_thresholds(
    runs: Sequence[DetectorRun], validation: Iterable[Path], settings: EvaluateSettings
) -> dict[int, dict[str, float]]:
    """The thresholds of every seed, by level: the setting's number, or that at the equal error rate on validation data.

    Args:
        runs: Of one experiment.
        validation: What training wrote as `validation.parquet`, one file per seed; not read for a fixed threshold.
        settings: Settings of the evaluation.

    Raises:
        UserError: A seed has no validation file, or a file is of another experiment.
    """
    seeds = sorted({run.seed for run in runs})
    if not isinstance(settings.threshold, str):
        return {seed: dict.fromkeys(LEVELS, float(settings.threshold)) for seed in seeds}
    thresholds = {}
    for path in validation:
        experiment, seed, of_seed = read_thresholds(path, settings.aggregation)
        if experiment != runs[0].experiment:
            raise UserError(f"{path} is of experiment {experiment!r}, not {runs[0].experiment!r}; name its own files")
        thresholds[seed] = of_seed
    absent = [seed for seed in seeds if seed not in thresholds]
    if absent:
        raise UserError(
            f"seed {absent[0]} has no file among --validation (seeds {sorted(thresholds)}): name its "
            "validation.parquet, or set `threshold` to a number"
        )
    if any(math.isnan(value) for seed in seeds for value in thresholds[seed].values()):
        log.warning(
            "there is no threshold, for want of validation data of both classes: accuracy, F1, precision, recall, "
            "sensitivity and specificity stay empty; set `threshold` to a number to have them"
        )
    return thresholds
