"""Settings of the stage `masks`."""

from __future__ import annotations

from pydantic import Field

from preprocess.running.settings import Settings


class MasksSettings(Settings):
    """How manipulation masks are made."""

    mask_video_threshold: int = Field(
        64, ge=1, description="Grey value of a mask video from which a pixel counts as manipulated."
    )
    difference_threshold: float = Field(
        0.07, ge=0, description="Smoothed structural difference (1 - SSIM) from which a pixel counts as manipulated."
    )
    difference_noise_factor: float = Field(
        1.25, ge=0, description="How far above the difference around the face, which compression makes, it must be."
    )
