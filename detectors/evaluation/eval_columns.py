"""The columns of `eval.csv`: for each its name, how the value of one seed is computed, and its rule over the seeds.

Whatever else knows of columns follows from `EVAL_COLUMNS`. Whoever adds one (or a metric, to `metrics.METRICS`) also
tells its meaning in docs/evaluation.md and raises `versions.EVALUATE`; tests fail until both are done.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from detectors.evaluation.over_seeds import ALIKE, COUNT, INTERVAL, METRIC, SEED, THRESHOLD, Rule
from detectors.measures.metrics import INTERVAL_PERCENT, METRICS, RESAMPLED, detection_metrics
from detectors.measures.runs import LEVELS, DetectorRun

# besides over all videos, also over those that have a prediction
OF_PREDICTED = ("auc", "accuracy")


@dataclass(frozen=True)
class TestedSeed:
    """One seed on one test data set: what its row is made of.

    Attributes:
        run: What it says of the data set, missing videos added where they have a score.
        videos: Labelled videos of the split in the ledger, lost ones included.
        thresholds: By level.
        in_domain: Whether the detector was trained on the data set.
        n_leaked: Test videos that share something with the training set; NaN when nobody has looked.
        resampled: As `metrics.bootstrap` gives it of the videos.
    """

    run: DetectorRun
    videos: pd.DataFrame
    thresholds: dict[str, float]
    in_domain: bool
    n_leaked: float
    resampled: dict[str, np.ndarray]

    @cached_property
    def metrics(self) -> dict[str, dict[str, float]]:
        """All metrics, by level."""
        return {level: detection_metrics(*self.run.of_level(level), self.thresholds[level]) for level in LEVELS}

    @cached_property
    def metrics_of_predicted(self) -> dict[str, float]:
        """All metrics of the videos that have a prediction."""
        predicted = self.run.videos[self.run.videos["predicted"]]
        return detection_metrics(predicted["label"], predicted["score"], self.thresholds["video"])

    @cached_property
    def intervals(self) -> dict[str, float]:
        """The ends of the bootstrap intervals, by column."""
        return interval_ends(self.resampled)

    @property
    def n_missing(self) -> int:
        """Labelled videos without a prediction."""
        return len(self.videos) - int(self.run.videos["predicted"].sum())

    @property
    def classes(self) -> str:
        """Classes among the labelled videos; empty without any."""
        present = tuple(sorted(self.videos["label"].unique()))
        return {(0,): "Real", (1,): "Fake", (0, 1): "Fake+Real"}.get(present, "")


@dataclass(frozen=True)
class Column:
    """A column of `eval.csv`.

    Attributes:
        name: Its heading.
        over_seeds: What it holds in the rows over the seeds.
        of: Its value for one seed on one data set.
    """

    name: str
    over_seeds: Rule
    of: Callable[[TestedSeed], object]


def _metric(level: str, metric: str) -> Column:
    return Column(f"{level}_{metric}", METRIC, lambda tested: tested.metrics[level][metric])


def _threshold(level: str) -> Column:
    return Column(f"{level}_threshold", THRESHOLD, lambda tested: tested.thresholds[level])


def _interval_end(metric: str, end: str) -> Column:
    name = f"video_{metric}_{end}"
    return Column(name, INTERVAL, lambda tested: tested.intervals[name])


def _metric_of_predicted(metric: str) -> Column:
    return Column(f"video_{metric}_predicted", METRIC, lambda tested: tested.metrics_of_predicted[metric])


EVAL_COLUMNS = (
    Column("experiment", ALIKE, lambda tested: tested.run.experiment),
    Column("seed", SEED, lambda tested: tested.run.seed),
    Column("dataset", ALIKE, lambda tested: tested.run.dataset),
    Column("type", ALIKE, lambda tested: tested.classes),
    Column("domain", ALIKE, lambda tested: "in" if tested.in_domain else "out"),
    Column("split", ALIKE, lambda tested: tested.run.split),
    Column("compression", ALIKE, lambda tested: "+".join(sorted(tested.videos["compression"].unique()))),
    Column("n_videos", ALIKE, lambda tested: len(tested.videos)),
    Column("n_videos_fake", ALIKE, lambda tested: int((tested.videos["label"] == 1).sum())),
    Column("n_videos_missing", COUNT, lambda tested: tested.n_missing),
    Column("n_videos_leaked", ALIKE, lambda tested: tested.n_leaked),
    Column("n_frames", COUNT, lambda tested: tested.run.n_frames),
    Column("n_faces", COUNT, lambda tested: len(tested.run.labels)),
    Column("n_faces_fake", COUNT, lambda tested: int(tested.run.labels.sum())),
    *(column for level in LEVELS for column in (*(_metric(level, name) for name in METRICS), _threshold(level))),
    *(_interval_end(metric, end) for metric in RESAMPLED for end in ("low", "high")),
    *(_metric_of_predicted(metric) for metric in OF_PREDICTED),
)
EVAL_RULES = {column.name: column.over_seeds for column in EVAL_COLUMNS}


def seed_row(tested: TestedSeed) -> dict:
    """The row of one seed on one data set: a value for every column."""
    return {column.name: column.of(tested) for column in EVAL_COLUMNS}


def interval_ends(resampled: dict[str, np.ndarray]) -> dict[str, float]:
    """The ends of the 95 % bootstrap intervals, by column; NaN where nothing is defined.

    Args:
        resampled: (n_resamples,) by metric, as `metrics.bootstrap` gives them, or their means over the seeds.
    """
    ends: dict[str, float] = {}
    for metric, values in resampled.items():
        low, high = np.percentile(values, INTERVAL_PERCENT)
        ends |= {f"video_{metric}_low": float(low), f"video_{metric}_high": float(high)}
    return ends
