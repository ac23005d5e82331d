"""What a detector scores: face crops as they are, in items of one or more."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from detectors.data.crop_store import CropStore
from detectors.data.crop_window import CropWindow
from detectors.data.loader import make_loader, new_images, split_planes, to_tensor
from detectors.data.samples import Samples
from preprocess.running.cli import progress


class ScoringSet(Dataset):
    """What a detector scores: items of `image`, of one or more crops each.

    Attributes:
        item_of_sample: (N,) int64, the item whose score each sample gets.
        crops_per_item: Crops that an item holds.
        store: What reads the crops of the samples.
    """

    item_of_sample: np.ndarray
    crops_per_item: int
    store: CropStore

    def __len__(self) -> int:
        """Number of items."""
        raise NotImplementedError

    def batches(self, n_crops: int, *, workers: int, device: str, description: str) -> Iterator[Tensor]:
        """The images of all items in their order, a batch at a time, as uint8 on a device.

        Args:
            n_crops: Crops at a time, at most, but one item at least.
            workers: Processes that read crops.
            device: PyTorch device.
            description: Of the progress bar.
        """
        batch_size = max(1, n_crops // self.crops_per_item)
        loader = make_loader(self, batch_size=batch_size, workers=workers, pin_memory=device != "cpu")
        for batch in progress(loader, total=len(loader), description=description, unit="step"):
            yield batch["image"].to(device, non_blocking=True)


class FaceCrops(ScoringSet):
    """Samples one by one, as they are, for validation and prediction.

    Item i is `{"image": (3, size, size) uint8, "row": i}`. A batch of n is fetched at once, as
    `{"image": (n, 3, size, size) uint8, "row": (n,) int64}`.
    """

    def __init__(self, root: str | Path, samples: Samples, window: CropWindow):
        self.item_of_sample = np.arange(len(samples))
        self.crops_per_item = 1
        self.store = CropStore(root, samples, window)

    def __len__(self) -> int:
        return len(self.item_of_sample)

    def __getitem__(self, row: int) -> dict:
        return {"image": to_tensor(self.store.read(row)), "row": row}

    def __getitems__(self, rows: list[int]) -> dict:
        images = new_images(len(rows), self.store.size)
        for image, row in zip(images.numpy(), rows, strict=True):
            split_planes(self.store.read(row), image)
        return {"image": images, "row": torch.tensor(rows)}
