"""Choose the frames of each video: `python -m preprocess.frames --help`.

Reads the list of a shard and the videos' packets; decodes nothing. Every sampled frame has its exact time,
also in videos of variable frame rate.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from preprocess.running.cli import VIDEO_SECONDS, add_worker_arguments, progress, run_command
from preprocess.running.raw_files import RawFiles
from preprocess.running.settings import load_settings, settings_json
from preprocess.running.workers import map_videos
from preprocess.settings.frames import FramesSettings
from preprocess.store import versions
from preprocess.store.origin import Origin
from preprocess.store.schemas import FRAMES
from preprocess.store.tables import read_rows, write_table
from preprocess.video.outcomes import NO_FRAMES, OK
from preprocess.video.probe import ProbeError, frame_times


def sample_frames(n_frames: int, settings: FramesSettings) -> np.ndarray:
    """Indices of the frames to use, ascending and without repetition.

    `uniform` cuts the video into equal parts and takes the middle of each, so a fade-in or the last,
    often broken, frame is never chosen; `clip` takes consecutive frames from the middle.

    Args:
        n_frames: Frames in the video.
        settings: How to choose.

    Returns:
        (n,) int64; all frames when the video has fewer than asked for.
    """
    if settings.mode == "stride":
        return np.arange(0, n_frames, settings.stride)
    if n_frames <= settings.n_frames:
        return np.arange(n_frames)
    if settings.mode == "clip":
        begin = (n_frames - settings.n_frames) // 2
        return np.arange(begin, begin + settings.n_frames)
    return ((np.arange(settings.n_frames) + 0.5) * n_frames / settings.n_frames).astype(np.int64)


def frame_rows(video: dict, raw_files: RawFiles, settings: FramesSettings) -> list[dict]:
    """Rows of `schemas.FRAMES` for one row of the index; one row with a status when there is no frame.

    Raises:
        UserError: The file is not the one that was indexed; see `RawFiles`.
    """
    try:
        with raw_files.reading(video) as path:
            if video["kind"] == "image":
                return [_row(video, 0, 0.0)]
            times = frame_times(path)
    except ProbeError as error:
        return [_row(video, None, None, error.status, error.message)]
    if len(times) == 0:
        return [_row(video, None, None, NO_FRAMES, "the file holds no video packet")]
    return [_row(video, int(index), float(times[index])) for index in sample_frames(len(times), settings)]


def sample_shard(
    videos: list[dict], root: Path, settings: FramesSettings, *, workers: int, video_seconds: float = VIDEO_SECONDS
) -> list[dict]:
    """Rows of `schemas.FRAMES` for the videos of a shard that the index could open; see `frame_rows`.

    Raises:
        UserError: A file is not the one that was indexed, or cannot be reached.
    """
    usable = [video for video in videos if video["status"] == OK]
    raw_files = RawFiles.of_videos(videos, root)
    sample = partial(_sample_video, raw_files=raw_files, settings=settings)
    results = map_videos(
        sample,
        usable,
        workers=workers,
        video_seconds=video_seconds,
        preload=("preprocess.video.probe",),
    )
    rows = []
    for video, found in zip(usable, progress(results, total=len(usable), description="sample frames"), strict=True):
        try:
            rows += [row for some in raw_files.believe(video, found) for row in some]
        except ProbeError as error:  # the worker was ended
            rows.append(_row(video, None, None, error.status, error.message))
    return rows


def _sample_video(video: dict, *, raw_files: RawFiles, settings: FramesSettings) -> Iterator[list[dict]]:
    """`frame_rows` for a worker."""
    yield frame_rows(video, raw_files, settings)


def _row(video: dict, index: int | None, pts_seconds: float | None, status: str = OK, message: str = "") -> dict:
    return {
        "video_id": video["video_id"],
        "frame_index": index,
        "pts_seconds": pts_seconds,
        "status": status,
        "message": message,
    }


def main() -> None:
    """Command line of the stage."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--list", required=True, type=Path, help="list of the shard, data/index/<data set>/<shard>.parquet"
    )
    parser.add_argument("--root", required=True, type=Path, help="raw folder of the data set")
    parser.add_argument("--output", required=True, type=Path, help="Parquet file to write")
    parser.add_argument("--settings", default="{}", help=f"JSON; defaults: {settings_json(FramesSettings())}")
    add_worker_arguments(parser)
    args = parser.parse_args()
    settings = load_settings(FramesSettings, args.settings)
    rows = sample_shard(
        read_rows(args.list), args.root, settings, workers=args.workers, video_seconds=args.video_seconds
    )
    origin = Origin(args.list.parent.name, "frames", settings_json(settings), versions.FRAMES, args.list.stem)
    write_table(args.output, rows, FRAMES, origin)


if __name__ == "__main__":
    run_command(main)
