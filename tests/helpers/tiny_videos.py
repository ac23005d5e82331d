"""Tiny real videos for the tests: a few frames of noise that moves, and ways to damage or bend the file."""

from __future__ import annotations

import itertools
import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np


def write_video(
    path: str | Path,
    n_frames: int = 5,
    size: tuple[int, int] = (48, 64),
    codec: str = "mpeg4",
    times_ms: list[int] | None = None,
    max_b_frames: int = 0,
    pixel_format: str = "yuv420p",
    title: str | None = None,
    options: dict[str, str] | None = None,
    **container: object,
) -> Path:
    """Write a video of `n_frames` frames of `(height, width)` at 25 frames a second, or at the times given.

    `options` are the encoder's.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    height, width = size
    texture = np.random.default_rng(0).integers(0, 255, (height, width, 3), np.uint8)
    times_ms = times_ms or [40 * index for index in range(n_frames)]
    with av.open(str(path), "w", **container) as output:
        if title:
            output.metadata["title"] = title
        stream = output.add_stream(codec, rate=25, options=options)
        stream.height, stream.width, stream.pix_fmt = height, width, pixel_format
        stream.codec_context.max_b_frames = max_b_frames
        stream.codec_context.thread_count = 1
        if len({b - a for a, b in itertools.pairwise(times_ms)}) > 1:
            stream.codec_context.time_base = Fraction(1, 1000)
        for index, time_ms in enumerate(times_ms):
            frame = av.VideoFrame.from_ndarray(np.roll(texture, index, axis=1))
            frame.time_base = stream.codec_context.time_base or Fraction(1, 25)
            frame.pts = round(Fraction(time_ms, 1000) / frame.time_base)
            output.mux(stream.encode(frame))
        output.mux(stream.encode())
    return path


def turn_clockwise(path: Path) -> None:
    """Write into an mp4 that its frames are to be shown turned by 90 degrees clockwise."""
    data = bytearray(path.read_bytes())
    matrix = data.index(b"tkhd") + 4 + 40
    one = 1 << 16
    data[matrix : matrix + 36] = struct.pack(">9i", 0, one, 0, -one, 0, 0, 0, 0, 1 << 30)
    path.write_bytes(data)


def cut_beginning(path: Path, ticks: int) -> None:
    """Let the edit list of an mp4 begin `ticks` of its time base later: the frames before it are not shown."""
    data = bytearray(path.read_bytes())
    media_time = data.index(b"elst") + 4 + 8 + 4
    (begin,) = struct.unpack_from(">i", data, media_time)
    struct.pack_into(">i", data, media_time, begin + ticks)
    path.write_bytes(data)


def truncate(path: Path, share: float) -> None:
    """Keep only the first `share` of a file's bytes."""
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])


def write_tiny_frames(path: Path, size: tuple[int, int], n_frames: int = 1) -> Path:
    """A GIF with a canvas of `(height, width)` and frames of one pixel, 24 bytes each.

    Its decoder copies the whole canvas for every frame: 20,000 of 4000 x 4000 px are half a megabyte, and minutes.
    """
    height, width = size
    canvas = b"GIF89a" + struct.pack("<HH", width, height) + b"\x80\0\0" + b"\0\0\0\xff\xff\xff"
    delay = b"\x21\xf9\x04\x00\x04\x00\x00\x00"  # 1/25 s
    pixel = b"\x2c" + struct.pack("<HHHH", 0, 0, 1, 1) + b"\0" + b"\x02\x02\x44\x01\x00"
    path.write_bytes(canvas + (delay + pixel) * n_frames + b"\x3b")
    return path


def repeat_packets(path: Path, output: Path, times: int) -> Path:
    """Write a video's packets one after another `times` times, each round later: a long video in a moment."""
    with av.open(str(path)) as source, av.open(str(output), "w") as sink:
        stream = sink.add_stream_from_template(source.streams.video[0])
        packets = [packet for packet in source.demux(video=0) if packet.size]
        time_base, last = packets[0].time_base, max(packet.pts for packet in packets)
        round_ticks = last + packets[0].duration - min(packet.pts for packet in packets)
        for number in range(times):
            for packet in packets:
                again = av.Packet(bytes(packet))
                again.pts, again.dts = packet.pts + number * round_ticks, packet.dts + number * round_ticks
                again.time_base, again.stream, again.is_keyframe = time_base, stream, packet.is_keyframe
                sink.mux(again)
    return output
