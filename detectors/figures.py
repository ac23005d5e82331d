"""Figures of an evaluation: ROC curves and score histograms, readable in print and by the colour-blind.

Every figure is written as PNG (150 dpi) and as SVG, with the same bytes for the same input.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from sklearn.metrics import roc_curve

from detectors.figure_style import COLOURS, DASHED, FAKE_COLOUR, GREY, REAL_COLOUR, panels, write_figure
from detectors.runs import LEVELS, MEAN, SUMMARIES, Run

DOMAINS = {"in": "in domain", "out": "out of domain"}

N_BINS = 25
ROC_GRID = np.linspace(0, 1, 501)


def draw_figures(folder: str | Path, runs: Sequence[Run], table: pd.DataFrame) -> list[Path]:
    """Draw all figures of an evaluation.

    Args:
        folder: Where `roc` and `scores` are written, each as .png and .svg.
        runs: Every seed on every test data set.
        table: What `detectors.evaluate.evaluate` made of them.

    Returns:
        The files written.
    """
    drawn = {"roc": draw_roc, "scores": draw_scores}
    return [
        path for name, draw in drawn.items() for path in write_figure(Path(folder) / name, partial(draw, runs, table))
    ]


def draw_roc(runs: Sequence[Run], table: pd.DataFrame) -> Figure:
    """ROC curves, averaged over the seeds; in-domain solid, out-of-domain dashed.

    Up to seven data sets share two axes, one for the frame and one for the video level. More of them get a
    panel each, at video level, with the others in grey for comparison. A data set of one class has no curve.
    """
    shown = _mean_rows(table)
    shown = shown[shown["video_auc"].notna()]
    if shown.empty:
        figure = Figure(figsize=(4.5, 1.5))
        figure.text(0.5, 0.5, "no test data set holds both classes:\nthere is no ROC curve", ha="center", va="center")
        return figure
    return _draw_roc_together(runs, shown) if len(shown) <= len(COLOURS) else _draw_roc_panels(runs, shown)


def _draw_roc_together(runs: Sequence[Run], shown: pd.DataFrame) -> Figure:
    figure = Figure(figsize=(7.2, 4.0 + 0.19 * len(shown)), layout="constrained")
    lines = []
    for axes, level in zip(figure.subplots(1, 2, sharey=True), LEVELS, strict=True):
        for colour, row in zip(COLOURS, shown.to_dict("records"), strict=False):
            curves = _roc_curves(runs, row["dataset"], level)
            if len(curves) > 1 and len(shown) <= 3:
                axes.plot(*_joined(curves), color=colour, linewidth=0.5, alpha=0.4)
            lines.append(_plot_roc(axes, curves, row["domain"], color=colour))
        _finish_roc(axes, ticks=np.linspace(0, 1, 6))
        axes.set_title(f"{level} level")
        axes.set_xlabel("false positive rate")
    figure.axes[0].set_ylabel("true positive rate")
    labels = [
        f"{row['dataset']} ({DOMAINS[row['domain']]}): frame AUC {row['frame_auc']:.3f}, "
        f"video AUC {row['video_auc']:.3f} {_interval(row)}"
        for row in shown.to_dict("records")
    ]
    figure.legend(lines[: len(shown)], labels, loc="outside lower center", handlelength=3)
    figure.suptitle(_title(shown, runs))
    return figure


def _draw_roc_panels(runs: Sequence[Run], shown: pd.DataFrame) -> Figure:
    figure = Figure(layout="constrained")
    curves = {dataset: _roc_curves(runs, dataset, "video") for dataset in shown["dataset"]}
    others = [np.mean(of_dataset, axis=0) for of_dataset in curves.values()]
    handles = {}
    for axes, row in panels(
        figure, shown.to_dict("records"), height=2.1, x_label="false positive rate", y_label="true positive rate"
    ):
        handles["the other data sets"] = axes.plot(*_joined(others), color=GREY, linewidth=0.5, alpha=0.5)[0]
        of_dataset = curves[row["dataset"]]
        if len(of_dataset) > 1:
            handles["one seed"] = axes.plot(*_joined(of_dataset), color=COLOURS[0], linewidth=0.5, alpha=0.5)[0]
        handles[DOMAINS[row["domain"]]] = _plot_roc(axes, of_dataset, row["domain"], color=COLOURS[0])
        _finish_roc(axes, ticks=np.linspace(0, 1, 3))
        axes.set_title(f"{row['dataset']}\n{DOMAINS[row['domain']]}")
        axes.text(0.98, 0.04, f"AUC {row['video_auc']:.3f}\n{_interval(row)}", ha="right", fontsize=8)
    figure.legend(handles.values(), handles, loc="outside lower center", ncols=4, handlelength=3)
    figure.suptitle(f"{_title(shown, runs)}, video level")
    return figure


def draw_scores(runs: Sequence[Run], table: pd.DataFrame) -> Figure:
    """Histograms of the video scores, a panel per test data set: real against fake, and the seeds' thresholds.

    Each class sums to 100 %, so that classes of different size compare; the videos of all seeds are pooled.
    """
    shown = _mean_rows(table)
    figure = Figure(layout="constrained")
    handles = {}
    for axes, row in panels(
        figure, shown.to_dict("records"), height=2.2, x_label="video score", y_label="share of the class (%)"
    ):
        videos = pd.concat([run.videos for run in runs if run.dataset == row["dataset"]])
        for label, name, colour in ((0, "real", REAL_COLOUR), (1, "fake", FAKE_COLOUR)):
            scores = videos.loc[videos["label"] == label, "score"]
            if len(scores):
                style = {"bins": N_BINS, "range": (0, 1), "weights": np.full(len(scores), 100 / len(scores))}
                _, _, filled = axes.hist(scores, histtype="stepfilled", color=colour, alpha=0.45, **style)
                axes.hist(scores, histtype="step", color=colour, linewidth=1.1, **style)
                handles[name] = filled[0]
        if videos.empty:
            axes.text(0.5, 0.5, "no video has\na prediction", ha="center", va="center", transform=axes.transAxes)
        thresholds = table.loc[
            (table["dataset"] == row["dataset"]) & ~table["seed"].isin(SUMMARIES), "video_threshold"
        ]
        for threshold in thresholds.dropna().unique():
            line = axes.axvline(threshold, color="black", linestyle=(0, (4, 2)), linewidth=0.8)
            handles["threshold"] = line
        missing = f", {row['n_videos_missing']} missing" if row["n_videos_missing"] else ""
        axes.set_title(f"{row['dataset']}\n{DOMAINS[row['domain']]}\n{row['n_videos']} videos{missing}")
        axes.set(xlim=(0, 1), xticks=(0, 0.5, 1))
        axes.set_ylim(bottom=0)
        axes.locator_params(axis="y", nbins=4, integer=True)
        axes.grid(axis="x", visible=False)
    order = [name for name in ("real", "fake", "threshold") if name in handles]
    figure.legend([handles[name] for name in order], order, loc="outside lower center", ncols=3, handlelength=3)
    figure.suptitle(_title(shown, runs))
    return figure


def _roc_curves(runs: Sequence[Run], dataset: str, level: str) -> np.ndarray:
    """(seeds, 501) true positive rate at the false positive rates of `ROC_GRID`."""
    curves = []
    for run in runs:
        if run.dataset == dataset:
            false_positive, true_positive, _ = roc_curve(*run.of_level(level))
            # a hair of slope makes the vertical steps a function
            steps = false_positive + 1e-9 * np.arange(len(false_positive))
            curves.append(np.interp(ROC_GRID, steps, true_positive))
    return np.array(curves)


def _joined(curves: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """x and y (points, curves) of many curves for one call of `plot`, from the corner (0, 0) on."""
    y = np.vstack([np.zeros(len(curves)), np.transpose(curves)])
    return np.concatenate(([0], ROC_GRID)), y


def _plot_roc(axes: Axes, curves: np.ndarray, domain: str, *, color: str) -> Line2D:
    linestyle = "-" if domain == "in" else DASHED
    return axes.plot(*_joined([curves.mean(axis=0)]), linestyle=linestyle, linewidth=1.5, color=color)[0]


def _finish_roc(axes: Axes, *, ticks: np.ndarray) -> None:
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, linestyle=":")
    # a margin, because a good detector's curve lies on the edge
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal", xticks=ticks, yticks=ticks)


def _mean_rows(table: pd.DataFrame) -> pd.DataFrame:
    return table[table["seed"] == MEAN]


def _interval(row: dict) -> str:
    return "" if math.isnan(row["video_auc_low"]) else f"[{row['video_auc_low']:.3f}, {row['video_auc_high']:.3f}]"


def _title(shown: pd.DataFrame, runs: Sequence[Run]) -> str:
    n_seeds = len({run.seed for run in runs})
    return shown["experiment"].iloc[0] + (f", {n_seeds} seeds" if n_seeds > 1 else "")
