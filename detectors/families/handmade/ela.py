"""Error level analysis: what a picture loses when it is compressed as JPEG once more.

Parts that were pasted in have been through another history of compression and lose another amount (Krawetz, *A
picture's worth*, Black Hat 2007). Two detectors look at the errors: a classifier of their pattern on a grid over the
face (`ela`), and a network (`ela_cnn`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from detectors.data.jpeg import jpeg_round_trip
from detectors.families.classifier import Classifier, ClassifierSettings
from detectors.families.handmade.detector import HandmadeDetector, HandmadeSettings
from detectors.families.handmade.shallow import SVM
from detectors.interface.settings import NetworkSettings
from preprocess.running.settings import other_default, setting

_QUALITY = "Quality of the compression whose errors are looked at, 1 to 100."


@dataclass(frozen=True)
class ElaSettings(HandmadeSettings):
    """Settings of error level analysis with a classifier of vectors."""

    classifier: str = other_default(HandmadeSettings, "classifier", SVM)
    quality: int = setting(90, _QUALITY, minimum=1)
    grid: int = setting(32, "Cells on a side; of each, the mean error of every colour.", minimum=1)


class Ela(HandmadeDetector):
    """The mean errors of the cells of a grid, one vector for a face."""

    Settings: ClassVar[type[HandmadeSettings]] = ElaSettings
    settings: ElaSettings

    def describe(self, images: Tensor) -> tuple[Tensor, Tensor]:
        cells = F.adaptive_avg_pool2d(error_levels(images, self.settings.quality), self.settings.grid)
        return torch.log1p(cells).flatten(1), torch.arange(len(images), device=images.device)


@dataclass(frozen=True)
class ElaCnnSettings(ClassifierSettings):
    """Settings of error level analysis with a network."""

    quality: int = setting(90, _QUALITY, minimum=1)
    gain: float = setting(10.0, "What the errors are multiplied by; beyond 255 they are cut off.", minimum=0)


class ElaCnn(Classifier):
    """A `classifier` whose input is the picture of the errors, made bright."""

    Settings: ClassVar[type[NetworkSettings]] = ElaCnnSettings
    settings: ElaCnnSettings

    def inputs(self, images: Tensor) -> Tensor:
        return super().inputs((self.settings.gain * error_levels(images, self.settings.quality)).clamp(max=255))


def error_levels(images: Tensor, quality: int) -> Tensor:
    """Absolute differences (n, 3, height, width) float32 of uint8 RGB images to themselves after JPEG.

    Args:
        images: (n, 3, height, width) uint8.
        quality: Of the JPEG, 1 to 100.
    """
    again = jpeg_round_trip(images, torch.full((len(images),), quality, device=images.device))
    return (images.float() - again.float()).abs()
