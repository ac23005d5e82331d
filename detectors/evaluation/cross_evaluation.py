"""Put the evaluations of several experiments side by side: `python -m detectors.evaluation.cross_evaluation --help`.

A row per experiment, a column per test data set, and the columns that sum up what a detector does outside the data sets
that it was trained on. `docs/evaluation.md` says how each is computed.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patches import Patch, Rectangle

from detectors.evaluation.eval_table import read_eval_tables
from detectors.figures.labels import DOMAINS
from detectors.figures.style import COLOUR_MAP, COLOURS, bare, write_figure
from detectors.figures.tables import table_of, write_csv_and_page
from detectors.measures.runs import LEVELS, MEAN_ROW
from preprocess.running.cli import run_command

# Each has a space, so that no data set has the same name.
ALL, REAL_OOD, FAKE_OOD = "ALL (weighted)", "Real OOD", "Fake OOD"
OOD_MEAN, OOD_WEIGHTED = "OOD (mean)", "OOD (weighted)"
SUMMARY_COLUMNS = (ALL, REAL_OOD, FAKE_OOD, OOD_MEAN, OOD_WEIGHTED)
COMPARED_METRICS = ("accuracy", "auc")

# number of samples and of fakes, by level
_COUNTS = {"frame": ("n_faces", "n_faces_fake"), "video": ("n_videos", "n_videos_fake")}
MARK_COLOUR = COLOURS[1]
MAX_WIDTH_INCHES = 11

_PANELS = (("frame", "accuracy"), ("video", "auc"))
_NAMES = {"accuracy": "accuracy", "auc": "AUC"}


def cross_table(evaluations: pd.DataFrame) -> pd.DataFrame:
    """The table `cross_eval.csv`.

    Args:
        evaluations: As `read_eval_tables` gives them; the means over the seeds are taken.

    Returns:
        For each level and metric a row per experiment: `level`, `metric`, `experiment`, `in_domain` (data sets that it
        was trained on among those tested, joined by +), `SUMMARY_COLUMNS`, and a column per data set, in the order of
        their appearance. NaN where a value is not defined, or an experiment was not tested.
    """
    means = evaluations[evaluations["seed"] == MEAN_ROW]
    datasets = list(dict.fromkeys(means["dataset"]))
    rows = []
    for level in LEVELS:
        for metric in COMPARED_METRICS:
            for experiment, of_experiment in means.groupby("experiment", sort=False):
                in_domain = of_experiment.loc[of_experiment["domain"] == "in", "dataset"]
                rows.append(
                    {"level": level, "metric": metric, "experiment": experiment, "in_domain": "+".join(in_domain)}
                    | _summaries(of_experiment, level, metric)
                    | dict.fromkeys(datasets, np.nan)
                    | dict(zip(of_experiment["dataset"], of_experiment[f"{level}_{metric}"], strict=True))
                )
    return table_of(rows, ["level", "metric", "experiment", "in_domain", *SUMMARY_COLUMNS, *datasets])


def _summaries(means: pd.DataFrame, level: str, metric: str) -> dict[str, float]:
    n_samples, n_fakes = (means[column] for column in _COUNTS[level])
    values = means[f"{level}_{metric}"]
    out = means["domain"] == "out"
    summaries = dict.fromkeys(SUMMARY_COLUMNS, np.nan)
    summaries |= {ALL: _weighted(values, n_samples), OOD_WEIGHTED: _weighted(values[out], n_samples[out])}
    if metric == "accuracy":
        # the reals, and the fakes, of all these data sets together
        real = _weighted(means[f"{level}_specificity"][out], (n_samples - n_fakes)[out])
        fake = _weighted(means[f"{level}_sensitivity"][out], n_fakes[out])
        summaries |= {REAL_OOD: real, FAKE_OOD: fake, OOD_MEAN: (real + fake) / 2}
    return summaries


def _weighted(values: pd.Series, weights: pd.Series) -> float:
    """Mean of the defined values, each as often as it has samples; NaN when there are none."""
    weights = weights.where(values.notna(), 0)
    return float((values.fillna(0) * weights).sum() / weights.sum()) if weights.sum() else np.nan


def draw_heat_map(table: pd.DataFrame) -> Figure:
    """Accuracy of the face crops, and AUC of the videos; what has more entries, experiments or columns, runs downwards.

    Args:
        table: As `cross_table` gives it.
    """
    columns = [name for name in table.columns[4:] if table[name].notna().any() or name not in SUMMARY_COLUMNS]
    n_experiments = table["experiment"].nunique()
    upright = len(columns) > n_experiments
    n_across, n_down = (n_experiments, len(columns)) if upright else (len(columns), n_experiments)
    names_width = 0.075 * max(map(len, columns if upright else table["experiment"]))
    width, height = max(2, 0.52 * n_across), 1.3 + 0.26 * n_down
    beside = names_width + 2 * width <= MAX_WIDTH_INCHES
    figure = Figure(layout="constrained")
    shape = (1, 2) if beside else (2, 1)
    figure.set_size_inches(0.9 + names_width + width * shape[1], 0.4 + height * shape[0])
    layout = figure.get_layout_engine()
    assert isinstance(layout, ConstrainedLayoutEngine)
    layout.set(wspace=0.08)
    for axes, (level, metric) in zip(np.ravel(figure.subplots(*shape, sharey=beside)), _PANELS, strict=True):
        of_panel = table[(table["level"] == level) & (table["metric"] == metric)]
        image = _draw_panel(axes, of_panel, columns, upright)
        axes.set_title(f"{_NAMES[metric]}, {level} level")
    figure.colorbar(image, ax=figure.axes, fraction=0.03, aspect=35, pad=0.02)
    marked = Patch(facecolor="none", edgecolor=MARK_COLOUR, linewidth=1.6)
    figure.legend([marked], [DOMAINS["in"]], loc="outside lower center")
    return figure


def _draw_panel(axes: Axes, table: pd.DataFrame, columns: list[str], upright: bool) -> AxesImage:
    values = table[columns].to_numpy(np.float64)
    in_domain = np.array([[name in row.split("+") for name in columns] for row in table["in_domain"].fillna("")])
    names = (list(table["experiment"]), columns)
    if upright:
        values, in_domain, names = values.T, in_domain.T, names[::-1]
    image = axes.imshow(values, cmap=COLOUR_MAP, vmin=0, vmax=1, aspect="auto")
    axes.set_facecolor("#eeeeee")  # where nothing is defined
    for (row, column), value in np.ndenumerate(values):
        text = "–" if np.isnan(value) else f"{value:.2f}"
        dark = not np.isnan(value) and value > 0.6
        weight = "bold" if in_domain[row, column] else "normal"
        colour = "white" if dark else "black"
        axes.text(column, row, text, ha="center", va="center", fontsize=7.5, color=colour, weight=weight)
        if in_domain[row, column]:
            corner = (column - 0.46, row - 0.44)
            axes.add_patch(Rectangle(corner, 0.92, 0.88, fill=False, edgecolor=MARK_COLOUR, linewidth=1.6, zorder=3))
    axes.set_yticks(range(len(names[0])), names[0])
    axes.set_xticks(range(len(names[1])), names[1], rotation=40, ha="right", rotation_mode="anchor")
    bare(axes)
    n_summaries = sum(name in SUMMARY_COLUMNS for name in columns)
    (axes.axhline if upright else axes.axvline)(n_summaries - 0.5, color="white", linewidth=4)
    return image


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--evaluations", nargs="+", type=Path, required=True, help="eval.csv of every experiment")
    parser.add_argument("--title", default="cross evaluation", help="heading of the HTML page")
    parser.add_argument(
        "--output", type=Path, required=True, help="CSV file; tables/cross_eval.html is written beside it"
    )
    parser.add_argument("--figures", type=Path, required=True, help="folder for cross_eval.png and cross_eval.svg")
    args = parser.parse_args()
    table = cross_table(read_eval_tables(args.evaluations))
    write_figure(args.figures / "cross_eval", partial(draw_heat_map, table))
    write_csv_and_page(args.output, args.title, table)


if __name__ == "__main__":
    run_command(main)
