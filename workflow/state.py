"""How far data sets and experiments have come, read from the files of the store alone.

A file counts as done when it is there (files appear whole or not at all), unless a run would make it again
(`workflow.plan`); then it is outdated.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from preprocess.running.cli import UserError
from preprocess.store.stages import SHARD_STAGES, STAGES, Stage
from preprocess.video.outcomes import NO_FACE, OK, PARTIAL, UNDECODED, UNUSED, VIDEO_STATUS
from workflow.config import resolve, resolve_experiments

# What takes the time on a network disk is waiting, so several files are waited for.
_READERS = 8


@dataclass(frozen=True, kw_only=True)
class StageStatus:
    """How far one stage of one data set has come; without other values, one that has not begun.

    Attributes:
        stage: One of `STAGES`.
        n_files: Files that it comes to: one a shard, or one in all (`samples`).
        n_done: Of these, made with the settings and the version of now.
        n_outdated: Made with others; they will be made again.
        videos_ok: Videos that came through, in the files that are there; for `landmarks`, those with landmarks; null
            for `masks`, whose files do not count videos.
        lost: Videos that came into the stage and not out of it, by reason (`preprocess.video.outcomes`); for `samples`,
            of all stages together.
        left_out: Videos that a setting leaves out (`unused`).
        videos_left: Videos in shards that are not there yet, by the last stage that knows; null before the index.
        n_bytes: Size of the stage's files.
    """

    stage: str
    n_files: int
    n_done: int = 0
    n_outdated: int = 0
    videos_ok: int | None = 0
    lost: dict[str, int] = field(default_factory=dict)
    left_out: int = 0
    videos_left: int | None = None
    n_bytes: int = 0


@dataclass(frozen=True)
class DatasetStatus:
    """How far a data set has come: what the config says of it, its videos (null before the index), its stages."""

    name: str
    layout: str
    root: str
    n_shards: int
    n_videos: int | None
    stages: list[StageStatus]


@dataclass(frozen=True)
class ExperimentStatus:
    """How far an experiment has come.

    Attributes:
        name: Name of the experiment.
        n_seeds: Seeds to train; none of an ensemble.
        n_trained: Seeds whose detector is there, and not outdated.
        n_predictions: Predictions to make: one for each seed and test data set.
        n_predicted: Predictions that are there, and not outdated.
        evaluated: Whether `eval.csv` is there, and neither it nor a prediction is outdated.
        left: Files that are not there yet, or outdated.
    """

    name: str
    n_seeds: int
    n_trained: int
    n_predictions: int
    n_predicted: int
    evaluated: bool
    left: list[str]


@dataclass(frozen=True)
class _FileStatus:
    """What a shard's file says: whether it is current, its size, its videos.

    Attributes:
        videos_ok: Videos that came through; 0 where the file does not count them.
        lost: Videos that its stage lost, by reason.
    """

    is_current: bool
    n_bytes: int
    videos_ok: int
    lost: Counter


def read_status(
    config: dict, folder: Path, outdated: Collection[str]
) -> tuple[list[DatasetStatus], list[ExperimentStatus]]:
    """The state of every data set and every experiment.

    Args:
        config: A config that `check_config` lets pass.
        folder: Where the workflow runs: the folder of `data/` and `results/`.
        outdated: Files that a run would make again (`workflow.plan.read_outdated`).

    Raises:
        UserError: A file of the store cannot be read.
    """
    outdated_paths = {folder / file for file in outdated}
    with ThreadPoolExecutor(_READERS) as readers:
        datasets = [
            _dataset_status(name, resolved, folder / "data", outdated_paths, readers)
            for name, resolved in resolve(config).items()
        ]
    experiments = [
        _experiment_status(name, block, folder, outdated_paths) for name, block in resolve_experiments(config).items()
    ]
    return datasets, experiments


def _dataset_status(
    name: str, resolved: dict, data: Path, outdated: set[Path], readers: ThreadPoolExecutor
) -> DatasetStatus:
    shards = resolved["shards"]
    index, ok_of_shard = _index_status(name, shards, data, outdated)
    stages = [index]
    for stage in SHARD_STAGES.values():
        if stage.name == "index":
            continue
        paths = [data / stage.shard_file(name, shard) for shard in shards]
        read = partial(_file_status, stage=stage, outdated=outdated)
        there = {shard: file for shard, file in zip(shards, readers.map(read, paths), strict=True) if file is not None}
        stages.append(_shard_stage_status(stage, shards, there, ok_of_shard))
        if stage.loses_videos and ok_of_shard:
            ok_of_shard |= {shard: file.videos_ok for shard, file in there.items()}
    stages.append(_samples_status(name, data, outdated, ok_of_shard))
    return DatasetStatus(
        name=name,
        layout=resolved["layout"],
        root=resolved["root"],
        n_shards=len(shards),
        n_videos=(index.videos_ok or 0) + index.left_out + sum(index.lost.values()) if ok_of_shard else None,
        stages=stages,
    )


def _index_status(name: str, shards: list[str], data: Path, outdated: set[Path]) -> tuple[StageStatus, dict[str, int]]:
    """The index, and how many videos of each shard it passes on; empty before there is one."""
    stage = STAGES["index"]
    (table_path,) = (data / table for table in stage.tables(name))
    lists = [path for shard in shards if (path := data / stage.shard_file(name, shard)).exists()]
    table = _read_columns(table_path, ["shard", "status"])
    if table is None:
        return StageStatus(stage="index", n_files=len(shards), n_outdated=len(lists), n_bytes=_size(lists)), {}
    is_current = outdated.isdisjoint((table_path, *lists))
    counts = table.group_by(["shard", "status"]).aggregate([([], "count_all")]).to_pydict()
    by_status: Counter[str] = Counter()
    ok_of_shard = dict.fromkeys(shards, 0)
    for shard, status, count in zip(counts["shard"], counts["status"], counts["count_all"], strict=True):
        by_status[status] += count
        if status == OK and shard in ok_of_shard:
            ok_of_shard[shard] += count
    status = StageStatus(
        stage="index",
        n_files=len(shards),
        n_done=len(lists) if is_current else 0,
        n_outdated=0 if is_current else len(lists),
        videos_ok=by_status[OK],
        lost=_in_order({status: count for status, count in by_status.items() if status not in (OK, UNUSED)}),
        left_out=by_status[UNUSED],
        videos_left=0,
        n_bytes=_size([table_path, *lists]),
    )
    return status, ok_of_shard


def _shard_stage_status(
    stage: Stage, shards: list[str], there: dict[str, _FileStatus], ok_of_shard: dict[str, int]
) -> StageStatus:
    """A stage with a file for each shard.

    Args:
        stage: Which.
        shards: Names of all shards.
        there: Its files that are there, by shard.
        ok_of_shard: Videos that came into the stage, by shard; empty before the index.
    """
    lost: Counter = Counter()
    for shard, file in there.items():
        lost += file.lost
        if stage.name == "crops":
            # a video of which no crop could be cut may have no row that says so
            lost[UNDECODED] += max(0, ok_of_shard.get(shard, 0) - file.videos_ok)
    n_done = sum(file.is_current for file in there.values())
    return StageStatus(
        stage=stage.name,
        n_files=len(shards),
        n_done=n_done,
        n_outdated=len(there) - n_done,
        videos_ok=None if stage.name == "masks" else sum(file.videos_ok for file in there.values()),
        lost=_in_order(lost),
        videos_left=sum(ok_of_shard[shard] for shard in shards if shard not in there) if ok_of_shard else None,
        n_bytes=sum(file.n_bytes for file in there.values()),
    )


def _samples_status(name: str, data: Path, outdated: set[Path], ok_of_shard: dict[str, int]) -> StageStatus:
    stage = STAGES["samples"]
    samples, ledger = files = [data / table for table in stage.tables(name)]
    table = _read_columns(ledger, ["status"])
    # the samples are written last
    if table is None or not samples.exists():
        videos_left = sum(ok_of_shard.values()) if ok_of_shard else None
        return StageStatus(stage="samples", n_files=1, videos_left=videos_left, n_bytes=_size(files))
    by_status = Counter({row["values"]: row["counts"] for row in pc.value_counts(table["status"]).to_pylist()})
    is_current = outdated.isdisjoint(files)
    return StageStatus(
        stage="samples",
        n_files=1,
        n_done=int(is_current),
        n_outdated=int(not is_current),
        videos_ok=by_status[OK] + by_status[PARTIAL],
        lost=_in_order({key: count for key, count in by_status.items() if key not in (OK, PARTIAL, UNUSED)}),
        left_out=by_status[UNUSED],
        videos_left=0,
        n_bytes=_size(files),
    )


def _file_status(path: Path, *, stage: Stage, outdated: set[Path]) -> _FileStatus | None:
    """What a shard's file says; None when it is not there: a run that goes on removes what it makes anew."""
    try:
        file = path.stat()
    except FileNotFoundError:
        return None
    lost: Counter = Counter()
    if stage.shard_suffix == "h5":
        read = _read_h5(path, stage)
        if read is None:
            return None
        videos_ok = read
    else:
        table = _read_columns(path, ["video_id", "status"])
        if table is None:
            return None
        videos_ok, without = _count_videos(table, with_face=(OK, UNUSED) if stage.name == "faces" else (OK,))
        if stage.loses_videos:
            lost = without
    return _FileStatus(path not in outdated, file.st_size, videos_ok, lost)


def _count_videos(table: pa.Table, with_face: tuple[str, ...]) -> tuple[int, Counter]:
    """Videos with a good row, and the others by what their rows say; one with `no_face` and `undecoded`: `no_face`."""
    good = pc.is_in(table["status"], pa.array(with_face))
    ok = pc.unique(table.filter(good)["video_id"])
    bad = table.filter(pc.invert(good))
    bad = bad.filter(pc.invert(pc.is_in(bad["video_id"], ok)))
    reason: dict[str, str] = {}
    for video, status in zip(bad["video_id"].to_pylist(), bad["status"].to_pylist(), strict=True):
        if reason.get(video) != NO_FACE:
            reason[video] = status
    return len(ok), Counter(reason.values())


def _read_h5(path: Path, stage: Stage) -> int | None:
    """How many videos a file has crops of, where it holds crops."""
    try:
        with h5py.File(path, "r") as file:
            if stage.name != "crops":
                return 0
            there = file["crops/size"][:, 0] > 0
            return len(np.unique(file["crops/video"][:][there]))
    except FileNotFoundError:
        return None
    except (OSError, KeyError) as error:
        raise UserError(f"cannot read {path}: {error}. Remove it and run again") from error


def _read_columns(path: Path, columns: list[str]) -> pa.Table | None:
    try:
        with pq.ParquetFile(path) as file:
            table = file.read(columns)
            return table.replace_schema_metadata(file.schema_arrow.metadata)
    except FileNotFoundError:
        return None
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"cannot read {path}: {error}. Remove it and run again") from error


def _experiment_status(name: str, experiment: dict, folder: Path, outdated: set[Path]) -> ExperimentStatus:
    results = folder / "results" / name
    seeds = [results / f"seed{seed}" for seed in experiment["seeds"]]
    detectors = [] if "ensemble" in experiment else [seed / "detector.ckpt" for seed in seeds]
    predictions = [seed / "predictions" / f"{dataset}.parquet" for seed in seeds for dataset in experiment["test"]]

    def is_done(path: Path) -> bool:
        return path.exists() and path not in outdated

    trained = list(filter(is_done, detectors))
    predicted = list(filter(is_done, predictions))
    table = results / "eval.csv"
    evaluated = len(predicted) == len(predictions) and is_done(table)
    left = [path for path in (*detectors, *predictions) if path not in (*trained, *predicted)]
    left += [] if evaluated else [table]
    return ExperimentStatus(
        name=name,
        n_seeds=len(detectors),
        n_trained=len(trained),
        n_predictions=len(predictions),
        n_predicted=len(predicted),
        evaluated=evaluated,
        left=[str(path.relative_to(folder)) for path in left],
    )


def _in_order(lost: dict[str, int]) -> dict[str, int]:
    return {status: lost[status] for status in VIDEO_STATUS if lost.get(status)}


def _size(paths: Iterable[Path]) -> int:
    n_bytes = 0
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            n_bytes += path.stat().st_size
    return n_bytes
