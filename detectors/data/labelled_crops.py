"""Face crops with their labels, drawn as an experiment asks: as they are, or balanced."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch.utils.data import Dataset

from detectors.data.crop_store import CropStore
from detectors.data.crop_window import CropWindow
from detectors.data.loader import new_images, split_planes, to_tensor
from detectors.data.samples import Samples, reals_and_fakes

BALANCES = ("none", "label", "method")

# first word of a seed: which choice the generator is for
_SHUFFLE, _AUGMENT = 11, 12


class BalancedDraws:
    """Which sample an item of an epoch is.

    There are as many items as samples, whatever the balance. Balanced, even items are reals and odd ones fakes (with
    the balance `method`, of each method in turn). An epoch goes on in a kind's samples where the last one ended, so
    that all samples of a kind are read equally often in the end.

    Args:
        samples: Training samples.
        seed: Of the order within a kind.
        balance: One of `BALANCES`.

    Raises:
        UserError: There are no reals or no fakes.
    """

    def __init__(self, samples: Samples, seed: int, balance: str):
        reals, fakes = reals_and_fakes(samples, "this detector learns from both")
        self._length = len(reals) + len(fakes)
        shuffle = np.random.default_rng([_SHUFFLE, seed]).permutation
        methods = samples.method.codes[fakes] if balance == "method" else np.zeros(len(fakes))
        self._reals, self._fakes = shuffle(reals), [shuffle(fakes[methods == code]) for code in np.unique(methods)]
        self._rows = np.sort(np.concatenate([reals, fakes])) if balance == "none" else None

    def __len__(self) -> int:
        return self._length

    def row(self, epoch: int, index: int) -> int:
        """The sample of an item."""
        if self._rows is not None:
            return int(self._rows[index])
        pair, is_fake = divmod(index, 2)
        n_pairs = -(-self._length // 2)
        if not is_fake:
            return int(self._reals[(epoch * n_pairs + pair) % len(self._reals)])
        turn, method = divmod(pair, len(self._fakes))
        turns = -(-n_pairs // len(self._fakes))
        fakes = self._fakes[method]
        return int(fakes[(epoch * turns + turn) % len(fakes)])


class LabelledCrops(Dataset):
    """Single crops for detectors that learn real from fake.

    Item (epoch, i) is `{"image": (3, size, size) uint8, "label": 0 or 1}`, of the sample that `BalancedDraws` names. A
    batch of n is fetched at once, as `{"image": (n, 3, size, size) uint8, "label": (n,) int64}`.

    Args:
        root: Folder of the crops.
        samples: Training samples.
        window: The detector's crop.
        seed: Of draws and augmentation.
        augmentation: Name of the chain.
        balance: One of `BALANCES`.

    Raises:
        UserError: There are no reals or no fakes.
    """

    def __init__(
        self, root: str | Path, samples: Samples, window: CropWindow, seed: int, augmentation: str, balance: str
    ):
        self._draws = BalancedDraws(samples, seed, balance)
        self._label = samples.label
        self._store = CropStore(root, samples, window, augmentation)
        self._seed = seed

    def __len__(self) -> int:
        return len(self._draws)

    def __getitem__(self, epoch_and_index: tuple[int, int]) -> dict:
        row = self.row(*epoch_and_index)
        return {"image": to_tensor(self._read(row, *epoch_and_index)), "label": int(self._label[row])}

    def __getitems__(self, items: list[tuple[int, int]]) -> dict:
        rows = [self.row(*item) for item in items]
        images = new_images(len(items), self._store.size)
        for image, row, item in zip(images.numpy(), rows, items, strict=True):
            split_planes(self._read(row, *item), image)
        return {"image": images, "label": torch.from_numpy(self._label[rows].astype(np.int64))}

    def row(self, epoch: int, index: int) -> int:
        """The sample of an item."""
        return self._draws.row(epoch, index)

    def _read(self, row: int, epoch: int, index: int) -> np.ndarray:
        return self._store.read(row, np.random.default_rng([_AUGMENT, self._seed, epoch, index]))
