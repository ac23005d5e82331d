"""Pixels of chosen frames, in one forward pass over the file.

Frames are found by their time, not by counting what the decoder gives: a decoder drops what it cannot
decode, and counting would then give every later frame a wrong index. PyAV is the decoder because it says
the time of each frame. decord, as fast on the same files, repeats its last frame in place of what does not
decode, and mangles rotated videos (docs/decoding.md has the figures).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import av
import numpy as np
from PIL import Image
from PIL.Image import Transpose

from preprocess.probe import EXIF_ORIENTATION, IMAGE_ERRORS, IMAGE_FORMATS, ProbeError, frame_times, open_video
from preprocess.schemas import UNREADABLE

# Two frames are never this close; times that come from the same integer pts agree far better.
_SAME_TIME_SECONDS = 1e-4
# EXIF orientation -> what turns the image upright
_TURNS = {
    2: Transpose.FLIP_LEFT_RIGHT,
    3: Transpose.ROTATE_180,
    4: Transpose.FLIP_TOP_BOTTOM,
    5: Transpose.TRANSPOSE,
    6: Transpose.ROTATE_270,
    7: Transpose.TRANSVERSE,
    8: Transpose.ROTATE_90,
}


def read_frames(path: str | Path, frame_indices: Iterable[int]) -> Iterator[tuple[int, np.ndarray]]:
    """Decode the chosen frames of a video, in order.

    Args:
        path: Video file.
        frame_indices: Indices into `preprocess.probe.frame_times(path)`, in any order.

    Yields:
        `(frame_index, frame)` with the frame as RGB uint8 `(height, width, 3)`, display-oriented. A frame that
        does not decode, or has another size or rotation than the file's first one, is left out: compare with what
        was asked for.

    Raises:
        preprocess.probe.ProbeError: The file cannot be opened or holds no video.
    """
    wanted = sorted(set(frame_indices))
    if not wanted:
        return
    times = frame_times(path)
    in_file = [index for index in wanted if index < len(times)]
    if not in_file:
        return
    next_wanted = 0
    size = None
    for position, (pts_seconds, frame) in enumerate(_decoded(path)):
        # boxes and the index's size are those of the first frame; a few streams change their size on the way
        shape = (frame.height, frame.width, frame.rotation)
        size = size or shape
        if pts_seconds is None:  # AVI and raw streams give frames no time: only their order is left
            pts_seconds = times[min(position, len(times) - 1)]
        while next_wanted < len(in_file) and times[in_file[next_wanted]] < pts_seconds - _SAME_TIME_SECONDS:
            next_wanted += 1  # its time has passed: it did not decode
        if next_wanted == len(in_file):
            return
        index = in_file[next_wanted]
        if abs(times[index] - pts_seconds) <= _SAME_TIME_SECONDS:
            next_wanted += 1
            if shape == size:
                yield index, _upright(frame)
            if next_wanted == len(in_file):
                return


def read_image(path: str | Path) -> np.ndarray:
    """Read an image file as RGB uint8 `(height, width, 3)`, turned upright by its EXIF orientation.

    Raises:
        OSError: The file is not an image that Pillow reads, or it is damaged.
    """
    try:
        return _rgb(path)
    except IMAGE_ERRORS as error:
        raise OSError(f"cannot be read as an image: {error}") from error


def frames_of(video: dict, root: str | Path, frame_indices: Iterable[int]) -> Iterator[tuple[int, np.ndarray]]:
    """Frames of a row of the index, be it a video or an image; see `read_frames`.

    Raises:
        preprocess.probe.ProbeError: The file cannot be opened or holds no video or image.
    """
    path = Path(root) / video["path"]
    if video["kind"] == "image":
        try:
            yield 0, read_image(path)
        except OSError as error:
            raise ProbeError(UNREADABLE, str(error)) from error
    else:
        yield from read_frames(path, frame_indices)


def _rgb(path: str | Path) -> np.ndarray:
    with Image.open(path, formats=IMAGE_FORMATS) as image:
        # Pillow's exif_transpose also writes all the EXIF anew, and fails over entries that do not matter here
        turn = _TURNS.get(image.getexif().get(EXIF_ORIENTATION))
        upright = image if turn is None else image.transpose(turn)
        if upright.mode.startswith("I;16"):
            upright = Image.fromarray((np.asarray(upright) >> 8).astype(np.uint8))
        return np.asarray(upright.convert("RGB"))


def _decoded(path: str | Path) -> Iterator[tuple[float | None, av.VideoFrame]]:
    """Every frame that decodes, with its time if it has one; a packet that the decoder rejects is passed over."""
    with open_video(path) as (container, stream):
        # AVI stores no display times; FFmpeg makes some up, wrong where frames are reordered
        packets_have_times = container.format.name != "avi"
        try:
            for packet in container.demux(stream):
                if packet.size and packet.pts is None:
                    packets_have_times = False  # times of frames are the decoder's guess from here on
                try:
                    frames = packet.decode()
                except av.FFmpegError:
                    continue
                for frame in frames:
                    yield frame.time if packets_have_times else None, frame
        except av.FFmpegError:
            return  # the file ends in the middle of a packet


def _upright(frame: av.VideoFrame) -> np.ndarray:
    pixels = frame.to_ndarray(format="rgb24")
    # frame.rotation is counter-clockwise, as np.rot90 is
    return np.ascontiguousarray(np.rot90(pixels, round(frame.rotation / 90)))
