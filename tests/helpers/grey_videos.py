"""Small video files whose frames tell their index."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np


def grey_frames(n_frames: int, height: int = 48, width: int = 64) -> np.ndarray:
    """(n, height, width, 3) frames whose grey level tells their index: 10 a frame, with a white top left corner."""
    frames = np.empty((n_frames, height, width, 3), np.uint8)
    frames[:] = (10 * np.arange(n_frames))[:, None, None, None]
    frames[:, : height // 4, : width // 4] = 255
    return frames


def write_video(path: Path, frames: np.ndarray, *, codec: str = "libx264", times: list[int] | None = None) -> Path:
    """Encode RGB frames; `times` are presentation times in 1/25 s, evenly spaced when absent."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "rgb8" if codec == "gif" else "yuv420p"
        for index, pixels in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts = times[index] if times else index
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path
