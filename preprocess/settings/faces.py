"""Settings of the stage `faces`."""

from __future__ import annotations

from pydantic import Field

from preprocess.running.settings import Settings, Share


class FacesSettings(Settings):
    """Which faces are found, and what makes a track."""

    min_size_px: int = Field(
        40,
        ge=12,
        description="Shorter side of the smallest face to keep; frames are searched at the scale that it allows.",
    )
    score_threshold: Share = Field(0.9, description="MTCNN score below which a box is no face.")
    # On the clips that it was chosen on, prints, leaves and a flower pot reached 0.991 at best, faces 0.998 at least
    # but for a blurred profile (0.983). A face that is seen for longer has more chances to reach it.
    track_score: Share = Field(
        0.995,
        description="Score that the best box of a face track must reach, or the track is dropped as no face (not where "
        "only one frame was searched, as in an image); lower it when faces turned away are dropped.",
    )
    iou_threshold: Share = Field(
        0.3, description="Overlap (intersection over union) above which two boxes are one face track."
    )
    max_jump: float = Field(
        1.25,
        ge=0,
        description="How far a face may go between sampled frames without overlap, in sides of its box, when nothing "
        "is known of its motion; later boxes are sought where the motion leads. For frames up to a quarter of a second "
        "apart. 0 links by overlap with the last box alone.",
    )
    max_gap: int = Field(2, ge=0, description="Consecutive sampled frames a face may be missed before its track ends.")
    scene_cuts: bool = Field(
        True,
        description="End face tracks where the colours of the whole frame change from one sampled frame to the next.",
    )
    min_track_frames: int = Field(1, ge=1, description="Shortest face track to keep, in sampled frames.")
    faces_per_video: int | None = Field(
        None,
        ge=1,
        description="About how many faces of a video to use, shared among its tracks in proportion to their length, at "
        "least one a track; null uses all. Faces left out keep their row, with the status unused.",
    )
    full_search_every: int = Field(
        4,
        ge=1,
        description="Every how many sampled frames the whole frame is searched; between them only around the faces of "
        "these. 1 searches every frame whole: it also finds who is seen in fewer frames in a row, and costs about "
        "three times as much.",
    )
    batch_size: int = Field(32, ge=1, description="Frames searched at once; lower it when the GPU's memory runs out.")
    inherit: bool = Field(True, description="Give a fake the boxes of its real video; false searches every video.")
