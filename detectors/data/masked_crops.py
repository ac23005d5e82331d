"""Face crops with the mask of what was manipulated and with their landmarks, for detectors that learn to locate."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch.utils.data import Dataset

from detectors.data.augmentation import CHAINS
from detectors.data.crop_store import CropStore
from detectors.data.crop_window import CropWindow
from detectors.data.labelled_crops import BalancedDraws
from detectors.data.landmarks import read_landmarks
from detectors.data.loader import new_images, split_planes
from detectors.data.mask_store import MaskStore
from detectors.data.samples import Samples

# Chains that move the face only before it is cut, where its mask and its landmarks can follow.
AUGMENTATIONS = ("none", "ucf", "jpeg_quality", "dfdc_subset")

# first word of a seed: which choice the generator is for
_AUGMENT = 13


class MaskedCrops(Dataset):
    """Single crops with mask and landmarks.

    Item (epoch, i), of the sample that `BalancedDraws` names, is

    - `image`: (3, size, size) uint8,
    - `label`: 0 or 1,
    - `mask`: (1, size, size) uint8, 1 where the face was manipulated, cut and moved as the image is,
    - `mask_known`: bool; where it is false, the mask is zero and means nothing,
    - `landmarks`: (81, 2) float32 x, y in pixels of the image, NaN without; of a mirrored face the points keep their
      numbers, so that its left eye has those of the right one.

    A batch is fetched at once, with the same names and a first dimension more.

    Args:
        data: Folder of the store, with crops, landmarks and masks.
        samples: Training samples.
        window: The detector's crop.
        seed: Of draws and augmentation.
        augmentation: One of `AUGMENTATIONS`.
        balance: See `BalancedDraws`.

    Raises:
        UserError: There are no reals or no fakes, landmarks are absent, or masks of the training samples.
    """

    def __init__(self, data: Path, samples: Samples, window: CropWindow, seed: int, augmentation: str, balance: str):
        self._draws = BalancedDraws(samples, seed, balance)
        self._label = samples.label
        self._crops = CropStore(data / "crops", samples, window)
        self._masks = MaskStore(data / "masks", samples, window)
        self._landmarks = read_landmarks(data / "landmarks", samples)
        self._window = window
        self._chain = CHAINS[augmentation]
        self._seed = seed

    def __len__(self) -> int:
        return len(self._draws)

    def __getitem__(self, epoch_and_index: tuple[int, int]) -> dict:
        return {name: values[0] for name, values in self.__getitems__([epoch_and_index]).items()}

    def __getitems__(self, items: list[tuple[int, int]]) -> dict:
        rows = [self._draws.row(*item) for item in items]
        images = new_images(len(items), self._window.size)
        masks = torch.zeros((len(items), 1, self._window.size, self._window.size), dtype=torch.uint8)
        mask_known = torch.zeros(len(items), dtype=torch.bool)
        landmarks = np.empty((len(items), *self._landmarks.shape[1:]), np.float32)
        for position, (row, item) in enumerate(zip(rows, items, strict=True)):
            rng = np.random.default_rng([_AUGMENT, self._seed, *item])
            stored, box, to_frame = self._crops.stored(row)
            geometry = self._chain.draw_geometry(rng)
            cut = self._window.cut(stored, box, to_frame, geometry=geometry)
            split_planes(self._chain.augment(cut, rng), images[position].numpy())
            if self._label[row] == 0:
                mask_known[position] = True  # without reading it: it is zero
            elif (mask := self._masks.read(row, box, to_frame, geometry)) is not None:
                masks[position, 0], mask_known[position] = torch.from_numpy(mask), True
            landmarks[position] = self._window.points(self._landmarks[row], box, to_frame, geometry=geometry)
        return {
            "image": images,
            "label": torch.from_numpy(self._label[rows].astype(np.int64)),
            "mask": masks,
            "mask_known": mask_known,
            "landmarks": torch.from_numpy(landmarks),
        }
