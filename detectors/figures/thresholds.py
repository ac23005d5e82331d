"""Figures of what a threshold does with the video scores: histograms, metrics against it, confusion matrices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from detectors.figures.labels import figure_title, mean_rows, panel_title, with_missing
from detectors.figures.style import COLOUR_MAP, COLOURS, DASHED, FAKE_COLOUR, REAL_COLOUR, bare, panels
from detectors.measures.runs import SUMMARY_ROWS, DetectorRun

N_BINS = 25
GRID = np.linspace(0, 1, 501)
_TICKS = (0, 0.5, 1)

# name: colour and line style, told apart in grey too
_CURVES = {
    "sensitivity": (FAKE_COLOUR, "-"),
    "specificity": (REAL_COLOUR, DASHED),
    "accuracy": ("black", (0, (1, 1))),
    "F1": (COLOURS[2], (0, (6, 1, 1, 1))),
}


def draw_scores(runs: Sequence[DetectorRun], table: pd.DataFrame) -> Figure:
    """Histograms of the video scores, a panel per test data set: real against fake, and the seeds' thresholds.

    Each class sums to 100 %, so that classes of different size compare; the videos of all seeds are pooled.
    """
    shown = mean_rows(table)
    figure = Figure(layout="constrained")
    handles = {}
    rows = shown.to_dict("records")
    for axes, row in panels(figure, rows, height=2.2, x_label="video score", y_label="share of the class (%)"):
        videos = pd.concat([run.videos for run in runs if run.dataset == row["dataset"]])
        for label, name, colour in ((0, "real", REAL_COLOUR), (1, "fake", FAKE_COLOUR)):
            scores = videos.loc[videos["label"] == label, "score"]
            if len(scores):
                weights = np.full(len(scores), 100 / len(scores))
                style: dict[str, Any] = {"bins": N_BINS, "range": (0, 1), "weights": weights}
                filled: Any = axes.hist(scores, histtype="stepfilled", color=colour, alpha=0.45, **style)[2]
                axes.hist(scores, histtype="step", color=colour, linewidth=1.1, **style)
                handles[name] = filled[0]
        _tell_of_none(axes, videos)
        _mark_thresholds(axes, table, row, handles)
        axes.set_title(f"{panel_title(row)}\n{with_missing(row)}")
        axes.set(xlim=(0, 1), xticks=_TICKS)
        axes.set_ylim(bottom=0)
        axes.locator_params(axis="y", nbins=4, integer=True)
        axes.grid(axis="x", visible=False)
    return _finished(figure, handles, ("real", "fake", "threshold"), table)


def draw_thresholds(runs: Sequence[DetectorRun], table: pd.DataFrame) -> Figure:
    """Metrics of the videos against the threshold, a panel per test data set; means over the seeds.

    Dashed vertical lines are the thresholds of the seeds: how far they stand from where the curves cross is what a
    shift of the scores costs.
    """
    shown = mean_rows(table)
    figure = Figure(layout="constrained")
    handles = {}
    rows = shown.to_dict("records")
    for axes, row in panels(figure, rows, height=2.2, x_label="threshold", y_label="value"):
        of_dataset = [run for run in runs if run.dataset == row["dataset"]]
        of_seeds = [metrics_at_thresholds(*run.of_level("video")) for run in of_dataset]
        for name, (colour, style) in _CURVES.items():
            values = np.mean([of_seed[name] for of_seed in of_seeds], axis=0)
            if not np.isnan(values).all():
                handles[name] = axes.plot(GRID, values, color=colour, linestyle=style, linewidth=1.4)[0]
        _tell_of_none(axes, pd.concat([run.videos for run in of_dataset]))
        _mark_thresholds(axes, table, row, handles)
        axes.set_title(f"{panel_title(row)}\n{with_missing(row)}")
        axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), xticks=_TICKS, yticks=_TICKS)
    return _finished(figure, handles, (*_CURVES, "threshold"), table)


def metrics_at_thresholds(labels: np.ndarray, scores: np.ndarray) -> dict[str, np.ndarray]:
    """Sensitivity, specificity, accuracy and F1 (501,) at the thresholds of `GRID`; NaN where they are not defined."""
    real, fake = np.sort(scores[labels == 0]), np.sort(scores[labels == 1])
    n_hits = len(fake) - np.searchsorted(fake, GRID)
    n_right_reals = np.searchsorted(real, GRID)
    undefined = np.full(len(GRID), np.nan)
    n_called_fake = n_hits + len(real) - n_right_reals
    return {
        "sensitivity": n_hits / len(fake) if len(fake) else undefined,
        "specificity": n_right_reals / len(real) if len(real) else undefined,
        "accuracy": (n_hits + n_right_reals) / len(labels) if len(labels) else undefined,
        "F1": 2 * n_hits / (n_called_fake + len(fake)) if len(fake) else undefined,
    }


def draw_confusion(runs: Sequence[DetectorRun], table: pd.DataFrame) -> Figure:
    """Confusion matrices of the videos at the seeds' thresholds, a panel per test data set.

    A cell holds the share of the true class and the number of videos, both means over the seeds.
    """
    shown = mean_rows(table)
    figure = Figure(layout="constrained")
    rows = shown.to_dict("records")
    for axes, row in panels(figure, rows, height=2.2, x_label="called", y_label="truth"):
        counts = np.mean(
            [
                confusion(run, of_seed["video_threshold"])
                for run in runs
                if run.dataset == row["dataset"]
                for of_seed in table[(table["dataset"] == run.dataset) & (table["seed"] == run.seed)].to_dict("records")
            ],
            axis=0,
        )
        of_class = counts.sum(axis=1, keepdims=True)
        shares = np.divide(counts, of_class, out=np.full((2, 2), np.nan), where=of_class > 0)
        axes.imshow(shares, cmap=COLOUR_MAP, vmin=0, vmax=1)
        axes.set_facecolor("#eeeeee")
        for (truth, called), share in np.ndenumerate(shares):
            # a whole number of videos, unless it is a mean over the seeds
            count = f"{counts[truth, called]:.1f}".removesuffix(".0")
            text = "–" if np.isnan(share) else f"{100 * share:.1f} %\n{count}"
            colour = "white" if share > 0.6 else "black"
            axes.text(called, truth, text, ha="center", va="center", color=colour, fontsize=8)
        if np.isnan(counts).all():
            axes.text(0.5, 1.16, "no threshold", ha="center", transform=axes.transAxes, fontsize=7)
        axes.set(xticks=(0, 1), yticks=(0, 1), xticklabels=("real", "fake"), yticklabels=("real", "fake"))
        bare(axes)
        axes.set_title(f"{panel_title(row)}\n{with_missing(row)}")
    figure.suptitle(figure_title(table))
    return figure


def confusion(run: DetectorRun, threshold: float) -> np.ndarray:
    """(2, 2) numbers of videos by truth and by what they are called, real before fake; NaN without a threshold."""
    if np.isnan(threshold):
        return np.full((2, 2), np.nan)
    labels, scores = run.of_level("video")
    counts = np.zeros((2, 2))
    np.add.at(counts, (labels, (scores >= threshold).astype(int)), 1)
    return counts


def _tell_of_none(axes: Axes, videos: pd.DataFrame) -> None:
    if videos.empty:
        axes.text(0.5, 0.5, "no video has\na prediction", ha="center", va="center", transform=axes.transAxes)


def _mark_thresholds(axes: Axes, table: pd.DataFrame, row: dict, handles: dict) -> None:
    of_seeds = table.loc[(table["dataset"] == row["dataset"]) & ~table["seed"].isin(SUMMARY_ROWS), "video_threshold"]
    for threshold in of_seeds.dropna().unique():
        handles["threshold"] = axes.axvline(threshold, color="black", linestyle=(0, (4, 2)), linewidth=0.8)


def _finished(figure: Figure, handles: dict, order: Sequence[str], table: pd.DataFrame) -> Figure:
    names = [name for name in order if name in handles]
    # what does not fit beside the others goes below them
    ncols = 3 if len(mean_rows(table)) < 3 else len(names)
    figure.legend([handles[name] for name in names], names, loc="outside lower center", ncols=ncols, handlelength=3)
    figure.suptitle(figure_title(table))
    return figure
