"""What a file really holds: its frames and their times counted from the packets, its display-oriented size.

Headers of collected videos are often wrong (98 frames stated, 95 contained) or say nothing (mkv), so the
packets are the reference. Only the first frame is ever decoded.

A frame is a packet with data that the container does not mark as cut away by an edit list. A packet that is
cut short counts: the file says that a frame is there, and whether it decodes is for the decoder to say.
"""

from __future__ import annotations

import contextlib
import os
import stat
import struct
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.stream import Disposition
from av.video.stream import VideoStream
from PIL import Image, UnidentifiedImageError

from preprocess.video.outcomes import NO_FRAMES, UNREADABLE
from preprocess.video.packet_roles import Role, role_reader

# Sniffed from the content. Pillow's other formats are no face images, and one of them (EPS) starts Ghostscript.
IMAGE_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF")
# Containers that only name other files: opening one would read a video that is not this file.
_PLAYLISTS = {"concat", "hls", "dash", "sdp"}
EXIF_ORIENTATION = 0x0112
# What Pillow raises over damaged images.
_IMAGE_ERRORS = (OSError, SyntaxError, ValueError, struct.error, Image.DecompressionBombError)
# JPEG's limit, more than any camera gives; damaged headers claim more.
MAX_SIDE_PX = 65535
# Pixels of the largest frames and images that are read: headers of a few bytes may claim more than memory holds.
MAX_FRAME_PX = 8192 * 8192  # twice 8K; a decoder keeps up to 17 frames of 1.5 to 6 bytes a pixel
MAX_IMAGE_PX = 160_000_000  # medium format has 151 million; reading takes 7 bytes a pixel
_FILE_KINDS = {
    stat.S_IFDIR: "folder",
    stat.S_IFIFO: "named pipe",
    stat.S_IFSOCK: "socket",
    stat.S_IFCHR: "device",
    stat.S_IFBLK: "device",
}
# Frame rate of a stream without any times, the default of FFmpeg's raw demuxers.
_RAW_FPS = Fraction(25)
# Containers that store no presentation times: FFmpeg makes some up, wrong where frames are reordered.
WITHOUT_PTS = {"avi"}
# In place of a time that a packet does not have.
NO_TICKS = -(2**63)


class ProbeError(Exception):
    """A file from which no frame can be read.

    Attributes:
        status: `unreadable` or `no_frames` (`preprocess.store.schemas`).
        message: Why, in words.
    """

    def __init__(self, status: str, message: str):
        super().__init__(message)
        self.status = status
        self.message = message


@dataclass(frozen=True)
class VideoInfo:
    """What a video or image file holds.

    Attributes:
        codec: Codec of the video (`h264`), or format of the image (`png`), whatever the file's name says.
        height: Pixels of the first decoded frame, display-oriented: after rotation metadata or EXIF orientation.
            The sample aspect ratio is not applied; nothing is resampled.
        width: As `height`.
        n_frames: Frames counted from the packets; 1 for an image.
        fps: Mean frame rate over the frames' times; None when unknown, and for an image.
        duration_seconds: `n_frames / fps`; None when unknown, and for an image.
    """

    codec: str
    height: int
    width: int
    n_frames: int
    fps: float | None
    duration_seconds: float | None


@contextlib.contextmanager
def open_video(path: str | Path) -> Iterator[tuple[InputContainer, VideoStream]]:
    """Open a video and choose its stream: the one that players show, never a cover picture beside it.

    Raises:
        ProbeError: `unreadable`: the file cannot be opened, is a list of other files, is no regular file, claims
            frames of more than `MAX_FRAME_PX`, or holds no video stream with a known codec.
    """
    path = os.path.abspath(path)  # a relative name such as `a:b.mp4` would read as a protocol
    limit = {"max_pixels": str(MAX_FRAME_PX)}
    try:
        _check_file(path)
        container = av.open(path, metadata_errors="replace", options={"protocol_whitelist": "file", **limit})
    except (OSError, av.FFmpegError) as error:
        raise ProbeError(UNREADABLE, f"cannot be opened as a video: {error.strerror}") from error
    with container:
        if container.format.name in _PLAYLISTS:
            raise ProbeError(UNREADABLE, f"is not a video but a list of other files ({container.format.name})")
        stream = container.streams.best("video")
        # a song's cover is no video
        if not isinstance(stream, VideoStream) or Disposition.attached_pic in stream.disposition:
            raise ProbeError(UNREADABLE, f"holds no video stream ({container.format.long_name})")
        if stream.codec_context is None:
            raise ProbeError(UNREADABLE, "no decoder knows the codec of the video stream")
        _check_size(stream.codec_context.height, stream.codec_context.width, MAX_FRAME_PX)
        stream.codec_context.options = limit  # frames may grow on the way
        stream.codec_context.thread_count = 1  # callers read several videos at once
        yield container, stream


def probe_video(path: str | Path) -> VideoInfo:
    """Count a video's frames and measure its size, decoding its first frame only.

    Raises:
        ProbeError: `unreadable` as `open_video`; `no_frames`: it opens, but contains no frames.
    """
    with open_video(path) as (container, stream):
        frame = None
        scan = _Scan(container, stream)
        for packet in packets_with_data(container, stream):
            if frame is None:
                frame = _first_frame(packet)
            scan.add(packet)
        if frame is None:
            with contextlib.suppress(av.FFmpegError):
                frame = next(iter(stream.decode(None)), None)
        ticks, tick_seconds = scan.table().frame_ticks()
        if frame is None:
            # FFmpeg forgets a size that is over its limit, where the header states it
            limit = "" if stream.codec_context.width else f", or they have over {MAX_FRAME_PX / 1e6:.0f} million px"
            raise ProbeError(NO_FRAMES, f"none of {len(ticks)} frames decodes{limit}")
        fps = stream.average_rate
        if ticks[-1] > ticks[0]:
            fps = (len(ticks) - 1) / (int(ticks[-1] - ticks[0]) * tick_seconds)
        turned = round(frame.rotation / 90) % 2 == 1
        return VideoInfo(
            codec=stream.codec_context.codec.canonical_name,
            height=frame.width if turned else frame.height,
            width=frame.height if turned else frame.width,
            n_frames=len(ticks),
            fps=float(fps) if fps else None,
            duration_seconds=float(len(ticks) / fps) if fps else None,
        )


def frame_times(path: str | Path) -> np.ndarray:
    """Times of a video's frames, without decoding.

    Args:
        path: Video file.

    Returns:
        (n_frames,) float64 pts_seconds in display order, on the stream's own clock: equal to PyAV's `frame.time`,
        so the first is not always 0. Frames that the container gives no time are placed by their decoding time,
        and by the frame rate when there is none either (raw streams).

    Raises:
        ProbeError: `unreadable` as `open_video`; `no_frames`: it opens, but holds no frame.
    """
    return scan_packets(path, with_roles=False).frame_times()


@dataclass(frozen=True)
class PacketTable:
    """The packets of a video with data, in file order; arrays of shape (n_packets,).

    Attributes:
        pts_ticks: int64 presentation times in `time_base`, `NO_TICKS` where there is none.
        dts_ticks: int64 decoding times.
        is_shown: bool; False where the container marks a packet as cut away by an edit list.
        roles: uint8 `preprocess.video.packet_roles.Role`.
        time_base: Seconds of a tick.
        frame_seconds: Seconds of a frame by the stated frame rate, for streams without times.
        pts_are_guesses: Whether the container is one of `WITHOUT_PTS`.
    """

    pts_ticks: np.ndarray
    dts_ticks: np.ndarray
    is_shown: np.ndarray
    roles: np.ndarray
    time_base: Fraction
    frame_seconds: Fraction
    pts_are_guesses: bool

    def frame_ticks(self) -> tuple[np.ndarray, Fraction]:
        """(n_frames,) int64 times of the frames in display order, and the seconds of their tick."""
        for ticks in (self.pts_ticks[self.is_shown], self.dts_ticks[self.is_shown]):
            if NO_TICKS not in ticks:
                return np.sort(ticks), self.time_base
        return np.arange(len(ticks)), self.frame_seconds

    def frame_times(self) -> np.ndarray:
        """See `frame_times`."""
        ticks, seconds = self.frame_ticks()
        return ticks.astype(np.float64) * seconds.numerator / seconds.denominator


def scan_packets(path: str | Path, *, with_roles: bool = True) -> PacketTable:
    """Read all packets of a video once, keeping of each a few bytes.

    Args:
        path: Video file.
        with_roles: Whether to read the packets' roles too; without, they are all unknown.

    Raises:
        ProbeError: As `frame_times`.
    """
    with open_video(path) as (container, stream):
        scan = _Scan(container, stream, role_reader(stream.codec_context) if with_roles else None)
        for packet in packets_with_data(container, stream):
            scan.add(packet)
        return scan.table()


class _Scan:
    """Gathers a `PacketTable`, packet by packet."""

    def __init__(
        self, container: InputContainer, stream: VideoStream, role_of: Callable[[av.Packet], Role] | None = None
    ):
        self._stream = stream
        self._role_of = role_of
        self._pts_are_guesses = container.format.name in WITHOUT_PTS
        # arrays, not lists of objects: ten hours are two million packets
        self._pts, self._dts, self._is_shown, self._roles = array("q"), array("q"), bytearray(), bytearray()

    def add(self, packet: av.Packet) -> None:
        self._pts.append(NO_TICKS if packet.pts is None else packet.pts)
        self._dts.append(NO_TICKS if packet.dts is None else packet.dts)
        self._is_shown.append(not packet.is_discard)
        self._roles.append(Role.UNKNOWN if self._role_of is None else self._role_of(packet))

    def table(self) -> PacketTable:
        if not any(self._is_shown):
            raise ProbeError(NO_FRAMES, "the video stream holds no frames")
        assert self._stream.time_base is not None, "a stream with packets has one"
        return PacketTable(
            np.array(self._pts, np.int64),
            np.array(self._dts, np.int64),
            np.array(self._is_shown, bool),
            np.array(self._roles, np.uint8),
            self._stream.time_base,
            1 / (self._stream.average_rate or _RAW_FPS),
            self._pts_are_guesses,
        )


def probe_image(path: str | Path) -> VideoInfo:
    """Decode an image whatever its extension says, and measure it after EXIF orientation.

    Raises:
        ProbeError: As `open_image`.
    """
    with open_image(path) as image:
        image.load()
        turned = image.getexif().get(EXIF_ORIENTATION, 1) in (5, 6, 7, 8)
        width, height = image.size[::-1] if turned else image.size
        name = (image.format or "").lower()  # Pillow names the format of all that it opens
        return VideoInfo(name, height, width, n_frames=1, fps=None, duration_seconds=None)


@contextlib.contextmanager
def open_image(path: str | Path) -> Iterator[Image.Image]:
    """Open an image; what goes wrong with it while it is open is raised in the same way.

    Raises:
        ProbeError: `unreadable`: no regular file, no image of `IMAGE_FORMATS`, one that claims more than
            `MAX_IMAGE_PX` pixels, or one that is damaged or cut short.
    """
    try:
        _check_file(path)
        with Image.open(path, formats=IMAGE_FORMATS) as image:
            _check_size(image.height, image.width, MAX_IMAGE_PX)
            yield image
    except UnidentifiedImageError as error:
        raise ProbeError(UNREADABLE, f"is none of the image formats {', '.join(IMAGE_FORMATS)}") from error
    except _IMAGE_ERRORS as error:
        raise ProbeError(UNREADABLE, f"cannot be read as an image: {error}") from error


def _check_file(path: str | Path) -> None:
    """Whether a file can be opened without harm: reading a pipe would wait for ever."""
    status = os.stat(path)
    if not stat.S_ISREG(status.st_mode):
        raise ProbeError(UNREADABLE, f"is not a regular file but a {_FILE_KINDS[stat.S_IFMT(status.st_mode)]}")
    if status.st_size == 0:
        raise ProbeError(UNREADABLE, "the file is empty (0 bytes)")


def _check_size(height: int, width: int, max_px: int) -> None:
    if max(height, width) > MAX_SIDE_PX:
        raise ProbeError(UNREADABLE, f"claims {width} x {height} px; sides of up to {MAX_SIDE_PX} px are read")
    if height * width > max_px:
        raise ProbeError(UNREADABLE, f"claims {width} x {height} px; up to {max_px / 1e6:.0f} million px are read")


def packets_with_data(container: InputContainer, stream: VideoStream) -> Iterator[av.Packet]:
    """Packets with data in file order, up to where the file ends or is cut short.

    Raises:
        ProbeError: `unreadable`: reading stops with another error.
    """
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets)
        except (StopIteration, av.error.InvalidDataError, av.error.EOFError):
            return
        except IndexError:  # PyAV at the end of a damaged file in which a new stream has turned up
            return
        except av.FFmpegError as error:
            raise ProbeError(UNREADABLE, f"reading stops with an error: {error.strerror}") from error
        if packet.size:
            yield packet


def _first_frame(packet: av.Packet) -> av.VideoFrame | None:
    try:
        return next(iter(packet.decode()), None)
    except av.FFmpegError:
        return None
