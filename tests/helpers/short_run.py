"""Short trainings and predictions on the CPU, for tests that ask whether a detector learns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import pytest
import torch
from sklearn.metrics import roc_auc_score

from detectors.networks.detector import NetworkDetector
from detectors.predict import predict_dataset
from detectors.train import train_detector
from preprocess.store.tables import read_rows

TRAINED_ON = ("ff_synthetic", "celebdf_synthetic")


def train_on_cpu(
    detector: str,
    settings: dict,
    samples: Sequence[Path],
    folder: Path,
    *,
    experiment: str = "exp",
    seed: int = 3,
    workers: int = 0,
) -> dict:
    """Train, or go on with what an earlier call has begun in the folder.

    Args:
        detector: Name of the family.
        settings: Its settings; one thread computes unless they say otherwise, as two take longer with tensors so small.
        samples: Tables `<store>/samples/<dataset>.parquet`.
        folder: Gets `detector.ckpt`, `summary.json`, `validation.parquet` and the folder `logs`.
        experiment: Name that the checkpoint bears.
        seed: Of the training.
        workers: Of the loader.

    Returns:
        The summary.
    """
    return train_detector(
        experiment=experiment,
        detector=detector,
        seed=seed,
        samples=list(samples),
        data=samples[0].parents[1],
        settings={"cpu_threads": 1} | settings,
        output=folder / "detector.ckpt",
        summary=folder / "summary.json",
        validation=folder / "validation.parquet",
        logs=folder / "logs",
        device="cpu",
        workers=workers,
    )


def save_untrained(
    folder: Path, name: str, detector: NetworkDetector, *, train: str, experiment: str = "e", seed: int = 3
) -> Path:
    """Write a detector as it is, as if a training had left it, with thresholds of 0.5.

    Args:
        folder: Gets `detector.ckpt`.
        name: Of the family.
        detector: With any weights.
        train: Data set that it is said to be trained on.
        experiment: Name that the checkpoint bears.
        seed: That it bears.

    Returns:
        Path of the checkpoint.
    """
    facts = {"experiment": experiment, "seed": seed, "detector": name, "settings": vars(detector.settings)}
    facts |= {"methods": detector.methods, "train": [train], "thresholds": {"frame": 0.5, "video": 0.5}}
    folder.mkdir(parents=True, exist_ok=True)
    torch.save({**facts, "state_dict": detector.state_dict()}, folder / "detector.ckpt")
    return folder / "detector.ckpt"


@contextmanager
def stopped_before(family: type[NetworkDetector], epoch: int) -> Iterator[None]:
    """Within it a training of this family stops with an error before an epoch, counted from 0."""
    start_epoch = family.start_epoch

    def stop(detector: NetworkDetector, started: int) -> None:
        if started == epoch:
            raise RuntimeError("stopped")
        start_epoch(detector, started)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(family, "start_epoch", stop)
        with pytest.raises(RuntimeError, match="stopped"):
            yield


def predict_on_cpu(folder: Path, samples: Path, *, split: str = "test", data: Path | None = None) -> pd.DataFrame:
    """Score one data set with the detector that `train_on_cpu` left in the folder.

    Args:
        folder: With `detector.ckpt`; gets `predictions/<dataset>.parquet`.
        samples: Table of the data set.
        split: That is scored.
        data: Folder of the store, where the table does not stand in it.

    Returns:
        The rows of the predictions.
    """
    output = folder / "predictions" / samples.name
    predict_dataset(
        checkpoint=folder / "detector.ckpt",
        samples=samples,
        data=data or samples.parents[1],
        split=split,
        output=output,
        device="cpu",
    )
    return pd.DataFrame(read_rows(output))


def frame_auc(predictions: pd.DataFrame) -> float:
    """AUC of the samples."""
    return float(roc_auc_score(predictions["label"], predictions["score"]))


def video_auc(predictions: pd.DataFrame) -> float:
    """AUC of the videos, by the mean over a video's samples."""
    return frame_auc(predictions.groupby("video_id").agg(label=("label", "first"), score=("score", "mean")))


def in_domain_video_aucs(data: Path, folder: Path, detector: str, settings: dict, seed: int = 0) -> dict[str, float]:
    """Train on `TRAINED_ON` and score their test videos.

    Args:
        data: Folder of the store, of the fixture `shipped_store`.
        folder: For what the training and the predictions write.
        detector: Name of the family.
        settings: Its settings.
        seed: Of the training.

    Returns:
        Video AUC of each data set.
    """
    tables = {name: data / f"samples/{name}.parquet" for name in TRAINED_ON}
    train_on_cpu(detector, settings, list(tables.values()), folder, experiment="short", seed=seed)
    return {name: video_auc(predict_on_cpu(folder, table)) for name, table in tables.items()}


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    """The weights of the detector that a training left in the folder."""
    return torch.load(folder / "detector.ckpt", weights_only=True)["state_dict"]


def last_checkpoint(folder: Path) -> dict:
    """What a training would go on from: its history, and the weights after the last epoch."""
    return torch.load(folder / "logs/checkpoints/last.ckpt", weights_only=True)


def same_weights(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    """Whether two states have the same names and, to the last bit, the same values."""
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
