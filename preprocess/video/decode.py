"""Pixels of chosen frames, in one forward pass over the file.

Frames are found by their time, not by counting what the decoder gives: a decoder drops what it cannot
decode, and counting would then give every later frame a wrong index. PyAV is the decoder because it says
the time of each frame. decord, as fast on the same files, repeats its last frame in place of what does not
decode, and mangles rotated videos (docs/decoding.md has the figures).
"""

from __future__ import annotations

import contextlib
import itertools
import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from av.video.reformatter import Interpolation, VideoReformatter
from PIL import Image

from preprocess.video.packet_roles import Role
from preprocess.video.probe import (
    EXIF_ORIENTATION,
    NO_TICKS,
    WITHOUT_PTS,
    PacketTable,
    open_image,
    open_video,
    packets_with_data,
    scan_packets,
)

# Two frames are never this close; times that come from the same integer pts agree far better.
_SAME_TIME_SECONDS = 1e-4
# Environment variable: with any value but an empty one, files are decoded whole, without trust in `packet_roles`.
# The frames are the same; it is there to tell whether a bitstream that they misread is behind a fault.
DECODE_WHOLE = "DECODE_WHOLE"
# What to do with a packet.
_DROP, _PASS, _DECODE = range(3)
# Quarter turns counter-clockwise -> OpenCV's name; ten times as fast as np.rot90 and a copy.
_ROTATIONS = {1: cv2.ROTATE_90_COUNTERCLOCKWISE, 2: cv2.ROTATE_180, 3: cv2.ROTATE_90_CLOCKWISE}
# EXIF orientation -> what turns the image upright
_TURNS: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    2: lambda pixels: cv2.flip(pixels, 1),
    3: lambda pixels: cv2.rotate(pixels, cv2.ROTATE_180),
    4: lambda pixels: cv2.flip(pixels, 0),
    5: cv2.transpose,
    6: lambda pixels: cv2.rotate(pixels, cv2.ROTATE_90_CLOCKWISE),
    7: lambda pixels: cv2.flip(cv2.transpose(pixels), -1),
    8: lambda pixels: cv2.rotate(pixels, cv2.ROTATE_90_COUNTERCLOCKWISE),
}
# Rows of an image that are converted at once.
_STRIP_PX = 256


def read_frames(
    path: str | Path, frame_indices: Iterable[int], *, size: tuple[int, int] | None = None, grey: bool = False
) -> Iterator[tuple[int, np.ndarray]]:
    """Decode the chosen frames of a video, in order, and little more than those.

    What the chosen frames do not need is not decoded, where the bitstream says so (`packet_roles`); the
    pixels are those of decoding everything. When a packet is damaged, a frame is concealed, or a frame does not
    come, the rest of the file is decoded whole instead; so is every file where `DECODE_WHOLE` is set.

    Args:
        path: Video file.
        frame_indices: Indices into `preprocess.video.probe.frame_times(path)`, in any order.
        size: (height, width) in px of the display-oriented frame to shrink to, by averaging areas: less work than
            converting the whole frame to RGB and shrinking that. None keeps the frame's own size.
        grey: Give the luma alone, at full range.

    Yields:
        `(frame_index, frame)` with the frame as RGB uint8 `(height, width, 3)`, or `(height, width)` when grey,
        display-oriented. A frame that does not decode, or has another size or rotation than the file's first one, is
        left out: compare with what was asked for.

    Raises:
        preprocess.video.probe.ProbeError: The file cannot be opened or holds no video.
    """
    wanted = sorted(set(frame_indices))
    if not wanted:
        return
    packets = scan_packets(path, with_roles=not os.environ.get(DECODE_WHOLE))
    times = packets.frame_times()
    wanted = [index for index in wanted if index < len(times)]
    if not wanted:
        return
    reformatter = VideoReformatter()
    pixel_format = "gray" if grey else "rgb24"
    needs = _needed_packets(packets, wanted)
    if needs is not None:
        with contextlib.closing(_pick(_decode_needed(path, packets, needs), times, wanted)) as found:
            for index, frame in found:
                if index != wanted[0]:
                    break  # it did not come; decoding everything may have it
                yield wanted.pop(0), _upright(frame, reformatter, size, pixel_format)
    if wanted:
        for index, frame in _pick(_decode_all(path), times, wanted):
            yield index, _upright(frame, reformatter, size, pixel_format)


def _pick(
    decoded: Iterable[tuple[float | None, av.VideoFrame]], times: np.ndarray, wanted: list[int]
) -> Generator[tuple[int, av.VideoFrame]]:
    """The wanted frames among those decoded, by their times, in order."""
    wanted = list(wanted)
    next_wanted = 0
    size = None
    for position, (pts_seconds, frame) in enumerate(decoded):
        # boxes and the index's size are those of the first frame; a few streams change their size on the way
        shape = (frame.height, frame.width, frame.rotation)
        size = size or shape
        if pts_seconds is None:  # AVI and raw streams give frames no time: only their order is left
            pts_seconds = times[min(position, len(times) - 1)]
        while next_wanted < len(wanted) and times[wanted[next_wanted]] < pts_seconds - _SAME_TIME_SECONDS:
            next_wanted += 1  # its time has passed: it did not decode
        if next_wanted == len(wanted):
            return
        index = wanted[next_wanted]
        if abs(times[index] - pts_seconds) <= _SAME_TIME_SECONDS:
            next_wanted += 1
            if shape == size:
                yield index, frame
            if next_wanted == len(wanted):
                return


def _needed_packets(packets: PacketTable, wanted: list[int]) -> np.ndarray | None:
    """(n_packets,) `_DROP`, `_PASS` or `_DECODE`: what is to be done with each packet; None when all are needed.

    A packet is dropped when no wanted frame comes between it and the next fresh start in the file; one that is not
    wanted and not referenced is passed over by the decoder, which reads everything in it but the picture.
    """
    pts = packets.pts_ticks
    is_followed = packets.roles[0] == Role.STARTS_AFRESH and not (packets.roles == Role.UNKNOWN).any()
    if packets.pts_are_guesses or not is_followed or NO_TICKS in pts or len(np.unique(pts)) < len(pts):
        return None
    ticks, _ = packets.frame_ticks()
    is_wanted = np.isin(pts, ticks[wanted]) & packets.is_shown
    group = np.cumsum(packets.roles == Role.STARTS_AFRESH) - 1
    last_wanted = np.full(group[-1] + 1, -1)
    np.maximum.at(last_wanted, group[is_wanted], np.flatnonzero(is_wanted))
    last_wanted[0] = max(last_wanted[0], 0)  # the first frame says the size and rotation of all
    needs = np.where(np.arange(len(pts)) <= last_wanted[group], _DECODE, _DROP).astype(np.uint8)
    needs[(needs == _DECODE) & ~is_wanted & (packets.roles == Role.UNREFERENCED)] = _PASS
    return needs


def _decode_needed(
    path: str | Path, packets: PacketTable, needs: np.ndarray
) -> Iterator[tuple[float | None, av.VideoFrame]]:
    """Frames that the needed packets give, with their times, up to where the file turns out to be damaged.

    How a decoder conceals damage depends on what it decoded before, wanted or not; so no concealed frame is given.
    """
    end = int(np.flatnonzero(needs)[-1]) + 1
    with open_video(path) as (container, stream):
        decoder = stream.codec_context

        def frames() -> Iterator[av.VideoFrame]:
            for packet, need in zip(packets_with_data(container, stream), needs[:end].tolist(), strict=False):
                if need != _DROP:
                    decoder.skip_frame = "NONREF" if need == _PASS else "DEFAULT"
                    yield from decoder.decode(packet)
            yield from decoder.decode(None)  # those that it held back to put them in order

        # a frame may be made from ones that are shown later: it waits for their verdict
        held: deque[av.VideoFrame] = deque()
        try:
            for frame in frames():
                if frame.is_corrupt or frame.pts is None:
                    return
                held.append(frame)
                if len(held) > decoder.has_b_frames:
                    yield _with_seconds(held.popleft(), packets.time_base)
        except av.FFmpegError:
            return
        yield from (_with_seconds(frame, packets.time_base) for frame in held)


def read_image(path: str | Path) -> np.ndarray:
    """Read an image file as RGB uint8 `(height, width, 3)`, turned upright by its EXIF orientation.

    Raises:
        preprocess.video.probe.ProbeError: The file is not an image that Pillow reads, is too large, or is damaged.
    """
    with open_image(path) as image:
        # Pillow's exif_transpose also writes all the EXIF anew, and fails over entries that do not matter here
        turn = _TURNS.get(image.getexif().get(EXIF_ORIENTATION, 1))
        pixels = np.empty((image.height, image.width, 3), np.uint8)
        # in strips: converting all at once would hold a large photo four times
        for top in range(0, image.height, _STRIP_PX):
            strip = image.crop((0, top, image.width, min(top + _STRIP_PX, image.height)))
            if strip.mode.startswith("I;16"):
                strip = Image.fromarray((np.asarray(strip) >> 8).astype(np.uint8))
            pixels[top : top + _STRIP_PX] = np.asarray(strip.convert("RGB"))
    return turn(pixels) if turn else pixels


def frames_of(
    video: dict, root: str | Path, frame_indices: Iterable[int], *, size: tuple[int, int] | None = None
) -> Iterator[tuple[int, np.ndarray]]:
    """Frames of a row of the index, be it a video or an image; see `read_frames`.

    Raises:
        preprocess.video.probe.ProbeError: The file cannot be opened or holds no video or image.
    """
    path = Path(root) / video["path"]
    if video["kind"] == "image":
        pixels = read_image(path)
        yield 0, cv2.resize(pixels, size[::-1], interpolation=cv2.INTER_AREA) if size else pixels
    else:
        yield from read_frames(path, frame_indices, size=size)


def _decode_all(path: str | Path) -> Iterator[tuple[float | None, av.VideoFrame]]:
    """Every frame that decodes, with its time if it has one; a packet that the decoder rejects is passed over."""
    with open_video(path) as (container, stream):
        packets_have_times = container.format.name not in WITHOUT_PTS
        for packet in itertools.chain(packets_with_data(container, stream), [None]):  # None: what is held back
            if packet is not None and packet.pts is None:
                packets_have_times = False  # times of frames are the decoder's guess from here on
            try:
                frames = stream.codec_context.decode(packet)
            except av.FFmpegError:
                continue
            for frame in frames:
                yield _with_seconds(frame, stream.time_base) if packets_have_times else (None, frame)


def _with_seconds(frame: av.VideoFrame, time_base: Fraction | None) -> tuple[float | None, av.VideoFrame]:
    """The frame's time on the clock of the stream, and the frame."""
    if frame.pts is None or time_base is None:
        return None, frame
    return frame.pts * time_base.numerator / time_base.denominator, frame


def _upright(
    frame: av.VideoFrame, reformatter: VideoReformatter, size: tuple[int, int] | None, pixel_format: str
) -> np.ndarray:
    """Pixels of a frame, display-oriented, in one conversion."""
    turns = round(frame.rotation / 90) % 4  # counter-clockwise
    height, width = size or (None, None)
    if turns % 2:
        height, width = width, height
    # more threads would cost more CPU time than they save, and other videos wait for theirs
    method = Interpolation.AREA if size else Interpolation.BILINEAR
    converted = reformatter.reformat(frame, width, height, pixel_format, interpolation=method, threads=1)
    pixels = converted.to_ndarray()
    return cv2.rotate(pixels, _ROTATIONS[turns]) if turns else np.ascontiguousarray(pixels)
