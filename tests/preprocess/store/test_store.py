import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from preprocess.running.cli import UserError
from preprocess.running.parallel import ordered_map
from preprocess.store.files import (
    BlobReader,
    BlobWriter,
    Origin,
    atomic_path,
    create_h5,
    read_origin,
    read_rows,
    write_table,
)

ORIGIN = Origin("ff", "frames", '{"n_frames": 8}', 3, "0001")


def test_an_interrupted_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "results" / "file"
    with atomic_path(path) as temporary:
        temporary.write_text("old")
    with pytest.raises(IsADirectoryError), atomic_path(path) as temporary:
        temporary.write_text("half") and path.parent.read_text()
    assert path.read_text() == "old"
    assert list(path.parent.iterdir()) == [path]


def test_results_are_readable_for_others(tmp_path):
    with atomic_path(tmp_path / "file") as temporary:
        temporary.write_text("x")
    (tmp_path / "plain").write_text("x")
    assert (tmp_path / "file").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_tables_keep_columns_origin_and_bytes(tmp_path):
    schema = pa.schema([("a", pa.int32()), ("b", pa.string())])
    for name in ("one", "two"):
        write_table(tmp_path / name, [{"a": 1, "b": "x"}, {"a": None}], schema, ORIGIN)
    assert read_rows(tmp_path / "one") == [{"a": 1, "b": "x"}, {"a": None, "b": None}]
    assert read_origin(tmp_path / "one") == ORIGIN
    assert pq.read_table(tmp_path / "one").schema.metadata[b"dataset"] == b"ff"
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_an_absent_or_foreign_table_is_named(tmp_path):
    (tmp_path / "text").write_text("not parquet")
    for name in ("absent", "text"):
        with pytest.raises(UserError, match=name):
            read_rows(tmp_path / name)


def test_what_a_killed_writer_left_is_removed_by_the_next_of_that_file_alone(tmp_path):
    killed = tmp_path / ".table.parquet.k3_z0abc.partial"
    of_another = tmp_path / ".table.parquet.more.k3_z0abc.partial"
    for path in (killed, of_another):
        path.write_bytes(b"half of it")
    with atomic_path(tmp_path / "table.parquet") as temporary:
        temporary.write_bytes(b"whole")
        assert not killed.exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == [of_another.name, "table.parquet"]


def test_blobs_of_any_size_come_back(tmp_path):
    rng = np.random.default_rng(0)
    items = [rng.bytes(size) for size in (10, 0, 3_000_000, 1, 0)]
    with create_h5(tmp_path / "file.h5", ORIGIN) as file:
        writer = BlobWriter(file.create_group("images"))
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


def test_ordered_map_keeps_the_order_and_raises():
    assert list(ordered_map(lambda number: number * number, range(50), 4)) == [number * number for number in range(50)]
    with pytest.raises(ZeroDivisionError):
        list(ordered_map(lambda number: 1 // number, [1, 0, 1], 2))
