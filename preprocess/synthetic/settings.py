"""Settings of a synthetic collection."""

from __future__ import annotations

from dataclasses import dataclass

from preprocess.running.settings import setting


@dataclass(frozen=True)
class SyntheticSettings:
    """How large a synthetic collection is; see the documentation of each field."""

    seed: int = setting(0, "Change it for another collection of the same kind.", minimum=0)
    n_sources: int = setting(32, "Number of real videos that fakes are made from.", minimum=4)
    fakes_per_source: int = setting(
        2, "Fakes of each real video in Celeb-DF and DFDC; FaceForensics++ has one per method.", minimum=1
    )
    n_frames: int = setting(24, "Frames of a video.", minimum=2)
    height: int = setting(360, "Height of the largest videos in pixels; others have 3/4 or 2/3 of it.", minimum=180)
    width: int = setting(480, "Width of the largest videos in pixels; others have 3/4 or 2/3 of it.", minimum=240)
    fps: float = setting(25.0, "Frames per second of the fastest videos; others have 0.8 or 0.6 of it.", minimum=1)
    compression: str = setting("c23", "Compression of FaceForensics++ (x264 crf 23 or 40).", choices=("c23", "c40"))
    methods: list | tuple = setting(
        ("Deepfakes", "Face2Face", "FaceSwap", "NeuralTextures"), "Methods of FaceForensics++ to make."
    )
    extras: bool = setting(
        True,
        "Also make what real collections hold: two people, a face that leaves, no face, a truncated file, and "
        "metadata that does not match the files. Needs n_sources >= 10.",
    )
    n_scenes: int = setting(
        1,
        "Clips of each scene that is hard to track, added to Celeb-DF (YouTube-real) and DFDC: two people who cross, "
        "a cut to somebody else, a face hidden for a moment. DFDC gets fakes of the first two as well.",
        minimum=0,
    )
