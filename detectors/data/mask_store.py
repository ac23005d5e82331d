"""Manipulation masks of a store, cut as the crops are, and as patches of a grid."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from detectors.data.crop_store import OpenFiles
from detectors.data.crop_window import CropWindow, Geometry
from detectors.data.samples import Samples
from preprocess.store.mask_file import MaskRows

# A resampled mask counts from this grey value on.
_THRESHOLD = 128


class MaskStore:
    """Manipulation masks of many shards.

    Args:
        root: Folder of the masks, `<root>/<dataset>/<shard>.h5`.
        samples: The samples that can be asked for.
        window: The detector's crop.
    """

    def __init__(self, root: str | Path, samples: Samples, window: CropWindow):
        self._files = OpenFiles(root, MaskRows)
        self._samples = samples
        self._window = window

    def read(
        self, row: int, box: np.ndarray, crop_to_frame: np.ndarray, geometry: Geometry | None = None
    ) -> np.ndarray | None:
        """The mask of a sample, cut as its crop is, (size, size) uint8 of 0 and 1; None when it is unknown.

        A real face's is all zero. Outside the stored crop it is zero.

        Args:
            row: The sample.
            box, crop_to_frame: As for `CropWindow.cut`.
            geometry: How the window is moved; None: not at all.
        """
        # masks have the names of the crops
        stored = self._files[self._samples.crops_file(row)].read(int(self._samples.crop_row[row]))
        if stored is None:
            return None
        cut = self._window.cut(stored, box, crop_to_frame, geometry=geometry or Geometry())
        return (cut >= _THRESHOLD).astype(np.uint8)


def patches_of_mask(masks: Tensor, grid: tuple[int, int]) -> Tensor:
    """(N, h, w) int64: 1 for a patch with a manipulated pixel, else 0.

    Args:
        masks: (N, 1, height, width) uint8, not zero where a face was manipulated.
        grid: Patches along the height and the width.
    """
    return (F.adaptive_max_pool2d(masks.float(), grid)[:, 0] > 0).long()
