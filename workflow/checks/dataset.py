"""Checks of all files of one data set."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from preprocess.running.cli import progress
from preprocess.running.workers import map_videos
from preprocess.samples import ShardFiles, collect_shard
from preprocess.store.origin import Origin
from preprocess.store.schemas import FACES, FRAMES, INDEX, LANDMARKS, LEDGER
from preprocess.store.stages import SHARD_STAGES, STAGES
from preprocess.store.tables import read_table
from preprocess.video.probe import ProbeError
from workflow.checks import rows
from workflow.checks.files import check_content, check_file
from workflow.checks.report import DAMAGED, DISAGREES, MISSING, CheckReport

# A shard that takes longer to check hangs.
_SHARD_SECONDS = 24 * 3600.0

# Columns of a shard's tables, by stage.
SCHEMAS = {"index": INDEX, "frames": FRAMES, "faces": FACES, "landmarks": LANDMARKS}


class Comparison(NamedTuple):
    """What must hold of a shard's file, where the files of other stages are compared with it.

    Attributes:
        stage: Stage of the file that is found wrong.
        sources: Stages of the files that it was made from.
        compare: Takes their paths, then its own; returns what is wrong with it, or None.
    """

    stage: str
    sources: tuple[str, ...]
    compare: Callable[..., str | None]


# In the order of the stages: a file with which something is wrong is no measure for those made from it. The lists of
# the index are compared with its table.
COMPARISONS = (
    Comparison("frames", ("index",), rows.compare_frames),
    Comparison("faces", ("frames",), rows.compare_faces),
    Comparison("crops", (), rows.check_crops),
    Comparison("crops", ("faces",), rows.compare_crops),
    Comparison("landmarks", ("crops",), rows.compare_landmarks),
    Comparison("masks", ("crops",), rows.compare_masks),
)


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
        return self.tables("index")[0]

    @property
    def collected(self) -> list[Path]:
        """Table of all samples, and the ledger of every video's outcome."""
        return self.tables("samples")

    def tables(self, stage: str) -> list[Path]:
        """Files that a stage writes for the whole data set."""
        return [self.data / table for table in STAGES[stage].tables(self.name)]

    def files(self, shard: str) -> dict[str, Path]:
        """Files of a shard by stage; of `index`, the list of its videos."""
        return {name: self.data / stage.shard_file(self.name, shard) for name, stage in SHARD_STAGES.items()}

    def origin(self, stage: str, shard: str = "") -> Origin:
        """What the config asks to be written in a file of a stage."""
        return Origin(self.name, stage, self.settings[stage], STAGES[stage].version, shard)


def check_dataset(store: DatasetStore, workers: int) -> CheckReport:
    """Check all files of a data set.

    Args:
        store: Its files.
        workers: Shards checked side by side.
    """
    report = CheckReport()
    tables = {path: stage for stage in STAGES for path in store.tables(stage) if path.exists()}
    if not tables and not any(path.exists() for shard in store.shards for path in store.files(shard).values()):
        report.notes.append(f"{store.name}: nothing has been made yet")
        return report
    for path, stage in tables.items():
        check_file(path, store.origin(stage), report)
    if store.index not in tables:
        report.find(store.index, MISSING, "is absent, though files were made from it")
    collected = [path for path in store.collected if path in tables]
    if len(collected) == 1:
        (absent,) = set(store.collected) - set(collected)
        report.find(absent, MISSING, f"is absent, though {collected[0]} was made with it")
    sound = frozenset(path for path in tables if report.is_sound(path))
    items = [(store, shard, sound, bool(collected)) for shard in store.shards]
    results = map_videos(_check_shard, items, workers=workers, video_seconds=_SHARD_SECONDS)
    description = f"verify {store.name}"
    for shard, found in zip(
        store.shards, progress(results, total=len(items), description=description, unit="shard"), strict=True
    ):
        try:
            for part in found:
                report.add(part)
        except ProbeError as error:  # HDF5 crashes over some damaged files
            report.find(store.files(shard)["crops"], DAMAGED, f"checking shard {shard} failed: {error.message}")
    if collected:
        _check_no_strangers(store, sound, report)
    report.notes += _leftovers(store)
    return report


def _check_shard(item: tuple[DatasetStore, str, frozenset[Path], bool]) -> Iterator[CheckReport]:
    """Check the files of one shard; runs in a worker."""
    store, shard, sound_tables, is_collected = item
    report = CheckReport()
    files = store.files(shard)
    stages = list(files)
    for number, (stage, path) in enumerate(files.items()):
        later = [files[name] for name in stages[number + 1 :] if files[name].exists()]
        if path.exists():
            check_file(path, store.origin(stage, shard), report)
        elif later or is_collected:
            below = later[0] if later else store.collected[0]
            report.find(path, MISSING, f"is absent, though {below} was made from it")
    _compare_shard(store, shard, files, sound_tables, report)
    yield report


def _compare_shard(
    store: DatasetStore, shard: str, files: dict[str, Path], sound_tables: frozenset[Path], report: CheckReport
) -> None:
    """Compare every file of a shard with those that it was made from, as far as both are sound."""

    def ready(*stages: str) -> bool:
        return all(files[stage].exists() and report.is_sound(files[stage]) for stage in stages)

    for stage, schema in SCHEMAS.items():
        if ready(stage):
            check_content(files[stage], report, rows.other_columns, files[stage], schema)
    if store.index in sound_tables and ready("index"):
        check_content(files["index"], report, rows.compare_list, store.index, files["index"], shard)
    for stage, sources, compare in COMPARISONS:
        if ready(stage, *sources):
            check_content(files[stage], report, compare, *(files[source] for source in sources), files[stage])
    if ready(*files) and sound_tables.intersection(store.collected):
        samples, ledger = collect_shard(ShardFiles(**files), shard)
        outcomes = pa.Table.from_pylist(sorted(ledger, key=lambda row: row["video_id"]), schema=LEDGER)
        for path, expected in zip(store.collected, (samples, outcomes), strict=True):
            if path in sound_tables:
                check_content(path, report, rows.compare_collected, expected, path, shard)


def _check_no_strangers(store: DatasetStore, sound: frozenset[Path], report: CheckReport) -> None:
    """Whether samples and ledger hold rows of shards that the config does not have."""
    for path in store.collected:
        if path in sound:
            found = set(read_table(path, ["shard"])["shard"].unique().to_pylist())
            if strangers := sorted(found - set(store.shards)):
                report.find(path, DISAGREES, f"holds rows of shard {strangers[0]}; n_shards is {len(store.shards)}")


def _leftovers(store: DatasetStore) -> list[str]:
    """Files in the folders of a data set that belong to no shard of the config."""
    notes = []
    known = {path for shard in store.shards for path in store.files(shard).values()}
    for folder in sorted({path.parent for path in known}):
        strange = sorted(set(folder.iterdir()) - known) if folder.is_dir() else []
        notes += [f"{path} belongs to no shard of the config and may be deleted" for path in strange]
    return notes
