"""Small predictions and scores of videos, as the stages write them."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from preprocess.store.origin import Origin
from preprocess.store.schemas import PREDICTIONS
from preprocess.store.tables import write_table

# what the file of a prediction says of the detector that made it
MADE_BY = {"experiment": "e", "seed": 0, "split": "test", "train": ["d"], "aggregation": "mean"}


def write_predictions(
    path: Path, rows: Sequence[dict] | pa.Table, *, dataset: str = "d", stage: str = "predict", **made_by: object
) -> None:
    """Write a file of `schemas.PREDICTIONS`; `made_by` replaces or adds to what `MADE_BY` says."""
    write_table(path, rows, PREDICTIONS, Origin(dataset, stage, json.dumps(MADE_BY | made_by), 1))


def video_scores(
    experiment: str,
    dataset: str,
    scores: dict[str, float],
    *,
    seed: int = 0,
    labels: dict[str, int] | None = None,
    missing: Collection[str] = (),
) -> pd.DataFrame:
    """Rows of `schemas.VIDEO_SCORES` at the threshold 0.5.

    Args:
        experiment: Its name.
        dataset: Its name.
        scores: By the id of the video; those whose last part begins with f are fakes.
        seed: Of the experiment.
        labels: Other labels.
        missing: Videos without a prediction, whose score was filled in.
    """
    return pd.DataFrame(
        [
            {
                **{"experiment": experiment, "dataset": dataset, "seed": seed, "video_id": video_id, "score": score},
                "label": (labels or {}).get(video_id, int(video_id.rpartition("/")[2].startswith("f"))),
                **{"threshold": 0.5, "predicted": video_id not in missing},
            }
            for video_id, score in scores.items()
        ]
    )


def random_scores(seed: int, n: int, decimals: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """Labels of both classes, and scores from 0.01 to 0.99 that overlap; of few decimals, with many ties."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, n)
    labels[:2] = (0, 1)
    return labels, np.round(np.clip(rng.normal(0.35 + 0.3 * labels, 0.25), 0.01, 0.99), decimals)
