"""A short training on the shipped collections, for slow tests that ask whether a detector learns."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from sklearn.metrics import roc_auc_score

from detectors.predict import predict_dataset
from detectors.train import train_detector
from preprocess.store import read_rows

TRAINED_ON = ("ff_synthetic", "celebdf_synthetic")


def in_domain_video_aucs(data: Path, folder: Path, detector: str, settings: dict, seed: int = 0) -> dict[str, float]:
    """Train on `TRAINED_ON`, on the CPU, and score their test videos, by the mean over a video's samples.

    Args:
        data: Folder of the store, of the fixture `shipped_store`.
        folder: For what the training writes.
        detector: Name of the family.
        settings: Its settings.
        seed: Of the training.

    Returns:
        AUC of the test videos of each data set.
    """
    tables = {name: data / f"samples/{name}.parquet" for name in TRAINED_ON}
    train_detector(
        experiment="short",
        detector=detector,
        seed=seed,
        samples=list(tables.values()),
        data=data,
        settings=settings,
        output=folder / "detector.ckpt",
        logs=folder / "logs",
        device="cpu",
        workers=0,
    )
    aucs = {}
    for name, table in tables.items():
        output = folder / f"{name}.parquet"
        predict_dataset(
            checkpoint=folder / "detector.ckpt", samples=table, data=data, split="test", output=output, device="cpu"
        )
        videos = (
            pd.DataFrame(read_rows(output)).groupby("video_id").agg(label=("label", "first"), score=("score", "mean"))
        )
        aucs[name] = float(roc_auc_score(videos["label"], videos["score"]))
    return aucs
