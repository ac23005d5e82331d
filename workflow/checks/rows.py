"""What must hold of the rows of a file, by itself and beside those that it was made from.

Each function says in words what is wrong with its file, or returns None.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from preprocess.store.crop_file import CropReader
from preprocess.store.tables import read_table
from preprocess.video.outcomes import OK


def other_columns(path: Path, schema: pa.Schema) -> str | None:
    """How the columns of a table differ from those of its stage; None: not at all."""
    found = pq.read_schema(path)
    return None if found.equals(schema) else f"has the columns {', '.join(found.names)}, not those of its stage"


def compare_list(index: Path, path: Path, shard: str) -> str | None:
    """What is wrong with the list of a shard, which the table `index` was cut into."""
    return other_rows(_rows_of_shard(index, shard), read_table(path), f"{index} has of this shard")


def compare_frames(listed: Path, path: Path) -> str | None:
    """What is wrong with the frames of the videos in the list `listed`."""
    videos = read_table(listed, ["video_id", "status"]).to_pylist()
    frames = read_table(path, ["video_id", "frame_index"]).to_pylist()
    expected = {video["video_id"] for video in videos if video["status"] == OK}
    keys = [(frame["video_id"], frame["frame_index"]) for frame in frames]
    if len(set(keys)) != len(keys):
        return f"holds a frame twice: {Counter(keys).most_common(1)[0][0]}"
    return _other_keys(expected, {video for video, _ in keys}, "videos", listed)


def compare_faces(frames: Path, path: Path) -> str | None:
    """What is wrong with the faces in the frames of the file `frames`."""
    sampled = read_table(frames, ["video_id", "frame_index", "status"]).to_pylist()
    found = read_table(path, ["video_id", "frame_index"]).to_pylist()
    expected = {(row["video_id"], row["frame_index"]) for row in sampled if row["status"] == OK}
    return _other_keys(expected, {tuple(row.values()) for row in found}, "frames", frames)


def check_crops(path: Path) -> str | None:
    """What is wrong with crops by themselves: an image for every good crop, and for no other."""
    with CropReader(path) as crops, h5py.File(path, "r") as file:
        if message := _broken_blobs(file["images"], len(crops)):
            return message
        sizes = np.diff(file["images/offset"][:])
        odd = np.flatnonzero((sizes == 0) == (crops.status == OK))
        return f"crop {odd[0]} has {sizes[odd[0]]} bytes and the status {crops.status[odd[0]]!r}" if len(odd) else None


def compare_crops(faces: Path, path: Path) -> str | None:
    """What is wrong with the crops of the faces in the file `faces`."""
    names = ["video_id", "frame_index", "track_id", "x0", "y0", "x1", "y1"]
    rows = [row for row in read_table(faces, [*names, "status"]).to_pylist() if row["status"] == OK]
    expected = sorted(tuple(row[name] for name in names[:3]) for row in rows)
    with CropReader(path) as crops:
        found = _crop_keys(crops)
        if message := _other_keys(set(expected), set(found), "faces", faces):
            return message
        if found != expected:
            return "its crops are not in the order of video, frame and track, or are there twice"
        boxes = {tuple(row[name] for name in names[:3]): [row[name] for name in names[3:]] for row in rows}
        odd = [key for key, box in zip(found, crops.box.tolist(), strict=True) if boxes[key] != box]
    return f"the boxes of {len(odd)} crops are not those of {faces}, such as of {_example(odd[0])}" if odd else None


def compare_landmarks(crops_path: Path, path: Path) -> str | None:
    """What is wrong with the landmarks of the crops in `crops_path`."""
    rows = read_table(path, ["video_id", "frame_index", "track_id", "crop_row"]).to_pylist()
    with CropReader(crops_path) as crops:
        expected = [(*key, row) for row, key in enumerate(_crop_keys(crops))]
    found = [tuple(row.values()) for row in rows]
    if len(found) != len(expected):
        return f"has {len(found)} rows, {crops_path} has {len(expected)}"
    return _other_keys(set(expected), set(found), "crops", crops_path) or (
        None if found == expected else f"its rows are not in the order of {crops_path}"
    )


def compare_masks(crops_path: Path, path: Path) -> str | None:
    """What is wrong with the masks of the crops in `crops_path`."""
    with CropReader(crops_path) as crops, h5py.File(path, "r") as file:
        n_masks = len(file["mask_source"])
        if n_masks != len(crops):
            return f"has masks of {n_masks} crops, {crops_path} has {len(crops)}"
        return _broken_blobs(file["hull"], n_masks) or _broken_blobs(file["manipulation"], n_masks)


def compare_collected(expected: pa.Table, path: Path, shard: str) -> str | None:
    """What is wrong with a data set's samples or ledger in the rows of a shard, which should be `expected`."""
    return other_rows(expected, _rows_of_shard(path, shard), f"the files of shard {shard} give")


def _rows_of_shard(path: Path, shard: str) -> pa.Table:
    # row groups that hold no row of the shard are not read
    return pq.read_table(path, filters=pc.field("shard") == shard, page_checksum_verification=True)


def _broken_blobs(group: h5py.Group, n_items: int) -> str | None:
    """What is wrong with the places of images in a group that `blobs.BlobWriter` wrote."""
    offset, n_bytes = group["offset"][:], group["encoded"].shape[0]
    if len(offset) != n_items + 1:
        return f"{group.name} holds {len(offset) - 1} images, expected {n_items}"
    if offset[0] != 0 or offset[-1] != n_bytes or (np.diff(offset) < 0).any():
        return f"the offsets of {group.name} do not fit its {n_bytes} bytes"
    return None


def _crop_keys(crops: CropReader) -> list[tuple]:
    return list(zip(crops.video_id.tolist(), crops.frame_index.tolist(), crops.track_id.tolist(), strict=True))


def _other_keys(expected: set, found: set, what: str, source: Path) -> str | None:
    """How the keys of a file differ from those that the file before it calls for."""
    parts = []
    if lacking := expected - found:
        parts.append(f"lacks {len(lacking)} {what} of {source}, such as {_example(min(lacking))}")
    if strange := found - expected:
        parts.append(
            f"holds {len(strange)} {what} that {source} does not call for, such as {_example(min(strange, key=str))}"
        )
    return "; it ".join(parts) or None


def other_rows(expected: pa.Table, found: pa.Table, source: str) -> str | None:
    """How the rows of a table differ from those that it should have, in order; `source` says who has them."""
    if len(expected) != len(found):
        return f"holds {len(found)} rows where {source} {len(expected)}"
    for name in expected.column_names:
        one, other = (table[name].combine_chunks() for table in (expected, found))
        if not _equal(one, other):
            row = next(row for row in range(len(one)) if not _equal(one[row : row + 1], other[row : row + 1]))
            key = expected.column(0)[row].as_py()
            return f"the {name} of {_example(key)} is not what {source}"
    return None


def _equal(one: pa.Array, other: pa.Array) -> bool:
    if pa.types.is_floating(one.type):
        found, expected = (array.to_numpy(zero_copy_only=False) for array in (one, other))
        return one.type == other.type and np.array_equal(found, expected, equal_nan=True)
    return one.equals(other)


def _example(key: Any) -> str:
    return ", ".join(map(str, key)) if isinstance(key, tuple) else str(key)
