"""Columns of every Parquet table of the store; `preprocess.video.outcomes` has the words that a `status` may hold.

Conventions (the whole project): points are `(x, y)` and boxes `(x0, y0, x1, y1)` in pixels of the decoded,
display-oriented frame, x1 and y1 exclusive; sizes are `(height, width)`; times are seconds; label 0 is
real, 1 is fake. A row whose `status` is not `ok` stands for something lost or left out and says why in
`message`; its measured columns are null, except that an `unused` face keeps its box.
"""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa

from preprocess.video.outcomes import VIDEO_STATUS

SPLITS = ("train", "val", "test")
REAL = "real"  # the `method` of a real video
ORIGINAL = "original"  # the `compression` of a collection that has only one

_video = [("video_id", pa.string())]
_outcome = [("status", pa.string()), ("message", pa.string())]

POINTS_5 = pa.list_(pa.float32(), 10)  # x0 y0 x1 y1 …: left eye, right eye, nose, mouth left, mouth right
N_LANDMARKS = 81
POINTS_81 = pa.list_(pa.float32(), 2 * N_LANDMARKS)

INDEX = pa.schema(
    [
        *_video,  # <dataset>/<method or real>/<compression>/<name>
        ("dataset", pa.string()),
        ("path", pa.string()),  # relative to the data set's root
        ("kind", pa.string()),  # video or image
        ("label", pa.int8()),  # 0 real, 1 fake; null when unlabelled
        ("method", pa.string()),  # real, or the manipulation's name; null when unlabelled
        ("compression", pa.string()),
        ("split", pa.string()),  # train, val or test; null when the official lists put it in none
        ("source_id", pa.string()),  # video_id of the real video that a fake was made from; null when unknown
        ("source_group", pa.string()),  # a real video and every fake made from it share it
        ("identities", pa.list_(pa.string())),
        ("mask_path", pa.string()),  # mask video of a fake, relative to the root; null when there is none
        ("metadata", pa.string()),  # what else the collection says of the video, as JSON; null when nothing
        ("codec", pa.string()),
        ("height", pa.int32()),  # display-oriented
        ("width", pa.int32()),
        ("n_frames", pa.int32()),  # counted from the packets, not read from the header
        ("fps", pa.float64()),
        ("duration_seconds", pa.float64()),
        ("n_bytes", pa.int64()),
        ("checksum", pa.string()),  # BLAKE2b of the file's bytes, 32 hexadecimal digits
        ("mask_checksum", pa.string()),  # the same of the mask video
        ("shard", pa.string()),
        *_outcome,
    ]
)

# One row per sampled frame; a video from which none can be sampled has one row with its status.
FRAMES = pa.schema([*_video, ("frame_index", pa.int32()), ("pts_seconds", pa.float64()), *_outcome])

# One row per face in a sampled frame; a sampled frame without a face has one row with its status. A face with the
# status `unused` keeps its box and track, and no crop is cut of it.
FACES = pa.schema(
    [
        *_video,
        ("frame_index", pa.int32()),
        ("pts_seconds", pa.float64()),
        ("track_id", pa.int32()),  # unique in a video
        ("x0", pa.float32()),
        ("y0", pa.float32()),
        ("x1", pa.float32()),
        ("y1", pa.float32()),
        ("score", pa.float32()),
        ("points", POINTS_5),
        ("inherited_from", pa.string()),  # video_id of the real video whose box this is; null when detected
        *_outcome,
    ]
)

# One row per crop, in the order of the crops file of the same shard: row i here is item i there.
LANDMARKS = pa.schema(
    [
        *_video,
        ("frame_index", pa.int32()),
        ("track_id", pa.int32()),
        ("crop_row", pa.int32()),
        ("landmarks", POINTS_81),  # x0 y0 x1 y1 … in pixels of the frame
        *_outcome,
    ]
)

# One row per face crop that training or evaluation can read.
SAMPLES = pa.schema(
    [
        ("sample_id", pa.string()),  # <video_id>#<frame_index>#<track_id>
        *_video,
        ("dataset", pa.string()),
        ("shard", pa.string()),
        ("crop_row", pa.int32()),
        ("frame_index", pa.int32()),
        ("pts_seconds", pa.float64()),
        ("track_id", pa.int32()),
        ("label", pa.int8()),
        ("method", pa.string()),
        ("compression", pa.string()),
        ("split", pa.string()),
        ("source_id", pa.string()),
        ("source_group", pa.string()),
        ("identities", pa.list_(pa.string())),
        ("x0", pa.float32()),
        ("y0", pa.float32()),
        ("x1", pa.float32()),
        ("y1", pa.float32()),
        ("score", pa.float32()),
        ("has_landmarks", pa.bool_()),
        ("mask_source", pa.string()),  # real, mask_video, difference or unknown
        ("sharpness", pa.float32()),  # variance of the Laplacian inside the box, at 128 x 128 px
    ]
)

# One row per video of the index: nothing is ever missing from it.
LEDGER = pa.schema(
    [
        *_video,
        ("dataset", pa.string()),
        ("path", pa.string()),
        ("shard", pa.string()),
        ("label", pa.int8()),
        ("method", pa.string()),
        ("compression", pa.string()),
        ("split", pa.string()),
        ("stage", pa.string()),  # the stage that lost the video, or whose frames were lost; null when all is well
        *_outcome,
        ("n_frames_sampled", pa.int32()),
        ("n_frames_with_face", pa.int32()),
        ("n_tracks", pa.int32()),
        ("n_crops", pa.int32()),
        ("n_landmarks", pa.int32()),
        ("n_masks", pa.int32()),  # crops whose manipulation mask is known
    ]
)

# One row per sample of the predicted split.
PREDICTIONS = pa.schema(
    [
        ("sample_id", pa.string()),
        *_video,
        ("dataset", pa.string()),
        ("frame_index", pa.int32()),
        ("track_id", pa.int32()),
        ("label", pa.int8()),
        ("method", pa.string()),
        ("compression", pa.string()),
        ("split", pa.string()),
        ("x0", pa.float32()),
        ("y0", pa.float32()),
        ("x1", pa.float32()),
        ("y1", pa.float32()),
        ("score", pa.float32()),  # probability that the face is fake
    ]
)

# One row per distortion, strength and drawn sample of the test split.
DISTORTED_PREDICTIONS = pa.schema(
    [
        *(field for field in PREDICTIONS if field.name != "score"),
        ("distortion", pa.string()),  # `none` for the crops as they are
        ("strength", pa.int8()),  # 1 to 5; 0 for the crops as they are
        ("score", pa.float32()),
    ]
)

# One row per test data set, seed and labelled video.
VIDEO_SCORES = pa.schema(
    [
        ("experiment", pa.string()),
        ("dataset", pa.string()),
        ("seed", pa.int64()),
        *_video,
        ("label", pa.int8()),
        ("score", pa.float64()),  # probability that the video is fake
        ("threshold", pa.float64()),  # a score at or above it counts as fake; NaN when there is none
        ("predicted", pa.bool_()),  # false: the video has no prediction, and the score is what missing ones get
    ]
)


def describe_statuses(counts: Mapping[str, int]) -> str:
    """How many videos have each status, such as `12 ok, 1 no_face`; what none has is left out."""
    return ", ".join(f"{counts[status]:,} {status}" for status in VIDEO_STATUS if counts.get(status))
