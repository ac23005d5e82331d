"""Chains of random changes to training crops, by name, in the orders and probabilities of the studies.

A chain draws everything from the generator given, so a seed tells what a crop becomes. Where a study turns or moves
the picture before anything else, the chain moves the window before it is cut (`Chain.draw_geometry`), and the corners
are filled from the stored crop. Where the study does it after compression or noise, so does the chain: blocks of
JPEG that are turned look different from a turned face with straight blocks. What that leaves empty is black.

What a chain does is told in docs/detectors.md; a picture of it:

    python -m detectors.data.augmentation chains.png --crops data/crops/<dataset>/0000.h5
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np

from detectors.data.crop_window import AS_IT_IS, SHAPES, CropWindow, Geometry
from preprocess.running.cli import UserError, run_command
from preprocess.store.atomic import atomic_path
from preprocess.store.crop_file import CropReader

Change = Callable[[np.ndarray, np.random.Generator], np.ndarray]


T = TypeVar("T")


@dataclass(frozen=True)
class Step:
    """A change that happens to some crops.

    Attributes:
        probability: Share of the crops.
        change: From the picture so far, uint8 RGB `(height, width, 3)`, to the next one of the same shape. For steps
            of the geometry: from the `Geometry` so far to the next one.
    """

    probability: float
    change: Callable


@dataclass(frozen=True)
class Chain:
    """What happens to a training crop.

    Attributes:
        geometry: Steps that move the window before it is cut.
        pixels: Steps that change the pixels of the cut, in their order.
    """

    geometry: tuple[Step, ...] = ()
    pixels: tuple[Step, ...] = ()

    def draw_geometry(self, rng: np.random.Generator) -> Geometry:
        """How the window is moved, for `CropWindow.cut`; to be called before `augment` with the same generator."""
        return _run(self.geometry, AS_IT_IS, rng)

    def augment(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Change the pixels of an RGB uint8 image `(height, width, 3)`; the image itself is left as it is."""
        return _run(self.pixels, image, rng)


def _run(steps: tuple[Step, ...], value: T, rng: np.random.Generator) -> T:
    for step in steps:
        if rng.random() < step.probability:
            value = step.change(value, rng)
    return value


def read_augmented(
    window: CropWindow,
    chain: Chain,
    rng: np.random.Generator,
    image: np.ndarray,
    box: np.ndarray,
    crop_to_frame: np.ndarray,
) -> np.ndarray:
    """Cut a window (see `CropWindow.cut`) and change it as the chain draws: `(size, size, 3)` uint8."""
    cut = window.cut(image, box, crop_to_frame, geometry=chain.draw_geometry(rng))
    return chain.augment(cut, rng)


# --- geometry, before the cut ---------------------------------------------------------------------------------


def _mirror_window(geometry: Geometry, rng: np.random.Generator) -> Geometry:
    return replace(geometry, flip=True)


def _rotate_window(max_degrees: float) -> Callable:
    def change(geometry: Geometry, rng: np.random.Generator) -> Geometry:
        return replace(geometry, rotation_degrees=float(rng.uniform(-max_degrees, max_degrees)))

    return change


def _shift_scale_rotate_window(max_shift: float, max_scale: float, max_degrees: float) -> Callable:
    def change(geometry: Geometry, rng: np.random.Generator) -> Geometry:
        shift, scale, degrees = _draw_placement(rng, max_shift, max_scale, max_degrees)
        return replace(geometry, rotation_degrees=degrees, scale=scale, shift=shift)

    return change


def _draw_placement(
    rng: np.random.Generator, max_shift: float, max_scale: float, max_degrees: float
) -> tuple[tuple[float, float], float, float]:
    shift = rng.uniform(-max_shift, max_shift, 2)
    return tuple(shift.tolist()), float(1 + rng.uniform(-max_scale, max_scale)), float(rng.uniform(-1, 1) * max_degrees)


# --- pixels -----------------------------------------------------------------------------------------------------


def jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    """An RGB uint8 image after JPEG of a quality of 1 to 100, with halved colour planes."""
    # the channel order only matters to the encoder: chroma is subsampled, luma is not
    _, encoded = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])
    decoded = cv2.imdecode(encoded, cv2.IMREAD_COLOR)
    assert decoded is not None, "OpenCV reads what it wrote"
    return cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB)


def add_noise(image: np.ndarray, sigma: float, rng: np.random.Generator) -> np.ndarray:
    """An RGB uint8 image with Gaussian noise of `sigma` grey levels, of its own in each channel."""
    return cv2.add(image, rng.standard_normal(image.shape, np.float32) * np.float32(sigma), dtype=cv2.CV_8U)


def change_contrast(image: np.ndarray, contrast: float, brightness: float, pivot: float = 0.0) -> np.ndarray:
    """An image whose distance from the grey level `pivot` is multiplied, and to which a grey level is added."""
    levels = (np.arange(256) - pivot) * contrast + pivot + brightness
    return cv2.LUT(image, np.clip(np.round(levels), 0, 255).astype(np.uint8))


def _jpeg(lowest: int, highest: int) -> Change:
    return lambda image, rng: jpeg(image, int(rng.integers(lowest, highest + 1)))


def _noise(lowest_sigma: float, highest_sigma: float) -> Change:
    return lambda image, rng: add_noise(image, rng.uniform(lowest_sigma, highest_sigma), rng)


def _one_of(*changes: Change) -> Change:
    def change(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        # the first half of the interval is the first change's, and so on
        return changes[int(rng.random() * len(changes))](image, rng)

    return change


def _blur(kernels_px: tuple[int, ...], of_side_px: int) -> Change:
    def change(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        # 7 px would wipe out every trace in a face of 100 px
        kernel_px = rng.choice(kernels_px) * image.shape[0] / of_side_px
        kernel = max(1, 2 * round((kernel_px - 1) / 2) + 1)
        return cv2.GaussianBlur(image, (kernel, kernel), 0)

    return change


def _sharpen(least: float, most: float) -> Change:
    def change(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        amount = rng.uniform(least, most)
        return cv2.addWeighted(image, 1 + amount, cv2.GaussianBlur(image, (3, 3), 0), -amount, 0)

    return change


def _brightness_contrast(max_brightness: float, max_contrast: float) -> Change:
    def change(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        contrast = 1 + rng.uniform(-max_contrast, max_contrast)
        return change_contrast(image, contrast, 255 * rng.uniform(-max_brightness, max_brightness))

    return change


def _hue_saturation_value(max_degrees: float, max_saturation: float, max_value: float) -> Change:
    def change(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        # OpenCV's 8-bit hue counts in steps of two degrees, 0 to 179
        hue = rng.uniform(-max_degrees, max_degrees) / 2
        saturation, value = rng.uniform(-max_saturation, max_saturation), rng.uniform(-max_value, max_value)
        levels = np.arange(256)
        table = np.stack(
            [
                np.round(levels + hue) % 180,
                np.clip(np.round(levels + saturation), 0, 255),
                np.clip(np.round(levels + value), 0, 255),
            ],
            axis=-1,
        ).astype(np.uint8)
        hsv = cv2.LUT(cv2.cvtColor(image, cv2.COLOR_RGB2HSV), table[None])
        return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)

    return change


def _mirror(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return np.ascontiguousarray(image[:, ::-1])


def _grey(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)


def _shift_scale_rotate(max_shift: float, max_scale: float, max_degrees: float) -> Change:
    def change(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        shift, scale, degrees = _draw_placement(rng, max_shift, max_scale, max_degrees)
        height, width = image.shape[:2]
        matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), degrees, scale)
        matrix[:, 2] += np.array(shift) * (width, height)
        return cv2.warpAffine(image, matrix, (width, height), flags=cv2.INTER_LINEAR)

    return change


def _coarse_dropout(n_holes: int, hole_share: float) -> Change:
    """Black squares at random places, wholly inside the picture; they may overlap (DeVries and Taylor, 2017)."""

    def change(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        side = round(hole_share * image.shape[0])
        image = image.copy()
        for y, x in rng.integers(0, image.shape[0] - side + 1, (n_holes, 2)):
            image[y : y + side, x : x + side] = 0
        return image

    return change


def _grid_mask(n_units: int, hole_share: float) -> Change:
    """A black square in every unit of a grid that begins at a random place (Chen et al., GridMask, 2020).

    `n_units` go on a side of the picture; `hole_share` is a square's side as a share of its unit's.
    """

    def change(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        unit = image.shape[0] / n_units
        begin_y, begin_x = rng.uniform(0, unit, 2)
        in_hole_y = (np.arange(image.shape[0]) - begin_y) % unit < hole_share * unit
        in_hole_x = (np.arange(image.shape[1]) - begin_x) % unit < hole_share * unit
        image = image.copy()
        image[in_hole_y[:, None] & in_hole_x[None]] = 0
        return image

    return change


# --- the chains -------------------------------------------------------------------------------------------------

_HALF = 0.5

_UCF = Chain(
    geometry=(Step(_HALF, _mirror_window), Step(_HALF, _rotate_window(10.0))),
    pixels=(
        Step(_HALF, _blur((3, 5, 7), of_side_px=256)),
        Step(_HALF, _one_of(_brightness_contrast(0.1, 0.1), _hue_saturation_value(20.0, 30, 20))),
        Step(_HALF, _jpeg(40, 100)),
    ),
)

_DEFAULT = Chain(
    pixels=(
        Step(_HALF, _jpeg(60, 100)),
        Step(0.1, _noise(3.0, 7.0)),
        Step(_HALF, _one_of(_blur((3, 5), of_side_px=224), _sharpen(0.2, 1.0))),
        Step(_HALF, _mirror),
        Step(_HALF, _one_of(_brightness_contrast(0.2, 0.2), _hue_saturation_value(20.0, 30, 20))),
        Step(0.2, _grey),
        Step(_HALF, _shift_scale_rotate(max_shift=0.1, max_scale=0.2, max_degrees=10.0)),
    )
)

_DFDC_SUBSET = Chain(
    geometry=(
        Step(_HALF, _mirror_window),
        Step(_HALF, _shift_scale_rotate_window(max_shift=0.05, max_scale=0.1, max_degrees=10.0)),
    ),
    pixels=(Step(_HALF, _brightness_contrast(0.1, 0.1)),),
)

CHAINS: dict[str, Chain] = {
    "none": Chain(),
    "ucf": _UCF,
    "default": _DEFAULT,
    "default_dropout": Chain(pixels=(*_DEFAULT.pixels, Step(_HALF, _coarse_dropout(2, 64 / 224)))),
    "default_gridmask": Chain(pixels=(*_DEFAULT.pixels, Step(_HALF, _grid_mask(5, 0.5)))),
    "dfdc_subset": _DFDC_SUBSET,
    "jpeg_quality": replace(_DFDC_SUBSET, pixels=(*_DFDC_SUBSET.pixels, Step(_HALF, _jpeg(10, 50)))),
}


def draw_sheet(
    image: np.ndarray, box: np.ndarray, crop_to_frame: np.ndarray, window: CropWindow, *, n_draws: int, seed: int
) -> np.ndarray:
    """A row for every chain: its name, the crop as it is, and `n_draws` of what it becomes; uint8 RGB."""
    rows = []
    for name, chain in CHAINS.items():
        draws = [
            read_augmented(window, chain, np.random.default_rng([seed, draw]), image, box, crop_to_frame)
            for draw in range(n_draws)
        ]
        row = np.hstack([window.cut(image, box, crop_to_frame), *draws])
        title = np.full((18, row.shape[1], 3), 255, np.uint8)
        cv2.putText(title, name, (4, 13), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (0, 0, 0), 1, cv2.LINE_AA)
        rows += [title, row]
    return np.vstack(rows)


def main() -> None:
    """Command line: a picture of what every chain does to one face."""
    parser = argparse.ArgumentParser(
        prog="python -m detectors.data.augmentation", description="Draw what every chain does to one face."
    )
    parser.add_argument("output", type=Path, help="PNG file to write")
    parser.add_argument("--crops", required=True, type=Path, help="crops file of a shard (HDF5)")
    parser.add_argument("--row", default=0, type=int, help="row of the crop in that file")
    parser.add_argument("--draws", default=8, type=int, help="pictures of each chain")
    parser.add_argument("--size", default=128, type=int, help="side of a picture in pixels")
    parser.add_argument("--margin", default="0.15", help="room around the face: a fraction, or pixels such as 30px")
    parser.add_argument("--shape", default="square", choices=SHAPES)
    parser.add_argument("--seed", default=0, type=int)
    args = parser.parse_args()
    with CropReader(args.crops) as crops:
        image = crops.image(args.row) if 0 <= args.row < len(crops) else None
        if image is None:
            raise UserError(f"--row: {args.crops} has no crop {args.row}; it has {len(crops)} rows, some may be lost")
        box, crop_to_frame = crops.box[args.row], crops.crop_to_frame[args.row]
    window = CropWindow(margin=args.margin, size=args.size, shape=args.shape)
    sheet = draw_sheet(image, box, crop_to_frame, window, n_draws=args.draws, seed=args.seed)
    _, encoded = cv2.imencode(".png", cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR))
    with atomic_path(args.output) as temporary:
        temporary.write_bytes(encoded.tobytes())


if __name__ == "__main__":
    run_command(main)
