"""Evaluate a detector: its seeds' predictions become `eval.csv`, `missing.csv`, `videos.csv` and figures.

What every column means and how it is computed stands in `docs/evaluation.md`. In short: the frame level is the face
crops, each on its own; at the video level a video has one score, which comes from its face crops by the setting
`aggregation`; thresholds are chosen on validation data; and a video without a prediction is scored by the setting
`missing_score`, counted and listed, never dropped silently.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import pandas as pd
import pyarrow as pa

from detectors.evaluation.eval_table import make_eval_table
from detectors.evaluation.leakage import read_leaked
from detectors.evaluation.outcomes import missing_videos, score_table, video_outcomes
from detectors.evaluation.record import write_record
from detectors.evaluation.settings import EvaluateSettings
from detectors.evaluation.thresholds import choose_thresholds, complete_runs
from detectors.figures.experiment import draw_figures
from detectors.figures.labels import interval_text
from detectors.figures.tables import decimals, text_table, write_csv_and_page
from detectors.measures.runs import MEAN_ROW, STD_ROW, SUMMARY_ROWS, read_ledger, read_run
from preprocess.running.cli import run_command
from preprocess.running.settings import load_settings, settings_json
from preprocess.store import versions
from preprocess.store.origin import Origin
from preprocess.store.schemas import VIDEO_SCORES
from preprocess.store.tables import write_table


def format_table(table: pd.DataFrame) -> str:
    """The evaluation as lines for a person: the mean row of every data set, `—` where nothing is defined.

    With several seeds, the last column holds the smallest and the largest video AUC among them.
    """
    several_seeds = STD_ROW in set(table["seed"])
    header = ["data set", "type", "domain", "videos (missing)", "frame AUC", "video AUC [95 % interval]"]
    header += ["video EER", "video accuracy"] + ["video AUC of seeds"] * several_seeds
    rows = [header]
    for row in table[table["seed"] == MEAN_ROW].to_dict("records"):
        cells = [
            row["dataset"],
            row["type"] or "—",
            row["domain"],
            f"{row['n_videos']} ({row['n_videos_missing']})",
            decimals(row["frame_auc"]),
            f"{decimals(row['video_auc'])} {interval_text(row)}".rstrip(),
            decimals(row["video_eer"]),
            decimals(row["video_accuracy"]),
        ]
        if several_seeds:
            of_seeds = table.loc[(table["dataset"] == row["dataset"]) & ~table["seed"].isin(SUMMARY_ROWS), "video_auc"]
            cells.append("—" if of_seeds.isna().any() else f"{of_seeds.min():.3f} to {of_seeds.max():.3f}")
        rows.append(cells)
    return text_table(rows)


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
    table = make_eval_table(
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
