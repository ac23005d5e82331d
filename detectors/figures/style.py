"""One style for all figures: readable in print and by the colour-blind, the same bytes for the same input."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, TypeVar

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from preprocess.store.atomic import atomic_path

# Okabe and Ito, "Color Universal Design", 2008; without its yellow, which is too pale for a line
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
REAL_COLOUR, FAKE_COLOUR = "#0072B2", "#E69F00"
GREY = "#999999"
# dark is much, in colour and in grey
COLOUR_MAP = "Blues"
DASHED = (0, (4, 1.5))

STYLE = {
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.labelsize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.6,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "figure.titlesize": 10,
    "figure.constrained_layout.h_pad": 0.07,
    "figure.labelsize": 9,
    "figure.dpi": 150,
    "savefig.dpi": 150,
    # names of elements in an SVG are random without it
    "svg.hashsalt": "evaluation",
}

PANELS_PER_ROW = 4

T = TypeVar("T")


def in_style() -> AbstractContextManager[None]:
    """What is drawn and saved within it has the style of the project, whatever the user's settings."""
    parameters: dict[Any, Any] = {**matplotlib.rcParamsDefault, **STYLE}
    return matplotlib.rc_context(parameters)


def write_figure(path: str | Path, draw: Callable[[], Figure]) -> list[Path]:
    """Draw a figure in the style of the project and write it as PNG (150 dpi) and as SVG.

    Args:
        path: File to write, without a suffix.
        draw: What draws it.

    Returns:
        The two files.
    """
    paths = []
    with in_style():
        figure = draw()
        for suffix, metadata in ((".png", {"Software": None}), (".svg", {"Date": None, "Creator": None})):
            # a name may hold dots, so this is no change of suffix
            paths.append(Path(f"{path}{suffix}"))
            with atomic_path(paths[-1]) as temporary:
                figure.savefig(temporary, format=suffix[1:], metadata=metadata)
    return paths


def empty_figure(told: str) -> Figure:
    """A figure that says why it shows nothing."""
    figure = Figure(figsize=(4.5, 1.5))
    figure.text(0.5, 0.5, told, ha="center", va="center")
    return figure


def bare(axes: Axes) -> None:
    """Take grid, frame and tick marks from axes that hold pictures or cells; tick labels stay."""
    axes.tick_params(length=0)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)


def panels(
    figure: Figure, items: Sequence[T], *, height: float, x_label: str, y_label: str, width: float = 1.75
) -> Iterator[tuple[Axes, T]]:
    """A panel per item, at most four in a row; sets the size of the figure, labels its outer panels.

    Args:
        figure: An empty figure.
        items: At least one.
        height: Of a panel in inches, without its title.
        x_label: Below the lowest panels.
        y_label: Left of the first panels.
        width: Of a panel in inches.
    """
    n_columns = min(len(items), PANELS_PER_ROW)
    n_rows = math.ceil(len(items) / n_columns)
    figure.set_size_inches(max(3.6, 0.3 + width * n_columns), 0.9 + height * n_rows)
    grid = figure.subplots(n_rows, n_columns, squeeze=False).ravel()
    for axes in grid[len(items) :]:
        axes.remove()
    for position, (axes, item) in enumerate(zip(grid, items, strict=False)):
        if position + n_columns >= len(items):
            axes.set_xlabel(x_label)
        if position % n_columns == 0:
            axes.set_ylabel(y_label)
        yield axes, item
