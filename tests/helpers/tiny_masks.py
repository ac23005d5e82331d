"""Landmarks and masks for the crops of `tiny_store`."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import numpy as np

from helpers.tiny_store import BOX, CROP_SIZE
from preprocess.store.crop_file import CropReader
from preprocess.store.image_codecs import encode_mask
from preprocess.store.mask_file import CropMasks, MaskSource, write_masks
from preprocess.store.origin import Origin
from preprocess.store.schemas import LANDMARKS, N_LANDMARKS
from preprocess.store.tables import write_table
from preprocess.video.outcomes import NO_LANDMARKS, OK

# Where in the face box the points of each part lie: (first point, end, x0, y0, x1, y1).
_PARTS = (
    (0, 27, 0.0, 0.2, 1.0, 1.0),
    (27, 36, 0.4, 0.35, 0.6, 0.6),
    (36, 42, 0.2, 0.3, 0.4, 0.4),
    (42, 48, 0.6, 0.3, 0.8, 0.4),
    (48, 68, 0.3, 0.7, 0.7, 0.85),
    (68, 81, 0.0, 0.0, 1.0, 0.2),
)


def face_landmarks() -> np.ndarray:
    """(81, 2) x, y in frame pixels; each part's points fill its place, corners included."""
    points = np.empty((N_LANDMARKS, 2), np.float32)
    x0, y0, x1, y1 = BOX
    for begin, end, *corners in _PARTS:
        turns = np.linspace(0, 2 * np.pi, end - begin, endpoint=False)
        round_trip = (np.column_stack([np.cos(turns), np.sin(turns)]).round(6) + 1) / 2
        round_trip[:2] = [[0, 0], [1, 1]]
        left, top, right, bottom = corners
        points[begin:end] = round_trip * (right - left, bottom - top) + (left, top)
    return points * (x1 - x0, y1 - y0) + (x0, y0)


def face_mask() -> np.ndarray:
    """The mask of a fake: where `tiny_store.face_pixels` draws its pattern."""
    mask = np.zeros(CROP_SIZE, np.uint8)
    mask[20:60, 20:60] = 255
    return mask


def add_landmarks(
    root: Path, dataset: str = "tiny", *, points: np.ndarray | None = None, without: Collection[str] = ()
) -> None:
    """Write landmarks of all crops.

    Args:
        root: Folder of the store.
        dataset: In it.
        points: (81, 2) of every face, x and y in frame pixels; `face_landmarks` when absent.
        without: Ids of the samples that have none.
    """
    points = face_landmarks() if points is None else points
    for path in sorted((root / "crops" / dataset).glob("*.h5")):
        rows = []
        with CropReader(path) as crops:
            for row, video_id in enumerate(crops.video_id):
                frame_index, track_id = int(crops.frame_index[row]), int(crops.track_id[row])
                found = f"{video_id}#{frame_index}#{track_id}" not in without
                rows.append(
                    {
                        "video_id": video_id,
                        "frame_index": frame_index,
                        "track_id": track_id,
                        "crop_row": row,
                        "landmarks": points.reshape(-1) if found else None,
                        "status": OK if found else NO_LANDMARKS,
                        "message": "",
                    }
                )
        table = root / "landmarks" / dataset / f"{path.stem}.parquet"
        write_table(table, rows, LANDMARKS, Origin(dataset, "landmarks", "{}", 1, path.stem))


def add_landmarks_and_masks(root: Path, dataset: str = "tiny", *, unknown: tuple[str, ...] = ()) -> None:
    """Write landmarks and masks of all crops; fakes of the methods `unknown` have no mask."""
    add_landmarks(root, dataset)
    for path in sorted((root / "crops" / dataset).glob("*.h5")):
        with CropReader(path) as crops:
            methods = [video_id.split("/")[1] for video_id in crops.video_id]
        none = encode_mask(np.zeros(CROP_SIZE, np.uint8))
        masks = [
            CropMasks(b"", b"", MaskSource.UNKNOWN)
            if method in unknown
            else CropMasks(b"", none, MaskSource.REAL)
            if method == "real"
            else CropMasks(b"", encode_mask(face_mask()), MaskSource.DIFFERENCE)
            for method in methods
        ]
        write_masks(root / "masks" / dataset / f"{path.stem}.h5", masks, Origin(dataset, "masks", "{}", 1, path.stem))
