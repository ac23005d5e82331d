"""Draw blends as SBI trains on them, before training for a day: `python -m detectors.families.sbi.preview --help`.

Each row of the picture is a real and its blend as the network gets them, the mask, and what differs, made stronger.
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from detectors.data.crop_window import CropWindow
from detectors.data.loader import EpochSampler
from detectors.data.samples import Samples
from detectors.families.sbi.detector import FacesToBlend, SbiSettings, blend_batch
from preprocess.running.cli import run_command
from preprocess.running.settings import load_settings
from preprocess.store.atomic import atomic_path
from preprocess.store.image_codecs import encode_png

log = logging.getLogger("detectors")

_DIFFERENCE_GAIN = 4
_GAP_PX = 4


def draw_sheet(dataset: FacesToBlend, size: int, n_faces: int, seed: int) -> np.ndarray:
    """Blends of the first faces that a training with this seed reads.

    Args:
        dataset: Faces to blend.
        size: Side of the detector's crop in pixels.
        n_faces: How many, at most.
        seed: Of the training.

    Returns:
        `(height, width, 3)` uint8 RGB: a row for each face of real, mask, blend and difference.
    """
    items = list(EpochSampler(len(dataset), n_faces, seed))
    reals, blends, masks = blend_batch(dataset.__getitems__(items), size)
    difference = 128 + _DIFFERENCE_GAIN * (blends - reals)
    columns = [reals, 255 * masks.expand(-1, 3, -1, -1), blends, difference]
    padded = [F.pad(column, (0, _GAP_PX, 0, _GAP_PX), value=255) for column in columns]
    rows = torch.cat(padded, dim=3).round().clamp(0, 255).byte().cpu()
    return np.concatenate(list(rows.permute(0, 2, 3, 1).numpy()))


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", required=True, nargs="+", type=Path, help="samples tables (Parquet)")
    parser.add_argument("--data", required=True, type=Path, help="folder of the store, with crops/ and landmarks/")
    parser.add_argument("--output", required=True, type=Path, help="picture (PNG) to write")
    parser.add_argument("--settings", default="{}", help="JSON of the experiment's settings, such as '{\"size\": 224}'")
    parser.add_argument("--n", type=int, default=6, help="faces to draw (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    settings = load_settings(SbiSettings, args.settings)
    window = CropWindow(margin=settings.margin, size=settings.size, shape=settings.shape)
    dataset = FacesToBlend(args.data, Samples.read(args.samples), window, args.seed, settings.hsv_shift)
    sheet = draw_sheet(dataset, settings.size, args.n, args.seed)
    with atomic_path(args.output) as temporary:
        temporary.write_bytes(encode_png(sheet))
    log.info("real, mask, blend and %d times their difference: %s", _DIFFERENCE_GAIN, args.output)


if __name__ == "__main__":
    run_command(main)
