"""Detectors that are networks: trained epoch by epoch by Lightning, exactly resumable, the best epoch kept."""

from __future__ import annotations

import dataclasses
import logging
import pickle
import sys
import warnings
from pathlib import Path

import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.plugins.io import TorchCheckpointIO

from detectors.data.loader import EpochSampler, make_loader
from detectors.figures.map_sheets import map_sheets
from detectors.interface.combinations import mistaken_combinations
from detectors.interface.detector import Fitted, Training
from detectors.networks.lightning_module import SELECTION, ProgressLines, TrainingModule
from detectors.networks.network import Network
from preprocess.running.cli import UserError
from preprocess.store.atomic import atomic_path


class NetworkDetector(Network):
    """A network that Lightning trains."""

    def fit(self, training: Training) -> Fitted:
        if mistakes := mistaken_combinations(dataclasses.asdict(self.settings)):
            raise UserError("\n".join(mistakes))
        module = TrainingModule(self, training.val, training.data, training.seed, training.logs / "metrics.csv")
        _run_epochs(module, self, training)
        best = _best_checkpoint(training.logs / "checkpoints")
        state = best["state_dict"]
        self.cpu().load_state_dict({key.removeprefix("detector."): value for key, value in state.items()})
        # on the disc, since several GPUs are trained on by processes of their own
        history = _read_checkpoint(training.logs / "checkpoints/last.ckpt")["history"]
        return Fitted(
            best=best["history"][-1],
            val_scores=best["val_scores"].numpy(),
            seconds=sum(row["seconds"] for row in history),
        )


def _run_epochs(module: TrainingModule, detector: NetworkDetector, training: Training) -> None:
    settings, on_gpu = detector.settings, training.device != "cpu"
    devices = (training.device, *training.more_devices)
    train_set = detector.training_set(training.train, training.data, training.seed)
    n_drawn = settings.samples_per_epoch and max(1, settings.samples_per_epoch // detector.crops_per_item)
    sampler = EpochSampler(len(train_set), n_drawn, training.seed)
    if training.resume_from:
        # Lightning starts the loader, whose workers read ahead, before it tells the sampler the epoch
        sampler.set_epoch(_finished_epochs(training.resume_from))
    loading = {"workers": training.workers // len(devices), "pin_memory": on_gpu}
    batch_size = settings.batch_size // len(devices)
    train_loader = make_loader(train_set, batch_size=batch_size, sampler=sampler, **loading)
    crops_per_batch = batch_size * detector.crops_per_item
    val_loader = make_loader(
        module.val_set,
        batch_size=max(1, crops_per_batch // module.val_set.crops_per_item),
        sampler=module.val_sampler,
        **loading,
    )

    prepare_to_compute(detector)

    if len(devices) > 1:
        # as file descriptors, tensors that share memory are handed over twice, which new processes refuse
        torch.multiprocessing.set_sharing_strategy("file_system")
    checkpoints = {
        "dirpath": training.logs / "checkpoints",
        "save_on_train_epoch_end": True,
        "enable_version_counter": False,
    }
    callbacks: list[L.Callback] = []
    if len(np.unique(training.val.label)) == 2:
        callbacks.append(ModelCheckpoint(filename="best", monitor=SELECTION, mode="max", **checkpoints))
    # after the best, which its state holds
    callbacks.append(ModelCheckpoint(filename="last", **checkpoints))
    interactive = sys.stderr.isatty()
    if not interactive:
        callbacks.append(ProgressLines())
    callbacks += map_sheets(detector, training)
    logger = TensorBoardLogger(training.logs, name="tensorboard", version="", default_hp_metric=False)
    logger.log_hyperparams({**dataclasses.asdict(settings), "seed": training.seed})
    # Lightning's own lines tell nothing that this module does not log
    logging.getLogger("lightning").setLevel(logging.WARNING)
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Checkpoint directory .* exists and is not empty")
        warnings.filterwarnings("ignore", message=".*LeafSpec")
        # without validation samples training has said so itself
        warnings.filterwarnings("ignore", message="You defined a `validation_step`")
        # one process trains, which Snakemake has started where it belongs
        warnings.filterwarnings("ignore", message="The `srun` command is available")
        # the number of workers follows --threads
        warnings.filterwarnings("ignore", message=".*does not have many workers")
        warnings.filterwarnings("ignore", message="The number of training batches")
        trainer = L.Trainer(
            max_epochs=settings.epochs,
            accelerator="gpu" if on_gpu else "cpu",
            devices=[int(device.partition(":")[2] or 0) for device in devices] if on_gpu else len(devices),
            # processes of this one, since Snakemake has started one; a detector may leave parameters unused
            strategy="ddp_spawn_find_unused_parameters_true" if len(devices) > 1 else "auto",
            use_distributed_sampler=False,
            precision=settings.precision if on_gpu else "32-true",
            accumulate_grad_batches=settings.accumulate_batches,
            deterministic="warn",
            logger=logger,
            callbacks=callbacks,
            plugins=[WholeCheckpoints()],
            enable_progress_bar=interactive,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            log_every_n_steps=10,
        )
        trainer.fit(module, train_loader, val_loader if len(training.val) else None, ckpt_path=training.resume_from)


def prepare_to_compute(detector: NetworkDetector) -> None:
    """Lay out weights in memory and compile, as far as the settings ask for it; once, before training."""
    if detector.settings.channels_last:
        detector.to(memory_format=torch.channels_last)
    if detector.settings.compile:
        for part in detector.children():
            part.compile()


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
        return len(_read_checkpoint(checkpoint)["history"])
    except (OSError, RuntimeError, KeyError, EOFError, pickle.UnpicklingError) as error:
        raise UserError(
            f"cannot go on from {checkpoint}, which is no checkpoint of this training: {error}. Delete the folder "
            f"{checkpoint.parent} to train from the beginning"
        ) from error


def _best_checkpoint(folder: Path) -> dict:
    best = folder / "best.ckpt"
    return _read_checkpoint(best if best.is_file() else folder / "last.ckpt")


def _read_checkpoint(path: Path) -> dict:
    """A checkpoint of Lightning, on the CPU, its tensors left on the disc until they are used."""
    return torch.load(path, map_location="cpu", mmap=True, weights_only=True)
