"""Settings of the evaluation, and what they give runs: thresholds, and scores of videos without a prediction."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from detectors.measures.aggregation import AGGREGATIONS
from detectors.measures.runs import (
    DETECTOR,
    LEVELS,
    DetectorRun,
    labelled_videos,
    read_thresholds,
    with_missing_videos,
)
from preprocess.running.cli import UserError
from preprocess.running.settings import setting

log = logging.getLogger("detectors.evaluate")

VALIDATION = "validation"


@dataclass(frozen=True)
class EvaluateSettings:
    """Settings of the evaluation."""

    n_bootstrap: int = setting(
        1000, "Resamples of the videos for the interval of the video AUC; more for a smoother interval.", minimum=1
    )
    bootstrap_seed: int = setting(0, "Seed of the resamples; change it to see how much it matters.", minimum=0)
    threshold: str | float = setting(
        VALIDATION,
        "Score from which a face or video counts as fake: `validation` for the equal error rate on the "
        "validation data, or a number in [0, 1] to compare with work that fixes one.",
        minimum=0,
        maximum=1,
        pattern=VALIDATION,
    )
    aggregation: str = setting(
        DETECTOR,
        "How a video's score comes from its face crops; `detector` is the detector's own, another is for comparing.",
        choices=(DETECTOR, *AGGREGATIONS),
    )
    missing_score: float | None = setting(
        0.5,
        "Score of a test video without a prediction, in [0, 1]; null leaves such videos out of the metrics, as some "
        "published figures do.",
        minimum=0,
        maximum=1,
    )


def complete_runs(
    runs: Sequence[DetectorRun], ledgers: dict[str, pd.DataFrame], missing_score: float | None
) -> list[DetectorRun]:
    """The runs with a score for every labelled video of the split, if `missing_score` gives one.

    Raises:
        UserError: A ledger is absent, or tells of other videos than the predictions.
    """
    if missing_score is not None and not 0 <= missing_score <= 1:
        raise UserError(f"missing_score: found {missing_score!r}; allowed: a number in [0, 1], or null")
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
        UserError: A seed has no validation file, a file is of another experiment, or the setting says nothing known.
    """
    seeds = sorted({run.seed for run in runs})
    if not isinstance(settings.threshold, str):
        if not 0 <= settings.threshold <= 1:
            raise UserError(f"threshold: found {settings.threshold!r}; a number must be in [0, 1]")
        return {seed: dict.fromkeys(LEVELS, float(settings.threshold)) for seed in seeds}
    if settings.threshold != VALIDATION:
        raise UserError(f"threshold: found {settings.threshold!r}; allowed: {VALIDATION!r} or a number in [0, 1]")
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
