"""Lightning trains a network: what it loads, what it does besides, and the best state in the end."""

from __future__ import annotations

import contextlib
import logging
import sys
import warnings
from collections.abc import Iterator, Sized
from functools import partial
from typing import cast

import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger
from torch.utils.data import DataLoader

from detectors.data.loader import EpochSampler, make_loader
from detectors.figures.map_sheets import map_sheets
from detectors.interface.detector import Fitted, Training
from detectors.interface.settings import NetworkSettings
from detectors.networks.checkpoints import WholeCheckpoints, finished_epochs, read_best, read_last
from detectors.networks.lightning_module import SELECTION, ProgressLines, TrainingModule
from detectors.networks.network import TrainableNetwork

# Beginnings of warnings that tell a user nothing.
_IGNORED_WARNINGS = (
    "Checkpoint directory .* exists and is not empty",
    ".*LeafSpec",
    # without validation samples training has said so itself
    "You defined a `validation_step`",
    # one process trains, which Snakemake has started where it belongs
    "The `srun` command is available",
    # the number of workers follows --threads
    ".*does not have many workers",
    "The number of training batches",
)


def train_network(network: TrainableNetwork, training: Training) -> Fitted:
    """Train a network, or go on with its training, and leave it in its best state, on the CPU.

    Raises:
        UserError: The samples do not hold what the network learns from, or the checkpoint to go on from is none.
    """
    module = TrainingModule(network, training.val, training.data, training.seed, training.logs / "metrics.csv")
    train_loader, val_loader = _loaders(module, training)
    prepare_to_compute(network)
    if len(training.devices) > 1:
        # as file descriptors, tensors that share memory are handed over twice, which new processes refuse
        torch.multiprocessing.set_sharing_strategy("file_system")
    with quiet_lightning():
        trainer = _trainer(network, training)
        trainer.fit(module, train_loader, val_loader, ckpt_path=training.resume_from)
    best = read_best(training.checkpoints)
    network.cpu().load_state_dict({key.removeprefix("detector."): value for key, value in best["state_dict"].items()})
    return Fitted(
        best=best["history"][-1],
        val_scores=best["val_scores"].numpy(),
        # from the disc, since several GPUs are trained on by processes of their own
        seconds=sum(row["seconds"] for row in read_last(training.checkpoints)["history"]),
    )


def prepare_to_compute(network: TrainableNetwork) -> None:
    """Lay out weights in memory and compile, as far as the settings ask for it; once, before training."""
    if network.settings.channels_last:
        network.to(memory_format=torch.channels_last)
    if network.settings.compile:
        for part in network.children():
            part.compile()


@contextlib.contextmanager
def quiet_lightning() -> Iterator[None]:
    """Lightning without its own lines, which tell nothing that this package does not log, and its idle warnings."""
    for name in ("lightning", "lightning.pytorch"):
        logging.getLogger(name).setLevel(logging.WARNING)
    with warnings.catch_warnings():
        for message in _IGNORED_WARNINGS:
            warnings.filterwarnings("ignore", message=message)
        yield


def _loaders(module: TrainingModule, training: Training) -> tuple[DataLoader, DataLoader | None]:
    """What is trained and what is validated on, the second None without validation samples."""
    network, settings = module.detector, module.detector.settings
    train_set = network.training_set(training.train, training.data, training.seed)
    n_drawn = settings.samples_per_epoch and max(1, settings.samples_per_epoch // network.crops_per_item)
    sampler = EpochSampler(len(cast(Sized, train_set)), n_drawn, training.seed)
    if training.resume_from:
        # Lightning starts the loader, whose workers read ahead, before it tells the sampler the epoch
        sampler.set_epoch(finished_epochs(training.resume_from))
    n_devices = len(training.devices)
    loader = partial(make_loader, workers=training.workers // n_devices, pin_memory=training.on_gpu)
    batch_size = settings.batch_size // n_devices
    train_loader = loader(train_set, batch_size=batch_size, sampler=sampler)
    if not len(training.val):
        return train_loader, None
    # as many crops at a time as in training, in items of the scoring set
    val_batch_size = max(1, batch_size * network.crops_per_item // module.val_set.crops_per_item)
    return train_loader, loader(module.val_set, batch_size=val_batch_size, sampler=module.val_sampler)


def _trainer(network: TrainableNetwork, training: Training) -> L.Trainer:
    settings: NetworkSettings = network.settings
    devices, on_gpu = training.devices, training.on_gpu
    logger = TensorBoardLogger(training.logs, name="tensorboard", version="", default_hp_metric=False)
    logger.log_hyperparams({**dict(settings), "seed": training.seed})
    interactive = sys.stderr.isatty()
    return L.Trainer(
        max_epochs=settings.epochs,
        accelerator="gpu" if on_gpu else "cpu",
        devices=[int(device.partition(":")[2] or 0) for device in devices] if on_gpu else len(devices),
        # processes of this one, since Snakemake has started one; a network may leave parameters unused
        strategy="ddp_spawn_find_unused_parameters_true" if len(devices) > 1 else "auto",
        use_distributed_sampler=False,
        precision=settings.precision if on_gpu else "32-true",
        accumulate_grad_batches=settings.accumulate_batches,
        deterministic="warn",
        logger=logger,
        callbacks=_callbacks(network, training, interactive=interactive),
        plugins=[WholeCheckpoints()],
        enable_progress_bar=interactive,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        log_every_n_steps=10,
    )


def _callbacks(network: TrainableNetwork, training: Training, *, interactive: bool) -> list[L.Callback]:
    """Checkpoints, lines where there is no terminal for a progress bar, and pictures of what the network locates."""
    checkpoint = partial(
        ModelCheckpoint, dirpath=training.checkpoints, save_on_train_epoch_end=True, enable_version_counter=False
    )
    callbacks: list[L.Callback] = []
    if len(np.unique(training.val.label)) == 2:
        callbacks.append(checkpoint(filename="best", monitor=SELECTION, mode="max"))
    # after the best, which its state holds
    callbacks.append(checkpoint(filename="last"))
    if not interactive:
        callbacks.append(ProgressLines())
    return [*callbacks, *map_sheets(network, training)]
