"""Evaluate a detector: its seeds' predictions become `eval.csv`, `missing.csv`, `videos.csv` and figures.

What every column means and how it is computed stands in `docs/evaluation.md`. In short: the frame level is
the face crops, each on its own; the video level is the mean over a video's face crops; thresholds were
chosen on validation data; and a video without a prediction is counted and listed, never dropped silently.
"""

from __future__ import annotations

import argparse
import logging
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from detectors.figures import draw_figures
from detectors.html_tables import write_html
from detectors.metrics import METRICS, bootstrap_auc, detection_metrics
from detectors.runs import LEVELS, Run, read_ledger, read_run
from preprocess.cli import UserError, run_command
from preprocess.schemas import OK, PARTIAL, VIDEO_STATUS
from preprocess.settings import load_settings, setting
from preprocess.store import atomic_path

log = logging.getLogger("detectors.evaluate")

MEAN = "mean"  # in the column `seed`: the row is the mean over the seeds
VALIDATION = "validation"
INTERVAL_PERCENT = (2.5, 97.5)

COUNTS = ("n_videos", "n_videos_missing", "n_frames")
MEASURED = tuple(f"{level}_{metric}" for level in LEVELS for metric in METRICS)
COLUMNS = (
    *("experiment", "seed", "dataset", "type", "domain", "split", "compression"),
    *COUNTS,
    *(f"{level}_{metric}" for level in LEVELS for metric in (*METRICS, "threshold")),
    *("video_auc_low", "video_auc_high"),
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


def evaluate(
    runs: Sequence[Run],
    ledgers: dict[str, pd.DataFrame],
    *,
    experiment: str,
    train: Sequence[str],
    settings: EvaluateSettings,
) -> pd.DataFrame:
    """The table `eval.csv`: for every test data set a row per seed and one for their mean.

    Args:
        runs: Every seed on every test data set; rows follow the order in which data sets and seeds appear.
        ledgers: By data set, as `read_ledger` gives them.
        experiment: Name of the experiment.
        train: Data sets that the detector was trained on; they are `in` domain.
        settings: Settings of the evaluation.

    Returns:
        `COLUMNS`; NaN where a value is not defined, counts are int, `seed` holds int and "mean".

    Raises:
        UserError: Runs, ledgers, experiment and training sets do not belong together.
    """
    if isinstance(settings.threshold, str):
        if settings.threshold != VALIDATION:
            raise UserError(f"threshold: found {settings.threshold!r}; allowed: {VALIDATION!r} or a number in [0, 1]")
    elif not 0 <= settings.threshold <= 1:
        raise UserError(f"threshold: found {settings.threshold!r}; a number must be in [0, 1]")
    _check_runs(runs, ledgers, experiment, train)
    if settings.threshold == VALIDATION and any(math.isnan(value) for run in runs for value in run.thresholds.values()):
        log.warning(
            "training chose no threshold, for want of validation data of both classes: accuracy, F1, sensitivity and "
            "specificity stay empty; set `threshold` to a number to have them"
        )
    rows = []
    for dataset, of_dataset in _by_dataset(runs).items():
        split = of_dataset[0].split
        videos = _labelled_videos(ledgers[dataset], split)
        n_unlabelled = int((ledgers[dataset]["split"] == split).sum()) - len(videos)
        if n_unlabelled:
            log.warning(
                "data set %s: %d videos of split %s have no label and are left out", dataset, n_unlabelled, split
            )
        names = {
            "experiment": experiment,
            "dataset": dataset,
            "type": {(0,): "Real", (1,): "Fake", (0, 1): "Fake+Real"}.get(tuple(sorted(videos["label"].unique())), ""),
            "domain": "in" if dataset in train else "out",
            "split": split,
            "compression": "+".join(sorted(videos["compression"].unique())),
        }
        of_seeds, resampled = [], []
        for run in of_dataset:
            _check_videos(run, videos)
            labels, scores = run.videos["label"], run.videos["score"]
            aucs = bootstrap_auc(labels, scores, n_resamples=settings.n_bootstrap, seed=settings.bootstrap_seed)
            of_seeds.append({**names, **_measure(run, len(videos), settings), **_interval(aucs)})
            resampled.append(aucs)
        # Resample i holds the same videos for every seed, so the mean over the seeds has an interval of its own,
        # if only all seeds predicted the same videos.
        same_videos = all(run.videos["video_id"].equals(of_dataset[0].videos["video_id"]) for run in of_dataset)
        interval = _interval(np.mean(resampled, axis=0) if same_videos else np.empty(0))
        rows += [*of_seeds, {**_mean(of_seeds), **interval}]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def missing_videos(runs: Sequence[Run], ledgers: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """The table `missing.csv`: every labelled video of the test split that at least one seed has no prediction for.

    `stage`, `status` and `message` are the ledger's; where the ledger knows of no loss, the stage is `predict`.
    """
    tables = []
    for dataset, of_dataset in _by_dataset(runs).items():
        videos = _labelled_videos(ledgers[dataset], of_dataset[0].split)
        predicted = set.intersection(*(set(run.videos["video_id"]) for run in of_dataset))
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


def format_table(table: pd.DataFrame) -> str:
    """The evaluation as lines for a person: the mean row of every data set, `—` where nothing is defined.

    With several seeds, the last column holds the smallest and the largest video AUC among them.
    """
    several_seeds = len(table["seed"].unique()) > 2
    header = ["data set", "type", "domain", "videos (missing)", "frame AUC", "video AUC [95 % interval]"]
    header += ["video EER", "video accuracy"] + ["video AUC of seeds"] * several_seeds
    lines = [header]
    for row in table[table["seed"] == MEAN].to_dict("records"):
        interval = ""
        if not math.isnan(row["video_auc_low"]):
            interval = f" [{row['video_auc_low']:.3f}, {row['video_auc_high']:.3f}]"
        line = [
            row["dataset"],
            row["type"] or "—",
            row["domain"],
            f"{row['n_videos']} ({row['n_videos_missing']})",
            _readable(row["frame_auc"]),
            _readable(row["video_auc"]) + interval,
            _readable(row["video_eer"]),
            _readable(row["video_accuracy"]),
        ]
        if several_seeds:
            of_seeds = table.loc[(table["dataset"] == row["dataset"]) & (table["seed"] != MEAN), "video_auc"]
            line.append("—" if of_seeds.isna().any() else f"{of_seeds.min():.3f} to {of_seeds.max():.3f}")
        lines.append(line)
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    lines.insert(1, ["-" * width for width in widths])
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def write_csv(path: str | Path, table: pd.DataFrame) -> None:
    """Write a table as CSV with six significant digits and empty cells for what is not defined."""
    with atomic_path(path) as temporary:
        table.to_csv(temporary, index=False, float_format="%.6g", na_rep="", lineterminator="\n")


def _by_dataset(runs: Iterable[Run]) -> dict[str, list[Run]]:
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(run.dataset, []).append(run)
    return groups


def _labelled_videos(ledger: pd.DataFrame, split: str) -> pd.DataFrame:
    return ledger[(ledger["split"] == split) & ledger["label"].notna()].astype({"label": np.int64})


def _check_runs(runs: Sequence[Run], ledgers: dict[str, pd.DataFrame], experiment: str, train: Sequence[str]) -> None:
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
        if dataset not in ledgers:
            raise UserError(f"data set {dataset!r} has no ledger among --ledgers: {sorted(ledgers)}")


def _check_videos(run: Run, videos: pd.DataFrame) -> None:
    """Predictions and ledger must tell of the same videos: older predictions would give wrong counts."""
    labels = run.videos["video_id"].map(videos.set_index("video_id")["label"])
    where = f"data set {run.dataset!r}, seed {run.seed}:"
    for wrong, what in (
        (labels.isna(), f"is not a labelled video of the split {run.split!r} in the ledger"),
        (labels != run.videos["label"], "has another label in the ledger"),
    ):
        if wrong.any():
            raise UserError(
                f"{where} the predicted video {run.videos['video_id'][wrong].iloc[0]!r} {what} "
                f"({int(wrong.sum())} such videos); predictions and samples are of different dates: predict again"
            )


def _measure(run: Run, n_videos: int, settings: EvaluateSettings) -> dict:
    row = {
        "seed": run.seed,
        "n_videos": n_videos,
        "n_videos_missing": n_videos - len(run.videos),
        "n_frames": run.n_frames,
    }
    by_level = {"frame": (run.labels, run.scores), "video": (run.videos["label"], run.videos["score"])}
    for level, (labels, scores) in by_level.items():
        threshold = run.thresholds[level] if settings.threshold == VALIDATION else float(settings.threshold)
        metrics = detection_metrics(labels, scores, threshold)
        row |= {f"{level}_{metric}": value for metric, value in metrics.items()}
        row[f"{level}_threshold"] = threshold
    return row


def _interval(aucs: np.ndarray) -> dict[str, float]:
    low, high = np.percentile(aucs, INTERVAL_PERCENT) if len(aucs) else (math.nan, math.nan)
    return {"video_auc_low": float(low), "video_auc_high": float(high)}


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


def _readable(value: float) -> str:
    return "—" if math.isnan(value) else f"{value:.3f}"


def main() -> None:
    """Command line of the evaluation."""
    parser = argparse.ArgumentParser(prog="python -m detectors.evaluate", description=__doc__.split("\n\n")[0])
    parser.add_argument("--experiment", required=True, help="name of the experiment")
    parser.add_argument("--train", nargs="+", required=True, help="data sets that the detector was trained on")
    parser.add_argument(
        "--predictions", nargs="+", type=Path, required=True, help="one file per test data set and seed"
    )
    parser.add_argument("--ledgers", nargs="+", type=Path, required=True, help="the ledger of every data set")
    parser.add_argument(
        "--output", type=Path, required=True, help="eval.csv; missing.csv, videos.csv and tables/ are written beside it"
    )
    parser.add_argument("--figures", type=Path, required=True, help="folder for the figures")
    parser.add_argument("--settings", default="{}", help="settings as JSON")
    args = parser.parse_args()

    settings = load_settings(EvaluateSettings, args.settings)
    runs = [read_run(path) for path in args.predictions]
    ledgers = dict(read_ledger(path) for path in args.ledgers)
    table = evaluate(runs, ledgers, experiment=args.experiment, train=args.train, settings=settings)
    missing = missing_videos(runs, ledgers)
    figures = draw_figures(args.figures, runs, table)
    missing_path = args.output.with_name("missing.csv")
    write_csv(missing_path, missing)
    outcomes = video_outcomes(ledgers)
    write_csv(args.output.with_name("videos.csv"), outcomes)
    for name, title, of_name in (
        ("eval", "evaluation", table),
        ("missing", "test videos without a score", missing),
        ("videos", "what became of the videos", outcomes),
    ):
        page = args.output.parent / "tables" / f"{name}.html"
        write_html(page, f"{args.experiment}: {title}", of_name, whole=f"{name}.csv")
    write_csv(args.output, table)

    n_seeds = len(table["seed"].unique()) - 1
    print(f"\n{args.experiment}, mean over {n_seeds} seeds\n" if n_seeds > 1 else f"\n{args.experiment}\n")
    print(format_table(table))
    print(f"\ntable    {args.output}\nmissing  {missing_path} ({len(missing)} videos)")
    print("figures  " + "\n         ".join(map(str, figures)))


if __name__ == "__main__":
    run_command(main)
