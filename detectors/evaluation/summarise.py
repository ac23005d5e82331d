"""Sum up experiments over their seeds: `python -m detectors.evaluation.summarise --help`.

A row per experiment and test data set with, for each metric, the mean over the seeds, their standard deviation, the
best of them and, where the evaluation has one, the bootstrap interval of the best.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

from detectors.evaluation.eval_table import read_eval_tables
from detectors.figures.tables import write_csv_and_page
from detectors.measures.metrics import METRICS, RESAMPLED
from detectors.measures.runs import SUMMARY_ROWS
from preprocess.running.cli import run_command

# columns of eval.csv
SUMMED_UP = (
    *("video_auc", "video_accuracy", "video_f1", "video_eer", "video_ap", "video_log_loss"),
    *("video_precision", "video_recall", "video_real_precision", "video_real_recall"),
    *("frame_auc", "frame_accuracy", "frame_eer"),
    *("frame_precision", "frame_recall", "frame_real_precision", "frame_real_recall"),
)
_RESAMPLED = tuple(f"video_{metric}" for metric in RESAMPLED)


def summarise(evaluations: pd.DataFrame) -> pd.DataFrame:
    """The table `summary.csv`.

    Args:
        evaluations: As `read_eval_tables` gives them.

    Returns:
        A row per experiment and data set, in their order: `experiment`, `dataset`, `type`, `domain`, `n_seeds`,
        `n_videos`, `n_videos_missing` (the most that a seed misses), and of every metric `<metric>_mean`, `_std` (empty
        with one seed), `_best` (the highest of the seeds, of error rates and losses the lowest), with a bootstrap
        interval also `_best_low` and `_best_high`, that of the best seed. NaN where a seed has no value.
    """
    seeds = evaluations[~evaluations["seed"].isin(SUMMARY_ROWS)]
    rows = []
    for (experiment, dataset), of_set in seeds.groupby(["experiment", "dataset"], sort=False):
        first = of_set.iloc[0]
        row = {
            **{"experiment": experiment, "dataset": dataset, "type": first["type"], "domain": first["domain"]},
            **{"n_seeds": len(of_set), "n_videos": first["n_videos"]},
            "n_videos_missing": of_set["n_videos_missing"].max(),
        }
        for metric in SUMMED_UP:
            row |= _over_seeds(of_set, metric)
        rows.append(row)
    return pd.DataFrame(rows)


def _over_seeds(of_set: pd.DataFrame, metric: str) -> dict[str, float]:
    values = of_set[metric].to_numpy(np.float64)
    is_loss = METRICS[metric.partition("_")[2]].is_loss
    defined = not np.isnan(values).any()
    best = int(np.argmin(values) if is_loss else np.argmax(values)) if defined else 0
    summary = {
        f"{metric}_mean": values.mean(),
        f"{metric}_std": np.std(values, ddof=1) if len(values) > 1 else np.nan,
        f"{metric}_best": values[best] if defined else np.nan,
    }
    if metric in _RESAMPLED:
        for end in ("low", "high"):
            summary[f"{metric}_best_{end}"] = of_set[f"{metric}_{end}"].iloc[best] if defined else np.nan
    return summary


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--evaluations", nargs="+", type=Path, required=True, help="eval.csv of every experiment")
    parser.add_argument("--title", default="summary", help="heading of the HTML page")
    parser.add_argument("--output", type=Path, required=True, help="CSV file; tables/summary.html is written beside it")
    args = parser.parse_args()
    table = summarise(read_eval_tables(args.evaluations))
    write_csv_and_page(args.output, args.title, table)


if __name__ == "__main__":
    run_command(main)
