"""The checkpoints of a training by Lightning: written whole or not at all, and read back."""

from __future__ import annotations

import pickle
from pathlib import Path

import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO

from preprocess.running.cli import UserError
from preprocess.store.atomic import atomic_path


class WholeCheckpoints(TorchCheckpointIO):
    """Checkpoints that are there whole or not at all, whenever the training is killed.

    Lightning's own way is to write to the system's temporary folder and to copy the file from there, unless both are
    on one file system.
    """

    def save_checkpoint(self, checkpoint: dict, path: str | Path, storage_options: None = None) -> None:
        """Write a checkpoint beside its place, then move it there."""
        with atomic_path(path) as temporary, open(temporary, "wb") as file:
            torch.save(checkpoint, file)


def finished_epochs(checkpoint: Path) -> int:
    """Epochs that a checkpoint has behind it.

    Raises:
        UserError: It is no checkpoint of this training.
    """
    try:
        return len(_read(checkpoint)["history"])
    except (OSError, RuntimeError, KeyError, EOFError, pickle.UnpicklingError) as error:
        raise UserError(
            f"cannot go on from {checkpoint}, which is no checkpoint of this training: {error}. Delete the folder "
            f"{checkpoint.parent} to train from the beginning"
        ) from error


def read_last(folder: Path) -> dict:
    """The checkpoint of the last epoch, on the CPU, its tensors left on the disc until they are used."""
    return _read(folder / "last.ckpt")


def read_best(folder: Path) -> dict:
    """The checkpoint of the best epoch, of the last one where none could be called best; as `read_last`."""
    best = folder / "best.ckpt"
    return _read(best) if best.is_file() else read_last(folder)


def _read(path: Path) -> dict:
    return torch.load(path, map_location="cpu", mmap=True, weights_only=True)
