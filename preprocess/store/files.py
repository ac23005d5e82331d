"""Reading and writing of the store: whole files or nothing, and every file says what made it.

Parquet tables carry `dataset`, `shard`, `stage`, `settings` (JSON) and `version` in their schema's
metadata, HDF5 files in their attributes. Both are readable with plain pyarrow and h5py. Every file also holds a
checksum of all its bytes (`preprocess.store.checksum`).
"""

from __future__ import annotations

import contextlib
import io
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from preprocess.running.cli import UserError
from preprocess.running.system_errors import describe_write_error
from preprocess.store import checksum

# Ending of a file that is being written.
_PARTIAL = ".partial"


@dataclass(frozen=True)
class Origin:
    """What made a file of the store.

    Attributes:
        dataset: Name of the data set in the config.
        stage: Name of the stage.
        settings: The stage's resolved settings as sorted JSON.
        version: The stage's version (`preprocess.store.versions`).
        shard: Name of the shard; empty for a table of the whole data set.
    """

    dataset: str
    stage: str
    settings: str
    version: int
    shard: str = ""


@contextlib.contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Give a temporary path beside `path`; move it there when the block ends well, else remove it.

    What a killed writer of the same file left is removed first: a file has one writer at a time.

    Raises:
        UserError: The system refuses to write the file: a full or read-only disc, no right to write, and the like.
    """
    path = Path(path)
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_strays(path)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=_PARTIAL, dir=path.parent)
        temporary = Path(name)
        os.close(handle)
        yield temporary
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        # mkstemp makes files that only their owner reads; results are for the whole group
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        temporary.replace(path)
    except (OSError, RuntimeError) as error:
        refusal = _refusal(error)
        told = refusal and _concerns(refusal, path, temporary) and describe_write_error(refusal, path)
        if not told:
            raise
        raise UserError(told) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def _remove_strays(path: Path) -> None:
    """Remove what killed writers of a file left beside it."""
    with os.scandir(path.parent) as entries:
        strays = [entry.path for entry in entries if entry.name.endswith(_PARTIAL)]
    for stray in map(Path, strays):
        if stray.name.removesuffix(_PARTIAL).rpartition(".")[0] == f".{path.name}":
            stray.unlink(missing_ok=True)


def _refusal(error: BaseException | None) -> OSError | None:
    """The system's error behind one: PyTorch raises a RuntimeError over a full disc."""
    while error is not None and not isinstance(error, OSError):
        error = error.__cause__ or error.__context__
    return error


def _concerns(error: OSError, path: Path, temporary: Path | None) -> bool:
    """Whether an error came of writing this file, not of another one that was read meanwhile."""
    return temporary is None or error.filename is None or Path(os.fsdecode(error.filename)) in (path, temporary)


def write_table(path: str | Path, table: pa.Table | list[dict], schema: pa.Schema, origin: Origin) -> None:
    """Write a table, or a list of rows, as Parquet with exactly the columns of `schema`."""
    if isinstance(table, list):
        table = pa.Table.from_pylist(table, schema=schema)
    else:
        table = table.select(schema.names).cast(schema)
    metadata = {key: str(value) for key, value in asdict(origin).items()}
    table = table.replace_schema_metadata(metadata)
    with atomic_path(path) as temporary:
        # pages carry checksums of their own, which every reading verifies
        with pq.ParquetWriter(temporary, table.schema, compression="zstd", write_page_checksum=True) as writer:
            writer.write_table(table)
            writer.add_key_value_metadata(checksum.PARQUET_PLACEHOLDER)
        checksum.stamp(temporary)


def read_table(path: str | Path, columns: list[str] | None = None) -> pa.Table:
    """Read a Parquet table of the store.

    Raises:
        UserError: The file is absent, is not Parquet or is damaged.
    """
    try:
        return pq.ParquetFile(path, page_checksum_verification=True).read(columns)
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"cannot read the table {path}: {error}. Run the stage that makes it again") from error


def read_rows(path: str | Path, columns: list[str] | None = None) -> list[dict]:
    """Read a Parquet table of the store as one dict per row."""
    return read_table(path, columns).to_pylist()


def read_origin(path: str | Path) -> Origin:
    """What made a file of the store, a Parquet table or (`.h5`) an HDF5 file."""
    if Path(path).suffix == ".h5":
        with h5py.File(path, "r") as file:
            metadata = dict(file.attrs)
    else:
        metadata = {key.decode(): value.decode() for key, value in (pq.read_schema(path).metadata or {}).items()}
    return Origin(
        dataset=metadata["dataset"],
        stage=metadata["stage"],
        settings=metadata["settings"],
        version=int(metadata["version"]),
        shard=metadata["shard"],
    )


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
