"""Many encoded images of different sizes in one HDF5 group."""

from __future__ import annotations

from collections.abc import Callable

import h5py
import numpy as np


class BlobWriter:
    """Encoded images of different sizes in one HDF5 group: `encoded` (all bytes, end to end) and `offset`.

    Item i is `encoded[offset[i]:offset[i + 1]]`; an item that does not exist has no bytes. A blob with
    offsets reads several times faster than HDF5's variable-length type and needs no special reader.

    Args:
        group: An HDF5 group, empty so far.
        check: Called after every write; raises when writing has failed.

    Attributes:
        group: The group.
    """

    _CHUNK_BYTES = 1 << 20

    def __init__(self, group: h5py.Group, check: Callable[[], None] = lambda: None):
        self.group = group
        self._check = check
        self._bytes = group.create_dataset(
            "encoded", (0,), maxshape=(None,), dtype=np.uint8, chunks=(self._CHUNK_BYTES,)
        )
        self._offsets = [0]
        self._pending: list[bytes] = []
        self._pending_bytes = 0

    def append(self, encoded: bytes) -> None:
        """Add one item; `b""` stands for an item that does not exist."""
        self._pending.append(encoded)
        self._pending_bytes += len(encoded)
        self._offsets.append(self._offsets[-1] + len(encoded))
        if self._pending_bytes >= self._CHUNK_BYTES:
            self._flush()

    def close(self) -> None:
        """Write what is pending, and the offsets. Call once, when all items are in."""
        self._flush()
        self.group.create_dataset("offset", data=np.asarray(self._offsets, np.int64))

    def _flush(self) -> None:
        if self._pending:
            data = np.frombuffer(b"".join(self._pending), np.uint8)
            begin = self._bytes.shape[0]
            self._bytes.resize(begin + len(data), axis=0)
            self._bytes[begin:] = data
            self._pending, self._pending_bytes = [], 0
            self._check()


class BlobReader:
    """Read items that a `BlobWriter` wrote.

    Args:
        group: The HDF5 group of the blob.
    """

    def __init__(self, group: h5py.Group):
        self._bytes = group["encoded"]
        self._offset = group["offset"][:]

    def __len__(self) -> int:
        return len(self._offset) - 1

    def __getitem__(self, item: int) -> bytes:
        return self._bytes[self._offset[item] : self._offset[item + 1]].tobytes()
