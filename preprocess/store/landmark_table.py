"""The landmarks of a shard as one array."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from preprocess.store.schemas import N_LANDMARKS


def landmark_points(landmarks: pa.Table) -> np.ndarray:
    """The points of a table of landmarks.

    Args:
        landmarks: N rows with the column `landmarks` of `schemas.LANDMARKS`.

    Returns:
        (N, 81, 2) float32 x, y in frame pixels, NaN where a row has none.
    """
    points = np.full((len(landmarks), N_LANDMARKS, 2), np.nan, np.float32)
    column = landmarks["landmarks"].combine_chunks()
    points[column.is_valid().to_numpy(zero_copy_only=False)] = column.flatten().to_numpy().reshape(-1, N_LANDMARKS, 2)
    return points
