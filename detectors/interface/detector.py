"""The interface between detectors and training, prediction and evaluation, which never ask for the family."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
from torch import Tensor, nn

from detectors.data.crop_window import CropWindow
from detectors.data.samples import Samples
from detectors.data.scoring_set import FaceCrops, ScoringSet
from detectors.interface.settings import DetectorSettings


@dataclass(frozen=True)
class Training:
    """What a detector is trained with.

    Attributes:
        train: Samples to learn from.
        val: Samples to choose the best state on; may be empty.
        data: Folder of the store: crops at `<data>/crops/<dataset>/<shard>.h5`, landmarks and masks likewise.
        logs: Folder for the history, TensorBoard's files and checkpoints.
        seed: Of every random choice.
        device: `cpu` or `cuda:<number>`.
        workers: Processes that read crops.
        resume_from: Checkpoint to go on from, of the same training; None to begin.
        more_devices: Others that share every batch with `device`.
    """

    train: Samples
    val: Samples
    data: Path
    logs: Path
    seed: int
    device: str
    workers: int
    resume_from: Path | None = None
    more_devices: tuple[str, ...] = ()

    @property
    def devices(self) -> tuple[str, ...]:
        """All of them, `device` first."""
        return (self.device, *self.more_devices)

    @property
    def on_gpu(self) -> bool:
        return self.device != "cpu"

    @property
    def checkpoints(self) -> Path:
        """Folder of the checkpoints."""
        return self.logs / "checkpoints"


@dataclass(frozen=True)
class Fitted:
    """What a training came to.

    Attributes:
        best: Of the state that is kept: `epoch`, losses (`train/<name>`) and metrics (`val/<level>_<metric>`), as
            far as the detector has them.
        val_scores: (N,) of the validation samples, by that state.
        seconds: Of training, all its parts together.
    """

    best: dict[str, float]
    val_scores: np.ndarray
    seconds: float


class Detector(nn.Module, ABC):
    """One detector family: what it reads, how it learns, and how it scores a face.

    What it has learned is its `state_dict`, of tensors.

    Args:
        settings: The family's settings, of its class `Settings`.
        methods: Names of the classes of the training set, `real` first.
        prediction_only: Leave out whatever `score` does not need.

    Attributes:
        aggregation: How a video's score comes from those of its samples unless the config says it, see
            docs/evaluation.md.
        locates: Whether it has location maps; one built with `prediction_only` has none.
    """

    Settings: ClassVar[type[DetectorSettings]] = DetectorSettings
    aggregation: ClassVar[str] = "mean"
    locates: ClassVar[bool] = False

    def __init__(self, settings: DetectorSettings, methods: list[str], *, prediction_only: bool = False):
        super().__init__()
        self.settings = settings
        self.methods = methods
        self.prediction_only = prediction_only

    @property
    def window(self) -> CropWindow:
        """The detector's own crop of a face."""
        settings = self.settings
        return CropWindow(margin=settings.margin, size=settings.size, shape=settings.shape)

    @property
    def precision(self) -> str:
        """Arithmetic on a GPU: `16-mixed`, `bf16-mixed` or `32-true`."""
        return "32-true"

    @abstractmethod
    def fit(self, training: Training) -> Fitted:
        """Learn, and end in the best state, on the CPU.

        Raises:
            UserError: The samples do not hold what this detector learns from.
        """

    def scoring_set(self, samples: Samples, data: Path) -> ScoringSet:
        """What `score` reads of samples, as they are.

        Args:
            samples: N samples, in any order.
            data: Folder of the store.
        """
        return FaceCrops(data / "crops", samples, self.window)

    @abstractmethod
    def score(self, images: Tensor) -> Tensor:
        """Probability (n,) in [0, 1], float32, that each item of the scoring set is fake.

        Args:
            images: `image` of a batch of n items of the scoring set; (n, 3, size, size) uint8 RGB unless the family
                reads something else than single crops.
        """

    def location_maps(self, images: Tensor) -> Tensor:
        """(n, height, width) probabilities that each place is manipulated, of a detector that `locates`.

        Args:
            images: As for `score`.
        """
        raise NotImplementedError(f"{type(self).__name__} does not locate")

    def vectors(self, images: Tensor) -> dict[str, Tensor]:
        """Features (n, any) by name, for a picture of what the detector tells apart; none unless the family says so.

        Args:
            images: As for `score`.
        """
        return {}

    def find_cam_layer(self) -> nn.Module | None:
        """The module whose feature maps (n, channels, height, width) lead to the score, for Grad-CAM; None without.

        May run the detector once: ask for it once, not for every face.
        """
        return None

    def evidence(self, images: Tensor) -> Tensor:
        """(n,) what grows with the score and has a gradient wherever it lies, for Grad-CAM: a network's log odds.

        Args:
            images: As for `score`.
        """
        return self.score(images)
