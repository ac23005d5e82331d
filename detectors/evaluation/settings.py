"""Settings of the evaluation and of the robustness sweep; planning reads them, so nothing here imports PyTorch."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import Field

from preprocess.running.settings import Settings, Share

# The threshold that is found on validation data.
VALIDATION: Final = "validation"

Aggregation = Literal["detector", "mean", "max_then_mean", "confident"]
Distortion = Literal["jpeg", "gaussian_blur", "gaussian_noise", "resize", "contrast", "video_compression"]
Strength = Literal[1, 2, 3, 4, 5]


class EvaluateSettings(Settings):
    """Settings of the evaluation."""

    n_bootstrap: int = Field(
        1000,
        ge=1,
        description="Resamples of the videos for the intervals at video level; more for smoother intervals.",
    )
    bootstrap_seed: int = Field(0, ge=0, description="Seed of the resamples; change it to see how much it matters.")
    threshold: Literal["validation"] | Share = Field(
        VALIDATION,
        description="Score from which a face or video counts as fake: `validation` for the equal error rate on the "
        "validation data, or a number in [0, 1] to compare with work that fixes one.",
    )
    aggregation: Aggregation = Field(
        "detector",
        description="How a video's score comes from its face crops; `detector` is the detector's own, another is for "
        "comparing.",
    )
    missing_score: Share | None = Field(
        0.5,
        description="Score of a test video without a prediction, in [0, 1]; null leaves such videos out of the "
        "metrics, as some published figures do.",
    )


class RobustnessSettings(Settings):
    """What the robustness sweep distorts, how much of it, and how."""

    distortions: Annotated[tuple[Distortion, ...], Field(min_length=1)] = Field(
        ("jpeg", "gaussian_blur", "gaussian_noise", "resize", "contrast", "video_compression"),
        strict=False,
        description="Distortions to apply, see docs/robustness.md.",
    )
    strengths: Annotated[tuple[Strength, ...], Field(min_length=1)] = Field(
        (1, 2, 3, 4, 5),
        strict=False,
        description="Grades of each distortion, 1 weak to 5 strong; fewer for a quicker look.",
    )
    max_samples: int | None = Field(
        10_000,
        ge=1,
        description="Face crops of each data set, of whole videos drawn as many real as fake; null: all. Each is "
        "scored once for every distortion and strength.",
    )
    seed: int = Field(0, ge=0, description="Of the draw of videos and of the noise.")
