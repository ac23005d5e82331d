"""Draw what explains a detector: `python -m detectors.explain --help`.

Three figures, each as PNG and SVG, of the faces of its test sets:

- `gradcam`: where the network saw what spoke for its verdict, on the faces of which it was most sure: right and wrong,
  real and fake, of each test set; or on those that `--only` names.
- `locations`: for a detector that locates, what it takes for manipulated on the same faces, beside the true mask.
- `features`: t-SNE of its features, coloured by real or fake, by method and by data set.

Where a detector has nothing of the kind, the figure says so. docs/explain.md tells how to read them.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import cv2
import matplotlib
import numpy as np
import torch
from matplotlib.figure import Figure
from torch import nn

from detectors.data.crop_store import CropStore
from detectors.data.loader import default_workers, to_tensor
from detectors.data.mask_store import MaskStore
from detectors.families.registry import load_detector
from detectors.figures.examples import FAKE, KINDS, REAL, Example, TestSet, most_confident, named, read_test_set
from detectors.figures.features import draw_features, read_features
from detectors.figures.gradcam import grad_cam
from detectors.figures.style import bare, empty_figure, write_figure
from detectors.interface.detector import Detector
from preprocess.running.cli import UserError, run_command
from preprocess.running.device import pick_device

N_FACES = 1000
# Where training chose no threshold.
_NO_THRESHOLD = 0.5

_WORDS = {REAL: "real", FAKE: "fake"}
_SIDE_PX, _GAP_PX = 150, 4
_HEAT, _HEAT_WEIGHT, _CONTOUR = "inferno", 0.6, 0.5
_UNKNOWN = 0.6


class ExampleRow(NamedTuple):
    """Faces from left to right, None where there is none of the kind, and what stands before them."""

    name: str
    examples: Sequence[Example | None]


class ShownFace(NamedTuple):
    """A face in a figure: what it is, and its pictures side by side."""

    example: Example
    pictures: list[np.ndarray]


class ShownRow(NamedTuple):
    """An `ExampleRow` with the pictures of its faces."""

    name: str
    faces: Sequence[ShownFace | None]


def heat_over(image: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """A map laid over a picture: the more, the more of its colour; white lines at half of the highest.

    Args:
        image: RGB uint8 `(height, width, 3)`.
        heat: (height, width) from 0 to 1.
    """
    colours = 255 * matplotlib.colormaps[_HEAT](heat)[..., :3]
    weight = _HEAT_WEIGHT * heat[..., None]
    mixed = np.ascontiguousarray(((1 - weight) * image + weight * colours).round().astype(np.uint8))
    outlines, _ = cv2.findContours((heat >= _CONTOUR).astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    return cv2.drawContours(mixed, outlines, -1, (255, 255, 255), 1)


class Faces:
    """The crops and masks of a test set, as a detector sees them.

    Args:
        test_set: The test set.
        data: Folder of the store.
        detector: Whose window they are cut with.
    """

    def __init__(self, test_set: TestSet, data: Path, detector: Detector):
        self._crops = CropStore(data / "crops", test_set.samples, detector.window)
        self._masks = MaskStore(data / "masks", test_set.samples, detector.window)

    def image(self, row: int) -> np.ndarray:
        """(size, size, 3) uint8 RGB."""
        return self._crops.read(row)

    def mask(self, row: int) -> np.ndarray | None:
        """(size, size) uint8, 1 where the face was manipulated; None when it is unknown."""
        _, box, crop_to_frame = self._crops.stored(row)
        return self._masks.read(row, box, crop_to_frame)


def show_gradcam(detector: Detector, layer: nn.Module, device: str, faces: Faces, example: Example) -> list[np.ndarray]:
    """The crop, and on it what speaks for the verdict, each (side, side, 3) uint8."""
    image = faces.image(example.row)
    sign = torch.tensor([1.0 if example.called == FAKE else -1.0], device=device)
    heat = grad_cam(detector, layer, to_tensor(image)[None].to(device), sign)[0].cpu().numpy()
    crop = _resized(image)
    return [crop, heat_over(crop, np.clip(_resized(heat), 0, 1))]


def show_location(detector: Detector, device: str, faces: Faces, example: Example) -> list[np.ndarray]:
    """The crop, what the detector takes for manipulated (white), and the true mask (grey where it is unknown)."""
    image = faces.image(example.row)
    with torch.inference_mode():
        located = detector.location_maps(to_tensor(image)[None].to(device))[0].float().cpu().numpy()
    mask = faces.mask(example.row)
    truth = np.full((1, 1), _UNKNOWN) if mask is None else mask.astype(np.float64)
    return [_resized(image), _grey(located), _grey(truth)]


def choose_examples(
    test_sets: Sequence[TestSet], threshold: float, only: Sequence[str], count: int
) -> tuple[list[ExampleRow], list[str]]:
    """The faces to show, row by row, and what stands over the columns.

    Args:
        test_sets: Where to look.
        threshold: A score at or above it is called fake.
        only: Ids of the samples to show; empty for the most confident ones.
        count: Most confident faces of each kind and test set.
    """
    if only:
        found = named(test_sets, only, threshold)
        return [ExampleRow("", found[begin : begin + len(KINDS)]) for begin in range(0, len(found), len(KINDS))], []
    rows = []
    for test_set in test_sets:
        chosen = most_confident(test_set, threshold, count)
        for rank in range(count):
            examples = [of_kind[rank] if rank < len(of_kind) else None for of_kind in chosen.values()]
            rows.append(ExampleRow(test_set.name, examples))
    return rows, [f"{_WORDS[label]}, called {_WORDS[called]}" for label, called in KINDS]


def add_pictures(rows: Sequence[ExampleRow], show: Callable[[Example], list[np.ndarray]]) -> list[ShownRow]:
    """The rows with what `show` makes of each face."""
    shown_rows = []
    for row in rows:
        faces: list[ShownFace | None] = []
        for example in row.examples:
            faces.append(None if example is None else ShownFace(example, show(example)))
        shown_rows.append(ShownRow(row.name, faces))
    return shown_rows


def draw_examples(rows: Sequence[ShownRow], headers: Sequence[str], title: str) -> Figure:
    """A grid of faces.

    Args:
        rows: From the top down.
        headers: Over the columns; empty for none.
        title: Over all.
    """
    figure = Figure(layout="constrained")
    n_columns = max(len(faces) for _, faces in rows)
    n_pictures = max((len(face.pictures) for _, faces in rows for face in faces if face), default=1)
    figure.set_size_inches(0.4 + 0.95 * n_pictures * n_columns, 0.7 + 1.25 * len(rows))
    grid = figure.subplots(len(rows), n_columns, squeeze=False)
    for row, (name, faces) in enumerate(rows):
        for column, axes in enumerate(grid[row]):
            face = faces[column] if column < len(faces) else None
            header = [headers[column]] if headers and row == 0 else []
            if face is None:
                axes.text(0.5, 0.5, "none" if headers else "", ha="center", va="center", transform=axes.transAxes)
            else:
                axes.imshow(_side_by_side(face.pictures), interpolation="antialiased")
                header.append(f"{face.example.method}, score {face.example.score:.3f}")
            axes.set_title("\n".join(header), fontsize=8)
            axes.set(xticks=(), yticks=())
            bare(axes)
        grid[row, 0].set_ylabel(name, fontsize=8)
    figure.suptitle(title)
    return figure


def explain(
    detector: Detector,
    facts: dict,
    test_sets: Sequence[TestSet],
    data: Path,
    output: Path,
    *,
    only: Sequence[str] = (),
    count: int = 1,
    n_faces: int = N_FACES,
    device: str = "cpu",
    workers: int = 0,
) -> list[Path]:
    """Draw the three figures.

    Args:
        detector: In evaluation mode, whole.
        facts: What else its checkpoint says.
        test_sets: Its test sets.
        data: Folder of the store.
        output: Folder to write to.
        only: Ids of the samples to show, in place of the most confident ones.
        count: Most confident faces of each kind and test set.
        n_faces: Faces in the t-SNE, about.
        device: PyTorch device.
        workers: Processes that read crops for the t-SNE.

    Returns:
        The files written.
    """
    threshold = facts["thresholds"]["frame"]
    threshold = _NO_THRESHOLD if threshold is None else threshold
    title = f"{facts['experiment']}, seed {facts['seed']}"
    detector = detector.to(device)
    rows, headers = choose_examples(test_sets, threshold, only, count)
    faces = {test_set: Faces(test_set, data, detector) for test_set in test_sets}

    def draw_gradcam() -> Figure:
        layer = detector.find_cam_layer()
        if layer is None:
            return empty_figure("this detector has no feature maps:\nthere is no Grad-CAM")
        shown = add_pictures(rows, lambda face: show_gradcam(detector, layer, device, faces[face.test_set], face))
        return draw_examples(shown, headers, f"{title}: what spoke for the verdict (Grad-CAM)")

    def draw_locations() -> Figure:
        if not detector.locates:
            return empty_figure("this detector does not locate:\nthere are no location maps")
        shown = add_pictures(rows, lambda face: show_location(detector, device, faces[face.test_set], face))
        return draw_examples(shown, headers, f"{title}: face, what was located, true mask")

    files = write_figure(output / "gradcam", draw_gradcam) + write_figure(output / "locations", draw_locations)
    features = read_features(detector, test_sets, data, count=n_faces, device=device, workers=workers)
    return files + write_figure(output / "features", partial(draw_features, features, f"{title}: features (t-SNE)"))


def _resized(image: np.ndarray) -> np.ndarray:
    shrinks = image.shape[0] > _SIDE_PX
    return cv2.resize(image, (_SIDE_PX, _SIDE_PX), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)


def _grey(values: np.ndarray) -> np.ndarray:
    """(any, any) from 0 to 1 as a grey picture."""
    return np.repeat(np.clip(255 * _resized(values), 0, 255).round().astype(np.uint8)[..., None], 3, axis=2)


def _side_by_side(pictures: Sequence[np.ndarray]) -> np.ndarray:
    gap = np.full((_SIDE_PX, _GAP_PX, 3), 255, np.uint8)
    return np.concatenate([part for picture in pictures for part in (gap, picture)][1:], axis=1)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", required=True, type=Path, help="trained detector")
    parser.add_argument("--samples", required=True, nargs="+", type=Path, help="samples of the test data sets")
    parser.add_argument("--predictions", required=True, nargs="+", type=Path, help="the detector's, in the same order")
    parser.add_argument("--data", required=True, type=Path, help="folder of the store, <stage>/<dataset>/<shard>")
    parser.add_argument("--output", required=True, type=Path, help="folder for the figures")
    parser.add_argument("--only", nargs="+", default=[], metavar="SAMPLE", help="ids of the samples to show")
    parser.add_argument("--count", type=int, default=1, help="most confident faces of each kind and test set")
    parser.add_argument("--faces", type=int, default=N_FACES, help="faces in the t-SNE (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:<number>")
    args = parser.parse_args()
    if len(args.samples) != len(args.predictions):
        raise UserError(
            f"{len(args.samples)} samples tables and {len(args.predictions)} predictions are named; name one of each "
            "for every test data set, in the same order"
        )
    if min(args.count, args.faces) < 1:
        raise UserError(f"--count is {args.count} and --faces {args.faces}; the smallest is 1")
    device = pick_device(args.device)
    detector, facts = load_detector(args.checkpoint, prediction_only=False)
    torch.set_num_threads(detector.settings.cpu_threads)
    test_sets = [read_test_set(*paths) for paths in zip(args.samples, args.predictions, strict=True)]
    files = explain(
        detector,
        facts,
        test_sets,
        args.data,
        args.output,
        only=args.only,
        count=args.count,
        n_faces=args.faces,
        device=device,
        workers=default_workers(args.threads, device),
    )
    for path in files:
        print(path)


if __name__ == "__main__":
    run_command(main)
