"""SPSL: spatial-phase shallow learning (Liu et al., CVPR 2021).

Up-sampling, which every generator does, leaves its traces in the phase of the spectrum. The image of the phase alone
(every amplitude set to one) becomes a fourth channel beside red, green and blue. Shallow networks, that see small
neighbourhoods, generalise better: a smaller `backbone_stride` leaves the last layers out.

Written from the paper's description.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from detectors.families.classifier import Classifier
from detectors.families.settings import SpslSettings
from detectors.interface.settings import NetworkSettings
from detectors.networks.backbones import add_input_channel

# Below this amplitude, of pixels from 0 to 1, a frequency is rounding error and its phase means nothing.
_SMALLEST_AMPLITUDE = 1e-4


class Spsl(Classifier):
    """See the module."""

    Settings: ClassVar[type[NetworkSettings]] = SpslSettings
    settings: SpslSettings

    def __init__(self, settings: SpslSettings, methods: list[str], *, prediction_only: bool = False):
        super().__init__(settings, methods, prediction_only=prediction_only)
        if settings.phase:
            add_input_channel(self.network)

    def inputs(self, images: Tensor) -> Tensor:
        colours = super().inputs(images)
        if not self.settings.phase:
            return colours
        return torch.cat([colours, self.settings.phase_gain * phase_image(images)], dim=1)


def phase_image(images: Tensor) -> Tensor:
    """What an image is when each of its frequencies has amplitude one (paper, equation 3 and 4).

    Args:
        images: (N, 3, height, width) uint8.

    Returns:
        (N, 1, height, width) float32, with a mean square of 1 / (height * width) where no frequency is empty. A
        frequency that the grey image does not hold stays out, since its phase is rounding error.
    """
    grey = images.float().mean(dim=1, keepdim=True) / 255
    # half precision has no transform of every size
    with torch.autocast(images.device.type, enabled=False):
        spectrum = torch.fft.rfft2(grey)
        amplitude = spectrum.abs()
        unit = torch.where(amplitude > _SMALLEST_AMPLITUDE, spectrum / amplitude.clamp(min=_SMALLEST_AMPLITUDE), 0)
        return torch.fft.irfft2(unit, s=grey.shape[-2:])
