"""Faces of any video and image files, found as the stages find those of a data set, in a small store of their own.

For what lies in no collection: the files of a user who wants them scored. Nothing is known of them but what they hold,
so labels are null, every video is searched for faces, and there are neither landmarks nor masks.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from preprocess.crops import CropsSettings, crop_shard
from preprocess.datasets.raw import IMAGE_SUFFIXES, VIDEO_SUFFIXES
from preprocess.faces import FacesSettings, track_shard
from preprocess.frames import FramesSettings, sample_shard
from preprocess.running.cli import VIDEO_SECONDS, progress
from preprocess.running.settings import settings_json
from preprocess.running.workers import map_videos
from preprocess.samples import FACE_COLUMNS, count_faces, ledger_rows, sample_table
from preprocess.store import versions
from preprocess.store.crop_file import CropReader, write_crops
from preprocess.store.mask_file import MaskSource
from preprocess.store.origin import Origin
from preprocess.store.schemas import FACES, INDEX, SAMPLES
from preprocess.store.tables import write_table
from preprocess.video.outcomes import MISSING, OK
from preprocess.video.probe import ProbeError, probe_image, probe_video

log = logging.getLogger("preprocess")

DATASET, SHARD = "files", "0000"
# Root of paths that are absolute.
_ROOT = Path("/")
_PROBED = ("codec", "height", "width", "n_frames", "fps", "duration_seconds")


@dataclass(frozen=True)
class StageSettings:
    """Settings of the stages that lead from files to face crops."""

    frames: FramesSettings
    faces: FacesSettings
    crops: CropsSettings


@dataclass(frozen=True)
class FileFaces:
    """What was found in files.

    Attributes:
        files: The files, in the order in which they were asked for.
        store: Folder of the store.
        samples: Samples table of all face crops, in that folder; `dataset` is `files`, and a file's `video_id` its
            number, counted from 0, in six digits.
        videos: Rows of `schemas.INDEX`, one for each file.
        ledger: Rows of `schemas.LEDGER`, likewise.
    """

    files: list[Path]
    store: Path
    samples: Path
    videos: list[dict]
    ledger: list[dict]


def list_files(paths: Iterable[Path]) -> list[Path]:
    """The files that are meant: each path, or the videos and images at any depth of a folder, by their names.

    A folder without any, and what does not exist, stay as they are: they are told of later, as files are that cannot be
    read. Hidden files of a folder are passed over, and no file is listed twice.
    """
    files: dict[str, Path] = {}
    for path in paths:
        found = _media_in(path) if path.is_dir() else []
        for file in found or [path]:
            files.setdefault(os.path.abspath(file), file)
    return list(files.values())


def _media_in(folder: Path) -> list[Path]:
    visible = [
        path
        for path in sorted(folder.rglob("*"))
        if not any(part.startswith(".") for part in path.relative_to(folder).parts) and not path.is_dir()
    ]
    media = [path for path in visible if path.suffix.lower() in (*VIDEO_SUFFIXES, *IMAGE_SUFFIXES)]
    if len(media) < len(visible):
        log.info("%s: passed over %d files that by name are no video or image", folder, len(visible) - len(media))
    return media


def find_faces(
    files: Sequence[Path],
    folder: Path,
    settings: StageSettings,
    *,
    device: str,
    workers: int,
    video_seconds: float = VIDEO_SECONDS,
) -> FileFaces:
    """Sample frames, track faces and cut crops, and write the crops and their samples.

    Args:
        files: Videos and images.
        folder: Empty folder of a store: `crops/files/0000.h5` and `samples/files.parquet` are written to it.
        settings: Of the stages; that fakes inherit boxes plays no part.
        device: `cpu` or `cuda`, to find faces with.
        workers: Files worked on side by side; nothing depends on it.
        video_seconds: Time that a stage may take over one file.
    """
    measured = map_videos(
        _index_row,
        list(enumerate(files)),
        workers=workers,
        video_seconds=video_seconds,
        preload=("preprocess.video.probe",),
    )
    videos = [
        _one_row(number, path, rows)
        for (number, path), rows in zip(
            enumerate(files), progress(measured, total=len(files), description="open files", unit="file"), strict=True
        )
    ]
    reading: dict[str, Any] = {"workers": workers, "video_seconds": video_seconds}
    frames = sample_shard(videos, _ROOT, settings.frames, **reading)
    face_rows = track_shard(videos, frames, _ROOT, settings.faces, device=device, **reading)
    crops_file = folder / "crops" / DATASET / f"{SHARD}.h5"
    origin = Origin(DATASET, "crops", settings_json(settings.crops), versions.CROPS, SHARD)
    write_crops(crops_file, crop_shard(videos, face_rows, _ROOT, settings.crops, **reading), origin)
    counts = count_faces(pa.Table.from_pylist(face_rows, schema=FACES).select(FACE_COLUMNS))
    with CropReader(crops_file) as crops:
        nothing = {
            "has_landmarks": np.zeros(len(crops), bool),
            "mask_source": np.full(len(crops), MaskSource.UNKNOWN, object),
        }
        samples = sample_table(crops, pa.Table.from_pylist(videos, schema=INDEX), SHARD, **nothing)
        ledger = ledger_rows(videos, frames, counts, crops, **nothing)
    samples_file = folder / "samples" / f"{DATASET}.parquet"
    write_table(samples_file, samples, SAMPLES, Origin(DATASET, "samples", "{}", versions.SAMPLES))
    return FileFaces(list(files), folder, samples_file, videos, ledger)


def _index_row(item: tuple[int, Path]) -> Iterator[dict]:
    """The row of the index for one file; runs in a worker."""
    number, path = item
    if not os.path.exists(path):
        yield _row(number, path, MISSING, "there is no such file or folder")
    elif path.is_dir():
        yield _row(number, path, MISSING, "the folder holds no file that by its name is a video or an image")
    else:
        kind, info = _probe(path)
        yield _row(number, path, OK, "") | {"kind": kind} | {name: getattr(info, name) for name in _PROBED}


def _probe(path: Path) -> tuple[str, object]:
    """Kind of a file, and what it holds; a name that tells neither leaves it to the content."""
    suffix = path.suffix.lower()
    if suffix in IMAGE_SUFFIXES:
        return "image", probe_image(path)
    if suffix not in VIDEO_SUFFIXES:
        try:
            return "image", probe_image(path)
        except ProbeError:
            pass
    return "video", probe_video(path)


def _one_row(number: int, path: Path, rows: Iterator[dict]) -> dict:
    try:
        (row,) = rows
    except ProbeError as error:
        row = _row(number, path, error.status, error.message)
    return row


def _row(number: int, path: Path, status: str, message: str) -> dict:
    video_id = f"{number:06d}"
    return dict.fromkeys(INDEX.names) | {
        "video_id": video_id,
        "dataset": DATASET,
        "path": os.path.abspath(path),
        "source_group": video_id,
        "shard": SHARD,
        "status": status,
        "message": message,
    }
