"""What JPEG does to images, in batches on any device: encoded and decoded again, without the lossless part between.

ITU-T T.81: colours to luma and chroma (JFIF), chroma halved in both directions (4:2:0), the cosine transform of blocks
of 8 x 8 pixels, its coefficients rounded to multiples of a table, and all the way back. The tables are those of annex
K, scaled by quality as the Independent JPEG Group's library does; chroma comes back by its triangle filter.
"""

from __future__ import annotations

import functools
import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from detectors.data.tensors import constant, full_precision

_BLOCK = 8

# T.81, tables K.1 and K.2
_LUMA_TABLE = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)
_CHROMA_TABLE = (
    (17, 18, 24, 47, 99, 99, 99, 99),
    (18, 21, 26, 66, 99, 99, 99, 99),
    (24, 26, 56, 99, 99, 99, 99, 99),
    (47, 66, 99, 99, 99, 99, 99, 99),
    (99, 99, 99, 99, 99, 99, 99, 99),
    (99, 99, 99, 99, 99, 99, 99, 99),
    (99, 99, 99, 99, 99, 99, 99, 99),
    (99, 99, 99, 99, 99, 99, 99, 99),
)

# Exact ties are common (a mean of whole numbers, say): they must not be left to the last bit of a sum.
_TIE = 1e-3


def jpeg_round_trip(images: Tensor, quality: Tensor) -> Tensor:
    """Images as they come back from a JPEG file.

    Args:
        images: (N, 3, height, width) RGB, values 0 to 255, uint8 or float32; fractions are rounded.
        quality: (N,) quality of each, 1 to 100, on the same device.

    Returns:
        (N, 3, height, width) whole numbers of the type of `images`.
    """
    height, width = images.shape[-2:]
    with full_precision():
        # whole blocks of halved chroma; edges repeat the last pixel
        padding = (0, -width % (2 * _BLOCK), 0, -height % (2 * _BLOCK))
        luma, chroma = _to_luma_chroma(F.pad(images.float().round(), padding, mode="replicate"))
        chroma = _halve(chroma)
        luma = _quantise(luma, _scaled(_LUMA_TABLE, quality))
        chroma = _quantise(chroma, _scaled(_CHROMA_TABLE, quality))
        chroma = _double(chroma)
        pixels = _to_rgb(luma, chroma)[..., :height, :width]
    return pixels.clamp(0, 255).to(images.dtype)


def cosine_matrix(n: int, device: torch.device) -> Tensor:
    """(n, n) float32, orthonormal cosine transform of n values (type II): row k holds the cosine of frequency k."""
    return constant(_cosines(n), device)


@functools.cache
def _cosines(n: int) -> np.ndarray:
    frequency, place = np.arange(n)[:, None], np.arange(n)
    cosines = np.cos(np.pi * (2 * place + 1) * frequency / (2 * n)) * math.sqrt(2 / n)
    cosines[0] /= math.sqrt(2)
    return cosines


def _round(values: Tensor) -> Tensor:
    """To whole numbers, ties up."""
    return (values + 0.5).floor()


# The colour transforms of JFIF in sixteen binary digits, as the Independent JPEG Group's library has them. Every sum
# is a whole number below 2^24, which float32 holds exactly, so that all devices agree.


def _to_luma_chroma(rgb: Tensor) -> tuple[Tensor, Tensor]:
    """RGB (N, 3, h, w) to luma (N, 1, h, w) and chroma (N, 2, h, w), 0 to 255."""
    red, green, blue = rgb.unbind(1)
    luma = 19595 * red + 38470 * green + 7471 * blue + 32768
    chroma_blue = 32768 * blue - 11059 * red - 21709 * green + ((128 << 16) + 32767)
    chroma_red = 32768 * red - 27439 * green - 5329 * blue + ((128 << 16) + 32767)
    return (luma / 65536).floor()[:, None], (torch.stack([chroma_blue, chroma_red], dim=1) / 65536).floor()


def _to_rgb(luma: Tensor, chroma: Tensor) -> Tensor:
    luma, (chroma_blue, chroma_red) = luma[:, 0], (chroma - 128).unbind(1)
    red = luma + ((91881 * chroma_red + 32768) / 65536).floor()
    green = luma + ((-22554 * chroma_blue - 46802 * chroma_red + 32768) / 65536).floor()
    blue = luma + ((116130 * chroma_blue + 32768) / 65536).floor()
    return torch.stack([red, green, blue], dim=1)


# Where chroma is halved and doubled the library lets ties fall down and up from column to column.


def _halve(chroma: Tensor) -> Tensor:
    """Means of 2 x 2 values, rounded."""
    means = F.avg_pool2d(chroma, 2)
    down_up = constant([0.25, 0.5], chroma.device).repeat(means.shape[-1] // 2)
    return (means + down_up).floor()


def _double(chroma: Tensor) -> Tensor:
    """Between values (the triangle filter: 3/4 of the nearer and 1/4 of the farther one), rounded."""
    between = F.interpolate(chroma, scale_factor=2, mode="bilinear", align_corners=False)
    up_down = constant([8 / 16, 7 / 16], chroma.device).repeat(chroma.shape[-1])
    return (between + up_down).floor()


def _scaled(table: tuple, quality: Tensor) -> Tensor:
    """(N, 64): the table for each quality, as the Independent JPEG Group's library scales it."""
    quality = quality.float().clamp(1, 100)
    percent = torch.where(quality < 50, (5000 / quality).floor(), 200 - 2 * quality)
    base = constant(table, quality.device).flatten()
    return ((base * percent[:, None] + 50) / 100).floor().clamp(1, 255)


def _quantise(planes: Tensor, table: Tensor) -> Tensor:
    """Planes (N, C, h, w), 0 to 255, with the cosine coefficients of their blocks rounded to multiples of the table."""
    n, channels, height, width = planes.shape
    grid = (n, channels, height // _BLOCK, _BLOCK, width // _BLOCK, _BLOCK)
    blocks = (planes - 128).view(grid).transpose(3, 4).reshape(n, -1, _BLOCK * _BLOCK)
    cosines = cosine_matrix(_BLOCK, planes.device)  # T.81, A.3.3, one direction
    transform = torch.kron(cosines, cosines)  # rows and columns of a block at once
    steps = table[:, None]
    coefficients = (blocks @ transform.T) / steps
    coefficients = (coefficients + _TIE * coefficients.sign()).round() * steps
    pixels = coefficients @ transform + (128 + _TIE)
    blocks = pixels.view(n, channels, grid[2], grid[4], _BLOCK, _BLOCK).transpose(3, 4)
    return _round(blocks.reshape(planes.shape)).clamp(0, 255)
