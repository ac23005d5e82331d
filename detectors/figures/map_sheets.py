"""Predicted and true masks side by side, drawn after every epoch for any detector that locates."""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import cv2
import lightning as L
import numpy as np
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from matplotlib.figure import Figure

from detectors.data.crop_store import CropStore
from detectors.data.crop_window import CropWindow
from detectors.data.loader import to_tensor
from detectors.data.mask_store import MaskStore, patches_of_mask
from detectors.data.samples import Samples
from detectors.figures.style import bare, in_style
from detectors.interface.detector import Detector, Training
from preprocess.store.atomic import atomic_path

# Faces of a sheet.
N_FAKES, N_REALS = 6, 2

# A patch counts as predicted from this probability on.
_THRESHOLD = 0.5

_CELL_INCHES = 1.25
_GAP = 0.02  # share of a cell, on each side
_COLOUR_MAP = "cividis"  # made for the colour-blind; bright is much
_FOLDER = "maps"


@dataclass(frozen=True)
class LocatedFace:
    """A face and where a detector says that it was manipulated.

    Attributes:
        image: (height, width, 3) uint8 RGB.
        mask: (height, width) uint8, 1 where it was manipulated, else 0.
        map: (h, w) probabilities.
        score: Probability that the face is fake.
        title: What it is, short.
    """

    image: np.ndarray
    mask: np.ndarray
    map: np.ndarray
    score: float
    title: str


def intersection_over_union(predicted: np.ndarray, mask: np.ndarray) -> float:
    """Overlap of a map, as far as it reaches 0.5, with the patches of a mask; NaN when the mask is empty.

    Args:
        predicted: (h, w) probabilities.
        mask: (height, width) uint8, 1 where the face was manipulated; a patch with one such pixel counts.
    """
    patches = patches_of_mask(torch.from_numpy(mask)[None, None], predicted.shape)[0].numpy() == 1
    chosen = predicted >= _THRESHOLD
    return float((patches & chosen).sum() / (patches | chosen).sum()) if patches.any() else float("nan")


def draw_map_sheet(faces: Sequence[LocatedFace], title: str) -> Figure:
    """A column for each face: the face, its true mask, the predicted map.

    Args:
        faces: At least one.
        title: Above all.
    """
    size = (_CELL_INCHES * len(faces) + 1.2, 3 * _CELL_INCHES + 1.4)
    figure = Figure(figsize=size, layout="constrained")
    # one axes for each row, with its pictures side by side
    rows = figure.subplots(3, 1)
    centres = np.arange(len(faces)) + 0.5
    pictures = ([face.image for face in faces], [face.mask for face in faces], [face.map for face in faces])
    for axes, label, row in zip(rows, ("face", "true mask", "predicted"), pictures, strict=True):
        for left, picture in enumerate(row):
            extent = (left + _GAP, left + 1 - _GAP, _GAP, 1 - _GAP)
            shown = axes.imshow(picture, extent=extent, cmap=_COLOUR_MAP, vmin=0, vmax=1, interpolation="nearest")
        axes.set(xlim=(0, len(faces)), ylim=(0, 1), xticks=[], yticks=[], ylabel=label)
        bare(axes)
    rows[0].xaxis.tick_top()
    rows[0].set_xticks(centres, [face.title for face in faces])
    rows[2].set_xticks(centres, [_judgement(face) for face in faces])
    figure.colorbar(shown, ax=list(rows), label="manipulated", shrink=0.8, pad=0.01)
    figure.suptitle(title)
    return figure


def _judgement(face: LocatedFace) -> str:
    overlap = intersection_over_union(face.map, face.mask)
    return f"score {face.score:.2f}" + ("" if np.isnan(overlap) else f"\nIoU {overlap:.2f}")


class MapSheets(L.Callback):
    """Draws `maps/epoch<k>.png` in the folder of logs after each validation, k from 0, and shows it in TensorBoard.

    The faces are the same in every epoch: fakes of each method in turn and some reals, each the first one of a
    validation video, whose mask is known.

    Args:
        samples: Validation samples.
        data: Folder of the store.
        window: The detector's crop.
        logs: Folder of the logs.
    """

    def __init__(self, samples: Samples, data: Path, window: CropWindow, logs: Path):
        self._folder = logs / _FOLDER
        self._faces = _chosen_faces(samples, data, window)

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Draw the sheet of the epoch."""
        if not self._faces or not trainer.is_global_zero:
            return
        faces, buffer = locate_faces(cast(Detector, pl_module.detector), self._faces), io.BytesIO()
        with in_style():
            figure = draw_map_sheet(faces, f"epoch {trainer.current_epoch}")
            figure.savefig(buffer, format="png", metadata={"Software": None})
        with atomic_path(self._folder / f"epoch{trainer.current_epoch}.png") as temporary:
            temporary.write_bytes(buffer.getvalue())
        pixels = cv2.imdecode(np.frombuffer(buffer.getvalue(), np.uint8), cv2.IMREAD_COLOR_RGB)
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                logger.experiment.add_image(_FOLDER, pixels, trainer.global_step, dataformats="HWC")


def map_sheets(detector: Detector, training: Training) -> list[MapSheets]:
    """The callback for a detector that locates, none for another one."""
    if not detector.locates:
        return []
    return [MapSheets(training.val, training.data, detector.window, training.logs)]


@torch.no_grad()
def locate_faces(
    detector: Detector, faces: Sequence[tuple[np.ndarray, np.ndarray, str]], batch_size: int = 8
) -> list[LocatedFace]:
    """Score and location map of faces.

    Args:
        detector: One that has location maps, in evaluation mode.
        faces: Image (size, size, 3) uint8, mask (size, size) uint8 of 0 and 1, and title of each.
        batch_size: Faces at a time.
    """
    device = next(detector.parameters()).device
    located = []
    for begin in range(0, len(faces), batch_size):
        some = faces[begin : begin + batch_size]
        images = torch.stack([to_tensor(image) for image, _, _ in some]).to(device)
        scores, maps = detector.score(images).cpu(), detector.location_maps(images).cpu()
        located += [
            LocatedFace(image, mask, location_map.numpy(), float(score), title)
            for (image, mask, title), location_map, score in zip(some, maps, scores, strict=True)
        ]
    return located


def _chosen_faces(samples: Samples, data: Path, window: CropWindow) -> list[tuple[np.ndarray, np.ndarray, str]]:
    """Image, mask and title of the faces of the sheets; none where there are no masks."""
    _, firsts = np.unique(samples.video_id.codes, return_index=True)
    firsts = np.sort(firsts)
    chosen: list[tuple[np.ndarray, np.ndarray, str]] = []
    for label, count in ((1, N_FAKES), (0, N_REALS)):
        rows = firsts[samples.label[firsts] == label]
        in_turn = _in_turn(rows, np.array(samples.method.names)[samples.method.codes[rows]])
        chosen += itertools.islice(_faces_with_masks(in_turn, samples, data, window), count)
    return chosen


def _faces_with_masks(
    rows: list[int], samples: Samples, data: Path, window: CropWindow
) -> Iterator[tuple[np.ndarray, np.ndarray, str]]:
    crops, masks = CropStore(data / "crops", samples, window), MaskStore(data / "masks", samples, window)
    for row in rows:
        if (data / "masks" / samples.crops_file(row)).is_file():
            stored, box, to_frame = crops.stored(row)
            mask = masks.read(row, box, to_frame)
            if mask is not None:
                yield window.cut(stored, box, to_frame), mask, samples.method.text(row) or ""


def _in_turn(rows: np.ndarray, kinds: np.ndarray) -> list[int]:
    """Rows of each kind in turn, in the order of the kinds, as long as there are any."""
    turn = np.zeros(len(rows), int)
    for kind in np.unique(kinds):
        turn[kinds == kind] = np.arange((kinds == kind).sum())
    return rows[np.lexsort([kinds, turn])].tolist()
