"""Landmarks of the samples of a store."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from detectors.data.samples import Samples
from preprocess.running.cli import UserError
from preprocess.store.landmark_table import landmark_points
from preprocess.store.schemas import N_LANDMARKS
from preprocess.store.tables import read_table


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
