"""Score every sample of one data set's split with a trained detector: `python -m detectors.predict --help`."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch

from detectors.data.loader import default_workers
from detectors.data.samples import Samples
from detectors.families.registry import load_detector
from detectors.interface.predictions import SAMPLE_COLUMNS, add_scoring_arguments, predict_samples, predictions_origin
from preprocess.running.cli import UserError, run_command
from preprocess.running.device import pick_device
from preprocess.store.origin import read_origin
from preprocess.store.schemas import PREDICTIONS
from preprocess.store.tables import read_table, write_table

log = logging.getLogger("detectors")

SPLITS = ("train", "val", "test", "all")


def predict_dataset(
    *,
    checkpoint: Path,
    samples: Path,
    data: Path,
    split: str,
    output: Path,
    batch_size: int = 64,
    threads: int = 1,
    device: str = "auto",
) -> pa.Table:
    """Score the samples of a split and write them as `schemas.PREDICTIONS`, in the order of the samples table.

    The file's origin holds what `predictions_origin` says.

    Args:
        checkpoint: What training wrote.
        samples: Samples table of one data set.
        data: Folder of the store, crops at `<data>/crops/<dataset>/<shard>.h5`.
        split: train, val, test, or all for the whole data set.
        output: Parquet file to write.
        batch_size: Crops at a time.
        threads: CPU cores that may be used: on a GPU for loader workers; a CPU computes with the training's
            `cpu_threads`.
        device: auto, cpu, cuda or cuda:<number>.

    Returns:
        The table.

    Raises:
        UserError: A file that cannot be read, or an unknown split.
    """
    if split not in SPLITS:
        raise UserError(f"split: found {split!r}; allowed: {', '.join(SPLITS)}")
    device = pick_device(device)
    detector, trained = load_detector(checkpoint)
    torch.set_num_threads(detector.settings.cpu_threads)
    table = read_table(samples, SAMPLE_COLUMNS)
    dataset = read_origin(samples).dataset
    columns = Samples.read([samples])
    if split != "all":
        rows = np.flatnonzero(columns.split.equals(split))
        table, columns = table.take(pa.array(rows)), columns[rows]
    if not len(columns):
        log.warning("data set %s has no samples in the split %r: the predictions are empty", dataset, split)
    workers = default_workers(threads, device)
    scores = predict_samples(detector, columns, data, batch_size=batch_size, workers=workers, device=device)
    table = table.append_column("score", pa.array(scores, pa.float32()))
    write_table(
        output, table, PREDICTIONS, predictions_origin(dataset, "predict", trained, detector.aggregation, split)
    )
    return table


def main() -> None:
    """Command line of the stage."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_scoring_arguments(parser)
    parser.add_argument("--split", default="test", choices=SPLITS)
    predict_dataset(**vars(parser.parse_args()))


if __name__ == "__main__":
    run_command(main)
