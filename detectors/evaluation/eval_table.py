"""The table `eval.csv`: made of the seeds' predictions, and read again."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from detectors.evaluation.eval_columns import EVAL_COLUMNS, EVAL_RULES, TestedSeed, interval_ends, seed_row
from detectors.evaluation.over_seeds import best_row, mean_row, std_row
from detectors.evaluation.settings import EvaluateSettings
from detectors.figures.tables import table_of
from detectors.measures.metrics import RESAMPLED, bootstrap
from detectors.measures.runs import DetectorRun, by_dataset, labelled_videos
from preprocess.running.cli import UserError

log = logging.getLogger("detectors.evaluate")

_MADE_BY = "make it with python -m detectors.evaluate"


def make_eval_table(
    runs: Sequence[DetectorRun],
    ledgers: dict[str, pd.DataFrame],
    thresholds: dict[int, dict[str, float]],
    *,
    experiment: str,
    train: Sequence[str],
    settings: EvaluateSettings,
    leaked: Mapping[str, int] | None = None,
) -> pd.DataFrame:
    """For every test data set a row per seed, then their mean, standard deviation and best.

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
        `EVAL_COLUMNS`; NaN where a value is not defined, counts are int, `seed` holds int and one of `SUMMARY_ROWS`.
        With one seed the mean is the only row over the seeds.

    Raises:
        UserError: Runs, ledgers, experiment and training sets do not belong together.
    """
    _check_runs(runs, experiment, train)
    rows = []
    for dataset, of_dataset in by_dataset(runs).items():
        videos = _videos(dataset, ledgers[dataset], of_dataset[0].split)
        tested = [
            TestedSeed(
                run=run,
                videos=videos,
                thresholds=thresholds[run.seed],
                in_domain=dataset in train,
                n_leaked=math.nan if leaked is None else leaked.get(dataset, 0),
                resampled=bootstrap(
                    *run.of_level("video"),
                    thresholds[run.seed]["video"],
                    n_resamples=settings.n_bootstrap,
                    seed=settings.bootstrap_seed,
                ),
            )
            for run in of_dataset
        ]
        rows += _rows(tested)
    return table_of(rows, EVAL_RULES)


def _videos(dataset: str, ledger: pd.DataFrame, split: str) -> pd.DataFrame:
    """The labelled videos of the split; others are told of."""
    n_unlabelled = int(((ledger["split"] == split) & ledger["label"].isna()).sum())
    if n_unlabelled:
        log.warning("data set %s: %d videos of split %s have no label and are left out", dataset, n_unlabelled, split)
    return labelled_videos(ledger, split)


def _rows(tested: Sequence[TestedSeed]) -> list[dict]:
    """The rows of one data set."""
    seeds = [seed_row(of_seed) for of_seed in tested]
    rows = [*seeds, mean_row(EVAL_RULES, seeds) | _intervals_of_mean(tested)]
    if len(seeds) > 1:
        # a set of one class has no AUC, whatever the seed
        metric = "video_accuracy" if math.isnan(seeds[0]["video_auc"]) else "video_auc"
        rows += [std_row(EVAL_RULES, seeds), best_row(EVAL_RULES, seeds, metric)]
    return rows


def _intervals_of_mean(tested: Sequence[TestedSeed]) -> dict[str, float]:
    """Nothing where the seeds scored different videos.

    Otherwise resample i holds the same videos for every seed, so the mean over the seeds has an interval of its own.
    """
    videos = [of_seed.run.videos["video_id"] for of_seed in tested]
    if not all(of_seed.equals(videos[0]) for of_seed in videos):
        return {}
    return interval_ends({name: np.mean([of_seed.resampled[name] for of_seed in tested], axis=0) for name in RESAMPLED})


def _check_runs(runs: Sequence[DetectorRun], experiment: str, train: Sequence[str]) -> None:
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


def read_eval_tables(paths: Sequence[str | Path]) -> pd.DataFrame:
    """The rows of several `eval.csv`, in their order; `seed` is text.

    Raises:
        UserError: A file is absent or is no evaluation, or an experiment comes twice.
    """
    tables: dict[str, pd.DataFrame] = {}
    for path in paths:
        try:
            table = pd.read_csv(path, dtype={"seed": str, "experiment": str, "dataset": str})
        except (OSError, ValueError) as error:
            raise UserError(f"{path} is no evaluation ({error}); {_MADE_BY}") from error
        absent = [column.name for column in EVAL_COLUMNS if column.name not in table]
        if absent or table.empty:
            what = f"it lacks {', '.join(map(repr, absent[:3]))}" if absent else "it has no row"
            raise UserError(f"{path} is no evaluation, or one of an older version ({what}); {_MADE_BY}")
        name = table["experiment"].iloc[0]
        if name in tables:
            raise UserError(f"{path} is of experiment {name!r}, of which another file was named before")
        tables[name] = table
    if not tables:
        raise UserError("there are no evaluations; name at least one eval.csv")
    return pd.concat(tables.values(), ignore_index=True)
