"""Score a part of a data set's test split under every distortion.

`python -m detectors.evaluation.predict_distorted --help`. The crops are distorted when they are read
(`detectors.evaluation.distortions`) and scored by the code of `detectors.predict`.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import logging
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch

from detectors.data.crop_store import StoredCrops
from detectors.data.loader import default_workers
from detectors.data.samples import UNKNOWN_LABEL, Samples
from detectors.evaluation.distortions import UNDISTORTED, DistortedCrops
from detectors.evaluation.settings import RobustnessSettings
from detectors.families.registry import load_detector
from detectors.interface.detector import Detector
from detectors.interface.predictions import SAMPLE_COLUMNS, add_scoring_arguments, predictions_origin, score_items
from preprocess.running.cli import run_command
from preprocess.running.device import pick_device
from preprocess.running.settings import load_settings, settings_json
from preprocess.store import versions
from preprocess.store.origin import read_origin
from preprocess.store.schemas import DISTORTED_PREDICTIONS
from preprocess.store.tables import read_table, write_table

log = logging.getLogger("detectors")

SPLIT = "test"
_VIDEOS = 8  # first word of a seed


def draw_videos(samples: Samples, max_samples: int | None, seed: int) -> np.ndarray:
    """Rows, ascending, of labelled videos that are drawn whole, a real and a fake one in turn.

    Args:
        samples: N samples.
        max_samples: Rows to have at most, but at least the first two videos; None: all.
        seed: Of the draw.
    """
    rows = np.flatnonzero(samples.label != UNKNOWN_LABEL)
    if max_samples is None or len(rows) <= max_samples:
        return rows
    rng = np.random.default_rng([_VIDEOS, seed])
    names = np.array(samples.video_id.names)
    classes = []
    for label in (0, 1):
        codes, counts = np.unique(samples.video_id.codes[rows][samples.label[rows] == label], return_counts=True)
        # by name: the numbers of the ids follow the files that were read
        order = np.argsort(names[codes])[rng.permutation(len(codes))]
        classes.append(list(zip(codes[order], counts[order], strict=True)))
    in_turn = [video for pair in itertools.zip_longest(*classes) for video in pair if video]
    codes, counts = np.array(in_turn).T
    n_kept = max(2, np.searchsorted(np.cumsum(counts), max_samples, side="right"))
    return np.flatnonzero(np.isin(samples.video_id.codes, codes[:n_kept]))


def predict_distorted(
    detector: Detector,
    samples: Samples,
    data: Path,
    settings: RobustnessSettings,
    *,
    batch_size: int,
    workers: int,
    device: str,
) -> dict[tuple[str, int], np.ndarray]:
    """Scores (N,) float32 of samples, by distortion and strength; `("none", 0)` are those of the crops as they are.

    Args:
        detector: In evaluation mode.
        samples: N samples, of whole face tracks.
        data: Folder of the store.
        settings: What to apply.
        batch_size, workers, device: As for `detectors.interface.predictions.predict_samples`.
    """
    scores = {}
    runs = [(UNDISTORTED, 0), *itertools.product(settings.distortions, settings.strengths)]
    for number, (name, strength) in enumerate(runs, 1):
        if not len(samples):
            scores[name, strength] = np.empty(0, np.float32)
            continue
        scoring_set = detector.scoring_set(samples, data)
        if strength:
            store = scoring_set.store
            assert isinstance(store.source, StoredCrops), "a new scoring set reads the store itself"
            store.source = DistortedCrops(store.source, name, strength, settings.seed)
        log.info("%d of %d: %s %s", number, len(runs), name, strength or "")
        scores[name, strength] = score_items(
            detector, scoring_set, batch_size=batch_size, workers=workers, device=device
        )
    return scores


def predict_dataset(
    *,
    checkpoint: Path,
    samples: Path,
    data: Path,
    settings: RobustnessSettings,
    output: Path,
    batch_size: int = 64,
    threads: int = 1,
    device: str = "auto",
) -> pa.Table:
    """Score the drawn test samples of a data set and write them as `schemas.DISTORTED_PREDICTIONS`.

    The file's origin is that of predictions (`predictions_origin`) with the settings besides, as
    `robustness`.

    Args:
        checkpoint: What training wrote.
        samples: Samples table of one data set.
        data: Folder of the store.
        settings: What to apply, and to how many samples.
        output: Parquet file to write.
        batch_size: Crops at a time.
        threads: CPU cores that may be used.
        device: auto, cpu, cuda or cuda:<number>.

    Returns:
        The table, strength after strength, each in the order of the samples table.
    """
    device = pick_device(device)
    detector, trained = load_detector(checkpoint)
    torch.set_num_threads(detector.settings.cpu_threads)
    columns = Samples.read([samples])
    dataset = read_origin(samples).dataset
    rows = np.flatnonzero(columns.split.equals(SPLIT))
    rows = rows[draw_videos(columns[rows], settings.max_samples, settings.seed)]
    if not len(rows):
        log.warning("data set %s has no labelled samples in the split %r: the table is empty", dataset, SPLIT)
    table = read_table(samples, SAMPLE_COLUMNS).take(pa.array(rows))
    scores = predict_distorted(
        detector,
        columns[rows],
        data,
        settings,
        batch_size=batch_size,
        workers=default_workers(threads, device),
        device=device,
    )
    parts = [
        table.append_column("distortion", pa.repeat(name, len(table)))
        .append_column("strength", pa.repeat(pa.scalar(strength, pa.int8()), len(table)))
        .append_column("score", pa.array(of_run, pa.float32()))
        for (name, strength), of_run in scores.items()
    ]
    table = pa.concat_tables(parts).select(DISTORTED_PREDICTIONS.names)
    origin = predictions_origin(dataset, "robustness", trained, detector.aggregation, SPLIT)
    made_by = json.loads(origin.settings) | {"robustness": dict(settings)}
    origin = dataclasses.replace(origin, settings=settings_json(made_by), version=versions.ROBUSTNESS)
    write_table(output, table, DISTORTED_PREDICTIONS, origin)
    return table


def main() -> None:
    """Command line of the stage."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_scoring_arguments(parser)
    parser.add_argument("--settings", default="{}", help=f"JSON; defaults: {settings_json(RobustnessSettings())}")
    args = vars(parser.parse_args())
    predict_dataset(**args | {"settings": load_settings(RobustnessSettings, args["settings"])})


if __name__ == "__main__":
    run_command(main)
