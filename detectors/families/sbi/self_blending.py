"""Self-blended images: a real face pasted onto itself, so that only the traces of pasting remain.

Shiohara and Yamasaki, *Detecting Deepfakes with Self-Blended Images*, CVPR 2022; written from the paper's description.
A face is taken twice. One of the two, source or target, changes its colours and its sharpness a little; the source is
moved and scaled a little; what lies under a soft mask over the face comes from the source, the rest from the target.
The target is the real, the blend the fake of a pair.

Everything random about a sample is drawn beforehand, by a NumPy generator (`draw_parameters`, `draw_face_mask`). The
rest are pure functions of batches on any device; a CPU and a GPU differ by the rounding of floats alone.

There are two grids of pixels. The image is the detector's own crop with some room around it, so that nothing is
resampled twice. The mask covers the paper's loose crop, `loose_box`, with a width and a height of 192 to 256 px drawn
for each sample: blurs and elastic deformation are measured in its pixels, the affine transform in its sides.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from detectors.data.jpeg import constant, full_precision, jpeg_round_trip

MASK_PX = 256  # side of the array that holds a mask grid, whatever its own sides
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
_SHORT_HULL_PROBABILITY = 0.25  # 68 points instead of 81
_WHOLE_FACE_PROBABILITY = 0.5
_ELASTIC_ALPHA, _ELASTIC_SIGMA_PX = 50.0, 7.0
_MAX_KERNEL_PX, _MIN_KERNEL_PX = 25, 5
_SIGMA_PX = (5, 45)  # of the second blur
_RATIOS = (0.25, 0.5, 0.75, 1.0, 1.0, 1.0)
# Real and blend together, at the end.
_FINAL_PROBABILITY = 0.3
_FINAL_BRIGHTNESS = 0.3
_JPEG_PROBABILITY, _JPEG_QUALITY = 0.5, (40, 100)

# The elastic noise is drawn at half the mask's resolution: it is smoothed over 7 px.
_NOISE_PX = MASK_PX // 2
_NOISE_SCALE = 127  # of its bytes
_HALF_KERNEL = _MAX_KERNEL_PX // 2

# A mask counts as full from this share of its largest value on: sums of floats do not end at exactly 1.
_FULL = 1 - 1e-3

_JAW, _BROWS, _NOSE, _EYES, _MOUTH = range(17), range(17, 27), range(27, 36), range(36, 48), range(48, 68)
# Points (iBUG's 68, then dlib's forehead) of hulls whose union is a mask. What the paper leaves open was chosen here.
_PART_SHAPES = (
    # the face below its eyes, and brows, eyes and nose: all but forehead and temples
    (_JAW, (*_BROWS, *_NOSE, *_EYES)),
    # brows, eyes and nose
    ((*_BROWS, *_NOSE, *_EYES),),
    # nose, mouth and chin
    ((*_JAW[3:14], *_NOSE[3:], *_MOUTH),),
)


def _mirror() -> np.ndarray:
    mirror = np.arange(81)

    def swap(*pairs: tuple[int, int]) -> None:
        for one, other in pairs:
            mirror[one], mirror[other] = other, one

    swap(*((i, 16 - i) for i in range(8)), *((17 + i, 26 - i) for i in range(5)))
    swap((31, 35), (32, 34), (36, 45), (37, 44), (38, 43), (39, 42), (40, 47), (41, 46))
    swap((48, 54), (49, 53), (50, 52), (55, 59), (56, 58), (60, 64), (61, 63), (65, 67))
    # along the hairline the forehead's points are 77 75 76 68 69 70 71 80 72 73 79 74 78
    swap((77, 78), (75, 74), (76, 79), (68, 73), (69, 72), (70, 80))
    return mirror


# Point i of a mirrored face is where point MIRROR[i] of the face was.
MIRROR = _mirror()


def loose_box(points: np.ndarray) -> np.ndarray:
    """The loose crop around a face: the box of its 68 points, half of it wider on each side, 1 above and 0.4 below.

    Args:
        points: (81, 2) landmarks x, y in pixels of an image.

    Returns:
        (4,) x0, y0, x1, y1 in pixels of the image; may reach outside.
    """
    low, high = points[:68].min(axis=0), points[:68].max(axis=0)
    width, height = high - low
    return np.array([low[0] - width / 2, low[1] - height, high[0] + width / 2, high[1] + 0.4 * height])


def draw_parameters(rng: np.random.Generator, hsv_shift: float) -> dict[str, np.ndarray | int]:
    """Everything random about a blend but the shape of its mask.

    Args:
        rng: Of the sample.
        hsv_shift: Largest shift of hue (in steps of two degrees), saturation and value (of 255).

    Returns:
        on_source: bool, whether the source changes (else the target);
        colours, final_colours: (8,) float32, see `shift_colours`;
        reduction: int, 1 or how many times an image is reduced and enlarged again;
        sharpening: float32, share of the sharpening kernel where the reduction is 1;
        translation: (2,) float32, x and y, of the loose crop's sides; scale: float32;
        mask_size: (2,) int64, width and height of the mask grid;
        noise: (2, 128, 128) int8, of the elastic deformation;
        kernels: (2, 13) float32, the two blurs' weights from the middle outwards;
        ratio: float32;
        quality: int, of JPEG; 0: none.
    """
    colours = _draw_colours(rng, _BRIGHTNESS, hsv_shift, _RGB_PROBABILITY, 1.0)
    on_source = rng.random() < 0.5
    reduces = rng.random() < 0.5
    # drawn whether used or not, so that each choice leaves the later ones as they are
    reduction, sharpening = rng.choice(_REDUCTIONS), rng.uniform(*_SHARPENING)
    translation = rng.uniform(-1, 1, 2) * _TRANSLATION
    scale = rng.uniform(_MIN_SCALE, 1 / _MIN_SCALE)
    mask_size = rng.integers(_MIN_MASK_PX, MASK_PX + 1, 2)
    widths = rng.integers(_MIN_KERNEL_PX // 2, _MAX_KERNEL_PX // 2 + 1, 2)
    # a kernel of k pixels whose deviation is not given takes the one that it just holds, as OpenCV does
    sigmas = 0.3 * (widths[0] - 1) + 0.8, rng.uniform(*_SIGMA_PX)
    kernels = np.stack([_half_kernel(*kernel) for kernel in zip(sigmas, widths, strict=True)])
    ratio = rng.choice(_RATIOS)
    final_colours = _draw_colours(rng, _FINAL_BRIGHTNESS, hsv_shift, _FINAL_PROBABILITY, _FINAL_PROBABILITY)
    compresses, quality = rng.random() < _JPEG_PROBABILITY, rng.integers(_JPEG_QUALITY[0], _JPEG_QUALITY[1] + 1)
    noise = rng.integers(-_NOISE_SCALE, _NOISE_SCALE, (2, _NOISE_PX, _NOISE_PX), np.int8, endpoint=True)
    return {
        "on_source": np.array(on_source),
        "colours": colours,
        "final_colours": final_colours,
        "reduction": int(reduction) if reduces else 1,
        "sharpening": np.array(sharpening, np.float32),
        "translation": translation.astype(np.float32),
        "scale": np.array(scale, np.float32),
        "mask_size": mask_size,
        "noise": noise,
        "kernels": kernels,
        "ratio": np.array(ratio, np.float32),
        "quality": int(quality) if compresses else 0,
    }


def _draw_colours(
    rng: np.random.Generator, brightness: float, hsv_shift: float, rgb_probability: float, probability: float
) -> np.ndarray:
    rgb, hsv = rng.uniform(-_RGB_SHIFT, _RGB_SHIFT, 3), rng.uniform(-hsv_shift, hsv_shift, 3)
    contrast, brighter = 1 + rng.uniform(-brightness, brightness), 255 * rng.uniform(-brightness, brightness)
    takes_rgb, takes_hsv, takes_contrast = rng.random(3) < (rgb_probability, probability, probability)
    contrast, brighter = (contrast, brighter) if takes_contrast else (1, 0)
    return np.array([*(rgb * takes_rgb), *(hsv * takes_hsv), contrast, brighter], np.float32)


def _half_kernel(sigma: float, half_width: int) -> np.ndarray:
    """Weights of a Gaussian blur from the middle outwards, (13,) float32; both sides together sum to 1."""
    offsets = np.arange(_HALF_KERNEL + 1)
    weights = np.exp(-((offsets / sigma) ** 2) / 2) * (offsets <= half_width)
    return (weights / (2 * weights.sum() - weights[0])).astype(np.float32)


def draw_face_mask(points: np.ndarray, mask_size: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The hard mask of a blend: with probability 0.5 the hull of the landmarks, else one of three parts of it.

    Args:
        points: (81, 2) landmarks x, y in pixels of the image.
        mask_size: (2,) width and height of the mask grid in pixels.
        rng: Of the sample.

    Returns:
        (256, 256) uint8: 1 inside the mask, else 0; the grid's pixels are the first rows and columns.
    """
    whole, short, shape = rng.random(), rng.random(), rng.integers(len(_PART_SHAPES))
    parts = _PART_SHAPES[shape]
    if whole < _WHOLE_FACE_PROBABILITY:
        parts = (range(68 if short < _SHORT_HULL_PROBABILITY else 81),)
    x0, y0, x1, y1 = loose_box(points)
    on_grid = (points - (x0, y0)) * mask_size / (x1 - x0, y1 - y0) - 0.5
    mask = np.zeros((MASK_PX, MASK_PX), np.uint8)
    for part in parts:
        hull = cv2.convexHull(on_grid[list(part)].astype(np.float32))
        cv2.fillConvexPoly(mask, np.round(hull * 16).astype(np.int32), 1, shift=4)
    return mask


def stack_parameters(parameters: list[dict[str, np.ndarray | int]]) -> dict[str, Tensor | list[int]]:
    """Parameters of several samples as one batch: tensors, but lists of `reduction` and `quality`.

    The two decide which images are worked on; a GPU would have to be waited for to ask it.
    """
    columns = {name: [one[name] for one in parameters] for name in parameters[0]}
    return {
        name: values if isinstance(values[0], int) else torch.from_numpy(np.stack(values))
        for name, values in columns.items()
    }


def self_blend(
    images: Tensor, masks: Tensor, loose_boxes: Tensor, parameters: dict[str, Tensor | list[int]], room: int = 0
) -> tuple[Tensor, Tensor, Tensor]:
    """Pairs of a real and its blend.

    Args:
        images: (N, 3, height, width) uint8 RGB.
        masks: (N, 256, 256) uint8 of `draw_face_mask`.
        loose_boxes: (N, 4) float32 of `loose_box`, in pixels of the images.
        parameters: Of `stack_parameters`, on the device of the rest.
        room: Pixels on each side that are cut off once an image is blended.

    Returns:
        The reals and the blends, (N, 3, height - 2 room, width - 2 room) float32 whole numbers 0 to 255, and the soft
        masks (N, 1, height - 2 room, width - 2 room) from 0 to 1, the ratio of blending in them.
    """
    if images.device.type != "cpu":
        return blend_at_once(images, masks, loose_boxes, parameters, room)
    # one image at a time stays in the caches of a CPU; the result does not depend on it
    singles = [
        blend_at_once(
            *(tensor[row : row + 1] for tensor in (images, masks, loose_boxes)),
            {name: values[row : row + 1] for name, values in parameters.items()},
            room,
        )
        for row in range(len(images))
    ]
    real, blend, soft = (torch.cat(maps) for maps in zip(*singles, strict=True))
    return real, blend, soft


def blend_at_once(
    images: Tensor, masks: Tensor, loose_boxes: Tensor, parameters: dict[str, Tensor | list[int]], room: int
) -> tuple[Tensor, Tensor, Tensor]:
    """`self_blend` of a whole batch in one go."""
    with torch.no_grad(), full_precision():
        pair, soft = blend_pairs(images, masks, loose_boxes, parameters)
        inner = (..., slice(room, images.shape[-2] - room), slice(room, images.shape[-1] - room))
        pair = shift_colours(pair[inner], parameters["final_colours"].repeat(2, 1)).round_()
        compress(pair, 2 * parameters["quality"])
    real, blend = pair.chunk(2)
    return real, blend, soft[inner]


def blend_pairs(
    images: Tensor, masks: Tensor, loose_boxes: Tensor, parameters: dict[str, Tensor | list[int]]
) -> tuple[Tensor, Tensor]:
    """Reals and blends before what is done to both alike; arguments as for `self_blend`.

    Returns:
        (2 N, 3, height, width) float32 from 0 to 255, the N reals first; where a mask is 0 both are the same to the
        last bit. And the soft masks (N, 1, height, width), the ratio of blending in them.
    """
    target = images.float()
    changed = shift_colours(target, parameters["colours"])
    changed = change_sharpness(changed, parameters["reduction"], parameters["sharpening"])
    on_source = parameters["on_source"][:, None, None, None]
    source, target = torch.where(on_source, changed, target), torch.where(on_source, target, changed)
    source = move_source(source, loose_boxes, parameters["translation"], parameters["scale"])
    soft = spread_masks(soft_masks(masks, parameters), loose_boxes, parameters["mask_size"], images.shape[-2:])
    soft = parameters["ratio"][:, None, None, None] * soft
    return torch.cat([target, source.sub_(target).mul_(soft).add_(target)]), soft


def shift_colours(images: Tensor, colours: Tensor) -> Tensor:
    """Shift red, green and blue; hue, saturation and value; then contrast and brightness.

    Args:
        images: (N, 3, height, width) RGB, 0 to 255.
        colours: (N, 8) shifts of red, green and blue in grey levels; of hue in steps of two degrees, of saturation and
            value in steps of 1 / 255; factor of the values; what is added to them.
    """
    rgb, hsv, contrast, brightness = colours[:, :, None, None].split([3, 3, 1, 1], dim=1)
    shifted = _shift_hsv((images + rgb).clamp_(0, 255), hsv)
    return shifted.mul_(contrast).add_(brightness).clamp_(0, 255)


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


def change_sharpness(images: Tensor, reduction: list[int], sharpening: Tensor) -> Tensor:
    """Reduce images and enlarge them again, or sharpen them.

    Args:
        images: (N, 3, height, width).
        reduction: N of 1 (sharpen), 2 or 4: by area, and linearly back.
        sharpening: (N,) share of the kernel that is 9 in the middle and -1 around it.
    """
    height, width = images.shape[-2:]
    result = torch.empty_like(images)
    for factor in set(reduction):
        rows = _rows_where([value == factor for value in reduction], images.device)
        chosen = images[rows]
        if factor == 1:
            neighbourhood = F.avg_pool2d(F.pad(chosen, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
            share = sharpening[rows][:, None, None, None]
            result[rows] = chosen.addcmul_(chosen - neighbourhood, 9 * share).clamp_(0, 255)
        else:
            small = F.interpolate(chosen, size=(-(-height // factor), -(-width // factor)), mode="area")
            result[rows] = F.interpolate(small, size=(height, width), mode="bilinear", align_corners=False)
    return result


def compress(images: Tensor, quality: list[int]) -> None:
    """Put images, (N, 3, height, width) whole numbers, through JPEG in place; N qualities, 0 for those that stay."""
    rows = _rows_where([value > 0 for value in quality], images.device)
    if len(rows):
        levels = constant([value for value in quality if value], images.device)
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


def soft_masks(masks: Tensor, parameters: dict[str, Tensor]) -> Tensor:
    """Deform hard masks and soften their edges; all on their own grids.

    The affine transform is that of the source. Of the first blur only what is still full remains, so that the mask
    shrinks or grows depending on which of the two blurs is the wider one.

    Args:
        masks: (N, 256, 256) uint8 of `draw_face_mask`.
        parameters: Of `stack_parameters`.

    Returns:
        (N, 1, 256, 256) from 0 to 1; all 0 where nothing of a mask is left.
    """
    size = parameters["mask_size"].float()
    step = (1 / parameters["scale"])[:, None].expand(-1, 2)
    centre = (size - 1) / 2
    shift = centre - (centre + parameters["translation"] * size) * step
    grid = _axis_grid(step, shift, masks.shape[-2:])
    # a pixel moved by d shows what lay, before the affine transform, at step * d from where it would have shown
    moved = grid + _displacements(parameters["noise"]) * step[:, None, None]
    soft = _sample(masks[:, None].float(), moved, padding="zeros")
    first, second = parameters["kernels"].unbind(1)
    soft = _blur(soft, first)
    largest = soft.amax(dim=(1, 2, 3), keepdim=True)
    soft = ((soft >= _FULL * largest) & (largest > 0)).float()
    soft = _blur(soft, second)
    return soft / soft.amax(dim=(1, 2, 3), keepdim=True).clamp(min=1e-6)


def spread_masks(soft: Tensor, loose_boxes: Tensor, mask_size: Tensor, image_size: tuple[int, int]) -> Tensor:
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


def _displacements(noise: Tensor) -> Tensor:
    """(N, 256, 256, 2) x and y in mask pixels: smoothed noise (Simard et al., ICDAR 2003)."""
    reduction = MASK_PX // _NOISE_PX
    offsets = np.subtract.outer(np.arange(_NOISE_PX), np.arange(_NOISE_PX))
    weights = np.exp(-((offsets * reduction / _ELASTIC_SIGMA_PX) ** 2) / 2).astype(np.float32)
    smooth = constant(weights / weights.sum(axis=1).max(), noise.device)
    # noise of one value in four, smoothed alike, varies twice as much
    field = smooth @ (noise.float() * (_ELASTIC_ALPHA / _NOISE_SCALE / reduction)) @ smooth.T
    return F.interpolate(field, scale_factor=reduction, mode="bilinear", align_corners=False).permute(0, 2, 3, 1)


def _blur(masks: Tensor, half_kernels: Tensor) -> Tensor:
    """(N, 1, side, side) blurred in both directions by a kernel each; beyond the edge there is nothing."""
    places = torch.arange(masks.shape[-1], device=masks.device)
    distance = (places[:, None] - places).abs()
    weights = F.pad(half_kernels, (0, 1))[:, distance.clamp(max=half_kernels.shape[1])][:, None]
    return weights @ masks @ weights


def _axis_grid(step: Tensor, shift: Tensor, size: tuple[int, int]) -> Tensor:
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
