"""Face crops with the mask of what was manipulated and with their landmarks, for detectors that learn to locate."""

from __future__ import annotations

from pathlib import Path

import cv2
import h5py
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import Dataset

from detectors.data.augmentation import CHAINS
from detectors.data.crop_store import CropStore, OpenFiles
from detectors.data.crop_window import CropWindow, Geometry
from detectors.data.labelled_crops import BalancedDraws
from detectors.data.landmarks import read_landmarks
from detectors.data.loader import new_images, split_planes
from detectors.data.samples import Samples
from preprocess.running.cli import UserError

# Chains that move the face only before it is cut, where its mask and its landmarks can follow.
AUGMENTATIONS = ("none", "ucf", "jpeg_quality", "dfdc_subset")

# first word of a seed: which choice the generator is for
_AUGMENT = 13

# A resampled mask counts from this grey value on.
_THRESHOLD = 128


class MaskRows:
    """Read the manipulation masks of a masks file in any order: nothing is loaded ahead.

    Not for sharing across a fork: open one in each worker.

    Raises:
        UserError: The file is absent, cannot be read, or is no masks file.
    """

    def __init__(self, path: str | Path):
        self.path = path
        try:
            # as for crops, HDF5's chunk cache would read 1 MiB for each mask
            self._file = h5py.File(path, "r", rdcc_nbytes=0)
            self._encoded = self._file["manipulation/encoded"]
            self._offset = self._file["manipulation/offset"]
        except (OSError, KeyError) as error:
            raise UserError(f"cannot read the masks {path}: {error}. Run make_masks for it again") from error

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def read(self, row: int) -> np.ndarray | None:
        """Mask of crop `row`, (height, width) uint8: 255 where it was manipulated, else 0; None when it is unknown.

        Raises:
            UserError: The file has no such row, or its bytes are damaged.
        """
        if not 0 <= row < len(self._offset) - 1:
            raise UserError(f"{self.path} has no mask {row}, only {len(self._offset) - 1}: run make_masks for it again")
        begin, end = self._offset[row : row + 2]
        if begin == end:
            return None
        mask = cv2.imdecode(self._encoded[begin:end], cv2.IMREAD_GRAYSCALE)
        if mask is None:
            raise UserError(
                f"mask {row} of {self.path} is damaged. Run `python -m workflow.verify`: it names every damaged file "
                "and how to make it again"
            )
        return mask


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
            stored, *place = self._crops.stored(row)
            geometry = self._chain.draw_geometry(rng)
            cut = self._window.cut(stored, *place, geometry=geometry)
            split_planes(self._chain.augment(cut, rng), images[position].numpy())
            if self._label[row] == 0:
                mask_known[position] = True  # without reading it: it is zero
            elif (mask := self._masks.read(row, *place, geometry)) is not None:
                masks[position, 0], mask_known[position] = torch.from_numpy(mask), True
            landmarks[position] = self._window.points(self._landmarks[row], *place, geometry=geometry)
        return {
            "image": images,
            "label": torch.from_numpy(self._label[rows].astype(np.int64)),
            "mask": masks,
            "mask_known": mask_known,
            "landmarks": torch.from_numpy(landmarks),
        }
