"""What an evaluation reads: the predictions of one seed on one data set, its thresholds, and ledgers."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from detectors.measures.aggregation import AGGREGATIONS, BOX_COLUMNS, video_scores
from detectors.measures.metrics import equal_error_rate
from preprocess.running.cli import UserError
from preprocess.store.origin import read_origin
from preprocess.store.tables import read_table
from preprocess.video.outcomes import UNUSED

LEVELS = ("frame", "video")

# in the column `seed` of eval.csv: rows over the seeds
MEAN_ROW, STD_ROW, BEST_ROW = "mean", "std", "best"
SUMMARY_ROWS = (MEAN_ROW, STD_ROW, BEST_ROW)

# the aggregation that a detector was published with
DETECTOR = "detector"

_SAMPLE_COLUMNS = ["video_id", "frame_index", "label", *BOX_COLUMNS, "score"]
_LEDGER_COLUMNS = ["video_id", "label", "compression", "split", "stage", "status", "message", "n_crops"]


@dataclass(frozen=True)
class DetectorRun:
    """What one seed of a detector says of one test data set; samples and videos without a label are left out.

    Attributes:
        experiment: Name of the experiment.
        seed: Seed of the training.
        dataset: Test data set.
        split: Its split that was predicted.
        train: Data sets that the detector was trained on.
        aggregation: How the videos' scores come from their samples, one of `AGGREGATIONS`.
        labels: (N,) of the samples.
        scores: (N,) of the samples.
        n_frames: Distinct frames that the samples come from.
        videos: One row per video, sorted by `video_id`: `video_id`, `label`, `score`, and `predicted`, which is false
            where the score stands for a video without samples (`with_missing_videos`).
    """

    experiment: str
    seed: int
    dataset: str
    split: str
    train: tuple[str, ...]
    aggregation: str
    labels: np.ndarray
    scores: np.ndarray
    n_frames: int
    videos: pd.DataFrame

    def of_level(self, level: str) -> tuple[np.ndarray, np.ndarray]:
        """Labels (N,) and scores (N,) of the face crops (`frame`) or of the videos (`video`)."""
        if level == "frame":
            return self.labels, self.scores
        return self.videos["label"].to_numpy(), self.videos["score"].to_numpy()


def by_dataset(runs: Iterable[DetectorRun]) -> dict[str, list[DetectorRun]]:
    """The runs of each test data set, in the order of their appearance."""
    groups: dict[str, list[DetectorRun]] = {}
    for run in runs:
        groups.setdefault(run.dataset, []).append(run)
    return groups


def read_run(path: str | Path, aggregation: str = DETECTOR) -> DetectorRun:
    """Read a predictions file.

    Args:
        path: What `detectors.predict` wrote.
        aggregation: One of `AGGREGATIONS`, or `detector` for that of the detector.

    Raises:
        UserError: It is absent, is no predictions file, or holds scores that are not in [0, 1].
    """
    return make_run(*read_predictions(path), aggregation)


def make_run(samples: pd.DataFrame, dataset: str, made_by: dict, aggregation: str = DETECTOR) -> DetectorRun:
    """A run of labelled samples, as `read_predictions` gives them, or of a part of them.

    Raises:
        UserError: There is no such aggregation.
    """
    aggregation = _resolved(aggregation, made_by)
    return DetectorRun(
        **{key: made_by[key] for key in ("experiment", "seed", "split")},
        dataset=dataset,
        train=tuple(made_by["train"]),
        aggregation=aggregation,
        labels=samples["label"].to_numpy(np.int64),
        scores=samples["score"].to_numpy(np.float64),
        n_frames=len(samples[["video_id", "frame_index"]].drop_duplicates()),
        videos=video_scores(samples, aggregation).assign(predicted=True),
    )


def read_thresholds(path: str | Path, aggregation: str = DETECTOR) -> tuple[str, int, dict[str, float]]:
    """The thresholds at the equal error rate on what training says of its validation samples.

    Args:
        path: `validation.parquet` of one seed.
        aggregation: As for `read_run`: a threshold holds for one aggregation.

    Returns:
        Experiment, seed, and the threshold of each level; NaN where the samples are not of both classes.

    Raises:
        UserError: As `read_run`.
    """
    samples, _, made_by = read_predictions(path)
    return made_by["experiment"], made_by["seed"], equal_error_thresholds(samples, _resolved(aggregation, made_by))


def equal_error_thresholds(samples: pd.DataFrame, aggregation: str) -> dict[str, float]:
    """The thresholds at the equal error rate, by level; NaN where the samples are not of both classes.

    Args:
        samples: Labelled and scored, as `aggregation.video_scores` reads them.
        aggregation: One of `AGGREGATIONS`.
    """
    tables = {"frame": samples, "video": video_scores(samples, aggregation)}
    return {level: equal_error_rate(table["label"], table["score"])[1] for level, table in tables.items()}


def read_predictions(path: str | Path, columns: Sequence[str] = ()) -> tuple[pd.DataFrame, str, dict]:
    """The labelled samples of a predictions file, the data set, and what the file says of its making.

    Args:
        path: What `detectors.predict` wrote, or something like it.
        columns: To read besides those of an evaluation.

    Raises:
        UserError: As `read_run`.
    """
    columns = [*_SAMPLE_COLUMNS, *columns]
    table = read_table(path, columns)
    try:
        origin = read_origin(path)
        made_by = json.loads(origin.settings)
        made_by = {key: made_by[key] for key in ("experiment", "seed", "split", "train", "aggregation")}
        samples = table.select(columns).to_pandas()
    except (KeyError, ValueError) as error:
        raise UserError(f"{path} is no predictions file ({error}); make it with python -m detectors.predict") from error
    if not samples["score"].between(0, 1).all():
        n_bad = int((~samples["score"].between(0, 1)).sum())
        raise UserError(
            f"{path}: {n_bad} of {len(samples)} scores of data set {origin.dataset!r}, seed {made_by['seed']}, are not "
            "probabilities in [0, 1] or are not numbers; predict again in full precision, or look at the training log"
        )
    return samples.dropna(subset="label").astype({"label": np.int64}), origin.dataset, made_by


def _resolved(aggregation: str, made_by: dict) -> str:
    if aggregation not in (DETECTOR, *AGGREGATIONS):
        raise UserError(f"aggregation: found {aggregation!r}; allowed: {', '.join((DETECTOR, *AGGREGATIONS))}")
    return made_by["aggregation"] if aggregation == DETECTOR else aggregation


def read_ledger(path: str | Path) -> tuple[str, pd.DataFrame]:
    """Name of the data set, and its ledger: one row per video of the index.

    Raises:
        UserError: The file is absent or is no ledger.
    """
    table = read_table(path, _LEDGER_COLUMNS)
    try:
        return read_origin(path).dataset, table.select(_LEDGER_COLUMNS).to_pandas()
    except KeyError as error:
        raise UserError(f"{path} is no ledger ({error}); make it with python -m preprocess.samples") from error


def labelled_videos(ledger: pd.DataFrame, split: str) -> pd.DataFrame:
    """Rows of the videos that an evaluation of a split counts: those with a label that no setting leaves out."""
    asked = (ledger["split"] == split) & (ledger["status"] != UNUSED)
    return ledger[asked & ledger["label"].notna()].astype({"label": np.int64})


def with_missing_videos(run: DetectorRun, labelled: pd.DataFrame, missing_score: float | None) -> DetectorRun:
    """The run with a score for the labelled videos that it has no samples of.

    Args:
        run: As `read_run` gives it.
        labelled: Rows of the ledger, as `labelled_videos` gives them.
        missing_score: Score of a video without samples; None leaves it out.

    Raises:
        UserError: The run and the ledger do not tell of the same videos: older predictions would give wrong counts.
    """
    label_of = labelled.set_index("video_id")["label"]
    labels = run.videos["video_id"].map(label_of)
    for wrong, what in (
        (labels.isna(), f"is not a labelled video of the split {run.split!r} in the ledger"),
        (labels != run.videos["label"], "has another label in the ledger"),
    ):
        if wrong.any():
            raise UserError(
                f"data set {run.dataset!r}, seed {run.seed}: the predicted video "
                f"{run.videos['video_id'][wrong].iloc[0]!r} {what} ({int(wrong.sum())} such videos); predictions and "
                "samples are of different dates: predict again"
            )
    missing = labelled.loc[~labelled["video_id"].isin(run.videos["video_id"]), ["video_id", "label"]]
    if missing_score is None or missing.empty:
        return run
    added = missing.assign(score=float(missing_score), predicted=False)
    # pandas warns of types when it joins to an empty table
    tables = [table for table in (run.videos, added) if len(table)]
    return replace(run, videos=pd.concat(tables).sort_values("video_id", ignore_index=True))
