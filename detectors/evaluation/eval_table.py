"""The table `eval.csv`: the metrics of every seed on every test data set, and what sums the seeds up."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from detectors.evaluation.settings import EvaluateSettings
from detectors.measures.metrics import INTERVAL_PERCENT, METRICS, RESAMPLED, bootstrap, detection_metrics
from detectors.measures.runs import BEST, LEVELS, MEAN, STD, Run, by_dataset, labelled_videos
from preprocess.running.cli import UserError

log = logging.getLogger("detectors.evaluate")

COUNTS = ("n_videos_missing", "n_frames", "n_faces", "n_faces_fake")
INTERVALS = tuple(f"video_{metric}_{end}" for metric in RESAMPLED for end in ("low", "high"))
# over the videos that have a prediction
OF_PREDICTED = ("auc", "accuracy")
MEASURED = (
    *(f"{level}_{metric}" for level in LEVELS for metric in METRICS),
    *(f"video_{metric}_predicted" for metric in OF_PREDICTED),
)
COLUMNS = (
    *("experiment", "seed", "dataset", "type", "domain", "split", "compression"),
    *("n_videos", "n_videos_fake", "n_videos_missing", "n_videos_leaked", "n_frames", "n_faces", "n_faces_fake"),
    *(f"{level}_{metric}" for level in LEVELS for metric in (*METRICS, "threshold")),
    *INTERVALS,
    *(f"video_{metric}_predicted" for metric in OF_PREDICTED),
)


def evaluate(
    runs: Sequence[Run],
    ledgers: dict[str, pd.DataFrame],
    thresholds: dict[int, dict[str, float]],
    *,
    experiment: str,
    train: Sequence[str],
    settings: EvaluateSettings,
    leaked: Mapping[str, int] | None = None,
) -> pd.DataFrame:
    """The table `eval.csv`: for every test data set a row per seed, then their mean, standard deviation and best.

    Args:
        runs: Every seed on every test data set, as `complete_runs` gives them; rows follow the order in which data
            sets and seeds appear.
        ledgers: By data set, as `read_ledger` gives them.
        thresholds: By seed and level, as `choose_thresholds` gives them.
        experiment: Name of the experiment.
        train: Data sets that the detector was trained on; they are `in` domain.
        settings: Settings of the evaluation.
        leaked: By data set, test videos that share something with the training set; None when nobody has looked.

    Returns:
        `COLUMNS`; NaN where a value is not defined, counts are int, `seed` holds int and one of `SUMMARIES`. With one
        seed the mean is the only summary.

    Raises:
        UserError: Runs, ledgers, experiment and training sets do not belong together.
    """
    _check_runs(runs, experiment, train)
    rows = []
    for dataset, of_dataset in by_dataset(runs).items():
        split = of_dataset[0].split
        videos = labelled_videos(ledgers[dataset], split)
        n_unlabelled = int(((ledgers[dataset]["split"] == split) & ledgers[dataset]["label"].isna()).sum())
        if n_unlabelled:
            log.warning(
                "data set %s: %d videos of split %s have no label and are left out", dataset, n_unlabelled, split
            )
        same = {
            "experiment": experiment,
            "dataset": dataset,
            "type": {(0,): "Real", (1,): "Fake", (0, 1): "Fake+Real"}.get(tuple(sorted(videos["label"].unique())), ""),
            "domain": "in" if dataset in train else "out",
            "split": split,
            "compression": "+".join(sorted(videos["compression"].unique())),
            "n_videos": len(videos),
            "n_videos_fake": int((videos["label"] == 1).sum()),
            "n_videos_leaked": math.nan if leaked is None else leaked.get(dataset, 0),
        }
        of_seeds, resampled = [], []
        for run in of_dataset:
            values = bootstrap(
                *run.of_level("video"),
                thresholds[run.seed]["video"],
                n_resamples=settings.n_bootstrap,
                seed=settings.bootstrap_seed,
            )
            of_seeds.append({**same, **_measure(run, len(videos), thresholds[run.seed]), **_intervals(values)})
            resampled.append(values)
        # Resample i holds the same videos for every seed, so the mean over the seeds has an interval of its own,
        # if only all seeds scored the same videos.
        same_videos = all(run.videos["video_id"].equals(of_dataset[0].videos["video_id"]) for run in of_dataset)
        means = {name: np.mean([values[name] for values in resampled], axis=0) for name in RESAMPLED}
        rows += [*of_seeds, {**_mean(of_seeds), **_intervals(means if same_videos else {})}]
        if len(of_seeds) > 1:
            rows += [_std(of_seeds), _best(of_seeds)]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _check_runs(runs: Sequence[Run], experiment: str, train: Sequence[str]) -> None:
    if not runs:
        raise UserError("there are no predictions to evaluate; name at least one file after --predictions")
    groups = by_dataset(runs)
    seeds = [run.seed for run in next(iter(groups.values()))]
    for run in runs:
        where = f"the predictions of data set {run.dataset!r}, seed {run.seed},"
        if run.experiment != experiment:
            raise UserError(f"{where} are of experiment {run.experiment!r}, not {experiment!r}; name its own files")
        if set(run.train) != set(train):
            raise UserError(
                f"{where} come from a detector trained on {sorted(run.train)}, but --train says {sorted(train)}; "
                "predict again, or mend --train"
            )
    for dataset, of_dataset in groups.items():
        found = [run.seed for run in of_dataset]
        if sorted(found) != sorted(set(seeds)):
            raise UserError(
                f"data set {dataset!r} has predictions of the seeds {found}, data set {runs[0].dataset!r} of {seeds}; "
                "a mean needs every seed once on every data set"
            )
        splits = sorted({run.split for run in of_dataset})
        if len(splits) > 1:
            raise UserError(f"data set {dataset!r} has predictions of the splits {splits}; evaluate one at a time")


def _measure(run: Run, n_videos: int, thresholds: dict[str, float]) -> dict:
    row = {
        "seed": run.seed,
        "n_videos_missing": n_videos - int(run.videos["predicted"].sum()),
        "n_frames": run.n_frames,
        "n_faces": len(run.labels),
        "n_faces_fake": int(run.labels.sum()),
    }
    for level in LEVELS:
        metrics = detection_metrics(*run.of_level(level), thresholds[level])
        row |= {f"{level}_{metric}": value for metric, value in metrics.items()}
        row[f"{level}_threshold"] = thresholds[level]
    predicted = run.videos[run.videos["predicted"]]
    of_predicted = detection_metrics(predicted["label"], predicted["score"], thresholds["video"])
    return row | {f"video_{metric}_predicted": of_predicted[metric] for metric in OF_PREDICTED}


def _intervals(resampled: dict[str, np.ndarray]) -> dict[str, float]:
    """By column of `INTERVALS`; NaN where there is nothing, or nothing defined."""
    ends = dict.fromkeys(INTERVALS, math.nan)
    for metric, values in resampled.items():
        low, high = np.percentile(values, INTERVAL_PERCENT)
        ends |= {f"video_{metric}_low": float(low), f"video_{metric}_high": float(high)}
    return ends


def _mean(rows: list[dict]) -> dict:
    """Mean of the seeds' rows: not defined where one of them is not; a threshold only where all agree."""
    mean = {**rows[0], "seed": MEAN}
    for column in MEASURED:
        mean[column] = float(np.mean([row[column] for row in rows]))
    for column in COUNTS:
        # rounded up: a video that one seed misses stays visible
        mean[column] = math.ceil(np.mean([row[column] for row in rows]))
    for level in LEVELS:
        if len({row[f"{level}_threshold"] for row in rows}) > 1:
            mean[f"{level}_threshold"] = math.nan
    return mean


def _std(rows: list[dict]) -> dict:
    """Sample standard deviation over the seeds; the counts are the mean's."""
    std = {**_mean(rows), "seed": STD, **dict.fromkeys(INTERVALS, math.nan)}
    for column in (*MEASURED, *(f"{level}_threshold" for level in LEVELS)):
        std[column] = float(np.std([row[column] for row in rows], ddof=1))
    return std


def _best(rows: list[dict]) -> dict:
    """The row of the seed with the highest video AUC, or, in a set of one class, the highest video accuracy.

    The first of equals; where neither is defined, none is the best and nothing is given.
    """
    metric = "video_auc" if not math.isnan(rows[0]["video_auc"]) else "video_accuracy"
    if any(math.isnan(row[metric]) for row in rows):
        empty = dict.fromkeys((*MEASURED, *INTERVALS, *(f"{level}_threshold" for level in LEVELS)), math.nan)
        return {**_mean(rows), "seed": BEST, **empty}
    return {**max(rows, key=lambda row: row[metric]), "seed": BEST}
