"""Writing frames as H.264 in MP4, byte for byte the same every time."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np


def write_video(path: Path, frames: Iterable[np.ndarray], fps: float, crf: int, *, index_first: bool = False) -> None:
    """Encode frames with x264, one thread and no time stamps or encoder names, so that the bytes are reproducible.

    Args:
        path: The file; its folder is made.
        frames: (height, width, 3) RGB or (height, width) grey uint8 frames of one size, both sides even.
        fps: Frames per second.
        crf: Constant rate factor of x264; FaceForensics++ uses 23 for c23 and 40 for c40.
        index_first: Put the index before the pictures, so that a file that was cut still opens.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    options = {"fflags": "+bitexact", **({"movflags": "+faststart"} if index_first else {})}
    with av.open(str(path), "w", format="mp4", options=options) as container:
        stream = None
        for frame in frames:
            if stream is None:
                stream = container.add_stream(
                    "libx264",
                    rate=Fraction(fps).limit_denominator(1001),
                    # "grain" keeps the sensor noise, whose absence gives a manipulated region away
                    # x264's macroblock tree gives other bytes from run to run on some processors
                    options={
                        "crf": str(crf),
                        "preset": "veryfast",
                        "tune": "grain",
                        "x264-params": "mbtree=0",
                        "flags": "+bitexact",
                    },
                )
                stream.height, stream.width = frame.shape[:2]
                stream.pix_fmt = "yuv420p"
                stream.codec_context.thread_count = 1
            layout = "rgb24" if frame.ndim == 3 else "gray"
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format=layout)
            container.mux(stream.encode(picture))
        if stream is None:
            raise ValueError(f"no frames for {path}")
        container.mux(stream.encode(None))


def cut_in_half(path: Path) -> None:
    """Keep the first half of a file's bytes, as after a broken download."""
    with open(path, "r+b") as file:
        file.truncate(path.stat().st_size // 2)
