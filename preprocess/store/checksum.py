"""A checksum of every byte of a store file, in the file itself, so that damage at rest is found.

It is BLAKE2b with 256 bits, in hexadecimal digits, of the whole file with zeros in place of those digits. An HDF5 file
holds it in its user block, which HDF5 leaves to others; a Parquet file as `checksum` in the key-value metadata of its
footer. Plain h5py and pyarrow read both as any other file.

It stands in the file, not beside it, because a file and its checksum must be moved, replaced and lost together; and it
is of every byte, because the checksums of Parquet's pages and HDF5's chunks leave out headers, footers and offsets.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

# The smallest user block that HDF5 allows.
USER_BLOCK_BYTES = 512

_ZEROS = b"0" * 64
_CHECKSUM = re.compile(rb"[0-9a-f]{64}")
_PIECE_BYTES = 1 << 20

_HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
_USER_BLOCK_LABEL = b"blake2b-256 "

_PARQUET_MAGIC = b"PAR1"
_PARQUET_END_BYTES = 8  # length of the footer (4 bytes, lowest first), magic
_KEY = b"checksum"
PARQUET_PLACEHOLDER = {_KEY.decode(): _ZEROS.decode()}
# What stands before the digits in a footer: the key, then the header of a text (0x18) of 64 bytes (0x40) in Thrift's
# compact protocol. Sought as plain bytes: a damaged footer has to be found out, not parsed.
_PARQUET_LABEL = _KEY + b"\x18\x40"


class _Place(NamedTuple):
    offset: int
    digits: bytes


def stamp(path: Path) -> None:
    """Write the checksum into a new HDF5 file with a user block, or a Parquet file with `PARQUET_PLACEHOLDER`."""
    with open(path, "r+b") as file:
        if file.read(len(_PARQUET_MAGIC)) != _PARQUET_MAGIC:
            file.seek(0)
            file.write(_USER_BLOCK_LABEL + _ZEROS + b"\n")
        place = _find(file)
        if place is None:
            raise ValueError(f"{path} has no place for a checksum")
        digits = _digest(file, place.offset)
        file.seek(place.offset)
        file.write(digits)


def verify(path: Path) -> bool | None:
    """Whether a file holds the bytes that were written; None when it holds no checksum.

    Raises:
        OSError: It cannot be read.
    """
    with open(path, "rb") as file:
        place = _find(file)
        return None if place is None else _digest(file, place.offset) == place.digits


def recorded(path: Path) -> str | None:
    """The checksum that a file holds, in hexadecimal digits, without comparing it; None when it holds none.

    Raises:
        OSError: It cannot be read.
    """
    with open(path, "rb") as file:
        place = _find(file)
    if place is None or not _CHECKSUM.fullmatch(place.digits):
        return None
    return place.digits.decode()


def file_sha256(path: str | Path) -> str:
    """SHA-256 of a file as it lies there, its own checksum included, in hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _find(file: BinaryIO) -> _Place | None:
    """Where the checksum stands. A file whose ends are damaged has a place at which no checksum fits."""
    file.seek(0)
    head = file.read(len(_USER_BLOCK_LABEL) + len(_ZEROS))
    if head.startswith(_HDF5_MAGIC):  # no user block
        return None
    if head.startswith(_PARQUET_MAGIC):
        return _find_in_footer(file)
    return _Place(len(_USER_BLOCK_LABEL), head[len(_USER_BLOCK_LABEL) :])


def _find_in_footer(file: BinaryIO) -> _Place | None:
    """`_find` for a Parquet file: data, footer, length of the footer, magic."""
    end = file.seek(0, os.SEEK_END)
    file.seek(max(0, end - _PARQUET_END_BYTES))
    length, magic = file.read(4), file.read()
    if magic != _PARQUET_MAGIC:
        return _Place(0, b"")
    begin = max(0, end - _PARQUET_END_BYTES - int.from_bytes(length, "little"))
    file.seek(begin)
    footer = file.read()
    # the last: key-value metadata follow the statistics of the columns, which hold texts of the data
    label = footer.rfind(_PARQUET_LABEL)
    if label < 0:
        return None
    digits = label + len(_PARQUET_LABEL)
    return _Place(begin + digits, footer[digits : digits + len(_ZEROS)])


def _digest(file: BinaryIO, offset: int) -> bytes:
    """Checksum of a file whose own checksum stands at `offset`."""
    digest = hashlib.blake2b(digest_size=len(_ZEROS) // 2)
    file.seek(0)
    for piece in _pieces(file, offset):
        digest.update(piece)
    digest.update(_ZEROS)
    file.seek(offset + len(_ZEROS))
    for piece in _pieces(file):
        digest.update(piece)
    return digest.hexdigest().encode()


def _pieces(file: BinaryIO, n_bytes: int | None = None) -> Iterator[bytes]:
    """What follows in a file, or the next `n_bytes` of it."""
    left = os.fstat(file.fileno()).st_size if n_bytes is None else n_bytes
    while piece := file.read(min(left, _PIECE_BYTES)):
        yield piece
        left -= len(piece)
