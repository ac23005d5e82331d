"""What detectors read: the samples of a store as columns, and their face crops, cut on reading.

Every random choice comes from a generator seeded by (seed, epoch, index), so neither the number of loader
workers nor a resumed training changes what is read.
"""

from __future__ import annotations

import math
import os
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
import torch.distributed as dist
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler, default_collate, get_worker_info

from detectors.augmentation import CHAINS, read_augmented
from detectors.crop_window import CropWindow
from preprocess.cli import UserError
from preprocess.crop_file import CropRows
from preprocess.schemas import REAL
from preprocess.shards import stable_hash

TRAIN, VAL = "train", "val"
UNKNOWN_LABEL = -1

_TEXT_COLUMNS = ("dataset", "shard", "video_id", "method", "split", "source_group")
_NUMBER_COLUMNS = ("crop_row", "frame_index", "track_id")
_MAX_OPEN_FILES = 256

# first word of a seed: which choice the generator is for
_ORDER, _PAIR, _SUBSET = 1, 2, 3


@dataclass(frozen=True)
class TextColumn:
    """A column of few different texts.

    Attributes:
        names: The different texts.
        codes: (N,) int32, row of `names`; -1 where the text is null.
    """

    names: tuple[str, ...]
    codes: np.ndarray

    def __getitem__(self, rows: np.ndarray) -> TextColumn:
        return TextColumn(self.names, self.codes[rows])

    def equals(self, name: str) -> np.ndarray:
        """(N,) bool: where the text is `name`."""
        return self.codes == (self.names.index(name) if name in self.names else len(self.names))


@dataclass(frozen=True)
class Samples:
    """Columns of samples tables (`schemas.SAMPLES`): 39 bytes a row, whatever the length of the ids.

    Attributes:
        dataset, shard, video_id, method, split, source_group: Texts.
        crop_row: (N,) int32, row of the shard's crops file.
        frame_index, track_id: (N,) int32; a track is one of its video.
        label: (N,) int8: 0 real, 1 fake, -1 unknown.
    """

    dataset: TextColumn
    shard: TextColumn
    video_id: TextColumn
    method: TextColumn
    split: TextColumn
    source_group: TextColumn
    crop_row: np.ndarray
    frame_index: np.ndarray
    track_id: np.ndarray
    label: np.ndarray

    @classmethod
    def read(cls, paths: Sequence[str | Path]) -> Samples:
        """Read samples tables, one after another.

        Raises:
            UserError: A file is absent, or is no samples table.
        """
        tables = [_read(path) for path in paths]
        table = pa.concat_tables(tables).unify_dictionaries().combine_chunks()
        texts = {name: _text_column(table[name]) for name in _TEXT_COLUMNS}
        label = table["label"].fill_null(UNKNOWN_LABEL).to_numpy()
        numbers = {name: table[name].to_numpy() for name in _NUMBER_COLUMNS}
        return cls(**texts, **numbers, label=label)

    def __len__(self) -> int:
        return len(self.label)

    def __getitem__(self, rows: np.ndarray) -> Samples:
        """The samples at `rows` (numbers or a mask), in that order."""
        return Samples(**{name: getattr(self, name)[rows] for name in self.__dataclass_fields__})

    def crops_file(self, row: int) -> str:
        """The crops file of a sample, relative to the folder of crops."""
        dataset = self.dataset.names[self.dataset.codes[row]]
        return f"{dataset}/{self.shard.names[self.shard.codes[row]]}.h5"


def _read(path: str | Path) -> pa.Table:
    columns = [*_TEXT_COLUMNS, *_NUMBER_COLUMNS, "label"]
    try:
        missing = [name for name in columns if name not in pq.read_schema(path).names]
        if missing:
            raise UserError(f"{path} is no samples table: it has no column {', '.join(missing)}")
        # ids are read as codes: as text, ten million samples would take gigabytes
        return pq.ParquetFile(path, read_dictionary=list(_TEXT_COLUMNS), page_checksum_verification=True).read(columns)
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"cannot read the samples {path}: {error}. Run collect_samples for it again") from error


def _text_column(column: pa.ChunkedArray) -> TextColumn:
    column = column.combine_chunks()
    if isinstance(column, pa.ChunkedArray):  # what combining no chunks at all gives
        column = pa.array([], pa.dictionary(pa.int32(), pa.string()))
    codes = column.indices.fill_null(-1).to_numpy(zero_copy_only=False)
    return TextColumn(tuple(column.dictionary.to_pylist()), codes.astype(np.int32, copy=False))


def split_for_training(samples: Samples, val_share: float) -> tuple[np.ndarray, np.ndarray]:
    """Rows to train on and rows to validate on; no source group is in both.

    A data set with a `val` split validates on it. Of one without, a share of the train split's source groups is
    held out, at least one of each kind (only real, only fake, both) of which there are two: those with the
    smallest hashes of their names, so that the choice does not change with the order of rows or the seed.
    Samples without a label, and the `test` split, are in neither.

    Args:
        samples: Of one or more data sets.
        val_share: Share of the source groups.

    Returns:
        Training rows and validation rows, ascending.
    """
    known = samples.label != UNKNOWN_LABEL
    train, val = known & samples.split.equals(TRAIN), known & samples.split.equals(VAL)
    for code in np.unique(samples.dataset.codes[train]):
        of_dataset = samples.dataset.codes == code
        if val_share and not (val & of_dataset).any():
            rows = np.flatnonzero(train & of_dataset)
            held_out = rows[_held_out(samples[rows], val_share)]
            train[held_out], val[held_out] = False, True
    return np.flatnonzero(train), np.flatnonzero(val)


def _held_out(samples: Samples, share: float) -> np.ndarray:
    """Mask (N,) of the samples whose source group is held out."""
    # a video of unknown origin is a group of its own, behind the numbers of the named groups
    own = len(samples.source_group.names) + samples.video_id.codes
    group = np.where(samples.source_group.codes >= 0, samples.source_group.codes, own)
    groups, first, of_sample = np.unique(group, return_index=True, return_inverse=True)
    kind = np.zeros(len(groups), np.int8)
    for label in (0, 1):
        np.bitwise_or.at(kind, of_sample[samples.label == label], 1 << label)
    held_out = np.zeros(len(groups), bool)
    for value in np.unique(kind):
        members = np.flatnonzero(kind == value)
        if len(members) > 1:
            hashes = [stable_hash(_group_name(samples, first[member])) for member in members]
            count = min(max(1, round(share * len(members))), len(members) - 1)
            held_out[members[np.argsort(hashes)[:count]]] = True
    return held_out[of_sample]


def _group_name(samples: Samples, row: int) -> str:
    code = samples.source_group.codes[row]
    return samples.source_group.names[code] if code >= 0 else samples.video_id.names[samples.video_id.codes[row]]


def draw_rows(rows: np.ndarray, count: int | None, seed: int) -> np.ndarray:
    """A random subset of `count` rows, ascending; all of them when `count` is None or not smaller."""
    if count is None or count >= len(rows):
        return rows
    return np.sort(np.random.default_rng([_SUBSET, seed]).choice(rows, count, replace=False))


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
        self.source = StoredCrops(root, samples)
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


def reals_and_fakes(samples: Samples, need: str) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the real and of the fake samples, ascending.

    Args:
        samples: Training samples.
        need: Why there must be both, for the message.

    Raises:
        UserError: There are no reals or no fakes.
    """
    reals, fakes = np.flatnonzero(samples.label == 0), np.flatnonzero(samples.label == 1)
    if not len(reals) or not len(fakes):
        raise UserError(
            f"the training samples hold {len(reals)} real and {len(fakes)} fake crops of "
            f"{', '.join(samples.dataset.names)}; {need}: add a data set to the experiment's train list"
        )
    return reals, fakes


def training_methods(samples: Samples) -> list[str]:
    """Names of the classes that a detector can tell apart: `real`, then the fakes' methods by name."""
    codes = np.unique(samples.method.codes[samples.label == 1])
    return [REAL, *sorted(samples.method.names[code] for code in codes)]


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
