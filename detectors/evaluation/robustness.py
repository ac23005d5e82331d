"""How much a detector loses under graded distortions: `robustness.csv` and a figure.

Which distortions there are and what the columns mean stands in `docs/robustness.md`.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from sklearn.metrics import roc_auc_score

from detectors.evaluation.distortions import DISTORTIONS, STRENGTHS, UNDISTORTED
from detectors.evaluation.over_seeds import ALIKE, COUNT, METRIC, SEED, mean_row
from detectors.evaluation.settings import EvaluateSettings
from detectors.evaluation.thresholds import choose_thresholds
from detectors.figures.labels import DOMAIN_LINES, DOMAINS, figure_title
from detectors.figures.style import COLOURS, GREY, empty_figure, panels, write_figure
from detectors.figures.tables import decimals, table_of, write_csv_and_page
from detectors.measures.runs import DETECTOR, LEVELS, MEAN_ROW, DetectorRun, make_run, read_predictions
from preprocess.running.cli import UserError, run_command
from preprocess.running.settings import load_settings

# the columns, with what each holds in the mean of the seeds
COLUMNS = {
    **{"experiment": ALIKE, "seed": SEED, "dataset": ALIKE, "domain": ALIKE},
    **dict.fromkeys(("distortion", "strength", "amount", "unit"), ALIKE),
    **dict.fromkeys(("n_videos", "n_videos_fake", "n_faces"), COUNT),
    **{f"{level}_{metric}": METRIC for metric in ("auc", "accuracy") for level in LEVELS},
}

# runs of one file by distortion and strength, the crops as they are first
DistortedRuns = dict[tuple[str, int], DetectorRun]


def read_distorted_runs(path: str | Path, aggregation: str = DETECTOR) -> DistortedRuns:
    """The runs of one seed on one data set, as `detectors.evaluation.predict_distorted` wrote them.

    Raises:
        UserError: The file is absent or holds something else.
    """
    samples, dataset, made_by = read_predictions(path, ["distortion", "strength"])
    return {
        (name, int(strength)): make_run(of_run, dataset, made_by, aggregation)
        for (name, strength), of_run in samples.groupby(["distortion", "strength"], sort=False)
    }


def measure_robustness(
    distorted: Sequence[DistortedRuns], thresholds: dict[int, dict[str, float]], train: Sequence[str]
) -> pd.DataFrame:
    """The table `robustness.csv`: a row per data set, distortion, strength and seed, then one of their mean.

    Args:
        distorted: Every seed on every test data set.
        thresholds: By seed and level, as `detectors.evaluation.thresholds.choose_thresholds` gives them.
        train: Data sets that the detector was trained on.

    Returns:
        `COLUMNS`; NaN where a value is not defined. Strength 0 with the distortion `none` are the crops as they are.
    """
    seeds: dict[str, dict[tuple[str, int], list[dict]]] = {}
    for runs in distorted:
        for (name, strength), run in runs.items():
            distortion = DISTORTIONS.get(name)
            row = {
                "experiment": run.experiment,
                "seed": run.seed,
                "dataset": run.dataset,
                "domain": "in" if run.dataset in train else "out",
                "distortion": name,
                "strength": strength,
                "amount": distortion.amounts[STRENGTHS.index(strength)] if distortion else math.nan,
                "unit": distortion.unit if distortion else "",
                "n_videos": len(run.videos),
                "n_videos_fake": int((run.videos["label"] == 1).sum()),
                "n_faces": len(run.labels),
            }
            for level in LEVELS:
                row |= _measure(level, *run.of_level(level), thresholds[run.seed][level])
            seeds.setdefault(run.dataset, {}).setdefault((name, strength), []).append(row)
    rows = [
        row
        for of_dataset in seeds.values()
        for of_seeds in of_dataset.values()
        for row in (*of_seeds, mean_row(COLUMNS, of_seeds))
    ]
    return table_of(rows, COLUMNS).astype({"seed": object})


def _measure(level: str, labels: np.ndarray, scores: np.ndarray, threshold: float) -> dict[str, float]:
    """The metrics of a level. The other metrics would take ten times as long, for thousands of rows."""
    both = len(np.unique(labels)) == 2
    return {
        f"{level}_auc": float(roc_auc_score(labels, scores)) if both else math.nan,
        f"{level}_accuracy": math.nan if math.isnan(threshold) else float(np.mean((scores >= threshold) == labels)),
    }


def draw_robustness(table: pd.DataFrame) -> Figure:
    """Video AUC against strength, a panel per distortion and a line per data set; in-domain solid, out dashed.

    More than seven data sets are thin grey lines, with the mean of those in and of those out of domain.

    Args:
        table: What `measure_robustness` returns.
    """
    mean = table[(table["seed"] == MEAN_ROW) & table["video_auc"].notna()]
    names = [name for name in DISTORTIONS if name in set(mean["distortion"])]
    if not names:
        return empty_figure("no test data set holds both classes:\nthere is no AUC")
    figure = Figure(layout="constrained")
    handles: dict[str, Line2D] = {}
    for axes, name in panels(figure, names, height=2.0, x_label="", y_label="video AUC", width=2.0):
        shown = mean[mean["distortion"].isin([name, UNDISTORTED])].sort_values("strength", kind="stable")
        handles |= _draw_lines(axes, shown)
        graded = shown[shown["distortion"] == name].drop_duplicates("strength")
        axes.set_xticks([0, *graded["strength"]], ["none", *(f"{amount:g}" for amount in graded["amount"])])
        axes.tick_params(axis="x", labelsize=7)
        axes.set_xlabel(DISTORTIONS[name].unit, fontsize=7)
        axes.set_title(name.replace("_", " "))
        lowest = mean["video_auc"].min()
        axes.set_ylim(min(0.45, lowest - 0.03), 1.02)
        axes.axhline(0.5, color=GREY, linewidth=0.8, linestyle=":")
    figure.legend(list(handles.values()), list(handles), loc="outside lower center", ncols=2, handlelength=3)
    figure.suptitle(figure_title(table))
    return figure


def _draw_lines(axes: Axes, shown: pd.DataFrame) -> dict:
    """Lines of one panel; returns their handles by label."""
    curves = dict(list(shown.groupby(["dataset", "domain"], sort=False)))
    handles = {}
    if len(curves) <= len(COLOURS):
        for colour, ((dataset, domain), curve) in zip(COLOURS, curves.items(), strict=False):
            style: dict[str, Any] = {"color": colour, "linestyle": DOMAIN_LINES[domain], "marker": "o", "markersize": 3}
            label = f"{dataset} ({DOMAINS[domain]})"
            handles[label] = axes.plot(curve["strength"], curve["video_auc"], linewidth=1.3, **style)[0]
        return handles
    for curve in curves.values():
        handles["one data set"] = axes.plot(
            curve["strength"], curve["video_auc"], color=GREY, linewidth=0.5, alpha=0.6
        )[0]
    for domain, words in DOMAINS.items():
        of_domain = shown[shown["domain"] == domain].groupby("strength")["video_auc"].mean()
        if len(of_domain):
            line: dict[str, Any] = {"color": COLOURS[0], "linestyle": DOMAIN_LINES[domain], "linewidth": 1.6}
            handles[f"mean {words}"] = axes.plot(of_domain.index, of_domain, **line)[0]
    return handles


def format_table(table: pd.DataFrame) -> str:
    """Mean video AUC by data set, distortion and strength, as lines for a person."""
    mean = table[table["seed"] == MEAN_ROW]
    lines = []
    for dataset, of_dataset in mean.groupby("dataset", sort=False):
        plain = of_dataset.loc[of_dataset["strength"] == 0, "video_auc"]
        lines.append(f"{dataset}: video AUC {decimals(next(iter(plain), math.nan))} as it is")
        for name in [name for name in DISTORTIONS if name in set(of_dataset["distortion"])]:
            graded = of_dataset[of_dataset["distortion"] == name].sort_values("strength")
            values = "  ".join(decimals(value) for value in graded["video_auc"])
            lines.append(f"    {name:<18} {values}")
    return "\n".join(lines)


def main() -> None:
    """Command line: `python -m detectors.evaluation.robustness --help`."""
    parser = argparse.ArgumentParser(
        prog="python -m detectors.evaluation.robustness", description=__doc__.split("\n\n")[0]
    )
    parser.add_argument("--train", nargs="+", required=True, help="data sets that the detector was trained on")
    parser.add_argument(
        "--predictions",
        nargs="+",
        type=Path,
        required=True,
        help="what python -m detectors.evaluation.predict_distorted wrote, one file per test data set and seed",
    )
    parser.add_argument(
        "--validation", nargs="*", type=Path, default=[], help="validation.parquet of every seed, for its thresholds"
    )
    parser.add_argument("--settings", default="{}", help="settings of the evaluation as JSON")
    parser.add_argument("--output", type=Path, required=True, help="robustness.csv; tables/ is written beside it")
    parser.add_argument("--figure", type=Path, required=True, help="figure to write, without a suffix")
    args = parser.parse_args()

    settings = load_settings(EvaluateSettings, args.settings)
    distorted = [read_distorted_runs(path, settings.aggregation) for path in args.predictions]
    runs = [run for of_file in distorted for run in of_file.values()]
    if not runs:
        raise UserError("no file after --predictions holds a labelled test sample: there is nothing to measure")
    table = measure_robustness(distorted, choose_thresholds(runs, args.validation, settings), args.train)
    figures = write_figure(args.figure, partial(draw_robustness, table))
    write_csv_and_page(args.output, f"{runs[0].experiment}: robustness", table)
    print(f"\n{runs[0].experiment}\n\n{format_table(table)}\n\ntable    {args.output}")
    print("figure   " + "\n         ".join(map(str, figures)))


if __name__ == "__main__":
    run_command(main)
