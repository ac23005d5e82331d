"""What an evaluation reads: the predictions of one seed on one data set, and ledgers."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from detectors.metrics import video_scores
from preprocess.cli import UserError
from preprocess.store import read_origin, read_table

LEVELS = ("frame", "video")

_SAMPLE_COLUMNS = ["video_id", "frame_index", "label", "score"]
_LEDGER_COLUMNS = ["video_id", "label", "compression", "split", "stage", "status", "message", "n_crops"]


@dataclass(frozen=True)
class Run:
    """What one seed of a detector says of one test data set; samples and videos without a label are left out.

    Attributes:
        experiment: Name of the experiment.
        seed: Seed of the training.
        dataset: Test data set.
        split: Its split that was predicted.
        train: Data sets that the detector was trained on.
        thresholds: By level; chosen on validation data, NaN when there was none to choose on.
        labels: (N,) of the samples.
        scores: (N,) of the samples.
        n_frames: Distinct frames that the samples come from.
        videos: One row per video, sorted by `video_id`: `video_id`, `label`, `score`.
    """

    experiment: str
    seed: int
    dataset: str
    split: str
    train: tuple[str, ...]
    thresholds: dict[str, float]
    labels: np.ndarray
    scores: np.ndarray
    n_frames: int
    videos: pd.DataFrame


def read_run(path: str | Path) -> Run:
    """Read a predictions file.

    Raises:
        UserError: It is absent, is no predictions file, or holds scores that are not in [0, 1].
    """
    table = read_table(path, _SAMPLE_COLUMNS)
    try:
        origin = read_origin(path)
        made_by = json.loads(origin.settings)
        thresholds = {level: made_by[f"{level}_threshold"] for level in LEVELS}
        samples = table.select(_SAMPLE_COLUMNS).to_pandas()
        names = {key: made_by[key] for key in ("experiment", "seed", "split")}
        train = tuple(made_by["train"])
    except (KeyError, ValueError) as error:
        raise UserError(f"{path} is no predictions file ({error}); make it with python -m detectors.predict") from error
    if not samples["score"].between(0, 1).all():
        n_bad = int((~samples["score"].between(0, 1)).sum())
        raise UserError(
            f"{path}: {n_bad} of {len(samples)} scores of data set {origin.dataset!r}, seed {made_by['seed']}, are not "
            "probabilities in [0, 1] or are not numbers; predict again in full precision, or look at the training log"
        )
    samples = samples.dropna(subset="label")
    return Run(
        **names,
        dataset=origin.dataset,
        train=train,
        thresholds={level: math.nan if value is None else float(value) for level, value in thresholds.items()},
        labels=samples["label"].to_numpy(np.int64),
        scores=samples["score"].to_numpy(np.float64),
        n_frames=len(samples[["video_id", "frame_index"]].drop_duplicates()),
        videos=video_scores(samples),
    )


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
