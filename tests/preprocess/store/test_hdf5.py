import h5py
import numpy as np

from preprocess.store.blobs import BlobReader
from preprocess.store.hdf5 import create_h5
from preprocess.store.origin import Origin

ORIGIN = Origin("ff", "frames", '{"n_frames": 8}', 3, "0001")


def test_less_than_a_mebibyte_of_blobs_waits_in_memory(tmp_path):
    half = 1 << 19
    with create_h5(tmp_path / "file.h5", ORIGIN) as file:
        writer = file.create_blobs("images")
        appended = 0
        for size in (half, half, half, 4 * half):
            writer.append(bytes(size))
            appended += size
            assert appended - len(file["images/encoded"]) < 1 << 20
        writer.close()
        assert len(file["images/encoded"]) == appended


def test_blobs_of_any_size_come_back(tmp_path):
    rng = np.random.default_rng(0)
    items = [rng.bytes(size) for size in (10, 0, 3_000_000, 1, 0)]
    with create_h5(tmp_path / "file.h5", ORIGIN) as file:
        writer = file.create_blobs("images")
        for item in items:
            writer.append(item)
        writer.close()
    with h5py.File(tmp_path / "file.h5") as file:
        reader = BlobReader(file["images"])
        assert [reader[item] for item in range(len(reader))] == items
        assert dict(file.attrs) == {
            "dataset": "ff",
            "stage": "frames",
            "settings": '{"n_frames": 8}',
            "version": 3,
            "shard": "0001",
        }
