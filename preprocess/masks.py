"""Masks of every face crop: `python -m preprocess.masks --help`.

Two masks have the size of the crop: the hull of its landmarks, from which self-blended images are made, and the
manipulation mask, 255 where the face was manipulated. The latter comes from the collection's mask video where there
is one, else from the structural difference between the fake and the real video that it was made from. The layout of
the file is described in `preprocess.store.mask_file`.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa

from preprocess.face.mask_images import cut_mask, difference_mask, hull_mask
from preprocess.running.cli import VIDEO_SECONDS, UserError, add_worker_arguments, progress, run_command
from preprocess.running.raw_files import RawFiles
from preprocess.running.settings import load_settings, settings_json
from preprocess.running.workers import map_videos
from preprocess.settings.masks import MasksSettings
from preprocess.store import versions
from preprocess.store.crop_file import CropReader, boxes_in_crops
from preprocess.store.image_codecs import encode_mask
from preprocess.store.landmark_table import landmark_points
from preprocess.store.mask_file import CropMasks, MaskSource, write_masks
from preprocess.store.origin import Origin
from preprocess.store.tables import read_rows, read_table
from preprocess.video.decode import read_frames
from preprocess.video.outcomes import OK
from preprocess.video.probe import ProbeError

log = logging.getLogger("preprocess")


@dataclass(frozen=True)
class _VideoCrops:
    """What the masks of one video are made from.

    Attributes:
        video: Its row of the index.
        rows: (n,) rows of its crops in the crops file.
        landmarks: (n, 81, 2) x, y in frame pixels; NaN for a crop without.
        real_rows: Row of a fake crop → row of the crop at the same place of the real video's frame.
    """

    video: dict
    rows: np.ndarray
    landmarks: np.ndarray
    real_rows: dict[int, int]


def make_masks(
    crops_path: Path,
    landmarks: pa.Table,
    videos: list[dict],
    root: Path,
    settings: MasksSettings,
    *,
    workers: int,
    video_seconds: float = VIDEO_SECONDS,
) -> Iterator[CropMasks]:
    """Make the masks of every crop of a shard.

    Args:
        crops_path: The shard's crops file.
        landmarks: Table of `schemas.LANDMARKS`, a row for each crop.
        videos: Rows of `schemas.INDEX` of the shard.
        root: Raw folder of the data set, in which mask videos lie.
        settings: Thresholds.
        workers: Videos worked on side by side; the masks do not depend on it.
        video_seconds: Time after which a mask video is given up.

    Yields:
        The masks of each crop, in the order of the crops.

    Raises:
        UserError: The landmarks are not those of the crops; or a mask video is not the one that was indexed, or cannot
            be reached.
    """
    with CropReader(crops_path) as crops:
        if landmarks["crop_row"].to_pylist() != list(range(len(crops))):
            raise UserError(
                f"landmarks and crops of shard {crops.attrs['shard']} of {crops.attrs['dataset']} do not belong "
                f"together ({len(landmarks)} and {len(crops)} rows); run detect_landmarks for it again"
            )
        items = list(_by_video(crops, landmark_points(landmarks), {video["video_id"]: video for video in videos}))
    raw_files = RawFiles.of_masks(videos, root)
    make = partial(_mask_video, crops_path=crops_path, raw_files=raw_files, settings=settings)
    results = map_videos(
        make,
        items,
        workers=workers,
        video_seconds=video_seconds,
        preload=("preprocess.video.decode", "preprocess.store.crop_file"),
    )
    for item, found in zip(items, progress(results, total=len(items), description="make masks"), strict=True):
        try:
            (masks,) = raw_files.believe(item.video, found)
        except ProbeError as error:  # the worker was ended; without the mask video nothing can hang
            _warn(item.video, error)
            (masks,) = make(replace(item, video=item.video | {"mask_path": None}))
        yield from masks


def _by_video(crops: CropReader, landmarks: np.ndarray, videos: dict[str, dict]) -> Iterator[_VideoCrops]:
    real_rows = {
        _pair_key(crops, row, crops.video_id[row]): row
        for row in range(len(crops))
        if crops.status[row] == OK and videos[crops.video_id[row]]["label"] == 0
    }
    begins: np.ndarray = np.empty(0, np.int64)
    if len(crops):
        begins = np.flatnonzero(np.append(True, crops.video_id[1:] != crops.video_id[:-1]))
    for rows in np.split(np.arange(len(crops)), begins)[1:]:
        video = videos[crops.video_id[rows[0]]]
        pairs = {int(row): real_rows.get(_pair_key(crops, row, video["source_id"])) for row in rows}
        yield _VideoCrops(video, rows, landmarks[rows], {row: real for row, real in pairs.items() if real is not None})


def _pair_key(crops: CropReader, row: int, video_id: str) -> tuple:
    """What a real crop and the fake crop at the same place of the same frame have in common."""
    return video_id, int(crops.frame_index[row]), crops.box[row].tobytes()


@cache
def _reader(crops_path: Path) -> CropReader:
    """One open file in each worker."""
    return CropReader(crops_path)


def _mask_video(
    item: _VideoCrops, *, crops_path: Path, raw_files: RawFiles, settings: MasksSettings
) -> Iterator[list[CropMasks]]:
    """The masks of all crops of one video at once; runs in a worker."""
    crops = _reader(crops_path)
    manipulation = _manipulation_masks(crops, item, raw_files, settings)
    yield [
        CropMasks(_hull_of_crop(crops, row, points), *manipulation.get(row, (b"", MaskSource.UNKNOWN)))
        for row, points in zip(item.rows.tolist(), item.landmarks, strict=True)
    ]


def _hull_of_crop(crops: CropReader, row: int, points: np.ndarray) -> bytes:
    if np.isnan(points).any():
        return b""
    frame_to_crop = cv2.invertAffineTransform(crops.crop_to_frame[row])
    return encode_mask(hull_mask(points @ frame_to_crop[:, :2].T + frame_to_crop[:, 2], tuple(crops.size[row])))


def _manipulation_masks(
    crops: CropReader, item: _VideoCrops, raw_files: RawFiles, settings: MasksSettings
) -> dict[int, tuple[bytes, MaskSource]]:
    """Crop row → manipulation mask and its source; rows whose mask is unknown are absent."""
    video = item.video
    kept = [row for row in item.rows.tolist() if crops.status[row] == OK]
    if video["label"] == 0:
        return {row: (encode_mask(np.zeros(crops.size[row], np.uint8)), MaskSource.REAL) for row in kept}
    if video["label"] is None:
        return {}
    masks = {}
    if video["mask_path"]:
        masks = _masks_from_video(crops, kept, video, raw_files, settings)
    for row in kept:
        pair = item.real_rows.get(row)
        if row not in masks and pair is not None and _same_window(crops, row, pair):
            box = boxes_in_crops(crops.box[row : row + 1], crops.crop_to_frame[row : row + 1])[0]
            real, fake = crops.image(pair), crops.image(row)
            assert real is not None, "a pair's real crop is kept"
            assert fake is not None, "only kept crops come here"
            mask = difference_mask(
                real,
                fake,
                box,
                threshold=settings.difference_threshold,
                noise_factor=settings.difference_noise_factor,
            )
            masks[row] = (encode_mask(mask), MaskSource.DIFFERENCE)
    return masks


def _same_window(crops: CropReader, row: int, other: int) -> bool:
    return np.array_equal(crops.size[row], crops.size[other]) and np.array_equal(
        crops.crop_to_frame[row], crops.crop_to_frame[other]
    )


def _masks_from_video(
    crops: CropReader, rows: list[int], video: dict, raw_files: RawFiles, settings: MasksSettings
) -> dict[int, tuple[bytes, MaskSource]]:
    """Cut the masks of crops from a mask video; frames that it does not hold are left out.

    Mask videos of DeepFakeDetection may be shorter than their fake.
    """
    by_frame: dict[int, list[int]] = {}
    for row in rows:
        by_frame.setdefault(int(crops.frame_index[row]), []).append(row)
    masks = {}
    try:
        with raw_files.reading(video) as path:
            for frame_index, frame in read_frames(path, by_frame, grey=True):
                for row in by_frame[frame_index]:
                    cut = cut_mask(frame, (video["height"], video["width"]), crops.crop_to_frame[row], crops.size[row])
                    mask = (cut >= settings.mask_video_threshold).astype(np.uint8) * 255
                    masks[row] = (encode_mask(mask), MaskSource.MASK_VIDEO)
    except ProbeError as error:
        _warn(video, error)
    return masks


def _warn(video: dict, error: ProbeError) -> None:
    log.warning("%s: mask video %s: %s", video["video_id"], video["mask_path"], error)


def main() -> None:
    """Command line of the stage."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--crops", required=True, type=Path, help="crops of the shard (HDF5)")
    parser.add_argument("--landmarks", required=True, type=Path, help="landmarks of the shard (Parquet)")
    parser.add_argument("--list", required=True, type=Path, help="list of the shard")
    parser.add_argument("--root", required=True, type=Path, help="raw folder of the data set")
    parser.add_argument("--output", required=True, type=Path, help="HDF5 file to write")
    parser.add_argument("--settings", default="{}", help=f"JSON; defaults: {settings_json(MasksSettings())}")
    add_worker_arguments(parser)
    args = parser.parse_args()
    settings = load_settings(MasksSettings, args.settings)
    with CropReader(args.crops) as crops:
        origin = Origin(crops.attrs["dataset"], "masks", settings_json(settings), versions.MASKS, crops.attrs["shard"])
    masks = make_masks(
        args.crops,
        read_table(args.landmarks, ["crop_row", "landmarks"]),
        read_rows(args.list),
        args.root,
        settings,
        workers=args.workers,
        video_seconds=args.video_seconds,
    )
    write_masks(args.output, masks, origin)


if __name__ == "__main__":
    run_command(main)
