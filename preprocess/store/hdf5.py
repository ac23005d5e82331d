"""HDF5 files of the store, written: whole or not at all, with what made them and a checksum of all bytes.

They are readable with plain h5py.
"""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import h5py

from preprocess.store import checksum
from preprocess.store.atomic import atomic_path
from preprocess.store.blobs import BlobWriter
from preprocess.store.origin import Origin


class _Sink:
    """The file that HDF5 writes to. It never tells HDF5 of a write that failed: HDF5 would crash when it is shut down.

    Args:
        file: Open for reading and writing, without a buffer.

    Attributes:
        error: The first error of writing; nothing is written after it.
    """

    def __init__(self, file: io.RawIOBase):
        self._file = file
        self.error: OSError | None = None

    def check(self) -> None:
        """Raise the error of writing, if there was one."""
        if self.error is not None:
            raise self.error

    # what h5py asks of a file

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def read(self, size: int = -1) -> bytes:
        return self._file.read(size)

    def readinto(self, buffer: memoryview) -> int:
        return self._file.readinto(buffer)

    def write(self, data: bytes | memoryview) -> int:
        left = memoryview(data).cast("B")
        with self._recorded():
            while len(left) and self.error is None:
                left = left[self._file.write(left) :]
        return len(data)

    def truncate(self, size: int) -> int:
        with self._recorded():
            self._file.truncate(size)
        return size

    def flush(self) -> None:
        """Nothing waits: the file is not buffered."""

    @contextlib.contextmanager
    def _recorded(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self.error = self.error or error


class StoreFile(h5py.File):
    """A file of the store while it is written; see `create_h5`."""

    def __init__(self, sink: _Sink):
        super().__init__(sink, "w", userblock_size=checksum.USER_BLOCK_BYTES)
        self._sink = sink

    def create_blobs(self, name: str) -> BlobWriter:
        """A `BlobWriter` in a new group, which stops at the first write that fails."""
        return BlobWriter(self.create_group(name), self._sink.check)


@contextlib.contextmanager
def create_h5(path: str | Path, origin: Origin) -> Iterator[StoreFile]:
    """Open a new HDF5 file for writing; it appears under its name, with its checksum, when the block ends well.

    Raises:
        UserError: As `atomic_path`.
    """
    with atomic_path(path) as temporary:
        with open(temporary, "r+b", buffering=0) as raw:
            sink = _Sink(raw)
            with StoreFile(sink) as file:
                for key, value in asdict(origin).items():
                    file.attrs[key] = value
                yield file
            sink.check()
        checksum.stamp(temporary)
