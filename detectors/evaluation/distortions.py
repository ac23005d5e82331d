"""What happens to a video on its way to the viewer, in five graded strengths, applied when stored crops are read.

A distortion changes the stored crop, at the resolution of the video and before a detector cuts its own window, as it
would have changed the video. Everything follows from the sample and a seed, so the same sample is always distorted
alike, whoever reads it, and in whatever order.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Protocol

import av
import cv2
import numpy as np

from detectors.data.augmentation import add_noise, change_contrast, jpeg
from detectors.data.samples import Samples
from preprocess.store.shards import stable_hash

STRENGTHS = (1, 2, 3, 4, 5)
UNDISTORTED = "none"

# A longer track is compressed in pieces, so that what is kept of it stays small.
_MAX_CLIP_FRAMES = 32
# Faces of a frame take turns in the order of the store.
_CLIPS_KEPT = 4
_FACE_SIDE_PX = 256
_FPS = 25
_NOISE = 7  # first word of a seed


class StoredCropReader(Protocol):
    """What `detectors.data.crop_store` reads the stored crops of samples with."""

    samples: Samples

    def read(self, row: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Crop of a sample `(height, width, 3)` uint8 RGB, its box (4,) in the frame, and `crop_to_frame` (2, 3)."""

    def padding_px(self, row: int) -> np.ndarray:
        """(4,) left, top, right, bottom: frame pixels of the crop that lie outside the frame and are black."""


@dataclass(frozen=True)
class Distortion:
    """One way to spoil a crop.

    Attributes:
        unit: What the amounts are.
        amounts: One for each of `STRENGTHS`.
        change: From a crop `(height, width, 3)` uint8 RGB, the amount, the longer side of its face box in pixels and
            a generator, to the distorted crop. None for `video_compression`, which needs the whole track.
    """

    unit: str
    amounts: tuple[float, ...]
    change: Callable[[np.ndarray, float, float, np.random.Generator], np.ndarray] | None


def _jpeg(image: np.ndarray, quality: float, _: float, __: np.random.Generator) -> np.ndarray:
    return jpeg(image, int(quality))


def _blur(image: np.ndarray, sigma_px: float, face_px: float, _: np.random.Generator) -> np.ndarray:
    return cv2.GaussianBlur(image, (0, 0), sigma_px * face_px / _FACE_SIDE_PX)


def _noise(image: np.ndarray, sigma: float, _: float, rng: np.random.Generator) -> np.ndarray:
    return add_noise(image, sigma, rng)


def _resize(image: np.ndarray, factor: float, _: float, __: np.random.Generator) -> np.ndarray:
    height, width = image.shape[:2]
    small = (max(1, round(width / factor)), max(1, round(height / factor)))
    reduced = cv2.resize(image, small, interpolation=cv2.INTER_AREA)
    return cv2.resize(reduced, (width, height), interpolation=cv2.INTER_LINEAR)


def _contrast(image: np.ndarray, contrast: float, _: float, __: np.random.Generator) -> np.ndarray:
    return change_contrast(image, contrast, 0.0, pivot=127.5)


DISTORTIONS: dict[str, Distortion] = {
    "jpeg": Distortion("quality", (90, 70, 50, 30, 10), _jpeg),
    "gaussian_blur": Distortion(f"sigma in px of a face of {_FACE_SIDE_PX} px", (1, 2, 3, 5, 8), _blur),
    "gaussian_noise": Distortion("sigma in grey levels", (4, 8, 16, 24, 32), _noise),
    "resize": Distortion("factor, down and up again", (1.5, 2, 3, 4, 6), _resize),
    "contrast": Distortion("factor", (0.85, 0.7, 0.55, 0.4, 0.25), _contrast),
    "video_compression": Distortion("H.264 CRF", (23, 28, 34, 40, 46), None),
}


def compress_clip(frames: Sequence[np.ndarray], crf: int) -> list[np.ndarray]:
    """What H.264 leaves of a clip.

    x264 in its standard preset, in one thread, for the same bytes every time; colour planes are halved, as in most
    videos.

    Args:
        frames: (height, width, 3) uint8 RGB, of any sizes: all are laid on a canvas of the largest height and width,
            centred, and their edges repeated beyond them.
        crf: Constant rate factor; FaceForensics++ uses 23 for c23 and 40 for c40.

    Returns:
        The frames, each in its own size.
    """
    # x264 wants even sides; 32 px is more than the smallest block that it takes
    largest = np.max([frame.shape[:2] for frame in frames], axis=0)
    height, width = (max(32, int(side + side % 2)) for side in largest)
    encoder = av.CodecContext.create("libx264", "w")
    encoder.width, encoder.height, encoder.pix_fmt = width, height, "yuv420p"
    encoder.framerate, encoder.thread_count = Fraction(_FPS), 1
    # x264's macroblock tree gives other bytes from run to run on some processors
    encoder.options = {"crf": str(crf), "x264-params": "mbtree=0", "flags": "+bitexact"}
    decoder = av.CodecContext.create("h264", "r")
    decoder.thread_count = 1
    packets, places = [], []
    for number, frame in enumerate(frames):
        top, left = (height - frame.shape[0]) // 2, (width - frame.shape[1]) // 2
        bottom, right = height - frame.shape[0] - top, width - frame.shape[1] - left
        canvas: Any = cv2.copyMakeBorder(frame, top, bottom, left, right, cv2.BORDER_REPLICATE)
        picture = av.VideoFrame.from_ndarray(canvas, format="rgb24")
        picture.pts = number
        packets += encoder.encode(picture)
        places.append((slice(top, top + frame.shape[0]), slice(left, left + frame.shape[1])))
    packets += encoder.encode(None)
    decoded = [picture for packet in [*packets, None] for picture in decoder.decode(packet)]
    return [
        np.ascontiguousarray(picture.to_ndarray(format="rgb24")[place])
        for picture, place in zip(decoded, places, strict=True)
    ]


class DistortedCrops:
    """Stored crops as they would be had their videos been distorted.

    Args:
        source: Reads the stored crops; of a track that is to be compressed, all crops should be among its samples.
        name: A key of `DISTORTIONS`.
        strength: One of `STRENGTHS`.
        seed: Of the noise.

    Attributes:
        samples: Those of the source.
    """

    def __init__(self, source: StoredCropReader, name: str, strength: int, seed: int):
        self.samples = source.samples
        self._source = source
        self._distortion = DISTORTIONS[name]
        self._amount = self._distortion.amounts[STRENGTHS.index(strength)]
        self._seed = [_NOISE, seed, stable_hash(name), strength]
        self._clips: OrderedDict[int, dict[int, tuple]] = OrderedDict()
        if self._distortion.change is None:
            self._clip_of_row, self._rows_of_clip = _clips(self.samples)

    def __getstate__(self) -> dict:
        return self.__dict__ | {"_clips": OrderedDict()}

    def read(self, row: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """As `StoredCropReader.read`, distorted; what lies outside the frame stays black, for it is no picture."""
        if self._distortion.change is None:
            return self._compressed(row)
        image, box, crop_to_frame, inside = self._filled(row)
        face_px = float(np.max((box[2:] - box[:2]) / crop_to_frame[[0, 1], [0, 1]]))
        distorted = self._distortion.change(image, self._amount, face_px, self._generator(row))
        return _blackened(distorted, inside), box, crop_to_frame

    def _filled(self, row: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, tuple[slice, slice]]:
        """The stored crop with the edge of the frame repeated outside it, box and transform, and what is inside."""
        image, box, crop_to_frame = self._source.read(row)
        padding = self._source.padding_px(row)
        if not padding.any():
            return image, box, crop_to_frame, (slice(None), slice(None))
        # of a reduced crop, the edge may lie within a pixel
        left, top, right, bottom = np.ceil(padding / np.tile(crop_to_frame[[0, 1], [0, 1]], 2)).astype(int).tolist()
        height, width = image.shape[:2]
        inside = (slice(top, max(top + 1, height - bottom)), slice(left, max(left + 1, width - right)))
        filled = cv2.copyMakeBorder(image[inside], top, bottom, left, right, cv2.BORDER_REPLICATE)
        return filled[:height, :width], box, crop_to_frame, inside

    def _generator(self, row: int) -> np.random.Generator:
        video = self.samples.video_id.text(row)
        assert video is not None, "every sample has a video"
        place = [int(self.samples.frame_index[row]), int(self.samples.track_id[row])]
        return np.random.default_rng([*self._seed, stable_hash(video), *place])

    def _compressed(self, row: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        clip = int(self._clip_of_row[row])
        if clip not in self._clips:
            rows = self._rows_of_clip[clip].tolist()
            images, boxes, transforms, insides = zip(*map(self._filled, rows), strict=True)
            frames = map(_blackened, compress_clip(images, int(self._amount)), insides)
            if len(self._clips) >= _CLIPS_KEPT:
                self._clips.popitem(last=False)
            self._clips[clip] = dict(zip(rows, zip(frames, boxes, transforms, strict=True), strict=True))
        self._clips.move_to_end(clip)
        return self._clips[clip][row]


def _blackened(image: np.ndarray, inside: tuple[slice, slice]) -> np.ndarray:
    """An image that is black but for what lies inside."""
    if inside == (slice(None), slice(None)):
        return image
    black = np.zeros_like(image)
    black[inside] = image[inside]
    return black


def _clips(samples: Samples) -> tuple[np.ndarray, list[np.ndarray]]:
    """The number of each row's clip, and each clip's rows in the order of time: a face track, or a piece of one."""
    order = np.lexsort((samples.frame_index, samples.track_id, samples.video_id.codes))
    track = np.stack([samples.video_id.codes, samples.track_id])[:, order]
    begins = np.flatnonzero(np.r_[True, (track[:, 1:] != track[:, :-1]).any(axis=0)])
    clips = []
    for rows in np.split(order, begins[1:]):
        # pieces of nearly the same length: a last frame alone would be a still picture
        clips += np.array_split(rows, -(-len(rows) // _MAX_CLIP_FRAMES))
    clip_of_row = np.empty(len(samples), np.int64)
    for number, rows in enumerate(clips):
        clip_of_row[rows] = number
    return clip_of_row, clips
