"""Masks of every face crop: `python -m preprocess.masks --help`.

Two masks have the size of the crop: the hull of its landmarks, from which self-blended images are made, and the
manipulation mask, 255 where the face was manipulated. The latter comes from the collection's mask video where there
is one, else from the structural difference between the fake and the real video that it was made from.

    /hull/encoded, offset           PNG of the hull of crop i; no bytes when the crop has no landmarks
    /manipulation/encoded, offset   PNG of the manipulation mask of crop i; no bytes when it is unknown
    /mask_source            (N,)    str: real (all zero), mask_video, difference or unknown

Row i belongs to crop i. Both are grey PNGs of the values 0 and 255; `preprocess.store.BlobReader` reads the groups.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import h5py
import numpy as np

from preprocess import versions
from preprocess.cli import UserError, progress, run_command
from preprocess.crop_file import CropReader, encode_png
from preprocess.decode import read_frames
from preprocess.parallel import ordered_map
from preprocess.probe import ProbeError
from preprocess.schemas import OK
from preprocess.settings import load_settings, setting, settings_json
from preprocess.store import BlobWriter, Origin, create_h5, read_rows

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

# Convex polygons are drawn with corners in sixteenths of a pixel.
_POLYGON_SHIFT = 4


@dataclass(frozen=True)
class MasksSettings:
    """How manipulation masks are made. Lengths are shares of the face's size, the root of its box's area."""

    mask_video_threshold: int = setting(
        64, "Grey value of a mask video from which a pixel counts as manipulated.", minimum=1
    )
    difference_threshold: float = setting(
        0.08, "Smoothed structural difference (1 - SSIM) from which a pixel counts as manipulated.", minimum=0.0
    )
    smoothing: float = setting(0.05, "Standard deviation of the blur of the structural difference.", minimum=0.0)
    close: float = setting(0.1, "Gaps up to twice this width within a mask are closed.", minimum=0.0)
    open: float = setting(0.05, "What is narrower than twice this is no part of a mask.", minimum=0.0)


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
    similarity" (2004), equation 13, in an 11 x 11 Gaussian window with a standard deviation of 1.5 px; mean over the
    colours.

    Args:
        real, fake: (height, width, 3) uint8 of one size.

    Returns:
        (height, width) float32: 0 where the two are equal, up to 2.
    """

    def local_mean(image: np.ndarray) -> np.ndarray:
        return cv2.GaussianBlur(image, (_SSIM_WINDOW_PX, _SSIM_WINDOW_PX), _SSIM_SIGMA_PX)

    x, y = real.astype(np.float32), fake.astype(np.float32)
    mean_x, mean_y = local_mean(x), local_mean(y)
    variances = local_mean(x * x) - mean_x**2 + local_mean(y * y) - mean_y**2
    covariance = local_mean(x * y) - mean_x * mean_y
    similarity = (2 * mean_x * mean_y + _SSIM_C1) / (mean_x**2 + mean_y**2 + _SSIM_C1)
    similarity *= (2 * covariance + _SSIM_C2) / (variances + _SSIM_C2)
    return 1 - similarity.mean(axis=2)


def difference_mask(real: np.ndarray, fake: np.ndarray, face_px: float, settings: MasksSettings) -> np.ndarray:
    """The manipulation mask of a fake crop, by comparison with the real one.

    The structural difference is blurred, since compression scatters small differences everywhere, and cut at the
    threshold; then gaps are closed (what lies between changed eyes and a changed mouth is part of the face), narrow
    parts are removed, and holes are filled.

    Args:
        real, fake: (height, width, 3) uint8 of one size.
        face_px: Size of the face, the root of its box's area, in pixels.
        settings: Threshold and lengths.

    Returns:
        (height, width) uint8: 255 where the face was manipulated, else 0.
    """
    difference = structural_difference(real, fake)
    if settings.smoothing:
        difference = cv2.GaussianBlur(difference, (0, 0), settings.smoothing * face_px)
    mask = (difference > settings.difference_threshold).astype(np.uint8)
    # so that what closing joins near the border is not cut off at it
    border = round(settings.close * face_px)
    mask = cv2.copyMakeBorder(mask, border, border, border, border, cv2.BORDER_CONSTANT)
    mask = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, _disc(settings.close * face_px))
    mask = cv2.morphologyEx(mask, cv2.MORPH_OPEN, _disc(settings.open * face_px))
    mask = mask[border : border + real.shape[0], border : border + real.shape[1]]
    outlines, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return cv2.drawContours(np.zeros_like(mask, order="C"), outlines, -1, 255, cv2.FILLED)


def _disc(radius_px: float) -> np.ndarray:
    side = 2 * round(radius_px) + 1
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))


def make_masks(
    crops: CropReader,
    landmarks: list[dict],
    videos: list[dict],
    root: Path,
    settings: MasksSettings,
    *,
    threads: int,
) -> Iterator[CropMasks]:
    """Make the masks of every crop of a shard.

    Args:
        crops: The shard's crops.
        landmarks: Rows of `schemas.LANDMARKS`, one for each crop.
        videos: Rows of `schemas.INDEX` of the shard.
        root: Raw folder of the data set, in which mask videos lie.
        settings: Thresholds.
        threads: Videos worked on side by side; the masks do not depend on it.

    Yields:
        The masks of each crop, in the order of the crops.

    Raises:
        UserError: The landmarks are not those of the crops.
    """
    if [row["crop_row"] for row in landmarks] != list(range(len(crops))):
        raise UserError(
            f"landmarks and crops of shard {crops.attrs['shard']} of {crops.attrs['dataset']} do not belong together "
            f"({len(landmarks)} and {len(crops)} rows); run detect_landmarks for it again"
        )
    by_id = {video["video_id"]: video for video in videos}
    real_rows = {
        _pair_key(crops, row, crops.video_id[row]): row
        for row in range(len(crops))
        if crops.status[row] == OK and by_id[crops.video_id[row]]["label"] == 0
    }

    def masks_of(rows: np.ndarray) -> list[CropMasks]:
        video = by_id[crops.video_id[rows[0]]]
        manipulation = _manipulation_masks(crops, rows, video, real_rows, root, settings)
        return [
            CropMasks(_encode(_hull_of_crop(crops, row, landmarks[row])), _encode(mask), source)
            for row, (mask, source) in zip(rows, manipulation, strict=True)
        ]

    groups = np.split(np.arange(len(crops)), np.flatnonzero(crops.video_id[1:] != crops.video_id[:-1]) + 1)
    groups = [rows for rows in groups if len(rows)]
    for masks in progress(ordered_map(masks_of, groups, threads), total=len(groups), description="make masks"):
        yield from masks


def write_masks(path: str | Path, masks: Iterable[CropMasks], origin: Origin) -> None:
    """Write the masks file of a shard; the layout stands at the top of this module."""
    sources = []
    with create_h5(path, origin) as file:
        hull, manipulation = (BlobWriter(file.create_group(name)) for name in ("hull", "manipulation"))
        for crop in masks:
            hull.append(crop.hull)
            manipulation.append(crop.manipulation)
            sources.append(crop.source)
        hull.close()
        manipulation.close()
        file.create_dataset("mask_source", data=np.array(sources, object), dtype=h5py.string_dtype())


def _encode(mask: np.ndarray | None) -> bytes:
    return b"" if mask is None else encode_png(mask)


def _pair_key(crops: CropReader, row: int, video_id: str) -> tuple:
    """What a real crop and the fake crop at the same place of the same frame have in common."""
    return video_id, int(crops.frame_index[row]), crops.box[row].tobytes()


def _hull_of_crop(crops: CropReader, row: int, landmarks: dict) -> np.ndarray | None:
    if landmarks["landmarks"] is None:
        return None
    frame_to_crop = cv2.invertAffineTransform(crops.crop_to_frame[row])
    points = np.reshape(landmarks["landmarks"], (-1, 2)) @ frame_to_crop[:, :2].T + frame_to_crop[:, 2]
    return hull_mask(points, tuple(crops.size[row]))


def _manipulation_masks(
    crops: CropReader,
    rows: np.ndarray,
    video: dict,
    real_rows: dict[tuple, int],
    root: Path,
    settings: MasksSettings,
) -> list[tuple[np.ndarray | None, str]]:
    """Manipulation mask and its source for the crops of one video."""
    kept = [row for row in rows if crops.status[row] == OK]
    masks: dict[int, tuple[np.ndarray, str]] = {}
    if video["label"] == 0:
        masks = {row: (np.zeros(crops.size[row], np.uint8), REAL) for row in kept}
    elif video["label"] == 1:
        if video["mask_path"]:
            masks = _masks_from_video(crops, kept, video, root / video["mask_path"], settings)
        for row in kept:
            pair = real_rows.get(_pair_key(crops, row, video["source_id"]))
            if row not in masks and pair is not None and _same_window(crops, row, pair):
                face_px = _face_px(crops, row)
                mask = difference_mask(crops.image(pair), crops.image(row), face_px, settings)
                masks[row] = (mask, DIFFERENCE)
    return [masks.get(row, (None, UNKNOWN)) for row in rows]


def _same_window(crops: CropReader, row: int, other: int) -> bool:
    return np.array_equal(crops.size[row], crops.size[other]) and np.array_equal(
        crops.crop_to_frame[row], crops.crop_to_frame[other]
    )


def _face_px(crops: CropReader, row: int) -> float:
    """Root of the area of the face box, in pixels of the crop."""
    x0, y0, x1, y1 = crops.box[row].tolist()
    return float(np.sqrt((x1 - x0) * (y1 - y0) / abs(np.linalg.det(crops.crop_to_frame[row][:, :2]))))


def _masks_from_video(
    crops: CropReader, rows: list[int], video: dict, path: Path, settings: MasksSettings
) -> dict[int, tuple[np.ndarray, str]]:
    """Cut the masks of crops from a mask video; frames that it does not hold are left out.

    Mask videos of DeepFakeDetection may be shorter than their fake.
    """
    by_frame: dict[int, list[int]] = {}
    for row in rows:
        by_frame.setdefault(int(crops.frame_index[row]), []).append(row)
    masks = {}
    try:
        for frame_index, frame in read_frames(path, sorted(by_frame)):
            grey = frame.max(axis=2)
            for row in by_frame[frame_index]:
                cut = _cut_mask(grey, (video["height"], video["width"]), crops.crop_to_frame[row], crops.size[row])
                masks[row] = ((cut >= settings.mask_video_threshold).astype(np.uint8) * 255, MASK_VIDEO)
    except (ProbeError, OSError) as error:
        log.warning("%s: mask video %s: %s", video["video_id"], video["mask_path"], error)
    return masks


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
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    settings = load_settings(MasksSettings, args.settings)
    # the threads of this stage are its own; OpenCV's would only compete with them
    cv2.setNumThreads(1)
    with CropReader(args.crops) as crops:
        origin = Origin(crops.attrs["dataset"], "masks", settings_json(settings), versions.MASKS, crops.attrs["shard"])
        masks = make_masks(
            crops, read_rows(args.landmarks), read_rows(args.index), args.root, settings, threads=args.threads
        )
        write_masks(args.output, masks, origin)


if __name__ == "__main__":
    run_command(main)
