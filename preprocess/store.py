"""Reading and writing of the store: whole files or nothing, and every file says what made it.

Parquet tables carry `dataset`, `shard`, `stage`, `settings` (JSON) and `version` in their schema's
metadata, HDF5 files in their attributes. Both are readable with plain pyarrow and h5py.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from preprocess.cli import UserError


@dataclass(frozen=True)
class Origin:
    """What made a file of the store.

    Attributes:
        dataset: Name of the data set in the config.
        stage: Name of the stage.
        settings: The stage's resolved settings as sorted JSON.
        version: The stage's version (`preprocess.versions`).
        shard: Name of the shard; empty for a table of the whole data set.
    """

    dataset: str
    stage: str
    settings: str
    version: int
    shard: str = ""


@contextlib.contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Give a temporary path beside `path`; move it there when the block ends well, else remove it."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".partial", dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        # mkstemp makes files that only their owner reads; results are for the whole group
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_table(path: str | Path, table: pa.Table | list[dict], schema: pa.Schema, origin: Origin) -> None:
    """Write a table, or a list of rows, as Parquet with exactly the columns of `schema`."""
    if isinstance(table, list):
        table = pa.Table.from_pylist(table, schema=schema)
    else:
        table = table.select(schema.names).cast(schema)
    metadata = {key: str(value) for key, value in asdict(origin).items()}
    with atomic_path(path) as temporary:
        pq.write_table(table.replace_schema_metadata(metadata), temporary, compression="zstd")


def read_table(path: str | Path, columns: list[str] | None = None) -> pa.Table:
    """Read a Parquet table of the store.

    Raises:
        UserError: The file is absent or is not Parquet.
    """
    try:
        return pq.ParquetFile(path).read(columns)
    except (FileNotFoundError, pa.ArrowInvalid) as error:
        raise UserError(f"cannot read the table {path}: {error}. Run the stage that makes it again") from error


def read_rows(path: str | Path, columns: list[str] | None = None) -> list[dict]:
    """Read a Parquet table of the store as one dict per row."""
    return read_table(path, columns).to_pylist()


def read_origin(path: str | Path) -> Origin:
    """What made a Parquet table of the store."""
    metadata = {key.decode(): value.decode() for key, value in (pq.read_schema(path).metadata or {}).items()}
    return Origin(
        dataset=metadata["dataset"],
        stage=metadata["stage"],
        settings=metadata["settings"],
        version=int(metadata["version"]),
        shard=metadata["shard"],
    )


@contextlib.contextmanager
def create_h5(path: str | Path, origin: Origin) -> Iterator[h5py.File]:
    """Open a new HDF5 file for writing; it appears under its name when the block ends well."""
    with atomic_path(path) as temporary, h5py.File(temporary, "w") as file:
        for key, value in asdict(origin).items():
            file.attrs[key] = value
        yield file


class BlobWriter:
    """Encoded images of different sizes in one HDF5 group: `encoded` (all bytes, end to end) and `offset`.

    Item i is `encoded[offset[i]:offset[i + 1]]`; an item that does not exist has no bytes. A blob with
    offsets reads several times faster than HDF5's variable-length type and needs no special reader.

    Args:
        group: An HDF5 group, empty so far.
    """

    _CHUNK_BYTES = 1 << 20

    def __init__(self, group: h5py.Group):
        self._group = group
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
        self._group.create_dataset("offset", data=np.asarray(self._offsets, np.int64))

    def _flush(self) -> None:
        if self._pending:
            data = np.frombuffer(b"".join(self._pending), np.uint8)
            begin = self._bytes.shape[0]
            self._bytes.resize(begin + len(data), axis=0)
            self._bytes[begin:] = data
            self._pending, self._pending_bytes = [], 0


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
