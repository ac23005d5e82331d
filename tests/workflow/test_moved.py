"""A raw folder by another name: the same collection, or one that has to be looked at."""

from __future__ import annotations

import shutil

import pytest

from preprocess.store.origin import Origin
from preprocess.store.schemas import INDEX
from preprocess.store.tables import write_table
from workflow.made import Made
from workflow.moved import moved, places_of
from workflow.up_to_date import Task

SIZES = {"a.mp4": 5, "sub/b.mp4": 7, "broken.mp4": None}


@pytest.fixture
def verdict(tmp_path, monkeypatch):
    """A function: what is said of a root, after the collection was indexed at `raw`."""
    monkeypatch.chdir(tmp_path)
    for path, size in SIZES.items():
        file = tmp_path / "raw" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"x" * (size or 0))
    rows = [dict.fromkeys(INDEX.names) | {"path": path, "n_bytes": size} for path, size in SIZES.items()]
    write_table("data/index/d.parquet", rows, INDEX, Origin("d", "index", "{}", 1))
    made = Made("index_videos_d", {}, [], {}, {}, places_of("raw"))

    def function(root):
        task = Task("index_videos_d", {}, (), ("data/index/d.parquet",), places=places_of(root))
        return moved(task, made)

    return function


@pytest.mark.parametrize("root", ["raw", "raw/", "./raw", "{folder}/raw", "link"])
def test_the_same_folder_is_the_same(verdict, tmp_path, root):
    (tmp_path / "link").symlink_to("raw")
    assert verdict(root.format(folder=tmp_path)) is None


def test_a_folder_that_moved_with_the_run_is_the_same(verdict, tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    for name in ("raw", "data"):
        (tmp_path / name).rename(tmp_path / "elsewhere" / name)
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert verdict("raw") is None


def test_a_copy_elsewhere_is_the_same_until_a_file_has_another_size_or_is_gone(verdict, tmp_path):
    shutil.copytree("raw", "copy")
    assert verdict("copy") is None
    (tmp_path / "copy/a.mp4").write_bytes(b"longer than it was")
    assert verdict("copy") == "root was 'raw', is 'copy', where 1 of 2 videos are not as they were"
    (tmp_path / "copy/sub/b.mp4").unlink()
    assert "2 of 2 videos" in verdict("copy")
    assert verdict("nowhere") == "root was 'raw', is 'nowhere', where there is no folder"


def test_without_an_index_that_can_be_read_a_scan_has_to_look(verdict, tmp_path):
    shutil.copytree("raw", "copy")
    (tmp_path / "data/index/d.parquet").write_text("no table")
    assert "0 of 0 videos" in verdict("copy")
