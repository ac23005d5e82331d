"""Parquet tables of the store: exactly the columns of a schema, what made them, and a checksum of all bytes.

They are readable with plain pyarrow.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from preprocess.running.cli import UserError
from preprocess.store import checksum
from preprocess.store.atomic import atomic_path
from preprocess.store.origin import Origin


def write_table(
    path: str | Path,
    table: pa.Table | list[dict],
    schema: pa.Schema,
    origin: Origin,
    also: Mapping[str, str] | None = None,
) -> None:
    """Write a table, or a list of rows, as Parquet with exactly the columns of `schema`.

    Args:
        path: File to write.
        table: What it holds.
        schema: Its columns.
        origin: What made it.
        also: What else its metadata says, by a key that is none of the origin's.
    """
    if isinstance(table, list):
        table = pa.Table.from_pylist(table, schema=schema)
    else:
        table = table.select(schema.names).cast(schema)
    metadata = {key: str(value) for key, value in asdict(origin).items()} | dict(also or {})
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
