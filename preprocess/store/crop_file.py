"""The crops file of a shard: its layout, writing and reading.

    /videos/video_id        (V,)      str      videos that have crops, in order
    /crops/video            (N,)      int32    row of /videos
    /crops/frame_index      (N,)      int32
    /crops/pts_seconds      (N,)      float64
    /crops/track_id         (N,)      int32
    /crops/box              (N, 4)    float32  face box x0, y0, x1, y1 in frame pixels
    /crops/score            (N,)      float32  score of the face detector
    /crops/size             (N, 2)    int32    height, width of the stored crop; 0, 0 when it was lost
    /crops/crop_to_frame    (N, 2, 3) float64  affine: frame (x, y) = A @ (x, y, 1) of the crop
    /crops/padding_px       (N, 4)    int32    left, top, right, bottom: frame pixels of the window that lie outside
                                               the frame and are black in the crop
    /crops/sharpness        (N,)      float32  variance of the Laplacian of the grey face box at 128 x 128 px; NaN: lost
    /crops/status, message  (N,)      str      `ok`, or why the crop was lost
    /images/encoded, offset                    pixels of crop i: encoded[offset[i]:offset[i + 1]], see `encode_crop`

The attribute `encoding` of /images names what its bytes are. Rows are sorted by video, frame and track. Point
coordinates have pixel centres at whole numbers.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa

from preprocess.running.cli import UserError
from preprocess.store.blobs import BlobReader
from preprocess.store.hdf5 import create_h5
from preprocess.store.image_codecs import CROP_ENCODING, decode_crop
from preprocess.store.origin import Origin
from preprocess.video.outcomes import OK

_PACKED_CROPS = 4096  # crops whose columns are packed at once


@dataclass(frozen=True)
class Crop:
    """One face crop and where it comes from; the fields are what `/crops` and `/images` hold of it.

    Attributes:
        video_id: Video.
        frame_index: Frame of the video.
        pts_seconds: Time of the frame.
        track_id: Face track.
        box: (4,) face box x0, y0, x1, y1 in frame pixels.
        score: Score of the face detector, in [0, 1].
        size: (height, width) of the stored crop.
        crop_to_frame: (2, 3) affine from crop to frame points.
        padding_px: (left, top, right, bottom) of the window outside the frame, in frame pixels.
        encoded: Pixels as `encode_crop` makes them; empty when the crop was lost.
        sharpness: Variance of the Laplacian of the face box at 128 x 128 px.
        status: `ok`, or why the crop was lost.
        message: Why, in words.
    """

    video_id: str
    frame_index: int
    pts_seconds: float
    track_id: int
    box: np.ndarray
    score: float
    size: tuple[int, int]
    crop_to_frame: np.ndarray
    padding_px: tuple[int, int, int, int]
    encoded: bytes
    sharpness: float = float("nan")
    status: str = OK
    message: str = ""


def boxes_in_crops(boxes: np.ndarray, crop_to_frame: np.ndarray) -> np.ndarray:
    """Boxes in pixels of the frame → in pixels of the crop.

    Args:
        boxes: (N, 4) x0, y0, x1, y1 in frame pixels, x1 and y1 exclusive.
        crop_to_frame: (N, 2, 3) transforms; they scale and shift, they do not turn.

    Returns:
        (N, 4) float64 x0, y0, x1, y1 in crop pixels; may reach outside the crop.
    """
    scale, shift = crop_to_frame[:, [0, 1], [0, 1]], crop_to_frame[:, :, 2]
    # the transforms are those of pixel centres; a box's edge lies half a pixel before the centre of its pixel
    corners = (boxes.reshape(-1, 2, 2) - 0.5 - shift[:, None]) / scale[:, None] + 0.5
    return corners.reshape(-1, 4)


def write_crops(path: str | Path, crops: Iterable[Crop], origin: Origin) -> None:
    """Write the crops file of a shard; the crops come sorted by video, frame and track.

    Only the columns are held in memory, 140 bytes a crop: the images go to the file as they come.
    """
    videos: dict[str, int] = {}
    rows: list[Crop] = []
    blocks = [_columns(rows, videos)]
    with create_h5(path, origin) as file:
        images = file.create_blobs("images")
        images.group.attrs["encoding"] = CROP_ENCODING
        for crop in crops:
            images.append(crop.encoded)
            videos.setdefault(crop.video_id, len(videos))
            rows.append(replace(crop, encoded=b""))
            if len(rows) == _PACKED_CROPS:
                blocks.append(_columns(rows, videos))
                rows = []
        images.close()
        blocks.append(_columns(rows, videos))
        text = h5py.string_dtype()
        file.create_dataset("videos/video_id", data=np.array(list(videos), object), dtype=text)
        columns = file.create_group("crops")
        for name in blocks[0]:
            values = np.concatenate([block[name] for block in blocks])
            columns.create_dataset(name, data=values, dtype=text if values.dtype == object else None)


def _columns(crops: list[Crop], videos: dict[str, int]) -> dict[str, np.ndarray]:
    """Some rows of `/crops`, column by column; `videos` gives the rows of `/videos`."""
    return {
        "video": np.array([videos[crop.video_id] for crop in crops], np.int32),
        "frame_index": np.array([crop.frame_index for crop in crops], np.int32),
        "pts_seconds": np.array([crop.pts_seconds for crop in crops], np.float64),
        "track_id": np.array([crop.track_id for crop in crops], np.int32),
        "box": np.array([crop.box for crop in crops], np.float32).reshape(-1, 4),
        "score": np.array([crop.score for crop in crops], np.float32),
        "size": np.array([crop.size for crop in crops], np.int32).reshape(-1, 2),
        "crop_to_frame": np.array([crop.crop_to_frame for crop in crops], np.float64).reshape(-1, 2, 3),
        "padding_px": np.array([crop.padding_px for crop in crops], np.int32).reshape(-1, 4),
        "sharpness": np.array([crop.sharpness for crop in crops], np.float32),
        "status": np.array([crop.status for crop in crops], object),
        "message": np.array([crop.message for crop in crops], object),
    }


class CropReader:
    """Read the crops file of a shard. Not for sharing across a fork: open one in each worker.

    Attributes:
        attrs: dataset, shard, stage, settings and version of the file.
        video_id: (N,) object array of video ids.
        frame_index, track_id: (N,) int32.
        pts_seconds: (N,) float64.
        box: (N, 4) float32, frame pixels.
        score: (N,) float32.
        size: (N, 2) int32, height and width of each stored crop.
        crop_to_frame: (N, 2, 3) float64.
        padding_px: (N, 4) int32.
        sharpness: (N,) float32.
        status, message: (N,) object arrays.

    Raises:
        UserError: The file is absent, cannot be read, or is no crops file of this version.
    """

    def __init__(self, path: str | Path):
        self._file = _open(path)
        self.attrs = dict(self._file.attrs)
        crops = self._file["crops"]
        videos = self._file["videos/video_id"].asstr()[:]
        self.video_id = videos[crops["video"][:]] if len(videos) else np.empty(0, object)
        self.frame_index = crops["frame_index"][:]
        self.pts_seconds = crops["pts_seconds"][:]
        self.track_id = crops["track_id"][:]
        self.box = crops["box"][:]
        self.score = crops["score"][:]
        self.size = crops["size"][:]
        self.crop_to_frame = crops["crop_to_frame"][:]
        self.padding_px = crops["padding_px"][:]
        self.sharpness = crops["sharpness"][:]
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
        with _damage_named(self._file.filename, row):
            encoded = self._images[row]
            return decode_crop(encoded, self.size[row]) if encoded else None


class CropRows:
    """Read single crops of a crops file in any order: nothing is loaded ahead, so hundreds can stay open.

    Not for sharing across a fork: open one in each worker.

    Raises:
        UserError: The file is absent, cannot be read, or is no crops file of this version.
    """

    def __init__(self, path: str | Path):
        self.path = path
        # HDF5's chunk cache would read 1 MiB for each image of a tenth of that
        self._file = _open(path, rdcc_nbytes=0)
        self._size = self._file["crops/size"]
        self._box = self._file["crops/box"]
        self._crop_to_frame = self._file["crops/crop_to_frame"]
        self._padding_px = self._file["crops/padding_px"]
        self._encoded = self._file["images/encoded"]
        self._offset = self._file["images/offset"]

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def read(self, row: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Crop `row`: RGB uint8 `(height, width, 3)`, its box (4,) in frame pixels, and `crop_to_frame` (2, 3).

        Raises:
            UserError: The file has no such row, the crop was lost, or its bytes are damaged.
        """
        if not 0 <= row < len(self._box):
            raise UserError(f"{self.path} has no crop {row}, only {len(self._box)}: collect the samples again")
        begin, end = self._offset[row : row + 2]
        if begin == end:
            raise UserError(f"crop {row} of {self.path} was lost when it was cut: collect the samples again")
        with _damage_named(self.path, row):
            image = decode_crop(self._encoded[begin:end], self._size[row])
        return image, self._box[row], self._crop_to_frame[row]

    def padding_px(self, row: int) -> np.ndarray:
        """(4,) int32 left, top, right, bottom: frame pixels of crop `row` that lie outside the frame and are black."""
        return self._padding_px[row]


@contextlib.contextmanager
def _damage_named(path: str | Path, row: int) -> Iterator[None]:
    """Name the file and the crop whose bytes do not decode: they were damaged since they were written."""
    try:
        yield
    except (OSError, ValueError, pa.ArrowException) as error:
        raise UserError(
            f"crop {row} of {path} is damaged ({error}). Run `python -m workflow.verify`: it names every damaged "
            "file and how to make it again"
        ) from error


def _open(path: str | Path, **options: int) -> h5py.File:
    """Open a crops file; the options are those of `h5py.File`."""
    try:
        file = h5py.File(path, "r", **options)
    except OSError as error:
        raise UserError(f"cannot read the crops file {path}: {error}. Run crop_faces for it again") from error
    found = file["images"].attrs.get("encoding", "PNG") if "images" in file else "nothing"
    if found != CROP_ENCODING:
        file.close()
        raise UserError(f"{path} holds {found!r} where crops are {CROP_ENCODING!r}. Run crop_faces for it again")
    return file
