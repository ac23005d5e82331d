"""Landmarks and masks for the crops of `tiny_store`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from tiny_store import BOX, CROP_SIZE

from preprocess.crop_file import CropReader
from preprocess.masks import DIFFERENCE, REAL, UNKNOWN, CropMasks, encode_mask, write_masks
from preprocess.schemas import LANDMARKS, N_LANDMARKS, OK
from preprocess.store import Origin, write_table

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


def add_landmarks_and_masks(root: Path, dataset: str = "tiny", *, unknown: tuple[str, ...] = ()) -> None:
    """Write landmarks and masks of all crops; fakes of the methods `unknown` have no mask."""
    for path in sorted((root / "crops" / dataset).glob("*.h5")):
        with CropReader(path) as crops:
            methods = [video_id.split("/")[1] for video_id in crops.video_id]
            rows = [
                {
                    "video_id": crops.video_id[row],
                    "frame_index": int(crops.frame_index[row]),
                    "track_id": int(crops.track_id[row]),
                    "crop_row": row,
                    "landmarks": face_landmarks().reshape(-1),
                    "status": OK,
                    "message": "",
                }
                for row in range(len(crops))
            ]
        write_table(
            root / "landmarks" / dataset / f"{path.stem}.parquet",
            rows,
            LANDMARKS,
            Origin(dataset, "landmarks", "{}", 1, path.stem),
        )
        none = encode_mask(np.zeros(CROP_SIZE, np.uint8))
        masks = [
            CropMasks(b"", b"", UNKNOWN)
            if method in unknown
            else CropMasks(b"", none, REAL)
            if method == "real"
            else CropMasks(b"", encode_mask(face_mask()), DIFFERENCE)
            for method in methods
        ]
        write_masks(root / "masks" / dataset / f"{path.stem}.h5", masks, Origin(dataset, "masks", "{}", 1, path.stem))
