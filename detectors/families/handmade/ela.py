"""Error level analysis: what a picture loses when it is compressed as JPEG once more.

Parts that were pasted in have been through another history of compression and lose another amount (Krawetz, *A
picture's worth*, Black Hat 2007). Two detectors look at the errors: a classifier of their pattern on a grid over the
face (`ela`), and a network (`ela_cnn`).
"""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from detectors.data.jpeg import jpeg_round_trip
from detectors.families.classifier import Classifier
from detectors.families.handmade.detector import HandmadeDetector
from detectors.families.settings import ElaCnnSettings, ElaSettings, HandmadeSettings
from detectors.interface.settings import NetworkSettings


class Ela(HandmadeDetector):
    """The mean errors of the cells of a grid, one vector for a face."""

    Settings: ClassVar[type[HandmadeSettings]] = ElaSettings
    settings: ElaSettings

    def describe(self, images: Tensor) -> tuple[Tensor, Tensor]:
        cells = F.adaptive_avg_pool2d(error_levels(images, self.settings.quality), self.settings.grid)
        return torch.log1p(cells).flatten(1), torch.arange(len(images), device=images.device)


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
