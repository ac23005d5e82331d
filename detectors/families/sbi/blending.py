"""Self-blended images: a real face pasted onto itself, so that only the traces of pasting remain.

Shiohara and Yamasaki, *Detecting Deepfakes with Self-Blended Images*, CVPR 2022; written from the paper's description.
A face is taken twice. One of the two, source or target, changes its colours and its sharpness a little; the source is
moved and scaled a little; what lies under a soft mask over the face comes from the source, the rest from the target.
The target is the real, the blend the fake of a pair.

Everything random about a sample is drawn beforehand, by a NumPy generator (`parameters`, `face_mask`). Here are pure
functions of batches on any device; a CPU and a GPU differ by the rounding of floats alone.

There are two grids of pixels. The image is the detector's own crop with some room around it, so that nothing is
resampled twice. The mask covers the paper's loose crop (`face_mask.loose_box`), with a width and a height of 192 to
256 px drawn for each sample: blurs and elastic deformation are measured in its pixels, the affine transform in its
sides.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from detectors.data.jpeg import jpeg_round_trip
from detectors.data.tensors import constant, full_precision
from detectors.families.sbi.face_mask import MASK_PX
from detectors.families.sbi.parameters import NOISE_PX, NOISE_SCALE, BlendBatch, ColourShifts

_ELASTIC_ALPHA, _ELASTIC_SIGMA_PX = 50.0, 7.0

# A mask counts as full from this share of its largest value on: sums of floats do not end at exactly 1.
_FULL = 1 - 1e-3


def self_blend(
    images: Tensor, masks: Tensor, loose_boxes: Tensor, parameters: BlendBatch, room: int = 0
) -> tuple[Tensor, Tensor, Tensor]:
    """Pairs of a real and its blend.

    Args:
        images: (N, 3, height, width) uint8 RGB.
        masks: (N, 256, 256) uint8 of `face_mask.draw_face_mask`.
        loose_boxes: (N, 4) float32 of `face_mask.loose_box`, in pixels of the images.
        parameters: On the device of the rest.
        room: Pixels on each side that are cut off once an image is blended.

    Returns:
        The reals and the blends, (N, 3, height - 2 room, width - 2 room) float32 whole numbers 0 to 255, and the soft
        masks (N, 1, height - 2 room, width - 2 room) from 0 to 1, the ratio of blending in them.
    """
    if images.device.type != "cpu":
        return blend_at_once(images, masks, loose_boxes, parameters, room)
    # one image at a time stays in the caches of a CPU; the result does not depend on it
    singles = [
        blend_at_once(images[one], masks[one], loose_boxes[one], parameters.row(one.start), room)
        for one in (slice(row, row + 1) for row in range(len(images)))
    ]
    real, blend, soft = (torch.cat(maps) for maps in zip(*singles, strict=True))
    return real, blend, soft


def blend_at_once(
    images: Tensor, masks: Tensor, loose_boxes: Tensor, parameters: BlendBatch, room: int
) -> tuple[Tensor, Tensor, Tensor]:
    """`self_blend` of a whole batch in one go."""
    with torch.no_grad(), full_precision():
        pair, soft = blend_pairs(images, masks, loose_boxes, parameters)
        inner = (..., slice(room, images.shape[-2] - room), slice(room, images.shape[-1] - room))
        pair = shift_colours(pair[inner], _twice(parameters.final_colours)).round_()
        compress(pair, 2 * parameters.jpeg_quality)
    real, blend = pair.chunk(2)
    return real, blend, soft[inner]


def blend_pairs(images: Tensor, masks: Tensor, loose_boxes: Tensor, parameters: BlendBatch) -> tuple[Tensor, Tensor]:
    """Reals and blends before what is done to both alike; arguments as for `self_blend`.

    Returns:
        (2 N, 3, height, width) float32 from 0 to 255, the N reals first; where a mask is 0 both are the same to the
        last bit. And the soft masks (N, 1, height, width), the ratio of blending in them.
    """
    target = images.float()
    changed = shift_colours(target, parameters.colours)
    changed = change_sharpness(changed, parameters.reduction, parameters.sharpening)
    on_source = parameters.source_changes[:, None, None, None]
    source, target = torch.where(on_source, changed, target), torch.where(on_source, target, changed)
    source = move_source(source, loose_boxes, parameters.translation, parameters.scale)
    soft = spread_masks(soft_masks(masks, parameters), loose_boxes, parameters.mask_size, images.shape[-2:])
    soft = parameters.ratio[:, None, None, None] * soft
    return torch.cat([target, source.sub_(target).mul_(soft).add_(target)]), soft


def shift_colours(images: Tensor, shifts: ColourShifts) -> Tensor:
    """Shift red, green and blue; hue, saturation and value; then contrast and brightness.

    Args:
        images: (N, 3, height, width) RGB, 0 to 255.
        shifts: One for each image.
    """
    rgb, hsv = (values[:, :, None, None] for values in (shifts.rgb, shifts.hsv))
    contrast, brightness = (values[:, None, None, None] for values in (shifts.contrast, shifts.brightness))
    shifted = _shift_hsv((images + rgb).clamp_(0, 255), hsv)
    return shifted.mul_(contrast).add_(brightness).clamp_(0, 255)


def _twice(shifts: ColourShifts) -> ColourShifts:
    return ColourShifts(*(torch.cat([values, values]) for values in shifts))


def _shift_hsv(images: Tensor, shifts: Tensor) -> Tensor:
    """Shift hue, saturation and value (the hexcone model: Smith, SIGGRAPH 1978)."""
    red, green, blue = images.unbind(1)
    hue_shift, saturation_shift, value_shift = shifts.unbind(1)
    value = torch.maximum(torch.maximum(red, green), blue)
    chroma = value - torch.minimum(torch.minimum(red, green), blue)
    divisor = torch.where(chroma > 0, chroma, 1)
    hue = torch.where(value == green, (blue - red).div_(divisor).add_(2), (red - green).div_(divisor).add_(4))
    hue = torch.where(value == red, (green - blue).div_(divisor), hue).add_(hue_shift / 30)  # in sixths of a turn
    saturation = chroma.div_(value.clamp(min=1e-6)).add_(saturation_shift / 255).clamp_(0, 1)
    value.add_(value_shift).clamp_(0, 255)
    # each channel falls from the value by up to its product with the saturation, the farther from its own hue
    fall = saturation.mul_(value)
    shifted = torch.empty_like(images)
    for channel, offset in zip(shifted.unbind(1), (5, 3, 1), strict=True):
        place = (hue + offset).remainder_(6)
        torch.sub(value, torch.minimum(place, 4 - place).clamp_(0, 1).mul_(fall), out=channel)
    return shifted


def change_sharpness(images: Tensor, reduction: list[int | None], sharpening: Tensor) -> Tensor:
    """Reduce images and enlarge them again, or sharpen them.

    Args:
        images: (N, 3, height, width).
        reduction: How many times each is reduced, by area, and enlarged again, linearly; None: it is sharpened.
        sharpening: (N,) share of the kernel that is 9 in the middle and -1 around it.
    """
    height, width = images.shape[-2:]
    result = torch.empty_like(images)
    for factor in set(reduction):
        rows = _rows_where([value == factor for value in reduction], images.device)
        chosen = images[rows]
        if factor is None:
            neighbourhood = F.avg_pool2d(F.pad(chosen, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
            share = sharpening[rows][:, None, None, None]
            result[rows] = chosen.addcmul_(chosen - neighbourhood, 9 * share).clamp_(0, 255)
        else:
            small = F.interpolate(chosen, size=(-(-height // factor), -(-width // factor)), mode="area")
            result[rows] = F.interpolate(small, size=(height, width), mode="bilinear", align_corners=False)
    return result


def compress(images: Tensor, quality: list[int | None]) -> None:
    """Put images, (N, 3, height, width) whole numbers, through JPEG in place; N qualities, None for those that stay."""
    rows = _rows_where([value is not None for value in quality], images.device)
    if len(rows):
        levels = constant([value for value in quality if value is not None], images.device)
        images[rows] = jpeg_round_trip(images[rows], levels)


def _rows_where(chosen: list[bool], device: torch.device) -> Tensor:
    rows = torch.tensor([row for row, is_chosen in enumerate(chosen) if is_chosen], dtype=torch.long)
    return rows.to(device, non_blocking=True)


def move_source(images: Tensor, loose_boxes: Tensor, translation: Tensor, scale: Tensor) -> Tensor:
    """Scale images about the centre of the loose crop and shift them.

    Args:
        images: (N, 3, height, width).
        loose_boxes: (N, 4) in their pixels.
        translation: (N, 2) x and y, of the loose crop's sides.
        scale: (N,) above 1 enlarges.
    """
    centre, sides = (loose_boxes[:, :2] + loose_boxes[:, 2:]) / 2, loose_boxes[:, 2:] - loose_boxes[:, :2]
    step = (1 / scale)[:, None].expand(-1, 2)
    shift = centre - (centre + translation * sides) * step
    return _sample(images, _axis_grid(step, shift, images.shape[-2:]), padding="border")


def soft_masks(masks: Tensor, parameters: BlendBatch) -> Tensor:
    """Deform hard masks and soften their edges; all on their own grids.

    The affine transform is that of the source. Of the first blur only what is still full remains, so that the mask
    shrinks or grows depending on which of the two blurs is the wider one.

    Args:
        masks: (N, 256, 256) uint8 of `face_mask.draw_face_mask`.
        parameters: Of the blends.

    Returns:
        (N, 1, 256, 256) from 0 to 1; all 0 where nothing of a mask is left.
    """
    size = parameters.mask_size.float()
    step = (1 / parameters.scale)[:, None].expand(-1, 2)
    centre = (size - 1) / 2
    shift = centre - (centre + parameters.translation * size) * step
    grid = _axis_grid(step, shift, masks.shape[-2:])
    # a pixel moved by d shows what lay, before the affine transform, at step * d from where it would have shown
    moved = grid + elastic_displacements(parameters.elastic_noise) * step[:, None, None]
    soft = _sample(masks[:, None].float(), moved, padding="zeros")
    first, second = parameters.blur_kernels.unbind(1)
    soft = _blur(soft, first)
    largest = soft.amax(dim=(1, 2, 3), keepdim=True)
    soft = ((soft >= _FULL * largest) & (largest > 0)).float()
    soft = _blur(soft, second)
    return soft / soft.amax(dim=(1, 2, 3), keepdim=True).clamp(min=1e-6)


def spread_masks(soft: Tensor, loose_boxes: Tensor, mask_size: Tensor, image_size: Sequence[int]) -> Tensor:
    """Masks on their own grids to masks of the images, (N, 1, height, width).

    Args:
        soft: (N, 1, 256, 256).
        loose_boxes: (N, 4) in pixels of the images: where the grids lie.
        mask_size: (N, 2) width and height of the grids.
        image_size: (height, width).
    """
    corner, sides = loose_boxes[:, :2], loose_boxes[:, 2:] - loose_boxes[:, :2]
    step = mask_size / sides
    return _sample(soft, _axis_grid(step, -corner * step - 0.5, image_size), padding="zeros")


def elastic_displacements(noise: Tensor) -> Tensor:
    """(N, 256, 256, 2) x and y in mask pixels: smoothed noise (Simard et al., ICDAR 2003)."""
    reduction = MASK_PX // NOISE_PX
    offsets = np.subtract.outer(np.arange(NOISE_PX), np.arange(NOISE_PX))
    weights = np.exp(-((offsets * reduction / _ELASTIC_SIGMA_PX) ** 2) / 2).astype(np.float32)
    smooth = constant(weights / weights.sum(axis=1).max(), noise.device)
    # noise of one value in four, smoothed alike, varies twice as much
    field = smooth @ (noise.float() * (_ELASTIC_ALPHA / NOISE_SCALE / reduction)) @ smooth.T
    return F.interpolate(field, scale_factor=reduction, mode="bilinear", align_corners=False).permute(0, 2, 3, 1)


def _blur(masks: Tensor, half_kernels: Tensor) -> Tensor:
    """(N, 1, side, side) blurred in both directions by a kernel each; beyond the edge there is nothing."""
    places = torch.arange(masks.shape[-1], device=masks.device)
    distance = (places[:, None] - places).abs()
    weights = F.pad(half_kernels, (0, 1))[:, distance.clamp(max=half_kernels.shape[1])][:, None]
    return weights @ masks @ weights


def _axis_grid(step: Tensor, shift: Tensor, size: Sequence[int]) -> Tensor:
    """Where each pixel (x, y) of a result reads: at step * (x, y) + shift.

    Args:
        step, shift: (N, 2) x and y.
        size: (height, width) of the result.

    Returns:
        (N, height, width, 2) x and y in pixels.
    """
    x, y = (
        step[:, axis, None] * torch.arange(length, device=step.device) + shift[:, axis, None]
        for axis, length in ((0, size[1]), (1, size[0]))
    )
    return torch.stack(torch.broadcast_tensors(x[:, None, :], y[:, :, None]), dim=-1)


def _sample(images: Tensor, places: Tensor, *, padding: str) -> Tensor:
    """Images (N, C, h, w) at places (N, height, width, 2) in their pixels, between pixels linearly."""
    last = constant([images.shape[-1] - 1, images.shape[-2] - 1], images.device)
    return F.grid_sample(images, 2 * places / last - 1, mode="bilinear", padding_mode=padding, align_corners=True)
