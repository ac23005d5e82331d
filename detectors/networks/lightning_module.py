"""What Lightning runs: a step of any detector, its validation, and one row of history per epoch."""

from __future__ import annotations

import logging
import math
import time
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pandas as pd
import torch
from torch import Tensor

from detectors.data.loader import SequenceSampler
from detectors.data.samples import Samples
from detectors.measures.aggregation import video_scores
from detectors.measures.metrics import detection_metrics
from detectors.networks.network import TrainableNetwork
from detectors.networks.optimizers import learning_rate_factor
from preprocess.store.atomic import atomic_path

log = logging.getLogger("detectors")

# What chooses the best epoch: the video AUC, and among equals (common with few videos) the frame AUC.
SELECTION = "val/selection"
_FRAME_AUC_WEIGHT = 1e-3

_LOG_INTERVAL_SECONDS = 15.0


class TrainingModule(L.LightningModule):
    """Trains a network; knows only its interface, `network.TrainableNetwork`.

    Args:
        detector: What to train.
        val_samples: Samples to validate on.
        data: Folder of the store.
        seed: Of dropout and of whatever else draws from PyTorch's generator; each epoch starts from it anew,
            which makes a training that is resumed after an epoch equal to one that was never interrupted.
        csv: The history is written there after each epoch.

    Attributes:
        history: One dict per epoch: epoch (from 0), seconds, the mean of each loss as `train/<name>` and the metrics as
            `val/<level>_<metric>`.
        val_set: What the validation loader reads.
        val_sampler: In which order.
    """

    def __init__(self, detector: TrainableNetwork, val_samples: Samples, data: Path, seed: int, csv: Path):
        super().__init__()
        self.detector = detector
        self.history: list[dict] = []
        self.val_set = detector.scoring_set(val_samples, data)
        self.val_sampler = SequenceSampler(len(self.val_set))
        self._val_samples = val_samples
        self._seed = seed
        self._csv = csv
        self._scores: list[Tensor] = []
        self._val_scores = np.empty(0, np.float32)
        self._loss_sums: dict[str, Tensor] = {}
        self._n_batches = 0
        self._epoch_begin = 0.0
        self._val_metrics: dict[str, float] = {}

    def configure_optimizers(self) -> Any:
        optimizer = self.detector.optimizer()
        factor = partial(learning_rate_factor, self.detector.settings)
        return {"optimizer": optimizer, "lr_scheduler": torch.optim.lr_scheduler.LambdaLR(optimizer, factor)}

    def on_train_epoch_start(self) -> None:
        # of processes that train together each draws its own; the first draws what one alone would
        place = [self._seed, self.current_epoch, *([self.global_rank] if self.global_rank else [])]
        (epoch_seed,) = np.random.SeedSequence(place).generate_state(1)
        torch.manual_seed(int(epoch_seed))
        self.detector.start_epoch(self.current_epoch)
        self._loss_sums, self._n_batches = {}, 0
        self._epoch_begin = time.monotonic()

    def training_step(self, batch: dict, batch_index: int) -> Tensor:
        losses = self.detector.losses(batch)
        if getattr(self.optimizers(use_pl_optimizer=False), "climbed", False):
            # the second pass of `Sam`, whose losses are those of other weights
            return losses["total"]
        for name, loss in losses.items():
            self._loss_sums[name] = self._loss_sums.get(name, 0) + loss.detach()
        self._n_batches += 1
        self.log_dict({f"step/{name}": loss for name, loss in losses.items()})
        self.log("loss", losses["total"], prog_bar=True, logger=False)
        return losses["total"]

    def on_validation_epoch_start(self) -> None:
        self._scores = []

    def validation_step(self, batch: dict, batch_index: int) -> None:
        self._scores.append(self.detector.score(batch["image"]))

    def on_validation_epoch_end(self) -> None:
        gathered = self.all_gather(torch.cat(self._scores).float())
        assert isinstance(gathered, Tensor), "of a tensor come tensors"
        gathered = gathered.reshape(-1, len(self.val_sampler))
        self._val_scores = self.val_sampler.joined(gathered).cpu().numpy()[self.val_set.item_of_sample]
        self._val_metrics = validation_metrics(self._val_samples, self._val_scores, self.detector.aggregation)
        self.log_dict(self._val_metrics)

    def on_train_epoch_end(self) -> None:
        losses = {f"train/{name}": float(total / self._n_batches) for name, total in self._loss_sums.items()}
        seconds = time.monotonic() - self._epoch_begin
        self.history.append({"epoch": self.current_epoch, "seconds": round(seconds, 3), **losses, **self._val_metrics})
        self.log_dict(losses)
        if self.global_rank:
            return
        with atomic_path(self._csv) as temporary:
            pd.DataFrame(self.history).to_csv(temporary, index=False)
        shown = ("train/total", "val/frame_auc", "val/video_auc")
        values = ", ".join(f"{name} {self.history[-1].get(name, math.nan):.4f}" for name in shown)
        log.info(
            "train: epoch %d of %d in %.1f s, %s", self.current_epoch + 1, self.trainer.max_epochs, seconds, values
        )

    def on_save_checkpoint(self, checkpoint: dict) -> None:
        checkpoint["history"] = self.history
        checkpoint["val_scores"] = torch.from_numpy(self._val_scores)

    def on_load_checkpoint(self, checkpoint: dict) -> None:
        self.history = checkpoint["history"]


def validation_metrics(samples: Samples, scores: np.ndarray, aggregation: str) -> dict[str, float]:
    """Metrics of both levels that need no threshold, and `val/selection`.

    Args:
        samples: N samples.
        scores: (N,) their probabilities of being fake.
        aggregation: How a video's score comes from its samples', see `aggregation.video_scores`.
    """
    columns = {"video_id": samples.video_id.codes, "frame_index": samples.frame_index}
    frames = pd.DataFrame({**columns, "label": samples.label, "score": scores})
    metrics: dict[str, float] = {}
    for level, table in (("frame", frames), ("video", video_scores(frames, aggregation))):
        values = detection_metrics(table["label"], table["score"], threshold=math.nan)
        metrics |= {f"val/{level}_{name}": values[name] for name in ("auc", "ap", "eer", "log_loss")}
    metrics[SELECTION] = metrics["val/video_auc"] + _FRAME_AUC_WEIGHT * metrics["val/frame_auc"]
    return metrics


class ProgressLines(L.Callback):
    """A plain line every 15 s, where there is no terminal for a progress bar."""

    def __init__(self) -> None:
        self._last = time.monotonic()

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        now = time.monotonic()
        if now - self._last >= _LOG_INTERVAL_SECONDS:
            self._last = now
            where = (trainer.current_epoch + 1, trainer.max_epochs, batch_idx + 1, trainer.num_training_batches)
            log.info("train: epoch %d of %d, batch %d of %d, loss %.4f", *where, outputs["loss"])
