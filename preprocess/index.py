"""Stage `index`: the videos of a raw collection, what it says of each, and what each file really holds.

Every video becomes a row, also one that is missing or cannot be opened: its status and message say so, and its
measured columns are null. A video's shard is a hash of its source group, so that a real video and every fake
made from it share a shard. A checksum of the file's bytes tells a replaced video from the one before, and copies of
a collection have the same index whatever the times of their files. A collection that shrank since its last index
leaves that one as it is, until someone says that it is right.
"""

from __future__ import annotations

import argparse
import errno
import itertools
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from preprocess.datasets import LAYOUTS
from preprocess.datasets.downsample import left_out_fakes
from preprocess.datasets.raw import RawVideo, leads_out
from preprocess.datasets.shrunk import LAYOUT_KEY, check_shrunk, read_last_index
from preprocess.running.cli import VIDEO_SECONDS, UserError, add_worker_arguments, log, progress, run_command
from preprocess.running.raw_files import FileState, file_checksum, file_state
from preprocess.running.settings import load_settings, settings_json
from preprocess.running.workers import map_videos
from preprocess.settings.index import IndexSettings
from preprocess.store import versions
from preprocess.store.origin import Origin
from preprocess.store.schemas import INDEX, describe_statuses
from preprocess.store.shards import shard_name, stable_hash
from preprocess.store.stages import MAX_LOST_SHARE
from preprocess.store.tables import write_table
from preprocess.video.outcomes import MISSING, OK, UNLABELLED, UNREADABLE, UNUSED
from preprocess.video.probe import ProbeError, probe_image, probe_video

_RAW_COLUMNS = (
    *("video_id", "path", "kind", "label", "method", "compression", "split"),
    *("source_id", "source_group", "mask_path", "metadata"),
)
_PROBED_COLUMNS = ("codec", "height", "width", "n_frames", "fps", "duration_seconds")
_MEASURED_COLUMNS = (*_PROBED_COLUMNS, "n_bytes", "checksum", "mask_checksum")
# How often a file is measured that changes meanwhile.
_TRIES = 2
# What the system says of a path that leads to no file: also a loop of links, or a name longer than it can hold.
_ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG)


def index_videos(
    dataset: str,
    layout: str,
    root: str | Path,
    n_shards: int,
    settings: IndexSettings,
    *,
    workers: int = 1,
    video_seconds: float = VIDEO_SECONDS,
) -> list[dict]:
    """List and probe every video of a collection.

    Args:
        dataset: Name of the data set; the first part of every video id.
        layout: A key of `preprocess.datasets.LAYOUTS`.
        root: Folder of the collection as published; it is only read.
        n_shards: How many shards the videos are spread over.
        settings: What to take of the collection.
        workers: Files probed side by side; the result does not depend on it.
        video_seconds: Time after which a file is given up.

    Returns:
        Rows of `schemas.INDEX`, sorted by video_id.

    Raises:
        UserError: The root, the layout or something that the settings name does not exist, the collection's own
            lists are broken, or two videos have one id.
    """
    root = Path(root)
    if layout not in LAYOUTS:
        raise UserError(f"dataset {dataset!r}: layout {layout!r} is unknown; allowed: {', '.join(LAYOUTS)}")
    if not root.is_dir():
        raise UserError(f"dataset {dataset!r}: the root {str(root)!r} is not a folder; set it to the raw collection")
    if not dataset or "/" in dataset:
        raise UserError(f"dataset {dataset!r}: the name must not be empty or hold a slash; it begins every video id")
    if n_shards < 1:
        raise UserError(f"dataset {dataset!r}: n_shards is {n_shards}; the smallest allowed value is 1")
    videos = sorted(LAYOUTS[layout].find_videos(root, dataset, settings), key=lambda video: video.video_id)
    if not videos:
        raise UserError(f"dataset {dataset!r}: {str(root)!r} is laid out as {layout!r}, but its folders hold no videos")
    for one, next_one in itertools.pairwise(videos):
        if one.video_id == next_one.video_id:
            raise UserError(
                f"dataset {dataset!r}: {one.path!r} and {next_one.path!r} would both have the id {one.video_id!r}; "
                "remove or rename one of the two files"
            )
    left_out = _left_out(videos, settings)
    taken = [video for video in videos if video.video_id not in left_out]
    probe = partial(_probe, root=root)
    measured = map_videos(
        probe,
        taken,
        workers=workers,
        video_seconds=video_seconds,
        preload=("preprocess.video.probe", "preprocess.datasets"),
    )
    results = {
        video.video_id: _one_row(rows)
        for video, rows in zip(taken, progress(measured, total=len(taken), description=f"probe {dataset}"), strict=True)
    }
    results |= {video_id: _row(UNUSED, message) for video_id, message in left_out.items()}
    return [
        {name: getattr(video, name) for name in _RAW_COLUMNS}
        | {"dataset": dataset, "identities": list(video.identities), "shard": shard_of(video.source_group, n_shards)}
        | results[video.video_id]
        for video in videos
    ]


def shard_of(source_group: str, n_shards: int) -> str:
    """Name of the shard ("0000", "0001", ...) of a source group: a hash that is the same everywhere."""
    return shard_name(stable_hash(source_group) % n_shards)


def _left_out(videos: list[RawVideo], settings: IndexSettings) -> dict[str, str]:
    """Why a video is not used, by video id; videos that are used are absent."""
    why = f"left out by downsample_fakes: one of {settings.downsample_fakes} training fakes is taken"
    fakes = left_out_fakes(videos, factor=settings.downsample_fakes, seed=settings.downsample_seed)
    left_out = dict.fromkeys(fakes, why)
    if settings.splits is not None:
        for video in videos:
            if video.split not in settings.splits:
                left_out[video.video_id] = f"left out by splits: its split is {video.split or 'none'}"
    return left_out


def describe_index(rows: list[dict]) -> list[str]:
    """Lines that count the videos by status, then the usable real and fake ones of each split."""
    statuses = Counter(row["status"] for row in rows)
    usable = Counter((row["split"], row["label"]) for row in rows if row["status"] == OK)
    splits = sorted({split for split, _ in usable}, key=lambda split: (split is None, split))
    return [
        f"{len(rows):,} videos: {describe_statuses(statuses)}",
        *(f"{split or 'no split'}: {usable[split, 0]:,} real, {usable[split, 1]:,} fake" for split in splits),
    ]


def check_usable(dataset: str, rows: list[dict]) -> None:
    """Raise a UserError when no video of a collection can be used: nothing could follow."""
    if any(row["status"] == OK for row in rows):
        return
    first = next((row for row in rows if row["status"] != UNUSED), rows[0])
    raise UserError(
        f"dataset {dataset!r}: none of its {describe_index(rows)[0].replace('videos', 'videos can be used', 1)}, "
        f"such as {first['video_id']} ({first['message']}). Look at the root, the layout and the settings of `index`"
    )


def _probe(video: RawVideo, *, root: Path) -> Iterator[dict]:
    """`_measure` for a worker."""
    yield _measure(root, video)


def _one_row(rows: Iterator[dict]) -> dict:
    try:
        (row,) = rows
    except ProbeError as error:  # the worker was ended
        row = _row(error.status, error.message)
    return row


def _measure(root: Path, video: RawVideo) -> dict:
    """The measured columns of a video, its status and its message; a file that changes meanwhile is measured anew."""
    before = _states(root, video)
    for _ in range(_TRIES):
        row = _measure_once(root, video)
        after = _states(root, video)
        if after == before:
            return row
        before = after
    return _row(UNREADABLE, "it was being written while it was indexed; index again when it is complete")


def _states(root: Path, video: RawVideo) -> list[FileState | None]:
    """States of a video and of its mask video; None for what cannot be reached."""
    found: list[FileState | None] = []
    for path in filter(None, (video.path, video.mask_path)):
        try:
            found.append(file_state(root / path))
        except OSError:
            found.append(None)
    return found


def _measure_once(root: Path, video: RawVideo) -> dict:
    path = root / video.path
    if reason := leads_out(root, video.path):
        return _row(UNREADABLE, reason)
    try:
        path.stat()
    except OSError as error:
        if error.errno in _ABSENT:
            return _row(MISSING, f"{video.named_by} names {video.path}, but there is no such file")
        return _row(UNREADABLE, f"cannot reach {video.path}: {error.strerror}, of the file or of a folder above it")
    if video.label is None:
        return _row(UNLABELLED, "nothing in the collection says whether it is real or fake")
    try:
        info = probe_image(path) if video.kind == "image" else probe_video(path)
        n_bytes, checksum = path.stat().st_size, file_checksum(path)  # of a file just read, hence in memory
    except ProbeError as error:
        return _row(error.status, error.message)
    except OSError as error:
        return _row(UNREADABLE, f"reading it stops with an error: {error.strerror}")
    probed = {name: getattr(info, name) for name in _PROBED_COLUMNS}
    return (
        _row(OK, "")
        | probed
        | {"n_bytes": n_bytes, "checksum": checksum, "mask_checksum": _mask_checksum(root, video.mask_path)}
    )


def _mask_checksum(root: Path, mask_path: str | None) -> str | None:
    """None without a mask video, or with one that cannot be read, of which the stage `masks` tells."""
    if mask_path is None or not (root / mask_path).is_file():
        return None
    try:
        return file_checksum(root / mask_path)
    except OSError:
        return None


def _row(status: str, message: str) -> dict:
    return dict.fromkeys(_MEASURED_COLUMNS) | {"status": status, "message": message}


def main() -> None:
    """Command line of the stage."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", required=True, help="name of the data set")
    parser.add_argument("--layout", required=True, help=f"how its tree is laid out: {', '.join(LAYOUTS)}")
    parser.add_argument("--root", required=True, type=Path, help="folder of the raw collection, as published")
    parser.add_argument("--n-shards", required=True, type=int, help="shards to spread the videos over")
    parser.add_argument("--settings", default="{}", help=f"JSON; defaults: {settings_json(IndexSettings())}")
    parser.add_argument(
        "--output",
        required=True,
        type=Path,
        help="Parquet file to write, with every video; the collection is compared with what it holds before",
    )
    parser.add_argument(
        "--max-lost-share",
        type=float,
        default=MAX_LOST_SHARE,
        help="share of the usable videos of the last index that may be lost before nothing "
        "is written (default: %(default)g)",
    )
    parser.add_argument(
        "--accept-smaller",
        type=int,
        default=0,
        help="number of usable videos that the collection may have shrunk to (default: no loss beyond the share)",
    )
    add_worker_arguments(parser)
    args = parser.parse_args()
    settings = load_settings(IndexSettings, args.settings)
    rows = index_videos(
        args.dataset,
        args.layout,
        args.root,
        args.n_shards,
        settings,
        workers=args.workers,
        video_seconds=args.video_seconds,
    )
    for line in describe_index(rows):
        log.info("index %s: %s", args.dataset, line)
    check_usable(args.dataset, rows)
    last = read_last_index(args.output, args.dataset, args.layout, settings)
    check_shrunk(
        args.dataset,
        args.root,
        last,
        rows,
        max_lost_share=args.max_lost_share,
        accept_smaller=args.accept_smaller,
    )
    origin = Origin(args.dataset, "index", settings_json(settings), versions.INDEX)
    write_table(args.output, rows, INDEX, origin, {LAYOUT_KEY: args.layout})


if __name__ == "__main__":
    run_command(main)
