"""Any network of timm with a last layer for real and fake: the baseline of every study."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import torch
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from torch import Tensor, nn
from torch.utils.data import Dataset

from detectors.data.labelled_crops import LabelledCrops
from detectors.data.samples import Samples
from detectors.families.settings import ClassifierSettings
from detectors.interface.settings import NetworkSettings
from detectors.networks.backbones import ClassificationNetwork
from detectors.networks.detector import NetworkDetector
from detectors.networks.losses import cross_entropy, focal_loss


class Classifier(NetworkDetector):
    """See the module."""

    Settings: ClassVar[type[NetworkSettings]] = ClassifierSettings
    settings: ClassifierSettings
    mean: Tensor
    std: Tensor

    def __init__(self, settings: ClassifierSettings, methods: list[str], *, prediction_only: bool = False):
        super().__init__(settings, methods, prediction_only=prediction_only)
        # a ClassificationNetwork, unless a family makes a network of its own
        self.network: Any = self.make_network()
        imagenet = settings.normalisation == "imagenet"
        for name, values in (("mean", IMAGENET_DEFAULT_MEAN), ("std", IMAGENET_DEFAULT_STD)):
            channels = torch.tensor(values if imagenet else (0.5,) * 3).view(1, 3, 1, 1)
            self.register_buffer(name, 255 * channels, persistent=False)

    def make_network(self) -> nn.Module:
        """What `logits` runs."""
        return ClassificationNetwork(**self.settings.feature_extractor, n_classes=2, dropout=self.settings.dropout)

    def training_set(self, samples: Samples, data: Path, seed: int) -> Dataset:
        return LabelledCrops(
            data / "crops", samples, self.window, seed, self.settings.augmentation, self.settings.balance
        )

    def inputs(self, images: Tensor) -> Tensor:
        """What the network reads of uint8 RGB images (N, 3, size, size)."""
        return (images - self.mean) / self.std

    def logits(self, images: Tensor) -> Tensor:
        return self.network(self.inputs(images))

    def losses(self, batch: dict) -> dict[str, Tensor]:
        settings = self.settings
        logits = self.logits(batch["image"])
        if settings.loss == "focal":
            total = focal_loss(logits, batch["label"], gamma=settings.focal_gamma, fake_weight=settings.fake_weight)
        else:
            total = cross_entropy(
                logits,
                batch["label"],
                fake_weight=settings.fake_weight,
                label_smoothing=settings.label_smoothing,
            )
        return {"total": total}

    def vectors(self, images: Tensor) -> dict[str, Tensor]:
        return {"features": self.network.vectors(self.inputs(images))}
