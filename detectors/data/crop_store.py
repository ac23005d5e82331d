"""Face crops of a store, cut for a detector when they are read."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from detectors.data.augmentation import CHAINS, read_augmented
from detectors.data.crop_window import CropWindow
from detectors.data.samples import Samples
from preprocess.store.crop_file import CropRows

_MAX_OPEN_FILES = 256


class OpenFiles:
    """Files of a folder, opened when they are first asked for, in the process that asks; the latest stay open.

    Args:
        root: The folder.
        open_file: Opens a path; what it returns has a method `close`.
    """

    def __init__(self, root: str | Path, open_file: Callable[[Path], Any]):
        self._root = Path(root)
        self._open_file = open_file
        self._open: OrderedDict[str, Any] = OrderedDict()
        self._process = os.getpid()

    def __getstate__(self) -> dict:
        return self.__dict__ | {"_open": OrderedDict()}

    def __getitem__(self, name: str) -> Any:
        if self._process != os.getpid():
            # HDF5 handles do not survive a fork
            self._open, self._process = OrderedDict(), os.getpid()
        if name not in self._open:
            if len(self._open) >= _MAX_OPEN_FILES:
                self._open.popitem(last=False)[1].close()
            self._open[name] = self._open_file(self._root / name)
        self._open.move_to_end(name)
        return self._open[name]


class CropSource(Protocol):
    """Where the crops of samples come from: `StoredCrops`, or what changes them on the way."""

    def read(self, row: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Crop of a sample `(height, width, 3)` uint8 RGB, its box (4,) in the frame, and `crop_to_frame` (2, 3)."""


class StoredCrops:
    """Face crops of many shards as they are stored.

    Args:
        root: Folder of the crops, `<root>/<dataset>/<shard>.h5`.
        samples: The samples that can be asked for.

    Attributes:
        samples: As above; a row is one of theirs.
    """

    def __init__(self, root: str | Path, samples: Samples):
        self.samples = samples
        self._files = OpenFiles(root, CropRows)

    def read(self, row: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The stored crop of a sample, its box and its transform, as `CropRows.read` gives them."""
        return self._files[self.samples.crops_file(row)].read(int(self.samples.crop_row[row]))

    def padding_px(self, row: int) -> np.ndarray:
        """How much of the stored crop of a sample lies outside the frame, as `CropRows.padding_px` gives it."""
        return self._files[self.samples.crops_file(row)].padding_px(int(self.samples.crop_row[row]))


class CropStore:
    """Face crops of many shards, cut for a detector.

    Args:
        root: Folder of the crops, `<root>/<dataset>/<shard>.h5`.
        samples: The samples that can be asked for.
        window: The detector's crop.
        augmentation: Name of the chain that a crop goes through when it is read with a generator.

    Attributes:
        size: Side of the crops in pixels.
        source: Reads stored crops; the robustness sweep puts distorted ones in its place.
    """

    def __init__(self, root: str | Path, samples: Samples, window: CropWindow, augmentation: str = "none"):
        self.size = window.size
        self.source: CropSource = StoredCrops(root, samples)
        self._augmentation = augmentation
        self._window = window

    def read(self, row: int, rng: np.random.Generator | None = None) -> np.ndarray:
        """The crop of a sample, `(size, size, 3)` uint8 RGB, augmented when a generator is given."""
        image, box, crop_to_frame = self.stored(row)
        if rng is None:
            return self._window.cut(image, box, crop_to_frame)
        return read_augmented(self._window, CHAINS[self._augmentation], rng, image, box, crop_to_frame)

    def stored(self, row: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The stored crop of a sample, its box and its transform, as `CropRows.read` gives them."""
        return self.source.read(row)
