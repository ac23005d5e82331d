"""What every detector is to training, prediction and evaluation; nothing there asks which one it has."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from detectors.crop_window import CropWindow
from detectors.data import Samples
from detectors.settings import TrainSettings


class Detector(nn.Module, ABC):
    """One detector family: what it reads, what it learns from, and how it scores a face.

    Args:
        settings: The family's settings, of its class `Settings`.
        methods: Names of the classes of the training set, `real` first.
        prediction_only: Leave out whatever `score` does not need.
    """

    Settings: ClassVar[type[TrainSettings]] = TrainSettings

    def __init__(self, settings: TrainSettings, methods: list[str], *, prediction_only: bool = False):
        super().__init__()
        self.settings = settings
        self.methods = methods
        self.prediction_only = prediction_only

    @property
    def window(self) -> CropWindow:
        """The detector's own crop of a face."""
        return CropWindow(margin=self.settings.margin, size=self.settings.size)

    @abstractmethod
    def training_set(self, samples: Samples, crops: Path, seed: int) -> Dataset:
        """The data set that training reads.

        Its length is the number of items of a full epoch; an item is asked for as `(epoch, index)`, must depend
        on nothing but these two and the seed, and is a dict of tensors and numbers.

        Args:
            samples: The training samples.
            crops: Folder of the crops, `<crops>/<dataset>/<shard>.h5`.
            seed: Of every random choice.

        Raises:
            UserError: The samples do not hold what this detector learns from.
        """

    @property
    @abstractmethod
    def crops_per_item(self) -> int:
        """Crops that an item of the training set holds; `samples_per_epoch` is counted in crops."""

    @abstractmethod
    def losses(self, batch: dict) -> dict[str, Tensor]:
        """Losses of a collated batch of training items, by name; `total`, the weighted sum, is minimised."""

    @abstractmethod
    def score(self, images: Tensor) -> Tensor:
        """Probability (N,) in [0, 1], float32, that each face is fake.

        Args:
            images: (N, 3, size, size) uint8 RGB, cut by `window`.
        """

    def optimizer(self) -> torch.optim.Optimizer:
        """The optimiser of all trainable parameters; Adam unless the family says otherwise."""
        parameters = [parameter for parameter in self.parameters() if parameter.requires_grad]
        return torch.optim.Adam(parameters, lr=self.settings.learning_rate, weight_decay=self.settings.weight_decay)
