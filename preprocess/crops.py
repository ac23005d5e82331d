"""Cut face crops with a margin, without loss: `python -m preprocess.crops --help`.

Crops keep the resolution of the video and a loose margin; a detector cuts its own crop from them, so one
extraction serves every detector. The layout of the file is described in `preprocess.store.crop_file`.
"""

from __future__ import annotations

import argparse
from collections import defaultdict, deque
from collections.abc import Iterator
from functools import partial
from itertools import chain
from pathlib import Path

import cv2
import numpy as np

from preprocess.face.margin import parse_margin
from preprocess.running.cli import VIDEO_SECONDS, add_worker_arguments, progress, run_command
from preprocess.running.raw_files import RawFiles
from preprocess.running.settings import load_settings, settings_json
from preprocess.running.workers import map_videos
from preprocess.settings.crops import CropsSettings
from preprocess.store import versions
from preprocess.store.crop_file import Crop, write_crops
from preprocess.store.image_codecs import encode_crop
from preprocess.store.origin import Origin
from preprocess.store.tables import read_rows
from preprocess.video.decode import frames_of
from preprocess.video.outcomes import OK, UNDECODED
from preprocess.video.probe import ProbeError

_SHARPNESS_SIDE_PX = 128
# Crops that a worker sends at once: sending each alone costs a twentieth of decoding its video.
_CROPS_SENT = 16


def crop_window(box: np.ndarray, margin: str | float) -> tuple[int, int, int, int]:
    """The window of a crop: the box and its margin, grown to whole pixels.

    Args:
        box: (4,) x0, y0, x1, y1 in frame pixels.
        margin: See `CropsSettings.margin`.

    Returns:
        x0, y0, x1, y1 in frame pixels, x1 and y1 exclusive; may reach beyond the frame.
    """
    x0, y0, x1, y1 = (float(value) for value in box)
    amount, unit = parse_margin(margin)
    margin_x, margin_y = (amount, amount) if unit == "px" else (amount * (x1 - x0), amount * (y1 - y0))
    return (
        int(np.floor(x0 - margin_x)),
        int(np.floor(y0 - margin_y)),
        int(np.ceil(x1 + margin_x)),
        int(np.ceil(y1 + margin_y)),
    )


def cut_window(frame: np.ndarray, window: tuple[int, int, int, int]) -> tuple[np.ndarray, tuple[int, int, int, int]]:
    """Cut a window from a frame; what lies outside the frame is black.

    Args:
        frame: `(height, width, 3)` or `(height, width)` uint8.
        window: x0, y0, x1, y1 in frame pixels.

    Returns:
        The pixels, and the padding (left, top, right, bottom) in pixels.
    """
    height, width = frame.shape[:2]
    x0, y0, x1, y1 = window
    inner_x0, inner_x1 = (int(value) for value in np.clip((x0, x1), 0, width))
    inner_y0, inner_y1 = (int(value) for value in np.clip((y0, y1), 0, height))
    # a window that lies wholly outside is all padding
    left, top = min(max(-x0, 0), x1 - x0), min(max(-y0, 0), y1 - y0)
    right, bottom = x1 - x0 - left - (inner_x1 - inner_x0), y1 - y0 - top - (inner_y1 - inner_y0)
    inner = frame[inner_y0:inner_y1, inner_x0:inner_x1]
    pixels = np.pad(inner, [(top, bottom), (left, right)] + [(0, 0)] * (frame.ndim - 2))
    return pixels, (left, top, right, bottom)


def cut_crop(frame: np.ndarray, face: dict, settings: CropsSettings) -> Crop:
    """Cut one face from its frame.

    Args:
        frame: RGB uint8 `(height, width, 3)`.
        face: A row of `schemas.FACES` with status `ok`.
        settings: Margin and largest size.
    """
    box = np.array([face["x0"], face["y0"], face["x1"], face["y1"]], np.float32)
    window = crop_window(box, settings.margin)
    pixels, padding_px = cut_window(frame, window)
    height, width = pixels.shape[:2]
    longer = max(height, width)
    if settings.max_size_px and longer > settings.max_size_px:
        size = (max(1, width * settings.max_size_px // longer), max(1, height * settings.max_size_px // longer))
        pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    scale_x, scale_y = width / pixels.shape[1], height / pixels.shape[0]
    # pixel centres lie at whole numbers in the crop and in the frame, hence the halves
    crop_to_frame = np.array(
        [[scale_x, 0, window[0] + scale_x / 2 - 0.5], [0, scale_y, window[1] + scale_y / 2 - 0.5]], np.float64
    )
    return Crop(
        video_id=face["video_id"],
        frame_index=face["frame_index"],
        pts_seconds=face["pts_seconds"],
        track_id=face["track_id"],
        box=box,
        score=face["score"],
        size=pixels.shape[:2],
        crop_to_frame=crop_to_frame,
        padding_px=padding_px,
        encoded=encode_crop(pixels),
        sharpness=face_sharpness(frame, box),
    )


def face_sharpness(frame: np.ndarray, box: np.ndarray) -> float:
    """Variance of the Laplacian of the grey face at 128 x 128 px (Pech-Pacheco et al. 2000); NaN outside the frame."""
    x0, y0 = np.clip(np.floor(box[:2]).astype(int), 0, None)
    x1, y1 = np.ceil(box[2:]).astype(int)
    face = frame[y0:y1, x0:x1]
    if face.size == 0:
        return float("nan")
    side = (_SHARPNESS_SIDE_PX, _SHARPNESS_SIDE_PX)
    grey = cv2.resize(cv2.cvtColor(face, cv2.COLOR_RGB2GRAY), side, interpolation=cv2.INTER_AREA)
    return float(cv2.Laplacian(grey, cv2.CV_32F).var())


def crop_shard(
    videos: list[dict],
    faces: list[dict],
    root: Path,
    settings: CropsSettings,
    *,
    workers: int,
    video_seconds: float = VIDEO_SECONDS,
) -> Iterator[Crop]:
    """Cut every face of a shard, each video in one forward pass over its file.

    Args:
        videos: Rows of the index.
        faces: Rows of `schemas.FACES`.
        root: Raw folder of the data set.
        settings: Margin and largest size.
        workers: Videos worked on side by side; the crops do not depend on it.
        video_seconds: Time after which a video is given up.

    Yields:
        One crop per face with status `ok`, by video, frame and track, as they come; a face whose frame does not decode
        gives a crop without image.

    Raises:
        UserError: A file is not the one that was indexed, or cannot be reached.
    """
    by_video = defaultdict(list)
    for face in faces:
        if face["status"] == OK:
            by_video[face["video_id"]].append(face)
    items = [
        (video, sorted(by_video[video["video_id"]], key=lambda face: (face["frame_index"], face["track_id"])))
        for video in sorted(videos, key=lambda row: row["video_id"])
        if video["video_id"] in by_video
    ]
    raw_files = RawFiles.of_videos(videos, root)
    cut_video = partial(_cut_video, raw_files=raw_files, settings=settings)
    preload = ("preprocess.video.decode", "preprocess.store.crop_file")
    results = map_videos(cut_video, items, workers=workers, video_seconds=video_seconds, preload=preload)
    results = progress(results, total=len(items), description="crop faces")
    for (video, wanted), cut in zip(items, results, strict=True):
        yield from _fill_in_lost(wanted, raw_files.believe(video, cut))


def _cut_video(item: tuple[dict, list[dict]], *, raw_files: RawFiles, settings: CropsSettings) -> Iterator[list[Crop]]:
    """The crops of the frames of a video that decode, some frames' at once, in order; runs in a worker."""
    video, faces = item
    by_frame = defaultdict(list)
    for face in faces:
        by_frame[face["frame_index"]].append(face)
    crops: list[Crop] = []
    try:
        with raw_files.reading(video):
            for index, frame in frames_of(video, raw_files.root, by_frame):
                crops += [cut_crop(frame, face, settings) for face in by_frame[index]]
                if len(crops) >= _CROPS_SENT:
                    yield crops
                    crops = []
    except ProbeError:
        yield crops
        raise
    yield crops


def _fill_in_lost(faces: list[dict], cut: Iterator[list[Crop]]) -> Iterator[Crop]:
    """The crops of a video, with one without image in the place of every face whose frame did not come."""
    waiting = deque(faces)
    reason = "the frame did not decode"
    try:
        for crop in chain.from_iterable(cut):
            while waiting[0]["frame_index"] < crop.frame_index:
                yield _lost_crop(waiting.popleft(), reason)
            waiting.popleft()
            yield crop
    except ProbeError as error:
        reason = error.message
    for face in waiting:
        yield _lost_crop(face, reason)


def _lost_crop(face: dict, reason: str) -> Crop:
    return Crop(
        video_id=face["video_id"],
        frame_index=face["frame_index"],
        pts_seconds=face["pts_seconds"],
        track_id=face["track_id"],
        box=np.array([face["x0"], face["y0"], face["x1"], face["y1"]], np.float32),
        score=face["score"],
        size=(0, 0),
        crop_to_frame=np.full((2, 3), np.nan),
        padding_px=(0, 0, 0, 0),
        encoded=b"",
        status=UNDECODED,
        message=reason,
    )


def main() -> None:
    """Command line of the stage."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--list", required=True, type=Path, help="list of the shard")
    parser.add_argument("--faces", required=True, type=Path, help="faces of the shard (Parquet)")
    parser.add_argument("--root", required=True, type=Path, help="raw folder of the data set")
    parser.add_argument("--output", required=True, type=Path, help="HDF5 file to write")
    parser.add_argument("--settings", default="{}", help=f"JSON; defaults: {settings_json(CropsSettings())}")
    add_worker_arguments(parser)
    args = parser.parse_args()
    settings = load_settings(CropsSettings, args.settings)
    origin = Origin(args.list.parent.name, "crops", settings_json(settings), versions.CROPS, args.list.stem)
    crops = crop_shard(
        read_rows(args.list),
        read_rows(args.faces),
        args.root,
        settings,
        workers=args.workers,
        video_seconds=args.video_seconds,
    )
    write_crops(args.output, crops, origin)


if __name__ == "__main__":
    run_command(main)
