"""Noise residuals of an image by three filters of the spatial rich model (SRM).

The filters are high-pass predictors of steganalysis (Fridrich and Kodovský, *Rich Models for Steganalysis of Digital
Images*, IEEE TIFS 2012): what a pixel is beyond what its neighbours let one expect. Colour and content vanish, noise
and the seams of blending stay.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Residuals are cut off at this magnitude: a strong edge tells no more than a weak one.
TRUNCATION = 3.0

# Each with its divisor: the square 3 x 3 and 5 x 5 predictors (KB, KV) and the horizontal one of second order.
_KERNELS = (
    (
        4,
        (
            (0, 0, 0, 0, 0),
            (0, -1, 2, -1, 0),
            (0, 2, -4, 2, 0),
            (0, -1, 2, -1, 0),
            (0, 0, 0, 0, 0),
        ),
    ),
    (
        12,
        (
            (-1, 2, -2, 2, -1),
            (2, -6, 8, -6, 2),
            (-2, 8, -12, 8, -2),
            (2, -6, 8, -6, 2),
            (-1, 2, -2, 2, -1),
        ),
    ),
    (
        2,
        (
            (0, 0, 0, 0, 0),
            (0, 0, 0, 0, 0),
            (0, 1, -2, 1, 0),
            (0, 0, 0, 0, 0),
            (0, 0, 0, 0, 0),
        ),
    ),
)


def srm_kernels() -> Tensor:
    """(3, 5, 5) float32: the 3 x 3 square (KB), the 5 x 5 square (KV), the horizontal second order."""
    return torch.stack([torch.tensor(rows, dtype=torch.float32) / divisor for divisor, rows in _KERNELS])


class SrmFilter(nn.Module):
    """Residuals of an image: (N, 3, height, width) to the same shape; nothing in it learns.

    Each of the three channels that come out is one filter's answer, summed over red, green and blue and cut off at
    ±`TRUNCATION`. Beyond its edge the image goes on as its outermost pixels: an even image gives zero everywhere.
    """

    kernels: Tensor

    def __init__(self) -> None:
        super().__init__()
        kernels = srm_kernels()[:, None].expand(-1, 3, -1, -1)
        self.register_buffer("kernels", kernels.contiguous(), persistent=False)

    def forward(self, pixels: Tensor) -> Tensor:
        """Residuals, in the unit of the pixels."""
        # half precision would drown faint residuals in the rounding of what is subtracted
        with torch.autocast(pixels.device.type, enabled=False):
            padded = F.pad(pixels.float(), (2, 2, 2, 2), mode="replicate")
            return F.hardtanh(F.conv2d(padded, self.kernels), -TRUNCATION, TRUNCATION)
