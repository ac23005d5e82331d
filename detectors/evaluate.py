"""Evaluate a detector: its seeds' predictions become `eval.csv`, `missing.csv`, `videos.csv` and figures.

What every column means and how it is computed stands in `docs/evaluation.md`. In short: the frame level is the face
crops, each on its own; at the video level a video has one score, which comes from its face crops by the setting
`aggregation`; thresholds are chosen on validation data; and a video without a prediction is scored by the setting
`missing_score`, counted and listed, never dropped silently.
"""

from __future__ import annotations

import argparse
import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from detectors.evaluation.aggregation import AGGREGATIONS
from detectors.evaluation.leakage import read_leaked
from detectors.evaluation.metrics import METRICS, RESAMPLED, bootstrap, detection_metrics
from detectors.evaluation.record import write_record
from detectors.evaluation.runs import (
    BEST,
    DETECTOR,
    LEVELS,
    MEAN,
    STD,
    SUMMARIES,
    Run,
    labelled_videos,
    read_ledger,
    read_run,
    read_thresholds,
    with_missing_videos,
)
from detectors.figures.experiment import draw_figures
from detectors.tables import decimals, text_table, write_csv_and_page
from preprocess import versions
from preprocess.cli import UserError, run_command
from preprocess.schemas import OK, PARTIAL, VIDEO_SCORES, VIDEO_STATUS
from preprocess.settings import load_settings, setting, settings_json
from preprocess.store import Origin, write_table

log = logging.getLogger("detectors.evaluate")

VALIDATION = "validation"
INTERVAL_PERCENT = (2.5, 97.5)

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
VIDEO_COLUMNS = ("dataset", "split", "n_videos", "n_real", "n_fake", *VIDEO_STATUS, "n_face_crops")
MISSING_COLUMNS = ("video_id", "dataset", "stage", "status", "message")


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
    for dataset, of_dataset in _by_dataset(runs).items():
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


def complete_runs(runs: Sequence[Run], ledgers: dict[str, pd.DataFrame], missing_score: float | None) -> list[Run]:
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
    runs: Sequence[Run], validation: Iterable[Path], settings: EvaluateSettings
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


def missing_videos(runs: Sequence[Run], ledgers: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """The table `missing.csv`: every labelled video of the test split that at least one seed has no prediction for.

    `stage`, `status` and `message` are the ledger's; where the ledger knows of no loss, the stage is `predict`.
    """
    tables = []
    for dataset, of_dataset in _by_dataset(runs).items():
        videos = labelled_videos(ledgers[dataset], of_dataset[0].split)
        predicted = set.intersection(*(set(run.videos["video_id"][run.videos["predicted"]]) for run in of_dataset))
        missing = videos[~videos["video_id"].isin(predicted)].sort_values("video_id").assign(dataset=dataset)
        usable = missing["status"].isin([OK, PARTIAL])
        missing.loc[usable, "message"] = [
            f"{n_crops} face crops are in the store, but at least one seed has no prediction for them"
            for n_crops in missing.loc[usable, "n_crops"]
        ]
        missing.loc[usable, "stage"] = "predict"
        tables.append(missing[list(MISSING_COLUMNS)])
    return pd.concat(tables, ignore_index=True)


def video_outcomes(ledgers: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """The table `videos.csv`: what became of the videos of every data set, a row per split.

    Args:
        ledgers: By data set, as `read_ledger` gives them.

    Returns:
        `VIDEO_COLUMNS`: numbers of videos by label and by status (`preprocess.schemas`), and of their face crops.
    """
    rows = []
    for dataset, ledger in ledgers.items():
        for split, videos in ledger.fillna({"split": "none"}).groupby("split", sort=True):
            counts = videos["status"].value_counts()
            rows.append(
                {"dataset": dataset, "split": split, "n_videos": len(videos)}
                | {"n_real": int((videos["label"] == 0).sum()), "n_fake": int((videos["label"] == 1).sum())}
                | {status: int(counts.get(status, 0)) for status in VIDEO_STATUS}
                | {"n_face_crops": int(videos["n_crops"].sum())}
            )
    return pd.DataFrame(rows, columns=list(VIDEO_COLUMNS))


def score_table(runs: Sequence[Run], thresholds: dict[int, dict[str, float]]) -> pd.DataFrame:
    """The table `video_scores.parquet` (`schemas.VIDEO_SCORES`): every video of every run, with its score."""
    tables = [
        run.videos.assign(
            experiment=run.experiment, dataset=run.dataset, seed=run.seed, threshold=thresholds[run.seed]["video"]
        )
        for run in runs
        if len(run.videos)
    ]
    table = pd.concat(tables) if tables else pd.DataFrame(columns=VIDEO_SCORES.names)
    return table[VIDEO_SCORES.names]


def format_table(table: pd.DataFrame) -> str:
    """The evaluation as lines for a person: the mean row of every data set, `—` where nothing is defined.

    With several seeds, the last column holds the smallest and the largest video AUC among them.
    """
    several_seeds = STD in set(table["seed"])
    header = ["data set", "type", "domain", "videos (missing)", "frame AUC", "video AUC [95 % interval]"]
    header += ["video EER", "video accuracy"] + ["video AUC of seeds"] * several_seeds
    rows = [header]
    for row in table[table["seed"] == MEAN].to_dict("records"):
        interval = ""
        if not math.isnan(row["video_auc_low"]):
            interval = f" [{row['video_auc_low']:.3f}, {row['video_auc_high']:.3f}]"
        cells = [
            row["dataset"],
            row["type"] or "—",
            row["domain"],
            f"{row['n_videos']} ({row['n_videos_missing']})",
            decimals(row["frame_auc"]),
            decimals(row["video_auc"]) + interval,
            decimals(row["video_eer"]),
            decimals(row["video_accuracy"]),
        ]
        if several_seeds:
            of_seeds = table.loc[(table["dataset"] == row["dataset"]) & ~table["seed"].isin(SUMMARIES), "video_auc"]
            cells.append("—" if of_seeds.isna().any() else f"{of_seeds.min():.3f} to {of_seeds.max():.3f}")
        rows.append(cells)
    return text_table(rows)


def _by_dataset(runs: Iterable[Run]) -> dict[str, list[Run]]:
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(run.dataset, []).append(run)
    return groups


def _check_runs(runs: Sequence[Run], experiment: str, train: Sequence[str]) -> None:
    if not runs:
        raise UserError("there are no predictions to evaluate; name at least one file after --predictions")
    groups = _by_dataset(runs)
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


def main() -> None:
    """Command line of the evaluation."""
    parser = argparse.ArgumentParser(prog="python -m detectors.evaluate", description=__doc__.split("\n\n")[0])
    parser.add_argument("--experiment", required=True, help="name of the experiment")
    parser.add_argument("--train", nargs="+", required=True, help="data sets that the detector was trained on")
    parser.add_argument(
        "--predictions", nargs="+", type=Path, required=True, help="one file per test data set and seed"
    )
    parser.add_argument(
        "--validation", nargs="*", type=Path, default=[], help="validation.parquet of every seed, for its thresholds"
    )
    parser.add_argument("--ledgers", nargs="+", type=Path, required=True, help="the ledger of every data set")
    parser.add_argument(
        "--summaries", nargs="*", type=Path, default=[], help="summary.json of every training, for the record"
    )
    parser.add_argument(
        "--leakage", type=Path, help="leakage.csv of the experiment (python -m detectors.evaluation.leakage)"
    )
    parser.add_argument(
        "--output",
        type=Path,
        required=True,
        help="eval.csv; missing.csv, videos.csv, video_scores.parquet, record.json and tables/ are written beside it",
    )
    parser.add_argument("--figures", type=Path, required=True, help="folder for the figures")
    parser.add_argument("--settings", default="{}", help="settings as JSON")
    args = parser.parse_args()

    settings = load_settings(EvaluateSettings, args.settings)
    ledgers = dict(read_ledger(path) for path in args.ledgers)
    runs = [read_run(path, settings.aggregation) for path in args.predictions]
    runs = complete_runs(runs, ledgers, settings.missing_score)
    thresholds = choose_thresholds(runs, args.validation, settings)
    table = evaluate(
        runs,
        ledgers,
        thresholds,
        experiment=args.experiment,
        train=args.train,
        settings=settings,
        leaked=args.leakage and read_leaked(args.leakage),
    )
    missing = missing_videos(runs, ledgers)
    figures = draw_figures(args.figures, runs, table)
    tested = "+".join(dict.fromkeys(run.dataset for run in runs))
    write_table(
        args.output.with_name("video_scores.parquet"),
        pa.Table.from_pandas(score_table(runs, thresholds), VIDEO_SCORES, preserve_index=False),
        VIDEO_SCORES,
        Origin(tested, "evaluate", settings_json(settings), versions.EVALUATE),
    )
    missing_path = args.output.with_name("missing.csv")
    write_csv_and_page(missing_path, f"{args.experiment}: test videos without a score", missing)
    outcomes = video_outcomes(ledgers)
    write_csv_and_page(args.output.with_name("videos.csv"), f"{args.experiment}: what became of the videos", outcomes)
    write_record(
        args.output.with_name("record.json"),
        experiment=args.experiment,
        evaluate_settings=settings,
        ledgers=args.ledgers,
        summaries=args.summaries,
        table=table,
    )
    write_csv_and_page(args.output, f"{args.experiment}: evaluation", table)

    n_seeds = len({run.seed for run in runs})
    print(f"\n{args.experiment}, mean over {n_seeds} seeds\n" if n_seeds > 1 else f"\n{args.experiment}\n")
    print(format_table(table))
    print(f"\ntable    {args.output}\nmissing  {missing_path} ({len(missing)} videos)")
    print("figures  " + "\n         ".join(map(str, figures)))


if __name__ == "__main__":
    run_command(main)
