"""Checks of the files of one data set: each by itself, and against those that it was made from."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from preprocess.running.cli import UserError, progress
from preprocess.running.system_errors import brief
from preprocess.running.workers import map_videos
from preprocess.samples import ShardFiles, collect_shard
from preprocess.store import checksum, versions
from preprocess.store.crop_file import CropReader
from preprocess.store.origin import Origin, read_origin
from preprocess.store.schemas import FACES, FRAMES, INDEX, LANDMARKS, LEDGER
from preprocess.store.tables import read_table
from preprocess.video.outcomes import OK
from preprocess.video.probe import ProbeError

# What may be wrong with a file.
MISSING = "missing"  # absent, though a file that was made from it is there
DAMAGED = "damaged"  # not the bytes that were written, or not readable
STALE = "stale"  # made by another version, with other settings, or for another place
DISAGREES = "disagrees"  # its rows are not those of the files that it was made from

# Stages with a file for each shard, in the order in which they are made; the names are fields of `ShardFiles`.
_SHARD_STAGES = ("list", "frames", "faces", "crops", "landmarks", "masks")
_TABLES = {"list": INDEX, "frames": FRAMES, "faces": FACES, "landmarks": LANDMARKS}
# A shard that takes longer to check hangs.
_SHARD_SECONDS = 24 * 3600.0
# What reading a damaged file raises.
_READ_ERRORS = (UserError, OSError, KeyError, ValueError, TypeError, RuntimeError, IndexError, pa.ArrowException)


@dataclass(frozen=True)
class Finding:
    """Something that is wrong with a file.

    Attributes:
        file: Path of the file.
        problem: `missing`, `damaged`, `stale` or `disagrees`.
        message: What, in words.
    """

    file: str
    problem: str
    message: str


@dataclass
class Checked:
    """What a check found.

    Attributes:
        findings: What is wrong.
        n_files: Files looked at.
        without_checksum: Those of them that were written before files had checksums.
        notes: What is not wrong and still worth a word.
    """

    findings: list[Finding] = field(default_factory=list)
    n_files: int = 0
    without_checksum: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, other: Checked) -> None:
        """Take up what another check found."""
        self.findings += other.findings
        self.n_files += other.n_files
        self.without_checksum += other.without_checksum
        self.notes += other.notes

    def find(self, path: Path, problem: str, message: str) -> None:
        """Note that something is wrong with a file."""
        self.findings.append(Finding(str(path), problem, message))

    def is_sound(self, path: Path) -> bool:
        """Whether nothing was found wrong with a file so far."""
        return all(finding.file != str(path) for finding in self.findings)

    def compare(self, path: Path, compare: Callable[[], str | None]) -> None:
        """Find that a file disagrees when `compare` says in what, or that it is damaged when that fails."""
        try:
            message = compare()
        except _READ_ERRORS as error:
            self.find(path, DAMAGED, f"cannot be read: {brief(error)}")
            return
        if message:
            self.find(path, DISAGREES, message)

    def check_file(self, path: Path, expected: Origin) -> None:
        """Check the checksum of a file, then its origin; settings of `expected` that are empty are not compared."""
        self.n_files += 1
        try:
            sound = checksum.verify(path)
            if sound is False:
                self.find(path, DAMAGED, "its checksum does not fit: its bytes are not those that were written")
                return
            if sound is None:
                self.without_checksum.append(str(path))
            found = read_origin(path)
        except _READ_ERRORS as error:
            self.find(path, DAMAGED, f"cannot be read: {brief(error)}")
            return
        if message := _other_origin(found, expected):
            self.find(path, STALE, message)


@dataclass(frozen=True)
class DatasetStore:
    """The files of one data set in a store, and what the config asks of them.

    Attributes:
        name: Of the data set.
        data: Folder of the store.
        shards: Names of its shards.
        settings: By stage, settings as JSON.
    """

    name: str
    data: Path
    shards: tuple[str, ...]
    settings: dict[str, str]

    @property
    def index(self) -> Path:
        """Table of all videos."""
        return self.data / "index" / f"{self.name}.parquet"

    @property
    def samples(self) -> Path:
        """Table of all samples."""
        return self.data / "samples" / f"{self.name}.parquet"

    @property
    def ledger(self) -> Path:
        """Table of every video's outcome."""
        return self.data / "samples" / f"{self.name}.ledger.parquet"

    def files(self, shard: str) -> dict[str, Path]:
        """Files of a shard by stage."""
        files = ShardFiles.of(self.data, self.name, shard)
        return {stage: getattr(files, stage) for stage in _SHARD_STAGES}

    def origin(self, stage: str, shard: str = "") -> Origin:
        """What the config asks to be written in a file of a stage."""
        stage = "index" if stage == "list" else stage
        return Origin(self.name, stage, self.settings[stage], getattr(versions, stage.upper()), shard)


def check_dataset(store: DatasetStore, workers: int) -> Checked:
    """Check all files of a data set.

    Args:
        store: Its files.
        workers: Shards checked side by side.
    """
    checked = Checked()
    made = [path for shard in store.shards for path in store.files(shard).values() if path.exists()]
    tables = {path: stage for path, stage in _dataset_tables(store).items() if path.exists()}
    if not made and not tables:
        checked.notes.append(f"{store.name}: nothing has been made yet")
        return checked
    for path, stage in tables.items():
        checked.check_file(path, store.origin(stage))
    if not store.index.exists():
        checked.find(store.index, MISSING, "is absent, though files were made from it")
    collected = [path for path in (store.samples, store.ledger) if path.exists()]
    if len(collected) == 1:
        absent = store.ledger if collected[0] == store.samples else store.samples
        checked.find(absent, MISSING, f"is absent, though {collected[0]} was made with it")
    sound = frozenset(path for path in tables if checked.is_sound(path))
    items = [(store, shard, sound, bool(collected)) for shard in store.shards]
    results = map_videos(_check_shard, items, workers=workers, video_seconds=_SHARD_SECONDS)
    description = f"verify {store.name}"
    for shard, found in zip(
        store.shards, progress(results, total=len(items), description=description, unit="shard"), strict=True
    ):
        try:
            for part in found:
                checked.add(part)
        except ProbeError as error:  # HDF5 crashes over some damaged files
            checked.find(store.files(shard)["crops"], DAMAGED, f"checking shard {shard} failed: {error.message}")
    if collected:
        _check_no_strangers(store, sound, checked)
    checked.notes += _leftovers(store)
    return checked


def _dataset_tables(store: DatasetStore) -> dict[Path, str]:
    return {store.index: "index", store.samples: "samples", store.ledger: "samples"}


def _check_shard(item: tuple[DatasetStore, str, frozenset[Path], bool]) -> Iterator[Checked]:
    """Check the files of one shard; runs in a worker."""
    store, shard, sound_tables, is_collected = item
    checked = Checked()
    files = store.files(shard)
    for number, (stage, path) in enumerate(files.items()):
        later = [files[name] for name in _SHARD_STAGES[number + 1 :] if files[name].exists()]
        if not path.exists():
            if later or is_collected:
                below = later[0] if later else store.samples
                checked.find(path, MISSING, f"is absent, though {below} was made from it")
            continue
        checked.check_file(path, store.origin(stage, shard))
    _compare_shard(store, shard, files, sound_tables, checked)
    yield checked


def _compare_shard(
    store: DatasetStore, shard: str, files: dict[str, Path], sound_tables: frozenset[Path], checked: Checked
) -> None:
    """Compare every file of a shard with those that it was made from, as far as both are sound."""

    def ready(*paths: Path) -> bool:
        return all(path.exists() and checked.is_sound(path) for path in paths)

    for stage, schema in _TABLES.items():
        if ready(files[stage]):
            checked.compare(files[stage], lambda path=files[stage], schema=schema: other_columns(path, schema))
    if store.index in sound_tables and ready(files["list"]):
        checked.compare(files["list"], lambda: _compare_list(store.index, files["list"], shard))
    if ready(files["list"], files["frames"]):
        checked.compare(files["frames"], lambda: _compare_frames(files["list"], files["frames"]))
    if ready(files["frames"], files["faces"]):
        checked.compare(files["faces"], lambda: _compare_faces(files["frames"], files["faces"]))
    if ready(files["crops"]):
        checked.compare(files["crops"], lambda: _check_crops(files["crops"]))
    if ready(files["faces"], files["crops"]):
        checked.compare(files["crops"], lambda: _compare_crops(files["faces"], files["crops"]))
    if ready(files["crops"], files["landmarks"]):
        checked.compare(files["landmarks"], lambda: _compare_landmarks(files["crops"], files["landmarks"]))
    if ready(files["crops"], files["masks"]):
        checked.compare(files["masks"], lambda: _compare_masks(files["crops"], files["masks"]))
    if ready(*files.values()) and sound_tables.intersection((store.samples, store.ledger)):
        samples, ledger = collect_shard(ShardFiles(**files), shard)
        expected = pa.Table.from_pylist(sorted(ledger, key=lambda row: row["video_id"]), schema=LEDGER)
        for path, table in ((store.samples, samples), (store.ledger, expected)):
            if path in sound_tables:
                checked.compare(path, lambda path=path, table=table: _compare_rows(path, table, shard))


# --- what must hold between files ----------------------------------------------------------------


def other_columns(path: Path, schema: pa.Schema) -> str | None:
    """How the columns of a table differ from those of its stage; None: not at all."""
    found = pq.read_schema(path)
    return None if found.equals(schema) else f"has the columns {', '.join(found.names)}, not those of its stage"


def _compare_list(index: Path, path: Path, shard: str) -> str | None:
    return other_rows(_rows_of_shard(index, shard), read_table(path), f"{index} has of this shard")


def _compare_frames(listed: Path, path: Path) -> str | None:
    videos = read_table(listed, ["video_id", "status"]).to_pylist()
    frames = read_table(path, ["video_id", "frame_index"]).to_pylist()
    expected = {video["video_id"] for video in videos if video["status"] == OK}
    keys = [(frame["video_id"], frame["frame_index"]) for frame in frames]
    if len(set(keys)) != len(keys):
        return f"holds a frame twice: {Counter(keys).most_common(1)[0][0]}"
    return _other_keys(expected, {video for video, _ in keys}, "videos", listed)


def _compare_faces(frames: Path, path: Path) -> str | None:
    sampled = read_table(frames, ["video_id", "frame_index", "status"]).to_pylist()
    found = read_table(path, ["video_id", "frame_index"]).to_pylist()
    expected = {(row["video_id"], row["frame_index"]) for row in sampled if row["status"] == OK}
    return _other_keys(expected, {tuple(row.values()) for row in found}, "frames", frames)


def _check_crops(path: Path) -> str | None:
    with CropReader(path) as crops, h5py.File(path, "r") as file:
        if message := _broken_blobs(file["images"], len(crops)):
            return message
        sizes = np.diff(file["images/offset"][:])
        odd = np.flatnonzero((sizes == 0) == (crops.status == OK))
        return f"crop {odd[0]} has {sizes[odd[0]]} bytes and the status {crops.status[odd[0]]!r}" if len(odd) else None


def _compare_crops(faces: Path, path: Path) -> str | None:
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


def _compare_landmarks(crops_path: Path, path: Path) -> str | None:
    rows = read_table(path, ["video_id", "frame_index", "track_id", "crop_row"]).to_pylist()
    with CropReader(crops_path) as crops:
        expected = [(*key, row) for row, key in enumerate(_crop_keys(crops))]
    found = [tuple(row.values()) for row in rows]
    if len(found) != len(expected):
        return f"has {len(found)} rows, {crops_path} has {len(expected)}"
    return _other_keys(set(expected), set(found), "crops", crops_path) or (
        None if found == expected else f"its rows are not in the order of {crops_path}"
    )


def _compare_masks(crops_path: Path, path: Path) -> str | None:
    with CropReader(crops_path) as crops, h5py.File(path, "r") as file:
        n_masks = len(file["mask_source"])
        if n_masks != len(crops):
            return f"has masks of {n_masks} crops, {crops_path} has {len(crops)}"
        return _broken_blobs(file["hull"], n_masks) or _broken_blobs(file["manipulation"], n_masks)


def _compare_rows(path: Path, expected: pa.Table, shard: str) -> str | None:
    return other_rows(expected, _rows_of_shard(path, shard), f"the files of shard {shard} give")


def _rows_of_shard(path: Path, shard: str) -> pa.Table:
    # row groups that hold no row of the shard are not read
    return pq.read_table(path, filters=pc.field("shard") == shard, page_checksum_verification=True)


def _check_no_strangers(store: DatasetStore, sound: frozenset[Path], checked: Checked) -> None:
    """Whether samples and ledger hold rows of shards that the config does not have."""
    for path in (store.samples, store.ledger):
        if path in sound:
            found = set(read_table(path, ["shard"])["shard"].unique().to_pylist())
            if strangers := sorted(found - set(store.shards)):
                checked.find(path, DISAGREES, f"holds rows of shard {strangers[0]}; n_shards is {len(store.shards)}")


def _broken_blobs(group: h5py.Group, n_items: int) -> str | None:
    """What is wrong with the places of images in a group that `store.BlobWriter` wrote."""
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
        numbers = (array.to_numpy(zero_copy_only=False) for array in (one, other))
        return one.type == other.type and np.array_equal(*numbers, equal_nan=True)
    return one.equals(other)


def _other_origin(found: Origin, expected: Origin) -> str | None:
    """How a file differs from what the config asks for at its place."""
    place = f"shard {expected.shard} of {expected.dataset}" if expected.shard else expected.dataset
    if (found.dataset, found.stage, found.shard) != (expected.dataset, expected.stage, expected.shard):
        return (
            f"says that it is {found.stage} of {found.dataset} {found.shard}, "
            f"in the place of {expected.stage} of {place}"
        )
    if found.version != expected.version:
        return f"was made by version {found.version} of its stage, which is at {expected.version}"
    return other_settings(json.loads(found.settings), json.loads(expected.settings)) if expected.settings else None


def other_settings(found: dict, expected: dict) -> str | None:
    """The first setting in which two differ, in words."""
    for name in sorted(found.keys() | expected.keys()):
        if found.get(name) != expected.get(name):
            return f"was made with {name} {found.get(name)!r}, the config asks for {expected.get(name)!r}"
    return None


def _leftovers(store: DatasetStore) -> list[str]:
    """Files in the folders of a data set that belong to no shard of the config."""
    notes = []
    known = {path for shard in store.shards for path in store.files(shard).values()}
    for folder in sorted({path.parent for path in known}):
        strange = sorted(set(folder.iterdir()) - known) if folder.is_dir() else []
        notes += [f"{path} belongs to no shard of the config and may be deleted" for path in strange]
    return notes


def _example(key: Any) -> str:
    return ", ".join(map(str, key)) if isinstance(key, tuple) else str(key)
