"""Pairs of a fake and a real face crop, for detectors that learn from both at once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch.utils.data import Dataset

from detectors.data.crop_store import CropStore
from detectors.data.crop_window import CropWindow
from detectors.data.loader import new_images, split_planes, to_tensor
from detectors.data.samples import Samples, reals_and_fakes

# first word of a seed: which choice the generator is for
_PAIR = 2


class RealFakePairs(Dataset):
    """Each fake with one real, drawn anew for each epoch from all reals.

    Item (epoch, i) is `{"fake": (3, size, size) uint8, "real": the same, "method": class of fake i}`; class 0
    stands for real. A batch of n is fetched at once, as `{"fake": (n, 3, size, size) uint8, "real": the same,
    "method": (n,) int64}`.

    Args:
        root: Folder of the crops.
        samples: Training samples.
        methods: Names of the classes, `real` first.
        window: The detector's crop.
        seed: Of pairing and augmentation.
        augmentation: Name of the chain.

    Raises:
        UserError: There are no reals or no fakes.
    """

    def __init__(
        self, root: str | Path, samples: Samples, methods: list[str], window: CropWindow, seed: int, augmentation: str
    ):
        self._reals, self._fakes = reals_and_fakes(samples, "a detector that learns from real-fake pairs needs both")
        class_of_code = np.array([methods.index(name) if name in methods else 0 for name in samples.method.names])
        self._class = class_of_code[samples.method.codes[self._fakes]]
        self._store = CropStore(root, samples, window, augmentation)
        self._seed = seed

    def __len__(self) -> int:
        return len(self._fakes)

    def __getitem__(self, epoch_and_index: tuple[int, int]) -> dict:
        fake, real = self._read(*epoch_and_index)
        return {"fake": to_tensor(fake), "real": to_tensor(real), "method": int(self._class[epoch_and_index[1]])}

    def __getitems__(self, items: list[tuple[int, int]]) -> dict:
        images = new_images(2 * len(items), self._store.size)
        fakes, reals = images[: len(items)], images[len(items) :]
        for fake, real, item in zip(fakes.numpy(), reals.numpy(), items, strict=True):
            for image, planes in zip(self._read(*item), (fake, real), strict=True):
                split_planes(image, planes)
        return {"fake": fakes, "real": reals, "method": torch.from_numpy(self._class[[index for _, index in items]])}

    def _read(self, epoch: int, index: int) -> tuple[np.ndarray, np.ndarray]:
        """The fake and the real of an item, each `(size, size, 3)` uint8."""
        rng = np.random.default_rng([_PAIR, self._seed, epoch, index])
        real = self._reals[rng.integers(len(self._reals))]
        return self._store.read(self._fakes[index], rng), self._store.read(real, rng)
