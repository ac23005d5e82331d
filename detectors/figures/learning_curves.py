"""Draw how the seeds of an experiment learned: `python -m detectors.figures.learning_curves --help`.

Reads the history that each training of a network leaves in `logs/metrics.csv`: a panel for each loss term, then
log loss and AUC of the validation data at frame and at video level. Each seed has a line, with a dot at the epoch that
was kept.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from detectors.figures.style import COLOURS, DASHED, GREY, empty_figure, panels, write_figure
from detectors.measures.runs import LEVELS
from preprocess.running.cli import UserError, run_command

LOSS_PREFIX, TOTAL = "train/", "train/total"
VALIDATION = {
    f"val/{level}_{metric}": f"validation {level} {name}"
    for metric, name in (("log_loss", "log loss"), ("auc", "AUC"))
    for level in LEVELS
}
_LINE_STYLES = ("-", DASHED, ":")
_DOT: dict[str, Any] = {"marker": "o", "markersize": 4.5, "linestyle": "none"}


@dataclass(frozen=True)
class Training:
    """How one seed learned.

    Attributes:
        experiment: Its name.
        seed: Of the training.
        history: A row per epoch: `epoch` (from 0), `train/<loss>`, `val/<level>_<metric>`; empty for a detector that
            does not learn in epochs.
        best_epoch: The epoch that was kept, from 0; None without a history.
    """

    experiment: str
    seed: int
    history: pd.DataFrame
    best_epoch: int | None


def read_training(summary: Path) -> Training:
    """Read `summary.json` of a seed, and the history in `logs/` beside it.

    Raises:
        UserError: It is absent or is no summary, or the history cannot be read.
    """
    try:
        told = json.loads(summary.read_text())
        experiment, seed, best_epoch = told["experiment"], told["seed"], told["best_epoch"]
        path = summary.parent / "logs/metrics.csv"
        # a detector without a network leaves none
        history = pd.read_csv(path) if best_epoch is not None else pd.DataFrame({"epoch": []})
    except (OSError, KeyError, ValueError) as error:
        raise UserError(f"cannot read the training of {summary}: {error}. Run train_detector for it again") from error
    return Training(experiment, seed, history, None if best_epoch is None else int(best_epoch))


def draw_learning_curves(trainings: Sequence[Training]) -> Figure:
    """A panel per loss term and validation metric, with a line per seed; the epochs that were kept have a dot."""
    trained = [training for training in trainings if len(training.history)]
    columns = _columns(trained)
    if not columns:
        return empty_figure("this detector does not learn in epochs:\nit has no curves")
    figure = Figure(layout="constrained")
    handles = {}
    for axes, column in panels(figure, columns, height=1.7, x_label="epoch", y_label=""):
        for number, training in enumerate(trained):
            if column not in training.history:
                continue
            colour = COLOURS[number % len(COLOURS)]
            style = _LINE_STYLES[number // len(COLOURS) % len(_LINE_STYLES)]
            epochs, values = training.history["epoch"] + 1, training.history[column]
            (line,) = axes.plot(epochs, values, color=colour, linestyle=style, linewidth=1.2)
            handles[f"seed {training.seed}"] = line
            best = training.history["epoch"] == training.best_epoch
            axes.plot(epochs[best], values[best], color=colour, **_DOT)
        axes.set_title(VALIDATION.get(column) or f"training loss: {column.removeprefix(LOSS_PREFIX)}")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=5, min_n_ticks=1))
        axes.margins(x=0.05)
    handles["epoch that was kept"] = Line2D([], [], color=GREY, **_DOT)
    figure.legend(handles.values(), handles, loc="outside lower center", ncols=min(6, len(handles)))
    figure.suptitle(trained[0].experiment)
    # long titles of the panels need more room than those of a ROC curve
    figure.set_size_inches(max(4.2, figure.get_figwidth() * 1.3), figure.get_figheight())
    return figure


def _columns(trainings: Sequence[Training]) -> list[str]:
    """Columns to draw: losses in the order of the history, the total first, then the metrics that are defined."""
    names = list(dict.fromkeys(name for training in trainings for name in training.history))
    losses = [name for name in names if name.startswith(LOSS_PREFIX)]
    losses.sort(key=lambda name: name != TOTAL)
    defined = [
        name
        for name in VALIDATION
        if any(not math.isnan(value) for training in trainings for value in training.history.get(name, []))
    ]
    return [*losses, *defined]


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--summaries", nargs="+", required=True, type=Path, help="summary.json of every seed")
    parser.add_argument("--output", required=True, type=Path, help="figure to write, without a suffix")
    args = parser.parse_args()
    trainings = [read_training(path) for path in args.summaries]
    write_figure(args.output, partial(draw_learning_curves, trainings))


if __name__ == "__main__":
    run_command(main)
