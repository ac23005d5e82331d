"""What a network is to its training: what it reads, its losses, its optimiser, and how it scores a face.

Training knows this interface alone; families derive from `detector.NetworkDetector`, which adds how it is trained.
"""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from detectors.data.samples import Samples
from detectors.figures.gradcam import last_feature_map
from detectors.interface.detector import Detector
from detectors.interface.settings import NetworkSettings
from detectors.networks.optimizers import make_optimizer


class TrainableNetwork(Detector):
    """A detector that learns from batches by gradients, and whose network has a logit for real and one for fake."""

    Settings: ClassVar[type[NetworkSettings]] = NetworkSettings
    settings: NetworkSettings

    @property
    def precision(self) -> str:
        return self.settings.precision

    @abstractmethod
    def training_set(self, samples: Samples, data: Path, seed: int) -> Dataset:
        """The data set that training reads.

        Its length is the number of items of a full epoch; an item is asked for as `(epoch, index)`, must depend
        on nothing but these two and the seed, and is a dict of tensors and numbers.

        Args:
            samples: The training samples.
            data: Folder of the store.
            seed: Of every random choice.

        Raises:
            UserError: The samples do not hold what this detector learns from.
        """

    @property
    def crops_per_item(self) -> int:
        """Crops that an item of the training set holds; `samples_per_epoch` is counted in crops."""
        return 1

    @abstractmethod
    def losses(self, batch: dict) -> dict[str, Tensor]:
        """Losses of a collated batch of training items, by name; `total`, the weighted sum, is minimised."""

    @abstractmethod
    def logits(self, images: Tensor) -> Tensor:
        """(n, 2): real, fake.

        Args:
            images: As for `score`.
        """

    def score(self, images: Tensor) -> Tensor:
        return self.logits(images).float().softmax(dim=1)[:, 1]

    def evidence(self, images: Tensor) -> Tensor:
        real, fake = self.logits(images).float().unbind(dim=1)
        return fake - real

    def find_cam_layer(self) -> nn.Module | None:
        """The last one that gives feature maps on the way to the logits, unless the family says otherwise."""
        side, device = self.settings.size, next(self.parameters()).device
        blank = torch.zeros((1, 3, side, side), dtype=torch.uint8, device=device)
        return last_feature_map(self, lambda: self.logits(blank))

    def start_epoch(self, epoch: int) -> None:
        """Prepare for an epoch, counted from 0: which parameters learn, what the losses are. Also after a resume."""

    def optimizer(self) -> torch.optim.Optimizer:
        """The optimiser of all parameters; those that do not learn in an epoch have no gradient and stay."""
        return make_optimizer(self.parameters(), self.settings)
