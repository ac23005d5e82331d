"""The crops file of a shard: its layout, writing and reading.

    /videos/video_id        (V,)      str      videos that have crops, in order
    /crops/video            (N,)      int32    row of /videos
    /crops/frame_index      (N,)      int32
    /crops/pts_seconds      (N,)      float64
    /crops/track_id         (N,)      int32
    /crops/box              (N, 4)    float32  face box x0, y0, x1, y1 in frame pixels
    /crops/size             (N, 2)    int32    height, width of the stored crop; 0, 0 when it was lost
    /crops/crop_to_frame    (N, 2, 3) float64  affine: frame (x, y) = A @ (x, y, 1) of the crop
    /crops/padding_px       (N, 4)    int32    left, top, right, bottom: frame pixels of the window that lie outside
                                               the frame and are black in the crop
    /crops/status, message  (N,)      str      `ok`, or why the crop was lost
    /images/encoded, offset                    PNG of crop i: encoded[offset[i]:offset[i + 1]]

Rows are sorted by video, frame and track. Point coordinates have pixel centres at whole numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import h5py
import numpy as np

from preprocess.cli import UserError
from preprocess.schemas import OK
from preprocess.store import BlobReader


@dataclass(frozen=True)
class Crop:
    """One face crop and where it comes from; the fields are the columns of `/crops`.

    Attributes:
        video_id: Video.
        frame_index: Frame of the video.
        pts_seconds: Time of the frame.
        track_id: Face track.
        box: (4,) face box x0, y0, x1, y1 in frame pixels.
        size: (height, width) of the stored crop.
        crop_to_frame: (2, 3) affine from crop to frame points.
        padding_px: (left, top, right, bottom) of the window outside the frame, in frame pixels.
        encoded: PNG bytes; empty when the crop was lost.
        status: `ok`, or why the crop was lost.
        message: Why, in words.
    """

    video_id: str
    frame_index: int
    pts_seconds: float
    track_id: int
    box: np.ndarray
    size: tuple[int, int]
    crop_to_frame: np.ndarray
    padding_px: tuple[int, int, int, int]
    encoded: bytes
    status: str = OK
    message: str = ""


def encode_png(image: np.ndarray, level: int = 1) -> bytes:
    """Encode an RGB `(height, width, 3)` or grey `(height, width)` uint8 image as PNG, without loss."""
    pixels = image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    done, encoded = cv2.imencode(".png", pixels, [cv2.IMWRITE_PNG_COMPRESSION, level])
    if not done:
        raise ValueError(f"cannot encode an image of shape {image.shape}")
    return encoded.tobytes()


def decode_png(encoded: bytes) -> np.ndarray:
    """Decode PNG bytes to RGB `(height, width, 3)` or grey `(height, width)` uint8."""
    image = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_UNCHANGED)
    return image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


class CropReader:
    """Read the crops file of a shard. Not for sharing across a fork: open one in each worker.

    Attributes:
        attrs: dataset, shard, stage, settings and version of the file.
        video_id: (N,) object array of video ids.
        frame_index, track_id: (N,) int32.
        pts_seconds: (N,) float64.
        box: (N, 4) float32, frame pixels.
        size: (N, 2) int32, height and width of each stored crop.
        crop_to_frame: (N, 2, 3) float64.
        padding_px: (N, 4) int32.
        status, message: (N,) object arrays.

    Raises:
        UserError: The file is absent or cannot be read.
    """

    def __init__(self, path: str | Path):
        try:
            self._file = h5py.File(path, "r")
        except OSError as error:
            raise UserError(f"cannot read the crops file {path}: {error}. Run crop_faces for it again") from error
        self.attrs = dict(self._file.attrs)
        crops = self._file["crops"]
        videos = self._file["videos/video_id"].asstr()[:]
        self.video_id = videos[crops["video"][:]] if len(videos) else np.empty(0, object)
        self.frame_index = crops["frame_index"][:]
        self.pts_seconds = crops["pts_seconds"][:]
        self.track_id = crops["track_id"][:]
        self.box = crops["box"][:]
        self.size = crops["size"][:]
        self.crop_to_frame = crops["crop_to_frame"][:]
        self.padding_px = crops["padding_px"][:]
        self.status = crops["status"].asstr()[:]
        self.message = crops["message"].asstr()[:]
        self._images = BlobReader(self._file["images"])

    def __len__(self) -> int:
        return len(self.frame_index)

    def __enter__(self) -> CropReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def image(self, row: int) -> np.ndarray | None:
        """Crop `row` as RGB uint8 `(height, width, 3)`; None when it was lost."""
        encoded = self._images[row]
        return decode_png(encoded) if encoded else None
