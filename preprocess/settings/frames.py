"""Settings of the stage `frames`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from preprocess.running.settings import Settings


class FramesSettings(Settings):
    """Which frames of a video are used."""

    mode: Literal["uniform", "stride", "clip"] = Field(
        "uniform",
        description="How frames are chosen: n_frames evenly spaced, every stride-th, or one run of n_frames.",
    )
    n_frames: int = Field(
        32, ge=1, description="Frames a video in the modes uniform and clip (studies use 10, 32, 50)."
    )
    stride: int = Field(10, ge=1, description="Distance between frames in the mode stride; 1 takes every frame.")
