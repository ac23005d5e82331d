"""Train a detector on the samples of one or more data sets: `python -m detectors.train --help`.

A training that was killed goes on after its last whole epoch when the same command is given again, and ends
with the weights it would have had. On one machine the same seed and settings give the same weights with any number
of loader workers and cores.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import json
import logging
import math
import pickle
import platform
import shutil
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.plugins.io import TorchCheckpointIO

from detectors.data import (
    EpochSampler,
    FaceCrops,
    Samples,
    default_workers,
    draw_rows,
    make_loader,
    split_for_training,
    training_methods,
)
from detectors.detector import Detector
from detectors.lightning_module import SELECTION, ProgressLines, TrainingModule
from detectors.registry import FAMILIES, detector_class
from detectors.settings import TrainSettings
from preprocess import versions
from preprocess.checksum import file_sha256
from preprocess.cli import UserError, run_command
from preprocess.device import pick_device
from preprocess.settings import load_settings, settings_json
from preprocess.store import atomic_path, read_origin

log = logging.getLogger("detectors")

_LIBRARIES = ("torch", "lightning", "timm", "numpy", "cv2", "h5py", "pyarrow")


def train_detector(
    *,
    experiment: str,
    detector: str,
    seed: int,
    samples: Sequence[Path],
    crops: Path,
    settings: str | dict,
    output: Path,
    logs: Path,
    threads: int = 1,
    device: str = "auto",
    workers: int | None = None,
) -> dict:
    """Train one seed of an experiment.

    Writes `output` (see `registry.load_detector`), `summary.json` beside the folder of logs, and in that
    folder `metrics.csv` (a row per epoch), TensorBoard's files and `checkpoints/{last,best}.ckpt`.

    Args:
        experiment: Its name.
        detector: Name of the family.
        seed: Of initial weights, order, pairs, augmentation and dropout; not negative.
        samples: Samples tables of the training data sets.
        crops: Folder of the crops, `<crops>/<dataset>/<shard>.h5`.
        settings: Settings of the family as JSON or dict.
        output: The detector to write.
        logs: Folder; a killed training goes on from here.
        threads: Cores that may be used: on a GPU by loader workers; a CPU computes with the setting `cpu_threads`.
        device: auto, cpu, cuda or cuda:<number>.
        workers: Processes that read crops; None: see `data.default_workers`.

    Returns:
        The summary.

    Raises:
        UserError: An unknown detector or setting, or samples that cannot be trained on.
    """
    family = detector_class(detector)
    options = load_settings(family.Settings, settings)
    device = pick_device(device)
    if workers is None:
        workers = default_workers(threads, device)
    torch.set_num_threads(options.cpu_threads)
    table = Samples.read(samples)
    train_samples, val_samples = _training_and_validation(table, options, seed)
    methods = training_methods(train_samples)

    fingerprint = {
        "detector": detector,
        "settings": dataclasses.asdict(options),
        "seed": seed,
        "samples": {path.name: file_sha256(path) for path in map(Path, samples)},
        "version": versions.TRAIN,
    }
    resume_from = _prepare_checkpoints(logs / "checkpoints", fingerprint)

    L.seed_everything(seed, workers=True, verbose=False)
    model = family(options, methods)
    module = TrainingModule(model, val_samples, seed, logs / "metrics.csv")
    _fit(module, model, train_samples, val_samples, options, crops, logs, resume_from, device, workers, seed)

    best = _best_checkpoint(logs / "checkpoints")
    best_epoch = best["history"][-1]
    detector_file = {
        "experiment": experiment,
        "seed": seed,
        "detector": detector,
        "settings": dataclasses.asdict(options),
        "methods": methods,
        "train": sorted(read_origin(path).dataset for path in samples),
        "thresholds": {level: _or_none(best_epoch.get(f"val/{level}_threshold")) for level in ("frame", "video")},
        "state_dict": {
            key.removeprefix("detector."): value
            for key, value in best["state_dict"].items()
            if key.startswith("detector.")
        },
    }
    with atomic_path(output) as temporary, open(temporary, "wb") as file:
        # through a file object, since torch.save writes the name of a path into the file
        torch.save(detector_file, file)

    summary = {
        "experiment": experiment,
        **fingerprint,
        "train": detector_file["train"],
        "methods": methods,
        "thresholds": detector_file["thresholds"],
        "n_parameters": sum(parameter.numel() for parameter in model.parameters()),
        "device": torch.cuda.get_device_name(device) if device != "cpu" else platform.processor() or "cpu",
        "training_seconds": round(sum(row["seconds"] for row in module.history), 3),
        "best_epoch": best_epoch["epoch"],
        "best": {name: _or_none(value) for name, value in best_epoch.items()},
        "counts": [*_counts(train_samples, "train"), *_counts(val_samples, "val")],
        "stage_versions": {name: value for name, value in vars(versions).items() if name.isupper()},
        "libraries": {name: importlib.import_module(name).__version__ for name in _LIBRARIES},
        "python": platform.python_version(),
    }
    with atomic_path(logs.parent / "summary.json") as temporary:
        temporary.write_text(json.dumps(summary, indent=2) + "\n")
    return summary


def _training_and_validation(samples: Samples, settings: TrainSettings, seed: int) -> tuple[Samples, Samples]:
    train_rows, val_rows = split_for_training(samples, settings.val_share)
    if not len(train_rows):
        found = ", ".join(f"{split} {int(samples.split.equals(split).sum())}" for split in samples.split.names)
        raise UserError(
            f"there are no samples to train on: the samples tables of {', '.join(samples.dataset.names) or 'nothing'} "
            f"hold {found or 'no rows'}; training reads the split 'train' with labels 0 and 1"
        )
    for code in np.unique(samples.dataset.codes):
        if not (samples.dataset.codes[train_rows] == code).any():
            log.warning("data set %s has no samples to train on", samples.dataset.names[code])
    val = samples[draw_rows(val_rows, settings.val_samples, seed)]
    if len(np.unique(val.label)) < 2:
        log.warning(
            "the validation samples hold %d real and %d fake crops: the last epoch is kept instead of the best, and "
            "there is no threshold; a higher val_share or a val split mends it",
            int((val.label == 0).sum()),
            int((val.label == 1).sum()),
        )
    return samples[train_rows], val


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


def _fit(
    module: TrainingModule,
    model: Detector,
    train_samples: Samples,
    val_samples: Samples,
    settings: TrainSettings,
    crops: Path,
    logs: Path,
    resume_from: Path | None,
    device: str,
    workers: int,
    seed: int,
) -> None:
    on_gpu = device != "cpu"
    train_set = model.training_set(train_samples, crops, seed)
    n_drawn = settings.samples_per_epoch and max(1, settings.samples_per_epoch // model.crops_per_item)
    sampler = EpochSampler(len(train_set), n_drawn, seed)
    if resume_from:
        # Lightning starts the loader, whose workers read ahead, before it tells the sampler the epoch
        sampler.set_epoch(_finished_epochs(resume_from))
    train_loader = make_loader(
        train_set,
        batch_size=settings.batch_size,
        workers=workers,
        sampler=sampler,
        pin_memory=on_gpu,
    )
    val_loader = make_loader(
        FaceCrops(crops, val_samples, model.window),
        batch_size=settings.batch_size * model.crops_per_item,
        workers=workers,
        pin_memory=on_gpu,
    )
    checkpoints = {"dirpath": logs / "checkpoints", "save_on_train_epoch_end": True, "enable_version_counter": False}
    callbacks: list[L.Callback] = []
    has_choice = len(np.unique(val_samples.label)) == 2
    if has_choice:
        callbacks.append(ModelCheckpoint(filename="best", monitor=SELECTION, mode="max", **checkpoints))
    # after the best, which its state holds
    callbacks.append(ModelCheckpoint(filename="last", **checkpoints))
    interactive = sys.stderr.isatty()
    if not interactive:
        callbacks.append(ProgressLines())
    logger = TensorBoardLogger(logs, name="tensorboard", version="", default_hp_metric=False)
    logger.log_hyperparams({**dataclasses.asdict(settings), "seed": seed})
    # Lightning's own lines tell nothing that this module does not log
    logging.getLogger("lightning").setLevel(logging.WARNING)
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Checkpoint directory .* exists and is not empty")
        warnings.filterwarnings("ignore", message=".*LeafSpec")
        # without validation samples this module has said so itself
        warnings.filterwarnings("ignore", message="You defined a `validation_step`")
        # one process trains, which Snakemake has started where it belongs
        warnings.filterwarnings("ignore", message="The `srun` command is available")
        # the number of workers follows --threads
        warnings.filterwarnings("ignore", message=".*does not have many workers")
        warnings.filterwarnings("ignore", message="The number of training batches")
        trainer = L.Trainer(
            max_epochs=settings.epochs,
            accelerator="gpu" if on_gpu else "cpu",
            devices=[int(device.partition(":")[2] or 0)] if on_gpu else 1,
            precision=settings.precision if on_gpu else "32-true",
            deterministic="warn",
            logger=logger,
            callbacks=callbacks,
            plugins=[WholeCheckpoints()],
            enable_progress_bar=interactive,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            log_every_n_steps=10,
        )
        trainer.fit(module, train_loader, val_loader if len(val_samples) else None, ckpt_path=resume_from)


class WholeCheckpoints(TorchCheckpointIO):
    """Checkpoints that are there whole or not at all, whenever the training is killed.

    Lightning's own way is to write to the system's temporary folder and to copy the file from there, unless both are
    on one file system.
    """

    def save_checkpoint(self, checkpoint: dict, path: str | Path, storage_options: None = None) -> None:
        """Write a checkpoint beside its place, then move it there."""
        with atomic_path(path) as temporary, open(temporary, "wb") as file:
            torch.save(checkpoint, file)


def _finished_epochs(checkpoint: Path) -> int:
    try:
        return len(torch.load(checkpoint, mmap=True, weights_only=True)["history"])
    except (OSError, RuntimeError, KeyError, EOFError, pickle.UnpicklingError) as error:
        raise UserError(
            f"cannot go on from {checkpoint}, which is no checkpoint of this training: {error}. Delete the folder "
            f"{checkpoint.parent} to train from the beginning"
        ) from error


def _best_checkpoint(folder: Path) -> dict:
    best = folder / "best.ckpt"
    return torch.load(best if best.is_file() else folder / "last.ckpt", map_location="cpu", weights_only=True)


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
    parser.add_argument("--crops", required=True, type=Path, help="folder of crops, <dataset>/<shard>.h5")
    parser.add_argument("--settings", default="{}", help=f"JSON; shared defaults: {settings_json(TrainSettings())}")
    parser.add_argument("--output", required=True, type=Path, help="detector to write")
    parser.add_argument("--logs", required=True, type=Path, help="folder of logs and checkpoints")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:<number>")
    train_detector(**vars(parser.parse_args()))


if __name__ == "__main__":
    run_command(main)
