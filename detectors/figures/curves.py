"""ROC and precision–recall curves of an evaluation, averaged over the seeds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from sklearn.metrics import precision_recall_curve, roc_curve

from detectors.figures.labels import DOMAIN_LINES, DOMAINS, figure_title, interval_text, mean_rows, panel_title
from detectors.figures.style import COLOURS, GREY, empty_figure, panels
from detectors.measures.runs import LEVELS, DetectorRun

GRID = np.linspace(0, 1, 501)


@dataclass(frozen=True)
class Curve:
    """A kind of curve over samples of both classes.

    Attributes:
        x_label: What `GRID` is.
        y_label: What the curve says of it.
        metric: The area under it.
        at_grid: The curve (501,) at `GRID`, of labels and scores.
        start: y at x = 0, where the curve begins in a corner; None when it does not.
        text_x: Where on the x axis a panel has room for a text at its lower edge, and which side of the text that is.
    """

    x_label: str
    y_label: str
    metric: str
    at_grid: Callable[[np.ndarray, np.ndarray], np.ndarray]
    start: float | None
    text_x: tuple[float, str]

    @property
    def metric_name(self) -> str:
        """The area as it is written in a legend."""
        return self.metric.upper()


def true_positive_rates(labels: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """(501,) true positive rate at the false positive rates of `GRID`, the corners joined by straight lines."""
    false_positive, true_positive, _ = roc_curve(labels, scores)
    # a hair of slope makes the vertical steps a function
    rates = np.interp(GRID, false_positive + 1e-9 * np.arange(len(false_positive)), true_positive)
    rates[-1] = 1  # also where the last step is vertical
    return rates


def precisions(labels: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """(501,) precision at the recalls of `GRID`: that of the highest threshold with at least this recall.

    So the area under it is the average precision.
    """
    precision, recall, _ = precision_recall_curve(labels, scores)
    # the last point, of no samples at all, is no threshold; from the highest threshold on
    precision, recall = precision[-2::-1], recall[-2::-1]
    return precision[np.searchsorted(recall, np.minimum(GRID, recall[-1]))]


ROC = Curve("false positive rate", "true positive rate", "auc", true_positive_rates, 0.0, (0.98, "right"))
PRECISION_RECALL = Curve("recall", "precision", "ap", precisions, None, (0.02, "left"))


def draw_roc(runs: Sequence[DetectorRun], table: pd.DataFrame) -> Figure:
    """ROC curves: see `draw_curves`."""
    return draw_curves(runs, table, ROC)


def draw_precision_recall(runs: Sequence[DetectorRun], table: pd.DataFrame) -> Figure:
    """Precision–recall curves, fake being the positive class: see `draw_curves`."""
    return draw_curves(runs, table, PRECISION_RECALL)


def draw_curves(runs: Sequence[DetectorRun], table: pd.DataFrame, curve: Curve) -> Figure:
    """Curves of every test data set, averaged over the seeds at equal x; in-domain solid, out-of-domain dashed.

    Up to seven data sets share two axes, one for the frame and one for the video level. More of them get a
    panel each, at video level, with the others in grey for comparison. A data set of one class has no curve. Dotted is
    what chance gives.
    """
    shown = mean_rows(table)
    shown = shown[shown["video_auc"].notna()]
    if shown.empty:
        return empty_figure("no test data set holds both classes:\nthere is no curve")
    together = len(shown) <= len(COLOURS)
    figure = (_draw_together if together else _draw_panels)(runs, shown, curve)
    figure.suptitle(figure_title(table) + ("" if together else ", video level"))
    return figure


def _draw_together(runs: Sequence[DetectorRun], shown: pd.DataFrame, curve: Curve) -> Figure:
    figure = Figure(figsize=(7.2, 4.0 + 0.19 * len(shown)), layout="constrained")
    lines = []
    for axes, level in zip(figure.subplots(1, 2, sharey=True), LEVELS, strict=True):
        for colour, row in zip(COLOURS, shown.to_dict("records"), strict=False):
            curves = _curves(runs, row["dataset"], level, curve)
            if len(curves) > 1 and len(shown) <= 3:
                axes.plot(*_joined(curves, curve), color=colour, linewidth=0.5, alpha=0.4)
            lines.append(_plot(axes, curves, curve, row["domain"], color=colour))
            if curve is PRECISION_RECALL:
                axes.axhline(_fake_share(row, level), color=colour, linewidth=0.8, linestyle=":")
        _finish(axes, curve, ticks=np.linspace(0, 1, 6))
        axes.set_title(f"{level} level")
        axes.set_xlabel(curve.x_label)
    figure.axes[0].set_ylabel(curve.y_label)
    labels = [
        f"{row['dataset']} ({DOMAINS[row['domain']]}): frame {curve.metric_name} {row[f'frame_{curve.metric}']:.3f}, "
        f"video {curve.metric_name} {row[f'video_{curve.metric}']:.3f} {_interval(row, curve)}"
        for row in shown.to_dict("records")
    ]
    figure.legend(lines[: len(shown)], labels, loc="outside lower center", handlelength=3)
    return figure


def _draw_panels(runs: Sequence[DetectorRun], shown: pd.DataFrame, curve: Curve) -> Figure:
    figure = Figure(layout="constrained")
    curves = {dataset: _curves(runs, dataset, "video", curve) for dataset in shown["dataset"]}
    others = [np.mean(of_dataset, axis=0) for of_dataset in curves.values()]
    handles = {}
    rows = shown.to_dict("records")
    for axes, row in panels(figure, rows, height=2.1, x_label=curve.x_label, y_label=curve.y_label):
        handles["the other data sets"] = axes.plot(*_joined(others, curve), color=GREY, linewidth=0.5, alpha=0.5)[0]
        of_dataset = curves[row["dataset"]]
        if len(of_dataset) > 1:
            handles["one seed"] = axes.plot(*_joined(of_dataset, curve), color=COLOURS[0], linewidth=0.5, alpha=0.5)[0]
        handles[DOMAINS[row["domain"]]] = _plot(axes, of_dataset, curve, row["domain"], color=COLOURS[0])
        if curve is PRECISION_RECALL:
            axes.axhline(_fake_share(row, "video"), color=GREY, linewidth=0.8, linestyle=":")
        _finish(axes, curve, ticks=np.linspace(0, 1, 3))
        axes.set_title(panel_title(row))
        x, side = curve.text_x
        text = f"{curve.metric_name} {row[f'video_{curve.metric}']:.3f}\n{_interval(row, curve)}".rstrip()
        axes.text(x, 0.04, text, ha=side, fontsize=8)
    figure.legend(handles.values(), handles, loc="outside lower center", ncols=4, handlelength=3)
    return figure


def _curves(runs: Sequence[DetectorRun], dataset: str, level: str, curve: Curve) -> np.ndarray:
    """(seeds, 501) the curve of each seed on a data set; of samples of one class there is none."""
    of_dataset = [run.of_level(level) for run in runs if run.dataset == dataset]
    curves = [curve.at_grid(labels, scores) for labels, scores in of_dataset if len(np.unique(labels)) == 2]
    return np.array(curves) if curves else np.full((1, len(GRID)), np.nan)


def _joined(curves: Sequence[np.ndarray] | np.ndarray, curve: Curve) -> tuple[np.ndarray, np.ndarray]:
    """x and y (points, curves) of many curves for one call of `plot`, from the corner on, if there is one."""
    x, y = GRID, np.transpose(curves)
    if curve.start is None:
        return x, y
    return np.concatenate(([0], x)), np.vstack([np.full(len(curves), curve.start), y])


def _plot(axes: Axes, curves: np.ndarray, curve: Curve, domain: str, *, color: str) -> Line2D:
    style: dict[str, Any] = {"linestyle": DOMAIN_LINES[domain], "linewidth": 1.5, "color": color}
    return axes.plot(*_joined([curves.mean(axis=0)], curve), **style)[0]


def _finish(axes: Axes, curve: Curve, *, ticks: np.ndarray) -> None:
    if curve is ROC:
        axes.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, linestyle=":")
    # a margin, because a good detector's curve lies on the edge
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal", xticks=ticks, yticks=ticks)


def _fake_share(row: dict, level: str) -> float:
    """Precision of calling everything fake."""
    n_samples, n_fakes = ("n_faces", "n_faces_fake") if level == "frame" else ("n_videos", "n_videos_fake")
    return row[n_fakes] / row[n_samples] if row[n_samples] else np.nan


def _interval(row: dict, curve: Curve) -> str:
    return interval_text(row) if curve is ROC else ""
