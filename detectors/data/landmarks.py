"""Landmarks of the samples of a store, and which of the 81 points is which.

Points 0 to 67 are numbered as in iBUG 300-W, 68 to 80 lie along the hairline: from side to side 77 75 76 68 69 70 71 80
72 73 79 74 78.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from detectors.data.samples import Samples
from preprocess.running.cli import UserError
from preprocess.store.landmark_table import landmark_points
from preprocess.store.schemas import N_LANDMARKS
from preprocess.store.tables import read_table

JAW, BROWS, NOSE, EYES, MOUTH = slice(17), slice(17, 27), slice(27, 36), slice(36, 48), slice(48, 68)

_MIRRORED_PAIRS = (
    *((i, 16 - i) for i in range(8)),  # jaw
    *((17 + i, 26 - i) for i in range(5)),  # brows
    *((31, 35), (32, 34)),  # nose
    *((36, 45), (37, 44), (38, 43), (39, 42), (40, 47), (41, 46)),  # eyes
    *((48, 54), (49, 53), (50, 52), (55, 59), (56, 58), (60, 64), (61, 63), (65, 67)),  # mouth
    *((77, 78), (75, 74), (76, 79), (68, 73), (69, 72), (70, 80)),  # hairline
)


def _mirror() -> np.ndarray:
    mirror = np.arange(N_LANDMARKS)
    for pair in _MIRRORED_PAIRS:
        mirror[list(pair)] = pair[::-1]
    return mirror


# Point i of a mirrored face is where point MIRROR[i] of the face was.
MIRROR = _mirror()


def read_landmarks(root: str | Path, samples: Samples) -> np.ndarray:
    """Landmarks of all samples: 648 bytes each, which forked loader workers share.

    Args:
        root: Folder of the landmarks, `<root>/<dataset>/<shard>.parquet`.
        samples: N samples.

    Returns:
        (N, 81, 2) float32 x, y in frame pixels, NaN for a sample without landmarks.

    Raises:
        UserError: A file is absent, cannot be read, or belongs to other crops.
    """
    points = np.empty((len(samples), N_LANDMARKS, 2), np.float32)
    shards = np.stack([samples.dataset.codes, samples.shard.codes], axis=1)
    for dataset, shard in np.unique(shards, axis=0):
        path = Path(root) / samples.dataset.names[dataset] / f"{samples.shard.names[shard]}.parquet"
        of_shard = np.flatnonzero((shards == (dataset, shard)).all(axis=1))
        table = landmark_points(read_table(path, ["landmarks"]))
        if samples.crop_row[of_shard].max() >= len(table):
            raise UserError(
                f"{path} has landmarks of {len(table)} crops, the samples ask for crop "
                f"{samples.crop_row[of_shard].max()}: run detect_landmarks for it again"
            )
        points[of_shard] = table[samples.crop_row[of_shard]]
    return points
