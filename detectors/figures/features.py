"""Features of faces as a picture: t-SNE (van der Maaten and Hinton, JMLR 2008), and what the features tell apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn.manifold import TSNE
from sklearn.metrics import balanced_accuracy_score, pairwise_distances
from threadpoolctl import threadpool_limits

from detectors.figures.examples import TestSet
from detectors.figures.style import COLOURS, FAKE_COLOUR, REAL_COLOUR, empty_figure
from detectors.interface.detector import Detector
from preprocess.store.schemas import REAL

N_NEIGHBOURS = 10
_PERPLEXITY = 30
_FEWEST = 5
_BATCH_CROPS = 64
_MARKERS = ("o", "^", "s", "D", "v", "P", "X")
COLUMNS = {"label": "real or fake", "method": "method", "dataset": "data set"}

# first word of a seed: which choice the generator is for
_DRAW = 21


@dataclass(frozen=True)
class Features:
    """Features of faces by name.

    Attributes:
        vectors: (N, any) by name, none where the detector has no features to show.
        faces: N rows: `label` (`real` or `fake`), `method`, `dataset`, `group` (the source group).
    """

    vectors: dict[str, np.ndarray]
    faces: pd.DataFrame


def draw_faces(test_set: TestSet, count: int) -> np.ndarray:
    """Rows of about `count` samples, as many of each method as of the others, ascending; always the same ones."""
    rng = np.random.default_rng([_DRAW, count])
    codes = test_set.samples.method.codes
    methods = sorted(np.unique(codes), key=lambda code: test_set.samples.method.names[code])
    rows = []
    for code in methods:
        of_method = np.flatnonzero(codes == code)
        rows.append(rng.permutation(of_method)[: -(-count // len(methods))])
    return np.sort(np.concatenate(rows)) if rows else np.empty(0, np.int64)


def read_features(
    detector: Detector, test_sets: Sequence[TestSet], data: Path, *, count: int, device: str, workers: int
) -> Features:
    """The features that a detector has of some faces of each test set.

    Args:
        detector: In evaluation mode, whole.
        test_sets: To draw faces from.
        data: Folder of the store.
        count: Faces in all, about.
        device: PyTorch device.
        workers: Processes that read crops.
    """
    detector = detector.to(device)
    parts: dict[str, list[np.ndarray]] = {}
    faces = []
    for test_set in test_sets:
        if not len(test_set.samples):
            continue
        samples = test_set.samples[draw_faces(test_set, -(-count // len(test_sets)))]
        scoring_set = detector.scoring_set(samples, data)
        batches = scoring_set.batches(
            _BATCH_CROPS, workers=workers, device=device, description=f"features {test_set.name}"
        )
        with torch.inference_mode():
            for images in batches:
                for name, values in detector.vectors(images).items():
                    parts.setdefault(name, []).append(values.float().cpu().numpy())
        # an item of several crops stands for the first of them
        _, first = np.unique(scoring_set.item_of_sample, return_index=True)
        samples = samples[first]
        faces.append(
            pd.DataFrame(
                {
                    "label": np.where(samples.label == 0, REAL, "fake"),
                    "method": [samples.method.text(row) for row in range(len(samples))],
                    "dataset": test_set.name,
                    "group": [f"{test_set.name}/{group}" for group in samples.groups()],
                }
            )
        )
    table = pd.concat(faces) if faces else pd.DataFrame()
    return Features({name: np.concatenate(values) for name, values in parts.items()}, table)


def neighbour_accuracy(vectors: np.ndarray, classes: np.ndarray, groups: np.ndarray) -> float:
    """How well the nearest faces of other source groups tell a class: balanced accuracy of their majority.

    A face's own group, the real video that it was made from and every other fake made from it, is left out: who is seen
    would else answer the question.

    Args:
        vectors: (N, any).
        classes: (N,) texts.
        groups: (N,) texts.

    Returns:
        From 0 to 1, where 1 / (number of classes) is chance; NaN when there is one class, or one group.
    """
    names, codes = np.unique(classes, return_inverse=True)
    if len(names) < 2 or len(np.unique(groups)) < 2:
        return float("nan")
    distances = pairwise_distances(vectors.astype(np.float64))
    distances[groups[:, None] == groups[None]] = np.inf
    nearest = np.argsort(distances, axis=1, kind="stable")[:, :N_NEIGHBOURS]
    counts = np.isfinite(np.take_along_axis(distances, nearest, axis=1))
    votes = np.zeros((len(vectors), len(names)))
    np.add.at(votes, (np.arange(len(vectors))[:, None], codes[nearest]), counts)
    return float(balanced_accuracy_score(codes, votes.argmax(axis=1)))


def place(vectors: np.ndarray) -> np.ndarray:
    """(N, 2) positions by t-SNE; the same for the same vectors."""
    perplexity = min(_PERPLEXITY, (len(vectors) - 1) / 3)
    # threads add up their shares in an order of their own, and t-SNE makes much of last bits
    with threadpool_limits(1):
        return TSNE(init="pca", perplexity=perplexity, random_state=0).fit_transform(vectors.astype(np.float64))


def draw_features(features: Features, title: str) -> Figure:
    """A row of panels per kind of features: coloured by real or fake, by method and by data set."""
    if not features.vectors or len(features.faces) < _FEWEST:
        reason = (
            "this detector has no features to show" if len(features.faces) >= _FEWEST else "there are too few faces"
        )
        return empty_figure(f"{reason}:\nthere is no t-SNE")
    n_rows = len(features.vectors)
    figure = Figure(layout="constrained")
    figure.set_size_inches(7.6, 1.2 + 2.5 * n_rows + 0.2 * features.faces["method"].nunique() / 2)
    grid = figure.subplots(n_rows, len(COLUMNS), squeeze=False)
    for row, (name, vectors) in enumerate(features.vectors.items()):
        positions = place(vectors)
        for axes, (column, what) in zip(grid[row], COLUMNS.items(), strict=True):
            classes = features.faces[column].to_numpy()
            _scatter(axes, positions, classes)
            accuracy = neighbour_accuracy(vectors, classes, features.faces["group"].to_numpy())
            told = "" if np.isnan(accuracy) else f"{accuracy:.2f} (chance {1 / len(np.unique(classes)):.2f})"
            axes.set_title(f"{what} {told}" if row else f"coloured by {what}\n{told}", fontsize=8)
            if row == n_rows - 1:
                axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.03), ncols=2, fontsize=7, handletextpad=0.2)
        grid[row, 0].set_ylabel(f"{name} features" if name != "features" else name)
    figure.suptitle(title)
    return figure


def _scatter(axes: Axes, positions: np.ndarray, classes: np.ndarray) -> None:
    for number, name in enumerate(_ordered(classes)):
        of_class = classes == name
        colour, marker = _look(name, number, set(classes))
        axes.scatter(
            positions[of_class, 0],
            positions[of_class, 1],
            s=9,
            color=colour,
            marker=marker,
            alpha=0.7,
            linewidths=0,
            label=name,
            rasterized=True,  # thousands of points would make the SVG heavy
        )
    axes.set(xticks=(), yticks=())
    axes.grid(visible=False)


def _ordered(classes: np.ndarray) -> list[str]:
    """Names of the classes, `real` first."""
    return sorted(np.unique(classes), key=lambda name: (name != REAL, name))


def _look(name: str, number: int, names: set[str]) -> tuple[str, str]:
    """Colour and marker of a class."""
    if name == REAL:
        return REAL_COLOUR, "o"
    if names <= {REAL, "fake"}:
        return FAKE_COLOUR, "^"
    # blue is the reals' where there are any
    colours = [colour for colour in COLOURS if colour != REAL_COLOUR] if REAL in names else COLOURS
    number -= REAL in names
    return colours[number % len(colours)], _MARKERS[(number + (REAL in names)) % len(_MARKERS)]
