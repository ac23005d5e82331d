"""Masks of every face crop: `python -m preprocess.masks --help`.

Two masks have the size of the crop: the hull of its landmarks, from which self-blended images are made, and the
manipulation mask, 255 where the face was manipulated. The latter comes from the collection's mask video where there
is one, else from the structural difference between the fake and the real video that it was made from.

    /hull/encoded, offset           PNG of the hull of crop i; no bytes when the crop has no landmarks
    /manipulation/encoded, offset   PNG of the manipulation mask of crop i; no bytes when it is unknown
    /mask_source            (N,)    str: real (all zero), mask_video, difference or unknown

Row i belongs to crop i. Both are PNGs of one bit a pixel, which read as 0 and 255; `preprocess.store.blobs.BlobReader`
reads the groups.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path

import cv2
import h5py
import numpy as np
import pyarrow as pa

from preprocess.running.cli import VIDEO_SECONDS, UserError, add_worker_arguments, progress, run_command
from preprocess.running.settings import load_settings, setting, settings_json
from preprocess.running.workers import map_videos
from preprocess.store import versions
from preprocess.store.crop_file import CropReader, boxes_in_crops
from preprocess.store.hdf5 import create_h5
from preprocess.store.origin import Origin
from preprocess.store.schemas import N_LANDMARKS
from preprocess.store.tables import read_rows, read_table
from preprocess.video.decode import read_frames
from preprocess.video.outcomes import OK
from preprocess.video.probe import ProbeError

log = logging.getLogger("preprocess")

# Where a manipulation mask comes from.
REAL = "real"
MASK_VIDEO = "mask_video"
DIFFERENCE = "difference"
UNKNOWN = "unknown"

# Constants of the structural similarity (Wang et al. 2004) for 8-bit images.
_SSIM_WINDOW_PX = 11
_SSIM_SIGMA_PX = 1.5
_SSIM_C1 = (0.01 * 255) ** 2
_SSIM_C2 = (0.03 * 255) ** 2

# Masks from differences: lengths as shares of the face's size, the root of its box's area. Chosen, with the defaults of
# the settings below, on rendered collections with known masks (x264 crf 23 and 40).
_SMOOTHING = 0.08
_OPENING = 0.05
_NOISE_PERCENTILE = 90
_NOISE_MARGIN = 0.1  # of the box: what lies outside the box and this margin is taken as not manipulated

# Size of the face at which a difference is blurred and judged; larger ones are reduced to it. Against known masks of 24
# drawn faces under JPEG the IoU is 0.86, at full size 0.85, in a sixth of the time.
_BLURRED_FACE_PX = 64

# Convex polygons are drawn with corners in sixteenths of a pixel.
_POLYGON_SHIFT = 4


@dataclass(frozen=True)
class MasksSettings:
    """How manipulation masks are made."""

    mask_video_threshold: int = setting(
        64, "Grey value of a mask video from which a pixel counts as manipulated.", minimum=1
    )
    difference_threshold: float = setting(
        0.07, "Smoothed structural difference (1 - SSIM) from which a pixel counts as manipulated.", minimum=0.0
    )
    difference_noise_factor: float = setting(
        1.25, "How far above the difference around the face, which compression makes, it must be.", minimum=0.0
    )


@dataclass(frozen=True)
class CropMasks:
    """The masks of one crop.

    Attributes:
        hull: PNG; empty when the crop has no landmarks.
        manipulation: PNG; empty when it is unknown.
        source: `real`, `mask_video`, `difference` or `unknown`.
    """

    hull: bytes = b""
    manipulation: bytes = b""
    source: str = UNKNOWN


def hull_mask(points: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The convex hull of landmarks, filled.

    Args:
        points: (P, 2) landmarks x, y in pixels of the crop; they may lie outside.
        size: (height, width) of the crop.

    Returns:
        (height, width) uint8: 255 inside the hull, 0 outside.
    """
    mask = np.zeros(size, np.uint8)
    hull = cv2.convexHull(np.asarray(points, np.float32))
    corners = np.round(hull * (1 << _POLYGON_SHIFT)).astype(np.int32)
    cv2.fillConvexPoly(mask, corners, 255, shift=_POLYGON_SHIFT)
    return mask


def structural_difference(real: np.ndarray, fake: np.ndarray) -> np.ndarray:
    """1 - SSIM of two images, pixel by pixel.

    The structural similarity of Wang et al., "Image quality assessment: from error visibility to structural
    similarity" (2004), equation 13, in an 11 x 11 Gaussian window with a standard deviation of 1.5 px. Of the grey
    values, since codecs keep colours only roughly.

    Args:
        real, fake: (height, width, 3) uint8 of one size.

    Returns:
        (height, width) float32: 0 where the two are equal, up to 2.
    """

    def local_mean(image: np.ndarray) -> np.ndarray:
        return cv2.GaussianBlur(image, (_SSIM_WINDOW_PX, _SSIM_WINDOW_PX), _SSIM_SIGMA_PX)

    x, y = (cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32) for image in (real, fake))
    mean_x, mean_y = local_mean(x), local_mean(y)
    variances = local_mean(x * x) - mean_x**2 + local_mean(y * y) - mean_y**2
    covariance = local_mean(x * y) - mean_x * mean_y
    similarity = (2 * mean_x * mean_y + _SSIM_C1) / (mean_x**2 + mean_y**2 + _SSIM_C1)
    similarity *= (2 * covariance + _SSIM_C2) / (variances + _SSIM_C2)
    return 1 - similarity


def difference_mask(real: np.ndarray, fake: np.ndarray, box: np.ndarray, settings: MasksSettings) -> np.ndarray:
    """The manipulation mask of a fake crop, by comparison with the real one.

    The structural difference is blurred, since compression scatters small differences everywhere. What exceeds both
    the threshold and the difference around the face is manipulated, if it lies in the face box; narrow parts are
    removed. The mask is the convex hull of the rest: manipulations are blended in as one piece, also where the cheek
    between a changed eye and a changed mouth looks the same.

    Args:
        real, fake: (height, width, 3) uint8 of one size.
        box: (4,) face box x0, y0, x1, y1 in pixels of the crop.
        settings: Threshold and noise factor.

    Returns:
        (height, width) uint8: 255 where the face was manipulated, else 0.
    """
    difference = structural_difference(real, fake)
    # what the blur leaves needs few pixels
    scale = min(1.0, _BLURRED_FACE_PX / _face_px(box))
    small = [max(1, round(side * scale)) for side in difference.shape[::-1]]
    to_small = np.array(small) / difference.shape[::-1]
    difference = cv2.resize(difference, small, interpolation=cv2.INTER_AREA)
    small_box = box * np.tile(to_small, 2)
    difference = cv2.GaussianBlur(difference, (0, 0), _SMOOTHING * _face_px(small_box))
    around = difference[~_inside(small_box, _NOISE_MARGIN, difference.shape)]
    noise = np.percentile(around, _NOISE_PERCENTILE) if around.size else 0.0
    changed = difference > max(settings.difference_threshold, settings.difference_noise_factor * noise)
    changed &= _inside(small_box, 0.0, difference.shape)
    side = 2 * round(_OPENING * _face_px(small_box)) + 1
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    rows, columns = np.nonzero(cv2.morphologyEx(changed.astype(np.uint8), cv2.MORPH_OPEN, disc))
    if not len(rows):
        return np.zeros(real.shape[:2], np.uint8)
    # pixel centres lie at whole numbers at both sizes, hence the halves
    return hull_mask((np.column_stack([columns, rows]) + 0.5) / to_small - 0.5, real.shape[:2])


def _face_px(box: np.ndarray) -> float:
    return float(np.sqrt((box[2] - box[0]) * (box[3] - box[1])))


def _inside(box: np.ndarray, margin: float, size: tuple[int, int]) -> np.ndarray:
    """(height, width) bool: pixels inside a box that is grown by a share of its width and height on each side."""
    grow = margin * (box[2:] - box[:2])
    (x0, y0), (x1, y1) = (np.round(np.maximum(corner, 0)).astype(int) for corner in (box[:2] - grow, box[2:] + grow))
    inside = np.zeros(size, bool)
    inside[y0:y1, x0:x1] = True
    return inside


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
        UserError: The landmarks are not those of the crops.
    """
    with CropReader(crops_path) as crops:
        if landmarks["crop_row"].to_pylist() != list(range(len(crops))):
            raise UserError(
                f"landmarks and crops of shard {crops.attrs['shard']} of {crops.attrs['dataset']} do not belong "
                f"together ({len(landmarks)} and {len(crops)} rows); run detect_landmarks for it again"
            )
        items = list(_by_video(crops, landmark_points(landmarks), {video["video_id"]: video for video in videos}))
    make = partial(_mask_video, crops_path=crops_path, root=root, settings=settings)
    results = map_videos(
        make,
        items,
        workers=workers,
        video_seconds=video_seconds,
        preload=("preprocess.video.decode", "preprocess.store.crop_file"),
    )
    for item, found in zip(items, progress(results, total=len(items), description="make masks"), strict=True):
        try:
            (masks,) = found
        except ProbeError as error:  # the worker was ended; without the mask video nothing can hang
            _warn(item.video, error)
            (masks,) = make(replace(item, video=item.video | {"mask_path": None}))
        yield from masks


def landmark_points(landmarks: pa.Table) -> np.ndarray:
    """(N, 81, 2) float32 landmarks in frame pixels, NaN where a row has none."""
    points = np.full((len(landmarks), N_LANDMARKS, 2), np.nan, np.float32)
    column = landmarks["landmarks"].combine_chunks()
    points[column.is_valid().to_numpy(zero_copy_only=False)] = column.flatten().to_numpy().reshape(-1, N_LANDMARKS, 2)
    return points


def _by_video(crops: CropReader, landmarks: np.ndarray, videos: dict[str, dict]) -> Iterator[_VideoCrops]:
    real_rows = {
        _pair_key(crops, row, crops.video_id[row]): row
        for row in range(len(crops))
        if crops.status[row] == OK and videos[crops.video_id[row]]["label"] == 0
    }
    begins = np.flatnonzero(np.append(True, crops.video_id[1:] != crops.video_id[:-1])) if len(crops) else []
    for rows in np.split(np.arange(len(crops)), begins)[1:]:
        video = videos[crops.video_id[rows[0]]]
        pairs = {int(row): real_rows.get(_pair_key(crops, row, video["source_id"])) for row in rows}
        yield _VideoCrops(video, rows, landmarks[rows], {row: real for row, real in pairs.items() if real is not None})


def encode_mask(mask: np.ndarray) -> bytes:
    """Encode a mask, (height, width) uint8 of 0 and 255, as a PNG of one bit a pixel."""
    done, encoded = cv2.imencode(".png", mask, [cv2.IMWRITE_PNG_BILEVEL, 1, cv2.IMWRITE_PNG_COMPRESSION, 1])
    if not done:
        raise ValueError(f"cannot encode a mask of shape {mask.shape}")
    return encoded.tobytes()


def write_masks(path: str | Path, masks: Iterable[CropMasks], origin: Origin) -> None:
    """Write the masks file of a shard; the layout stands at the top of this module."""
    sources = []
    with create_h5(path, origin) as file:
        hull, manipulation = (file.create_blobs(name) for name in ("hull", "manipulation"))
        for crop in masks:
            hull.append(crop.hull)
            manipulation.append(crop.manipulation)
            sources.append(crop.source)
        hull.close()
        manipulation.close()
        file.create_dataset("mask_source", data=np.array(sources, object), dtype=h5py.string_dtype())


def _pair_key(crops: CropReader, row: int, video_id: str) -> tuple:
    """What a real crop and the fake crop at the same place of the same frame have in common."""
    return video_id, int(crops.frame_index[row]), crops.box[row].tobytes()


@cache
def _reader(crops_path: Path) -> CropReader:
    """One open file in each worker."""
    return CropReader(crops_path)


def _mask_video(
    item: _VideoCrops, *, crops_path: Path, root: Path, settings: MasksSettings
) -> Iterator[list[CropMasks]]:
    """The masks of all crops of one video at once; runs in a worker."""
    crops = _reader(crops_path)
    manipulation = _manipulation_masks(crops, item, root, settings)
    yield [
        CropMasks(_hull_of_crop(crops, row, points), *manipulation.get(row, (b"", UNKNOWN)))
        for row, points in zip(item.rows.tolist(), item.landmarks, strict=True)
    ]


def _hull_of_crop(crops: CropReader, row: int, points: np.ndarray) -> bytes:
    if np.isnan(points).any():
        return b""
    frame_to_crop = cv2.invertAffineTransform(crops.crop_to_frame[row])
    return encode_mask(hull_mask(points @ frame_to_crop[:, :2].T + frame_to_crop[:, 2], tuple(crops.size[row])))


def _manipulation_masks(
    crops: CropReader, item: _VideoCrops, root: Path, settings: MasksSettings
) -> dict[int, tuple[bytes, str]]:
    """Crop row → manipulation mask and its source; rows whose mask is unknown are absent."""
    video = item.video
    kept = [row for row in item.rows.tolist() if crops.status[row] == OK]
    if video["label"] == 0:
        return {row: (encode_mask(np.zeros(crops.size[row], np.uint8)), REAL) for row in kept}
    if video["label"] is None:
        return {}
    masks = {}
    if video["mask_path"]:
        masks = _masks_from_video(crops, kept, video, root, settings)
    for row in kept:
        pair = item.real_rows.get(row)
        if row not in masks and pair is not None and _same_window(crops, row, pair):
            box = boxes_in_crops(crops.box[row : row + 1], crops.crop_to_frame[row : row + 1])[0]
            mask = difference_mask(crops.image(pair), crops.image(row), box, settings)
            masks[row] = (encode_mask(mask), DIFFERENCE)
    return masks


def _same_window(crops: CropReader, row: int, other: int) -> bool:
    return np.array_equal(crops.size[row], crops.size[other]) and np.array_equal(
        crops.crop_to_frame[row], crops.crop_to_frame[other]
    )


def _masks_from_video(
    crops: CropReader, rows: list[int], video: dict, root: Path, settings: MasksSettings
) -> dict[int, tuple[bytes, str]]:
    """Cut the masks of crops from a mask video; frames that it does not hold are left out.

    Mask videos of DeepFakeDetection may be shorter than their fake.
    """
    by_frame: dict[int, list[int]] = {}
    for row in rows:
        by_frame.setdefault(int(crops.frame_index[row]), []).append(row)
    masks = {}
    try:
        for frame_index, frame in read_frames(root / video["mask_path"], by_frame, grey=True):
            for row in by_frame[frame_index]:
                cut = _cut_mask(frame, (video["height"], video["width"]), crops.crop_to_frame[row], crops.size[row])
                mask = (cut >= settings.mask_video_threshold).astype(np.uint8) * 255
                masks[row] = (encode_mask(mask), MASK_VIDEO)
    except ProbeError as error:
        _warn(video, error)
    return masks


def _warn(video: dict, error: ProbeError) -> None:
    log.warning("%s: mask video %s: %s", video["video_id"], video["mask_path"], error)


def _cut_mask(mask: np.ndarray, frame_size: tuple[int, int], crop_to_frame: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Cut a crop's window from a mask frame, which may be smaller or larger than the fake's frames."""
    scale = np.array([mask.shape[1] / frame_size[1], mask.shape[0] / frame_size[0]])
    # pixel centres at whole numbers: (x + 0.5) * scale - 0.5
    crop_to_mask = crop_to_frame * scale[:, None]
    crop_to_mask[:, 2] += 0.5 * scale - 0.5
    return cv2.warpAffine(
        mask, crop_to_mask, (int(size[1]), int(size[0])), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    )


def main() -> None:
    """Command line of the stage."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--crops", required=True, type=Path, help="crops of the shard (HDF5)")
    parser.add_argument("--landmarks", required=True, type=Path, help="landmarks of the shard (Parquet)")
    parser.add_argument("--index", required=True, type=Path, help="list of the shard")
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
        read_rows(args.index),
        args.root,
        settings,
        workers=args.workers,
        video_seconds=args.video_seconds,
    )
    write_masks(args.output, masks, origin)


if __name__ == "__main__":
    run_command(main)
