"""Detectors without a network: a hand-made description of a face, and a classifier of vectors.

A face is described by any number of vectors of the same length; its score is the mean of theirs.
"""

from __future__ import annotations

import logging
import time
from abc import abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from detectors.data.samples import Samples, reals_and_fakes
from detectors.families.handmade.shallow import ShallowClassifier
from detectors.families.settings import HandmadeSettings
from detectors.interface.detector import Detector, Fitted, Training
from detectors.interface.predictions import predict_samples
from detectors.networks.lightning_module import validation_metrics
from preprocess.running.cli import UserError
from preprocess.store.atomic import atomic_path

log = logging.getLogger("detectors")

# Score of a face that nothing can be said of.
UNKNOWN_SCORE = 0.5

_BATCH = 32

# first word of a seed: which choice the generator is for
_CROPS, _VECTORS = 21, 22


class HandmadeDetector(Detector):
    """A detector that describes faces by vectors; a family says how, by `describe`."""

    Settings: ClassVar[type[HandmadeSettings]] = HandmadeSettings
    settings: HandmadeSettings

    def __init__(self, settings: HandmadeSettings, methods: list[str], *, prediction_only: bool = False):
        super().__init__(settings, methods, prediction_only=prediction_only)
        self.classifier = ShallowClassifier(settings.classifier)

    @abstractmethod
    def describe(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Describe faces.

        Args:
            images: (n, 3, size, size) uint8 RGB.

        Returns:
            Vectors (m, d) float32, and the image (m,) int64, ascending, that each belongs to; an image may have none.
        """

    def to_learn_from(self, images: Tensor, vectors: Tensor, image: Tensor) -> Tensor:
        """Mask (m,) of the vectors that training may use, all unless the family says otherwise.

        Args:
            images: As for `describe`.
            vectors, image: What it gave.
        """
        return torch.ones_like(image, dtype=torch.bool)

    def score(self, images: Tensor) -> Tensor:
        vectors, image = self.describe(images)
        sums = torch.zeros(len(images), device=images.device).index_add_(0, image, self.classifier(vectors))
        counts = torch.bincount(image, minlength=len(images))
        return torch.where(counts > 0, sums / counts.clamp(min=1), UNKNOWN_SCORE).clamp(0, 1)

    def fit(self, training: Training) -> Fitted:
        begin = time.monotonic()
        drawn = draw_balanced(training.train, self.settings.train_samples, training.seed)
        vectors, of_sample = self._vectors_of(drawn, training)
        labels = drawn.label[of_sample].astype(np.int64)
        if len(np.unique(labels)) < 2:
            raise UserError(
                f"the {len(drawn)} crops drawn from {', '.join(drawn.dataset.names)} give {int((labels == 0).sum())} "
                f"vectors of reals and {int((labels == 1).sum())} of fakes; raise train_samples or size"
            )
        log.info("train: fitting %s to %d vectors of %d crops", self.settings.classifier, len(vectors), len(drawn))
        self.cpu().classifier.fit(
            vectors,
            labels,
            drawn.groups()[of_sample],
            n_components=self.settings.pca_components,
            seed=training.seed,
            threads=self.settings.cpu_threads,
        )
        reading: dict[str, Any] = {"workers": training.workers, "device": training.device, "batch_size": _BATCH}
        val_scores = predict_samples(self.eval(), training.val, training.data, **reading)
        self.cpu()
        best = validation_metrics(training.val, val_scores, self.aggregation) if len(training.val) else {}
        seconds = time.monotonic() - begin
        row = {"seconds": round(seconds, 3), "n_crops": len(drawn), "n_vectors": len(vectors), **best}
        with atomic_path(training.logs / "metrics.csv") as temporary:
            pd.DataFrame([row]).to_csv(temporary, index=False)
        return Fitted(best, val_scores, seconds)

    def _vectors_of(self, drawn: Samples, training: Training) -> tuple[np.ndarray, np.ndarray]:
        """Vectors (m, d) to learn from, and the sample (m,) that each belongs to."""
        parts = list(self._described(drawn, training.data, training))
        return np.concatenate([vectors for vectors, _ in parts]), np.concatenate([rows for _, rows in parts])

    def _described(self, drawn: Samples, data: Path, training: Training) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        self.to(training.device)
        reading: dict[str, Any] = {
            "workers": training.workers,
            "device": training.device,
            "description": "describe faces",
        }
        first = 0
        for images in self.scoring_set(drawn, data).batches(_BATCH, **reading):
            vectors, image = self.describe(images)
            kept = self.to_learn_from(images, vectors, image).cpu().numpy()
            rows = first + image.cpu().numpy()
            rng = np.random.default_rng([_VECTORS, training.seed, first])
            chosen = _draw_per_row(rows, kept, self.settings.vectors_per_crop, rng)
            yield vectors[torch.from_numpy(chosen).to(vectors.device)].cpu().numpy(), rows[chosen]
            first += len(images)


def draw_balanced(samples: Samples, count: int, seed: int) -> Samples:
    """A random choice of as many reals as fakes, `count` in all where there are so many, in their order.

    Raises:
        UserError: There are no reals or no fakes.
    """
    kinds = reals_and_fakes(samples, "this detector learns from both")
    n_each = min(max(1, count // 2), *map(len, kinds))
    rng = np.random.default_rng([_CROPS, seed])
    return samples[np.sort(np.concatenate([rng.choice(rows, n_each, replace=False) for rows in kinds]))]


def _draw_per_row(rows: np.ndarray, kept: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Positions, ascending, of at most `count` vectors of each row, drawn among those kept."""
    order = rng.permutation(len(rows))
    order = order[kept[order]]
    order = order[np.argsort(rows[order], kind="stable")]
    _, first, lengths = np.unique(rows[order], return_index=True, return_counts=True)
    place = np.arange(len(order)) - np.repeat(first, lengths)
    return np.sort(order[place < count])
