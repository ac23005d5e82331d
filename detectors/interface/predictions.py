"""Scoring samples with a detector, and what a table of predictions says of itself."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

from detectors.data.samples import Samples
from detectors.data.scoring_set import ScoringSet
from detectors.interface.detector import Detector
from preprocess.running.settings import settings_json
from preprocess.store import versions
from preprocess.store.origin import Origin
from preprocess.store.schemas import PREDICTIONS

SAMPLE_COLUMNS = [name for name in PREDICTIONS.names if name != "score"]
_AUTOCAST = {"16-mixed": torch.float16, "bf16-mixed": torch.bfloat16}


def predict_samples(
    detector: Detector, samples: Samples, data: Path, *, batch_size: int, workers: int, device: str
) -> np.ndarray:
    """Probability (N,) float32 that each sample is fake, in the order of the samples.

    Args:
        detector: In evaluation mode.
        samples: N samples, best in the order of the store, so that files are read from front to back.
        data: Folder of the store.
        batch_size: Crops at a time.
        workers: Processes that read crops.
        device: PyTorch device. A GPU computes in the precision of the training.
    """
    if not len(samples):
        return np.empty(0, np.float32)
    scoring_set = detector.scoring_set(samples, data)
    return score_items(detector, scoring_set, batch_size=batch_size, workers=workers, device=device)


def score_items(
    detector: Detector, scoring_set: ScoringSet, *, batch_size: int, workers: int, device: str
) -> np.ndarray:
    """As `predict_samples`, of the samples of a scoring set of the detector."""
    detector = detector.to(device)
    half = _AUTOCAST.get(detector.precision) if device != "cpu" else None
    batches = scoring_set.batches(batch_size, workers=workers, device=device, description="score faces")
    with torch.inference_mode(), torch.autocast(device.split(":")[0], dtype=half, enabled=half is not None):
        scores = [detector.score(images).float().cpu() for images in batches]
    return torch.cat(scores).numpy()[scoring_set.item_of_sample]


def predictions_origin(dataset: str, stage: str, trained: dict, aggregation: str, split: str) -> Origin:
    """Origin of a table of predictions.

    Its settings are experiment, seed, detector, train (names of the training data sets), frame_threshold and
    video_threshold (null when there was no validation), aggregation and split.

    Args:
        dataset: Of the samples.
        stage: predict, or validate for what training scored.
        trained: The facts of a detector file, see `registry.load_detector`.
        aggregation: The detector's own.
        split: Of the samples.
    """
    settings = {
        **{key: trained[key] for key in ("experiment", "seed", "detector", "train")},
        **{f"{level}_threshold": value for level, value in trained["thresholds"].items()},
        "aggregation": aggregation,
        "split": split,
    }
    return Origin(dataset, stage, settings_json(settings), versions.PREDICT)


def add_scoring_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what every command takes that scores a data set: what `predict_dataset` has besides the split."""
    parser.add_argument("--checkpoint", required=True, type=Path, help="trained detector")
    parser.add_argument("--samples", required=True, type=Path, help="samples of the data set (Parquet)")
    parser.add_argument("--data", required=True, type=Path, help="folder of the store, crops/<dataset>/<shard>.h5")
    parser.add_argument("--output", required=True, type=Path, help="Parquet file to write")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:<number>")
