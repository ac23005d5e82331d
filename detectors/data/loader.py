"""Items of data sets in order and in batches: samplers, loaders, and images as a loader hands them on."""

from __future__ import annotations

import math
from collections.abc import Iterator

import cv2
import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler, default_collate, get_worker_info

# first word of a seed: which choice the generator is for
_ORDER = 1


def process_rank() -> tuple[int, int]:
    """Number of this process among those that train together, from 0, and how many they are."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


class EpochSampler(Sampler):
    """Items of an epoch in random order, as `(epoch, index)`.

    Of processes that train together each has its own items, all of them equally many: up to one less than there are
    processes stay out of an epoch.

    Args:
        n_items: Items that there are.
        n_drawn: Items of an epoch, drawn without replacement and anew for each; None: all.
        seed: Of order and draw.
    """

    def __init__(self, n_items: int, n_drawn: int | None, seed: int):
        self._n_items = n_items
        self._n_drawn = min(n_items, n_drawn or n_items)
        self._seed = seed
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch, counted from 0."""
        self._epoch = epoch

    def __len__(self) -> int:
        return self._n_drawn // process_rank()[1]

    def __iter__(self) -> Iterator[tuple[int, int]]:
        rank, n_processes = process_rank()
        order = np.random.default_rng([_ORDER, self._seed, self._epoch]).permutation(self._n_items)
        for index in order[rank : len(self) * n_processes : n_processes]:
            yield self._epoch, int(index)


class SequenceSampler(Sampler):
    """Items in their order; of processes that score together, each has every n-th of them.

    All have equally many: where the items do not suffice, the first ones come once more (`joined` leaves them out).

    Args:
        n_items: Items that there are.
    """

    def __init__(self, n_items: int):
        self._n_items = n_items

    def __len__(self) -> int:
        return -(-self._n_items // process_rank()[1])

    def __iter__(self) -> Iterator[int]:
        rank, n_processes = process_rank()
        return ((rank + n_processes * step) % self._n_items for step in range(len(self)))

    def joined(self, scores: Tensor) -> Tensor:
        """The scores (n_items,) in order of the items, from those of all processes, (n_processes, len(self))."""
        return scores.T.flatten()[: self._n_items]


def make_loader(
    dataset: Dataset, *, batch_size: int, workers: int, sampler: Sampler | None = None, pin_memory: bool = False
) -> DataLoader:
    """A loader whose workers keep to one thread each and take nothing from PyTorch's global generator.

    Sets OpenCV to one thread in this process too: a worker forked from a process with a pool of OpenCV's threads
    waits for ever when it touches the pool, whose threads did not come along.
    """
    cv2.setNumThreads(1)
    return DataLoader(
        dataset,
        batch_size=batch_size,
        sampler=sampler,
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=pin_memory,
        collate_fn=_collate,
        worker_init_fn=_start_worker,
        generator=torch.Generator(),
    )


def default_workers(threads: int, device: str) -> int:
    """Processes that read crops: all threads feed a GPU; on a CPU the network needs them, and reading is a tenth."""
    return threads if device != "cpu" else 0


def to_tensor(image: np.ndarray) -> Tensor:
    """(height, width, 3) uint8 to (3, height, width)."""
    planes = np.empty((3, *image.shape[:2]), np.uint8)
    split_planes(image, planes)
    return torch.from_numpy(planes)


def split_planes(image: np.ndarray, planes: np.ndarray) -> None:
    """Write (height, width, 3) uint8 into (3, height, width), whose planes are contiguous."""
    cv2.split(image, list(planes))  # a quarter of the time of copying the transposed array


def new_images(n_images: int, size: int) -> Tensor:
    """(n_images, 3, size, size) uint8 to be written; in a loader's worker they lie in memory shared with the parent."""
    shape = (n_images, 3, size, size)
    if get_worker_info() is None:
        return torch.empty(shape, dtype=torch.uint8)
    # as PyTorch's own collation does it; it spares copying the batch when it is sent
    storage = torch.UntypedStorage._new_shared(math.prod(shape))
    return torch.empty(0, dtype=torch.uint8).set_(storage).view(shape)


def _collate(batch: dict | list) -> dict:
    """A batch as it is when the data set fetched it at once, else its items joined."""
    return batch if isinstance(batch, dict) else default_collate(batch)


def _start_worker(_: int) -> None:
    # a forked worker has it from its parent, a spawned one starts with OpenCV's default
    if cv2.getNumThreads() != 1:
        cv2.setNumThreads(1)
