import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from preprocess.running.cli import UserError
from preprocess.store.origin import Origin, read_origin
from preprocess.store.tables import read_rows, write_table

ORIGIN = Origin("ff", "frames", '{"n_frames": 8}', 3, "0001")


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
