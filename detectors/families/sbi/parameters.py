"""What is random about a self-blended image, but for the shape of its mask: drawn sample by sample, used in batches.

A NumPy generator draws everything about a sample beforehand; blending (`detectors.families.sbi.blending`) is a pure
function of what was drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from detectors.families.sbi.face_mask import MASK_PX

_MIN_MASK_PX = 192

# Source and target.
_RGB_SHIFT, _RGB_PROBABILITY = 20.0, 0.3  # grey levels
_BRIGHTNESS = 0.1  # of the value range, and of the contrast
_REDUCTIONS = (2, 4)
_SHARPENING = (0.2, 0.5)  # share of the sharpening kernel
# Source and mask.
_TRANSLATION = (0.03, 0.015)  # x, y, of the loose crop's sides
_MIN_SCALE = 0.95
# Mask.
_MAX_KERNEL_PX, _MIN_KERNEL_PX = 25, 5
_SIGMA_PX = (5, 45)  # of the second blur
_RATIOS = (0.25, 0.5, 0.75, 1.0, 1.0, 1.0)
# Real and blend together, at the end.
_FINAL_PROBABILITY = 0.3
_FINAL_BRIGHTNESS = 0.3
_JPEG_PROBABILITY, _JPEG_QUALITY = 0.5, (40, 100)

# The elastic noise is drawn at half the mask's resolution: it is smoothed over 7 px.
NOISE_PX = MASK_PX // 2
NOISE_SCALE = 127  # of its bytes
_HALF_KERNEL = _MAX_KERNEL_PX // 2


@dataclass(frozen=True)
class ColourShift:
    """A change of the colours of an image.

    Attributes:
        rgb: (3,) float32 shifts of red, green and blue in grey levels.
        hsv: (3,) float32 shifts of hue in steps of two degrees, of saturation and value in steps of 1 / 255.
        contrast: Factor of the values, after the shifts.
        brightness: Grey levels added to the values in the end.
    """

    rgb: np.ndarray
    hsv: np.ndarray
    contrast: float
    brightness: float


class ColourShifts(NamedTuple):
    """The `ColourShift` of N images: float32 (N, 3), (N, 3), (N,) and (N,)."""

    rgb: Tensor
    hsv: Tensor
    contrast: Tensor
    brightness: Tensor

    def rows(self, rows: slice) -> ColourShifts:
        """Those of some of the images."""
        return ColourShifts(*(values[rows] for values in self))


@dataclass(frozen=True)
class BlendParameters:
    """Everything random about a blend but the shape of its mask.

    Attributes:
        source_changes: Whether colours and sharpness of the source change, else those of the target.
        colours: How its colours change.
        reduction: How many times it is reduced and enlarged again, 2 or 4; None: it is sharpened.
        sharpening: Share of the sharpening kernel, where it is sharpened.
        translation: (2,) float32 x and y, of the loose crop's sides, by which source and mask move.
        scale: Of source and mask; above 1 enlarges.
        mask_size: (2,) int64 width and height of the mask grid in pixels.
        elastic_noise: (2, 128, 128) int8 x and y, of the mask's deformation.
        blur_kernels: (2, 13) float32 weights of the mask's two blurs from the middle outwards.
        ratio: Share of the source where the mask is full.
        final_colours: How the colours of real and blend change together, at the end.
        jpeg_quality: Of both, at the end; None: they are not compressed.
    """

    source_changes: bool
    colours: ColourShift
    reduction: int | None
    sharpening: float
    translation: np.ndarray
    scale: float
    mask_size: np.ndarray
    elastic_noise: np.ndarray
    blur_kernels: np.ndarray
    ratio: float
    final_colours: ColourShift
    jpeg_quality: int | None


class BlendBatch(NamedTuple):
    """The `BlendParameters` of N blends: tensors with a first dimension N, but lists of `reduction` and `jpeg_quality`.

    The two decide which images are worked on; a GPU would have to be waited for to ask it. A tuple, since loaders pin
    and Lightning moves the tensors of tuples.
    """

    source_changes: Tensor
    colours: ColourShifts
    reduction: list[int | None]
    sharpening: Tensor
    translation: Tensor
    scale: Tensor
    mask_size: Tensor
    elastic_noise: Tensor
    blur_kernels: Tensor
    ratio: Tensor
    final_colours: ColourShifts
    jpeg_quality: list[int | None]

    def row(self, row: int) -> BlendBatch:
        """One of the blends, a batch of its own."""
        one = slice(row, row + 1)
        return BlendBatch(
            source_changes=self.source_changes[one],
            colours=self.colours.rows(one),
            reduction=self.reduction[one],
            sharpening=self.sharpening[one],
            translation=self.translation[one],
            scale=self.scale[one],
            mask_size=self.mask_size[one],
            elastic_noise=self.elastic_noise[one],
            blur_kernels=self.blur_kernels[one],
            ratio=self.ratio[one],
            final_colours=self.final_colours.rows(one),
            jpeg_quality=self.jpeg_quality[one],
        )


def draw_parameters(rng: np.random.Generator, hsv_shift: float) -> BlendParameters:
    """Draw a blend.

    Args:
        rng: Of the sample.
        hsv_shift: Largest shift of hue (in steps of two degrees), saturation and value (of 255).
    """
    colours = _draw_colours(rng, _BRIGHTNESS, hsv_shift, _RGB_PROBABILITY, 1.0)
    source_changes = rng.random() < 0.5
    reduces = rng.random() < 0.5
    # drawn whether used or not, so that each choice leaves the later ones as they are
    reduction, sharpening = rng.choice(_REDUCTIONS), rng.uniform(*_SHARPENING)
    translation = rng.uniform(-1, 1, 2) * _TRANSLATION
    scale = rng.uniform(_MIN_SCALE, 1 / _MIN_SCALE)
    mask_size = rng.integers(_MIN_MASK_PX, MASK_PX + 1, 2)
    half_widths = rng.integers(_MIN_KERNEL_PX // 2, _MAX_KERNEL_PX // 2 + 1, 2)
    # a kernel of k pixels whose deviation is not given takes the one that it just holds, as OpenCV does
    sigmas = 0.3 * (half_widths[0] - 1) + 0.8, rng.uniform(*_SIGMA_PX)
    ratio = rng.choice(_RATIOS)
    final_colours = _draw_colours(rng, _FINAL_BRIGHTNESS, hsv_shift, _FINAL_PROBABILITY, _FINAL_PROBABILITY)
    compresses, quality = rng.random() < _JPEG_PROBABILITY, rng.integers(_JPEG_QUALITY[0], _JPEG_QUALITY[1] + 1)
    noise = rng.integers(-NOISE_SCALE, NOISE_SCALE, (2, NOISE_PX, NOISE_PX), np.int8, endpoint=True)
    return BlendParameters(
        source_changes=source_changes,
        colours=colours,
        reduction=int(reduction) if reduces else None,
        sharpening=sharpening,
        translation=translation.astype(np.float32),
        scale=scale,
        mask_size=mask_size,
        elastic_noise=noise,
        blur_kernels=np.stack([half_kernel(*kernel) for kernel in zip(sigmas, half_widths, strict=True)]),
        ratio=float(ratio),
        final_colours=final_colours,
        jpeg_quality=int(quality) if compresses else None,
    )


def _draw_colours(
    rng: np.random.Generator, brightness: float, hsv_shift: float, rgb_probability: float, probability: float
) -> ColourShift:
    rgb, hsv = rng.uniform(-_RGB_SHIFT, _RGB_SHIFT, 3), rng.uniform(-hsv_shift, hsv_shift, 3)
    contrast, brighter = 1 + rng.uniform(-brightness, brightness), 255 * rng.uniform(-brightness, brightness)
    takes_rgb, takes_hsv, takes_contrast = rng.random(3) < (rgb_probability, probability, probability)
    contrast, brighter = (contrast, brighter) if takes_contrast else (1.0, 0.0)
    return ColourShift((rgb * takes_rgb).astype(np.float32), (hsv * takes_hsv).astype(np.float32), contrast, brighter)


def half_kernel(sigma: float, half_width: int) -> np.ndarray:
    """Weights of a Gaussian blur from the middle outwards, (13,) float32; both sides together sum to 1."""
    offsets = np.arange(_HALF_KERNEL + 1)
    weights = np.exp(-((offsets / sigma) ** 2) / 2) * (offsets <= half_width)
    return (weights / (2 * weights.sum() - weights[0])).astype(np.float32)


def stack_parameters(blends: Sequence[BlendParameters]) -> BlendBatch:
    """The parameters of several blends as one batch, on the CPU."""
    return BlendBatch(
        source_changes=_stacked([blend.source_changes for blend in blends]),
        colours=_stacked_shifts([blend.colours for blend in blends]),
        reduction=[blend.reduction for blend in blends],
        sharpening=_stacked([blend.sharpening for blend in blends]),
        translation=_stacked([blend.translation for blend in blends]),
        scale=_stacked([blend.scale for blend in blends]),
        mask_size=_stacked([blend.mask_size for blend in blends]),
        elastic_noise=_stacked([blend.elastic_noise for blend in blends]),
        blur_kernels=_stacked([blend.blur_kernels for blend in blends]),
        ratio=_stacked([blend.ratio for blend in blends]),
        final_colours=_stacked_shifts([blend.final_colours for blend in blends]),
        jpeg_quality=[blend.jpeg_quality for blend in blends],
    )


def _stacked(values: Sequence[np.ndarray | float]) -> Tensor:
    array = np.stack(values)
    return torch.from_numpy(array.astype(np.float32) if array.dtype == np.float64 else array)


def _stacked_shifts(shifts: Sequence[ColourShift]) -> ColourShifts:
    return ColourShifts(
        rgb=_stacked([shift.rgb for shift in shifts]),
        hsv=_stacked([shift.hsv for shift in shifts]),
        contrast=_stacked([shift.contrast for shift in shifts]),
        brightness=_stacked([shift.brightness for shift in shifts]),
    )
