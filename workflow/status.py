"""How far a data folder has come, and what is left: `python -m workflow.status`.

It needs `config.yaml` and the files of the store alone, so it also works while a run is going on. A file counts as
done when it is there (files appear whole or not at all) and was made with the settings and the version that the config
and the program have now; otherwise it is outdated. What exactly would run, and why, `snakemake --dry-run` tells.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from preprocess.running.cli import UserError, run_command
from preprocess.running.config_file import read_config
from preprocess.store import versions
from preprocess.store.origin import Origin
from preprocess.store.schemas import describe_statuses
from preprocess.video.outcomes import NO_FACE, OK, PARTIAL, UNDECODED, UNUSED, VIDEO_STATUS
from workflow.config import check_config, resolve, resolve_experiments

# In the order in which a video goes through them, with the suffix of a shard's file.
SHARD_STAGES = {"frames": "parquet", "faces": "parquet", "crops": "h5", "landmarks": "parquet", "masks": "h5"}
# Stages that lose videos; a face without landmarks or without a known mask is no lost video.
_LOSING = ("frames", "faces", "crops")

# What takes the time on a network disk is waiting, so several files are waited for.
_READERS = 8


@dataclass(frozen=True)
class StageStatus:
    """How far one stage of one data set has come.

    Attributes:
        stage: `index`, one of `SHARD_STAGES`, or `samples`.
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
    n_done: int
    n_outdated: int
    videos_ok: int | None
    lost: dict[str, int]
    left_out: int
    videos_left: int | None
    n_bytes: int


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
        n_trained: Seeds whose detector is there.
        n_predictions: Predictions to make: one for each seed and test data set.
        n_predicted: Predictions that are there.
        evaluated: Whether `eval.csv` is there and no older than any prediction.
        left: Files that are not there yet, or too old.
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
    """One file: whether it is current, its size, its time, and what it says of videos, where it says something."""

    current: bool
    n_bytes: int
    mtime: float
    videos_ok: int | None = None
    lost: Counter | None = None


def read_status(config: dict, folder: Path) -> tuple[list[DatasetStatus], list[ExperimentStatus]]:
    """The state of every data set and every experiment.

    Args:
        config: A config that `check_config` lets pass.
        folder: Where the workflow runs: the folder of `data/` and `results/`.

    Raises:
        UserError: A file of the store cannot be read.
    """
    with ThreadPoolExecutor(_READERS) as readers:
        datasets = [_dataset_status(name, of, folder / "data", readers) for name, of in resolve(config).items()]
    experiments = [_experiment_status(name, of, folder) for name, of in resolve_experiments(config).items()]
    return datasets, experiments


def _dataset_status(name: str, resolved: dict, data: Path, readers: ThreadPoolExecutor) -> DatasetStatus:
    shards = resolved["shards"]
    index, ok_of_shard = _index_status(name, resolved, data)
    stages, newest = [index], 0.0
    for stage, suffix in SHARD_STAGES.items():
        paths = [data / stage / name / f"{shard}.{suffix}" for shard in shards]
        origin = Origin(name, stage, resolved[stage], getattr(versions, stage.upper()))
        read = partial(_file_status, stage=stage, origin=origin)
        there = {s: file for s, file in zip(shards, readers.map(read, paths), strict=True) if file is not None}
        newest = max((newest, *(file.mtime for file in there.values())))
        lost: Counter = Counter()
        for shard, file in there.items():
            if stage == "crops":
                # a video of which no crop could be cut may have no row that says so
                lost[UNDECODED] += max(0, ok_of_shard.get(shard, 0) - file.videos_ok)
            lost.update(file.lost or {})
        stages.append(
            StageStatus(
                stage=stage,
                n_files=len(shards),
                n_done=sum(file.current for file in there.values()),
                n_outdated=sum(not file.current for file in there.values()),
                videos_ok=None if stage == "masks" else sum(file.videos_ok for file in there.values()),
                lost=_in_order(lost),
                left_out=0,
                videos_left=sum(ok_of_shard[s] for s in shards if s not in there) if ok_of_shard else None,
                n_bytes=sum(file.n_bytes for file in there.values()),
            )
        )
        if stage in _LOSING and ok_of_shard:
            ok_of_shard |= {shard: file.videos_ok for shard, file in there.items()}
    stages.append(_samples_status(name, data, newest, ok_of_shard))
    n_videos = index.videos_ok + index.left_out + sum(index.lost.values()) if ok_of_shard else None
    return DatasetStatus(name, resolved["layout"], resolved["root"], len(shards), n_videos, stages)


def _index_status(name: str, resolved: dict, data: Path) -> tuple[StageStatus, dict[str, int]]:
    """The index, and how many videos of each shard it passes on; empty before there is one."""
    shards, table_path = resolved["shards"], data / "index" / f"{name}.parquet"
    lists = [path for shard in shards if (path := data / "index" / name / f"{shard}.parquet").exists()]
    table = _read_columns(table_path, ["shard", "status"])
    if table is None:
        return StageStatus("index", len(shards), 0, len(lists), 0, {}, 0, None, _size(lists)), {}
    origin = Origin(name, "index", resolved["index"], versions.INDEX)
    current = _is_current(_origin_of(table), origin)
    counts = table.group_by(["shard", "status"]).aggregate([([], "count_all")]).to_pydict()
    by_status, ok_of_shard = Counter(), dict.fromkeys(shards, 0)
    for shard, status, count in zip(counts["shard"], counts["status"], counts["count_all"], strict=True):
        by_status[status] += count
        if status == OK and shard in ok_of_shard:
            ok_of_shard[shard] += count
    stage = StageStatus(
        stage="index",
        n_files=len(shards),
        n_done=len(lists) if current else 0,
        n_outdated=0 if current else len(lists),
        videos_ok=by_status[OK],
        lost=_in_order({status: count for status, count in by_status.items() if status not in (OK, UNUSED)}),
        left_out=by_status[UNUSED],
        videos_left=0,
        n_bytes=_size([table_path, *lists]),
    )
    return stage, ok_of_shard


def _samples_status(name: str, data: Path, newest_input: float, ok_of_shard: dict[str, int]) -> StageStatus:
    samples, path = data / "samples" / f"{name}.parquet", data / "samples" / f"{name}.ledger.parquet"
    files = [samples, path]
    table = _read_columns(path, ["status"])
    # the samples are written last
    if table is None or not samples.exists():
        videos_left = sum(ok_of_shard.values()) if ok_of_shard else None
        return StageStatus("samples", 1, 0, 0, 0, {}, 0, videos_left, _size(files))
    by_status = Counter({row["values"]: row["counts"] for row in pc.value_counts(table["status"]).to_pylist()})
    version_is_current = _origin_of(table)["version"] == str(versions.SAMPLES)
    current = version_is_current and _mtime(path) >= newest_input
    return StageStatus(
        stage="samples",
        n_files=1,
        n_done=int(current),
        n_outdated=int(not current),
        videos_ok=by_status[OK] + by_status[PARTIAL],
        lost=_in_order({key: count for key, count in by_status.items() if key not in (OK, PARTIAL, UNUSED)}),
        left_out=by_status[UNUSED],
        videos_left=0,
        n_bytes=_size(files),
    )


def _file_status(path: Path, *, stage: str, origin: Origin) -> _FileStatus | None:
    """What a shard's file says; None when it is not there: a run that goes on removes what it makes anew."""
    try:
        file = path.stat()
    except FileNotFoundError:
        return None
    if path.suffix == ".h5":
        read = _read_h5(path, stage)
        if read is None:
            return None
        found, videos_ok, lost = read
    else:
        table = _read_columns(path, ["video_id", "status"])
        if table is None:
            return None
        found = _origin_of(table)
        videos_ok, lost = _count_videos(table, with_face=(OK, UNUSED) if stage == "faces" else (OK,))
        if stage not in _LOSING:
            lost = Counter()
    return _FileStatus(_is_current(found, origin), file.st_size, file.st_mtime, videos_ok, lost)


def _count_videos(table: pa.Table, with_face: tuple[str, ...]) -> tuple[int, Counter]:
    """Videos with a good row, and the others by what their rows say; one face not found outweighs lost frames."""
    good = pc.is_in(table["status"], pa.array(with_face))
    ok = pc.unique(table.filter(good)["video_id"])
    bad = table.filter(pc.invert(good))
    bad = bad.filter(pc.invert(pc.is_in(bad["video_id"], ok)))
    reason: dict[str, str] = {}
    for video, status in zip(bad["video_id"].to_pylist(), bad["status"].to_pylist(), strict=True):
        if reason.get(video) != NO_FACE:
            reason[video] = status
    return len(ok), Counter(reason.values())


def _read_h5(path: Path, stage: str) -> tuple[dict[str, str], int | None, Counter] | None:
    try:
        with h5py.File(path, "r") as file:
            origin = {key: str(value) for key, value in file.attrs.items()}
            if stage == "masks":
                return origin, None, Counter()
            there = file["crops/size"][:, 0] > 0
            return origin, len(np.unique(file["crops/video"][:][there])), Counter()
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


def _origin_of(table: pa.Table) -> dict[str, str]:
    return {key.decode(): value.decode() for key, value in (table.schema.metadata or {}).items()}


def _is_current(found: dict[str, str], origin: Origin) -> bool:
    return (found.get("settings"), found.get("version")) == (origin.settings, str(origin.version))


def _experiment_status(name: str, experiment: dict, folder: Path) -> ExperimentStatus:
    results = folder / "results" / name
    seeds = [results / f"seed{seed}" for seed in experiment["seeds"]]
    detectors = [] if "ensemble" in experiment else [seed / "detector.ckpt" for seed in seeds]
    predictions = [seed / "predictions" / f"{dataset}.parquet" for seed in seeds for dataset in experiment["test"]]
    trained = [path for path in detectors if path.exists()]
    predicted = [path for path in predictions if path.exists()]
    table = results / "eval.csv"
    evaluated = len(predicted) == len(predictions) and table.exists()
    if evaluated:
        evaluated = all(_mtime(table) >= _mtime(path) for path in predicted)
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


def format_status(datasets: list[DatasetStatus], experiments: list[ExperimentStatus]) -> str:
    """The state as tables for a person."""
    parts = [_format_dataset(dataset) for dataset in datasets]
    if experiments:
        parts.append(_format_experiments(experiments))
    return "\n\n".join(parts)


def _format_dataset(dataset: DatasetStatus) -> str:
    videos = "not indexed yet" if dataset.n_videos is None else f"{_count(dataset.n_videos, 'video')}"
    n_bytes = _readable_size(sum(stage.n_bytes for stage in dataset.stages))
    lines = [f"{dataset.name}: {videos}, {_count(dataset.n_shards, 'shard')}, {n_bytes} made from {dataset.root}"]
    table = [("stage", "done", "of", "outdated", "left", "videos ok", "lost", "videos left", "size")]
    for stage in dataset.stages:
        begun = stage.n_done + stage.n_outdated > 0
        n_lost = sum(stage.lost.values())
        table.append(
            (
                stage.stage,
                f"{stage.n_done:,}",
                f"{stage.n_files:,}",
                f"{stage.n_outdated:,}" if stage.n_outdated else "—",
                f"{stage.n_files - stage.n_done:,}",
                f"{stage.videos_ok:,}" if begun and stage.videos_ok is not None else "—",
                f"{n_lost:,}" if begun and (stage.stage in (*_LOSING, "index", "samples")) else "—",
                "?" if stage.videos_left is None else f"{stage.videos_left:,}",
                _readable_size(stage.n_bytes) if begun else "—",
            )
        )
    lines += [f"  {line}" for line in _aligned(table)]
    for stage in dataset.stages[:-1]:
        if stage.lost:
            lines.append(f"  lost in {stage.stage}: {describe_statuses(stage.lost)}")
        if stage.left_out:
            lines.append(f"  left out by settings: {stage.left_out:,}")
    return "\n".join(lines)


def _format_experiments(experiments: list[ExperimentStatus]) -> str:
    table = [("experiment", "trained", "of", "predicted", "of", "evaluated", "next")]
    for of in experiments:
        next_file = of.left[0] if of.left else "—"
        counts = (f"{of.n_trained}", f"{of.n_seeds}", f"{of.n_predicted}", f"{of.n_predictions}")
        table.append((of.name, *counts, "yes" if of.evaluated else "no", next_file))
    return "\n".join(_aligned(table, left_columns=(0, 5, 6)))


def _aligned(table: list[tuple[str, ...]], left_columns: Iterable[int] = (0,)) -> list[str]:
    widths = [max(len(line[column]) for line in table) for column in range(len(table[0]))]
    return [
        "  ".join(
            cell.ljust(width) if column in left_columns else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in table
    ]


def _in_order(lost: dict[str, int]) -> dict[str, int]:
    return {status: lost[status] for status in VIDEO_STATUS if lost.get(status)}


def _count(number: int, word: str) -> str:
    return f"{number:,} {word}" + "s" * (number != 1)


def _readable_size(n_bytes: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if n_bytes < 999.5:
            return f"{n_bytes:.0f} B" if unit == "B" else f"{n_bytes:.3g} {unit}"
        n_bytes /= 1000
    return f"{n_bytes:,.3g} TB" if n_bytes < 1000 else f"{n_bytes:,.0f} TB"


def _size(paths: Iterable[Path]) -> int:
    n_bytes = 0
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            n_bytes += path.stat().st_size
    return n_bytes


def _mtime(path: Path) -> float:
    """Time of a file's last change; 0 when it is not there."""
    with contextlib.suppress(FileNotFoundError):
        return path.stat().st_mtime
    return 0.0


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, default=Path("config.yaml"), help="config file (default: %(default)s)")
    parser.add_argument(
        "--resolved-config", help="the config itself as JSON, instead of a file; the workflow's `status` gives it so"
    )
    parser.add_argument("--folder", type=Path, default=Path(), help="folder of data/ and results/ (default: this one)")
    parser.add_argument("--json", action="store_true", help="print JSON, for other programs")
    args = parser.parse_args()
    config = json.loads(args.resolved_config) if args.resolved_config else read_config(args.config)
    check_config(config)
    datasets, experiments = read_status(config, args.folder)
    if args.json:
        state = {"datasets": [asdict(of) for of in datasets], "experiments": [asdict(of) for of in experiments]}
        json.dump(state, sys.stdout, indent=2)
        print()
    else:
        print(format_status(datasets, experiments))


if __name__ == "__main__":
    run_command(main)
