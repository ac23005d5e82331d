"""Train a detector on the samples of one or more data sets: `python -m detectors.train --help`.

A training that was killed goes on after its last whole epoch when the same command is given again, and ends with the
weights it would have had. Settings that return find their detector again (`detectors.previous`). On one machine the
same seed and settings give the same weights with any number of loader workers and cores.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import json
import logging
import math
import platform
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pyarrow as pa
import torch

from detectors import previous
from detectors.data.loader import default_workers
from detectors.data.samples import Samples, training_methods
from detectors.data.split import draw_rows, split_for_training
from detectors.families import FAMILIES
from detectors.families.registry import detector_class
from detectors.interface.detector import Detector, Fitted, Training
from detectors.interface.predictions import SAMPLE_COLUMNS, predictions_origin
from detectors.interface.settings import DetectorSettings, NetworkSettings
from detectors.measures.runs import equal_error_thresholds
from preprocess.running.cli import UserError, run_command
from preprocess.running.device import pick_devices
from preprocess.running.settings import load_settings, settings_json
from preprocess.store import checksum, versions
from preprocess.store.atomic import atomic_path
from preprocess.store.checksum import file_sha256
from preprocess.store.origin import read_origin
from preprocess.store.schemas import PREDICTIONS
from preprocess.store.stages import STAGES
from preprocess.store.tables import read_table, write_table

log = logging.getLogger("detectors")

_LIBRARIES = ("torch", "lightning", "timm", "sklearn", "numpy", "cv2", "h5py", "pyarrow")


@dataclass(frozen=True)
class Selection:
    """Which samples of some tables are trained on.

    Attributes:
        samples: Of all tables, one after the other.
        train_rows: Those to learn from, ascending.
        val_rows: Those to validate on, ascending.
    """

    samples: Samples
    train_rows: np.ndarray
    val_rows: np.ndarray

    @property
    def train(self) -> Samples:
        return self.samples[self.train_rows]

    @property
    def val(self) -> Samples:
        return self.samples[self.val_rows]


def train_detector(
    *,
    experiment: str,
    detector: str,
    seed: int,
    samples: Sequence[Path],
    data: Path,
    settings: str | dict,
    output: Path,
    summary: Path,
    validation: Path,
    logs: Path,
    threads: int = 1,
    device: str = "auto",
    workers: int | None = None,
) -> dict:
    """Train one seed of an experiment.

    Writes `output`, `summary` and `validation`, and in the folder of logs, for a network, `metrics.csv` (a row per
    epoch), TensorBoard's files and `checkpoints/{last,best}.ckpt`.

    Args:
        experiment: Its name.
        detector: Name of the family.
        seed: Of initial weights, order, pairs, augmentation and dropout; not negative.
        samples: Samples tables of the training data sets.
        data: Folder of the store: crops at `<data>/crops/<dataset>/<shard>.h5`, landmarks and masks likewise.
        settings: Settings of the family as JSON or dict.
        output: The detector to write, see `registry.load_detector`.
        summary: JSON file to write: what was trained with what, and what came of it.
        validation: Table to write: what the detector says of the validation samples (`schemas.PREDICTIONS`).
        logs: Folder; a killed training goes on from here.
        threads: Cores that may be used: on a GPU by loader workers; a CPU computes with the setting `cpu_threads`.
        device: auto, cpu, cuda or cuda:<number>.
        workers: Processes that read crops; None: see `detectors.data.loader.default_workers`.

    Returns:
        The summary.

    Raises:
        UserError: An unknown detector or setting, or samples that cannot be trained on.
    """
    family = detector_class(detector)
    family_settings = load_settings(family.Settings, settings)
    devices = pick_devices(device, family_settings.gpus if isinstance(family_settings, NetworkSettings) else 1)
    torch.set_num_threads(family_settings.cpu_threads)
    selection = select_samples(samples, family_settings.val_share)
    fingerprint = {
        "detector": detector,
        "settings": dict(family_settings),
        "seed": seed,
        "samples": {path.name: file_sha256(path) for path in map(Path, samples)},
        "store": _store_checksum(selection.samples, data, FAMILIES[detector].reads),
        "version": versions.TRAIN,
    }
    files, made_from = [output, validation, summary], {"experiment": experiment, **fingerprint}
    if previous.take_back(files, made_from):
        report: dict[str, Any] = json.loads(summary.read_text())
        return report
    resume_from = _prepare_checkpoints(logs / "checkpoints", fingerprint)

    L.seed_everything(seed, workers=True, verbose=False)
    model = family(family_settings, training_methods(selection.train))
    selection = _thin_validation(selection, model, data, seed)
    fitted = model.fit(
        Training(
            train=selection.train,
            val=selection.val,
            data=data,
            logs=logs,
            seed=seed,
            device=devices[0],
            workers=default_workers(threads, devices[0]) if workers is None else workers,
            resume_from=resume_from,
            more_devices=devices[1:],
        )
    )

    scored = _with_scores(samples, selection.val_rows, fitted.val_scores)
    facts: dict[str, Any] = {
        "experiment": experiment,
        "seed": seed,
        "detector": detector,
        "settings": fingerprint["settings"],
        "methods": model.methods,
        "train": sorted(read_origin(path).dataset for path in samples),
        "thresholds": validation_thresholds(scored, model.aggregation),
    }
    previous.keep(files, made_from)
    with atomic_path(output) as temporary, open(temporary, "wb") as file:
        # through a file object, since torch.save writes the name of a path into the file
        torch.save({**facts, "state_dict": model.state_dict()}, file)
    origin = predictions_origin("+".join(facts["train"]), "validate", facts, model.aggregation, "val")
    write_table(validation, scored, PREDICTIONS, origin)
    report = _summary(facts, fingerprint, model, fitted, selection, devices[0])
    with atomic_path(summary) as temporary:
        temporary.write_text(json.dumps(report, indent=2) + "\n")
    return report


def select_samples(tables: Sequence[Path], val_share: float) -> Selection:
    """The samples to train on and those to validate on, see `split_for_training`.

    Raises:
        UserError: There are none to train on.
    """
    samples = Samples.read(tables)
    selection = Selection(samples, *split_for_training(samples, val_share))
    if not len(selection.train_rows):
        found = ", ".join(f"{split} {int(samples.split.equals(split).sum())}" for split in samples.split.names)
        raise UserError(
            f"there are no samples to train on: the samples tables of {', '.join(samples.dataset.names) or 'nothing'} "
            f"hold {found or 'no rows'}; training reads the split 'train' with labels 0 and 1"
        )
    for code in np.unique(samples.dataset.codes):
        if not (samples.dataset.codes[selection.train_rows] == code).any():
            log.warning("data set %s has no samples to train on", samples.dataset.names[code])
    return selection


def validation_thresholds(validation: pa.Table, aggregation: str) -> dict[str, float | None]:
    """The thresholds at the equal error rate, `frame` and `video`; None without validation samples of both classes.

    Args:
        validation: Scored samples (`schemas.PREDICTIONS`).
        aggregation: How a video's score comes from its samples', see `aggregation.video_scores`.
    """
    thresholds = equal_error_thresholds(validation.to_pandas(), aggregation)
    return {level: _or_none(value) for level, value in thresholds.items()}


def _thin_validation(selection: Selection, model: Detector, data: Path, seed: int) -> Selection:
    """The selection with no more validation samples than `val_samples` allows; warns where only one class is left."""
    # clips are kept or left out whole: a part of one would be no measure of it
    items = model.scoring_set(selection.val, data).item_of_sample
    val_rows = draw_rows(selection.val_rows, items, model.settings.val_samples, seed)
    selection = replace(selection, val_rows=val_rows)
    labels = selection.val.label
    if len(np.unique(labels)) < 2:
        log.warning(
            "the validation samples hold %d real and %d fake crops: the last epoch is kept instead of the best, and "
            "there is no threshold; a higher val_share or a val split mends it",
            int((labels == 0).sum()),
            int((labels == 1).sum()),
        )
    return selection


def _with_scores(tables: Sequence[Path], rows: np.ndarray, scores: np.ndarray) -> pa.Table:
    """Rows of samples tables, one after the other, with their scores (`schemas.PREDICTIONS`)."""
    table = pa.concat_tables([read_table(path, SAMPLE_COLUMNS) for path in tables]).take(pa.array(rows))
    return table.append_column("score", pa.array(scores, pa.float32()))


def _summary(
    facts: dict, fingerprint: dict, model: Detector, fitted: Fitted, selection: Selection, device: str
) -> dict:
    """What `summary.json` says."""
    return {
        "experiment": facts["experiment"],
        **fingerprint,
        "train": facts["train"],
        "methods": facts["methods"],
        "thresholds": facts["thresholds"],
        "n_parameters": sum(parameter.numel() for parameter in model.parameters()),
        "device": torch.cuda.get_device_name(device) if device != "cpu" else platform.processor() or "cpu",
        "training_seconds": round(fitted.seconds, 3),
        "best_epoch": fitted.best.get("epoch"),
        "best": {name: _or_none(value) for name, value in fitted.best.items()},
        "counts": [*_counts(selection.train, "train"), *_counts(selection.val, "val")],
        "stage_versions": {name: value for name, value in vars(versions).items() if name.isupper()},
        "libraries": {name: importlib.import_module(name).__version__ for name in _LIBRARIES},
        "python": platform.python_version(),
    }


def _store_checksum(samples: Samples, data: Path, stages: Sequence[str]) -> str:
    """One checksum of all files of the store that the samples lie in, by the checksums that these hold."""
    codes = np.unique(np.stack([samples.dataset.codes, samples.shard.codes], axis=1), axis=0)
    digest = hashlib.sha256()
    for dataset, shard in sorted((samples.dataset.names[one], samples.shard.names[other]) for one, other in codes):
        for stage in stages:
            path = data / STAGES[stage].shard_file(dataset, shard)
            # who reads a file that is absent says so
            content = checksum.recorded(path) if path.exists() else None
            digest.update(f"{stage} {dataset} {shard} {content}\n".encode())
    return digest.hexdigest()


def _prepare_checkpoints(folder: Path, fingerprint: dict) -> Path | None:
    """The checkpoint to go on from, if it was made by the same training; a folder of another one is emptied."""
    text = json.dumps(fingerprint, sort_keys=True, indent=2)
    note, last = folder / "fingerprint.json", folder / "last.ckpt"
    if note.is_file() and last.is_file():
        if note.read_text() == text:
            log.info("train: going on from %s", last)
            return last
        log.info("train: starting anew, since %s comes from other settings, samples or code", folder)
    shutil.rmtree(folder, ignore_errors=True)
    with atomic_path(note) as temporary:
        temporary.write_text(text)
    return None


def _counts(samples: Samples, part: str) -> list[dict]:
    """Crops and videos of each data set and method, as used (`train` or `val`)."""
    keys = np.stack([samples.dataset.codes, samples.method.codes, samples.video_id.codes], axis=1)
    videos, n_crops = np.unique(keys, axis=0, return_counts=True)
    rows = []
    for dataset, method in np.unique(videos[:, :2], axis=0):
        of_row = (videos[:, :2] == (dataset, method)).all(axis=1)
        rows.append(
            {
                "part": part,
                "dataset": samples.dataset.names[dataset],
                "method": samples.method.names[method],
                "n_videos": int(of_row.sum()),
                "n_crops": int(n_crops[of_row].sum()),
            }
        )
    return rows


def _or_none(value: float | None) -> float | None:
    """JSON has no NaN."""
    return None if value is None or math.isnan(value) else value


def _seed(text: str) -> int:
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError("a seed is not negative")
    return value


def main() -> None:
    """Command line of the stage."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experiment", required=True, help="name of the experiment")
    parser.add_argument("--detector", required=True, help=f"family: {', '.join(sorted(FAMILIES))}")
    parser.add_argument("--seed", type=_seed, default=0)
    parser.add_argument("--samples", required=True, nargs="+", type=Path, help="samples of the training data sets")
    parser.add_argument("--data", required=True, type=Path, help="folder of the store, <stage>/<dataset>/<shard>")
    parser.add_argument("--settings", default="{}", help=f"JSON; shared defaults: {settings_json(DetectorSettings())}")
    parser.add_argument("--output", required=True, type=Path, help="detector to write")
    parser.add_argument("--summary", required=True, type=Path, help="summary to write (JSON)")
    parser.add_argument("--validation", required=True, type=Path, help="scores of the validation samples to write")
    parser.add_argument("--logs", required=True, type=Path, help="folder of logs and checkpoints")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:<number>")
    train_detector(**vars(parser.parse_args()))


if __name__ == "__main__":
    run_command(main)
