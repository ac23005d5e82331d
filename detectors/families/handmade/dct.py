"""Block DCT: the spectrum of small blocks of a face, and that of their histogram.

Networks that draw faces leave traces in the spectrum of their pictures. A block of grey values is described by the
magnitudes of its two-dimensional cosine transform and of the cosine transform of its histogram, and a face's score is
the mean over its blocks. In training only blocks of skin count, where a face has any.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from detectors.data.jpeg import cosine_matrix
from detectors.data.tensors import full_precision
from detectors.families.handmade.detector import HandmadeDetector
from detectors.families.settings import DctSettings, HandmadeSettings

_N_LEVELS = 256
_LUMA = (0.299, 0.587, 0.114)

# Chroma of skin: Chai and Ngan, IEEE Transactions on Circuits and Systems for Video Technology 9(4), 1999.
_SKIN_CB, _SKIN_CR = (77, 127), (133, 173)
_SKIN_SHARE = 0.5


class Dct(HandmadeDetector):
    """See the module."""

    Settings: ClassVar[type[HandmadeSettings]] = DctSettings
    settings: DctSettings

    def describe(self, images: Tensor) -> tuple[Tensor, Tensor]:
        side = self.settings.block_px
        red, green, blue = (weight * plane for weight, plane in zip(_LUMA, images.float().unbind(1), strict=True))
        blocks = cut_blocks((red + green + blue).round(), side)
        n_blocks = blocks.shape[1]
        blocks = blocks.reshape(-1, side, side)
        vectors = torch.cat([block_spectrum(blocks), histogram_spectrum(blocks)], dim=1)
        return vectors, torch.arange(len(images), device=images.device).repeat_interleave(n_blocks)

    def to_learn_from(self, images: Tensor, vectors: Tensor, image: Tensor) -> Tensor:
        if not self.settings.skin_only:
            return torch.ones_like(image, dtype=torch.bool)
        skin = cut_blocks(skin_coloured(images).float(), self.settings.block_px).mean((2, 3)) >= _SKIN_SHARE
        return (skin | ~skin.any(1, keepdim=True)).flatten()


def cut_blocks(planes: Tensor, side: int) -> Tensor:
    """(n, b, side, side): the whole blocks of (n, height, width), row by row from the top left corner."""
    return planes.unfold(1, side, side).unfold(2, side, side).flatten(1, 2)


def block_spectrum(blocks: Tensor) -> Tensor:
    """(m, side²): log(1 + magnitude) of the orthonormal two-dimensional cosine transform of (m, side, side)."""
    cosines = cosine_matrix(blocks.shape[-1], blocks.device)
    with full_precision():
        return torch.log1p((cosines @ blocks @ cosines.T).abs()).flatten(1)


def histogram_spectrum(blocks: Tensor) -> Tensor:
    """(m, 256): log(1 + magnitude) of the cosine transform of the histogram of whole grey values, 0 to 255.

    The histogram counts pixels.
    """
    n_blocks, levels = len(blocks), blocks.flatten(1).long().clamp(0, _N_LEVELS - 1)
    bins = levels + _N_LEVELS * torch.arange(n_blocks, device=blocks.device)[:, None]
    counts = torch.bincount(bins.flatten(), minlength=n_blocks * _N_LEVELS).view(n_blocks, _N_LEVELS).float()
    with full_precision():
        return torch.log1p((counts @ cosine_matrix(_N_LEVELS, blocks.device).T).abs())


def skin_coloured(images: Tensor) -> Tensor:
    """(n, height, width) bool: where uint8 RGB images (n, 3, height, width) have the chroma of skin."""
    red, green, blue = images.float().unbind(1)
    # JFIF
    chroma_blue = 128 - 0.168736 * red - 0.331264 * green + 0.5 * blue
    chroma_red = 128 + 0.5 * red - 0.418688 * green - 0.081312 * blue
    return _between(chroma_blue, *_SKIN_CB) & _between(chroma_red, *_SKIN_CR)


def _between(values: Tensor, low: float, high: float) -> Tensor:
    return (values >= low) & (values <= high)
