"""Settings of a synthetic collection."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from preprocess.running.settings import Settings

Method = Literal["Deepfakes", "Face2Face", "FaceSwap", "NeuralTextures"]

MIN_SOURCES_WITH_EXTRAS = 10


class SyntheticSettings(Settings):
    """How large a synthetic collection is, and what it holds."""

    seed: int = Field(0, ge=0, description="Change it for another collection of the same kind.")
    n_sources: int = Field(32, ge=4, description="Number of real videos that fakes are made from.")
    fakes_per_source: int = Field(
        2,
        ge=1,
        description="Fakes of each real video in Celeb-DF and DFDC; FaceForensics++ has one per method.",
    )
    n_frames: int = Field(24, ge=2, description="Frames of a video.")
    height: int = Field(
        360, ge=180, description="Height of the largest videos in pixels; others have 3/4 or 2/3 of it."
    )
    width: int = Field(480, ge=240, description="Width of the largest videos in pixels; others have 3/4 or 2/3 of it.")
    fps: float = Field(25.0, ge=1, description="Frames per second of the fastest videos; others have 0.8 or 0.6 of it.")
    compression: Literal["c23", "c40"] = Field("c23", description="Compression of FaceForensics++ (x264 crf 23 or 40).")
    methods: tuple[Method, ...] = Field(
        ("Deepfakes", "Face2Face", "FaceSwap", "NeuralTextures"),
        strict=False,
        description="Methods of FaceForensics++ to make.",
    )
    extras: bool = Field(
        True,
        description="Also make what real collections hold: two people, a face that leaves, no face, a truncated file, "
        f"and metadata that does not match the files. Needs n_sources >= {MIN_SOURCES_WITH_EXTRAS}.",
    )
    n_scenes: int = Field(
        1,
        ge=0,
        description="Clips of each scene that is hard to track, added to Celeb-DF (YouTube-real) and DFDC: two people "
        "who cross, a cut to somebody else, a face hidden for a moment. DFDC gets fakes of the first two as well.",
    )

    def contradictions(self) -> Iterator[str]:
        if self.extras and self.n_sources < MIN_SOURCES_WITH_EXTRAS:
            yield (
                f"n_sources: found {self.n_sources}, but extras need at least {MIN_SOURCES_WITH_EXTRAS}; raise "
                "n_sources or set extras to false"
            )
