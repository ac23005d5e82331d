"""The checksum of a store file is of every byte but its own digits, as its docstring says."""

from __future__ import annotations

import hashlib
import re

import h5py
import numpy as np
import pyarrow as pa
import pytest

from preprocess.store.checksum import USER_BLOCK_BYTES, file_sha256, stamp, verify
from preprocess.store.origin import Origin
from preprocess.store.tables import write_table


@pytest.fixture(params=["hdf5", "parquet"])
def stamped(request, tmp_path):
    """A file of three megabytes with a checksum: more than is read at once."""
    path, values = tmp_path / "file", np.random.default_rng(0).integers(0, 256, 3_000_000, np.uint8)
    if request.param == "hdf5":
        with h5py.File(path, "w", userblock_size=USER_BLOCK_BYTES) as file:
            file["values"] = values
        stamp(path)
    else:
        table = pa.table({"values": values})
        write_table(path, table, table.schema, Origin("d", "test", "{}", 1))
    return path


def test_it_is_blake2b_of_256_bits_with_zeros_in_its_place(stamped):
    content = stamped.read_bytes()
    (found,) = re.findall(rb"(?:blake2b-256 |checksum\x18\x40)([0-9a-f]{64})", content)
    assert found != b"0" * 64
    expected = hashlib.blake2b(content.replace(found, b"0" * 64), digest_size=32).hexdigest()
    assert found.decode() == expected
    assert verify(stamped) is True
    assert file_sha256(stamped) == hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize("place", [0.0, 0.001, 0.3, 0.7, 0.99999, -1])
def test_one_changed_bit_anywhere_is_found(stamped, place):
    content = bytearray(stamped.read_bytes())
    content[int(place * len(content)) if place >= 0 else -1] ^= 1
    stamped.write_bytes(content)
    assert verify(stamped) is not True
