"""Collect what training reads, and the outcome of every video: `python -m preprocess.samples --help`.

Two tables a data set: the samples (one row per face crop) and the ledger (one row per video of the index,
whatever became of it). Where too many videos are lost, neither is written, and a list says what became of them.
"""

from __future__ import annotations

import argparse
import csv
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from preprocess.running.cli import UserError, log, progress, run_command
from preprocess.store import versions
from preprocess.store.atomic import atomic_path
from preprocess.store.crop_file import CropReader
from preprocess.store.mask_file import MaskReader, MaskSource
from preprocess.store.origin import Origin
from preprocess.store.schemas import LEDGER, SAMPLES, describe_statuses
from preprocess.store.shards import shard_names
from preprocess.store.stages import MAX_LOST_SHARE, SHARD_STAGES
from preprocess.store.tables import read_rows, read_table, write_table
from preprocess.video.outcomes import NO_FACE, OK, PARTIAL, UNDECODED, UNUSED

# A video with one of these gives samples, or was not asked for.
_NOT_LOST = (OK, PARTIAL, UNUSED)
_EXAMPLES = 3

FACE_COLUMNS = ["video_id", "frame_index", "track_id", "status", "message"]

_FROM_INDEX = ("dataset", "label", "method", "compression", "split", "source_id", "source_group", "identities")


@dataclass(frozen=True)
class ShardFiles:
    """The files of one shard, by the stage's name; `index` is the list of its videos."""

    index: Path
    frames: Path
    faces: Path
    crops: Path
    landmarks: Path
    masks: Path

    @classmethod
    def of(cls, data: Path, dataset: str, shard: str) -> ShardFiles:
        """The files of a shard in a store: `<data>/<stage>/<dataset>/<shard>`."""
        return cls(**{name: data / stage.shard_file(dataset, shard) for name, stage in SHARD_STAGES.items()})


def collect_shard(files: ShardFiles, shard: str) -> tuple[pa.Table, list[dict]]:
    """Samples and ledger of one shard.

    Args:
        files: The shard's files.
        shard: Its name.

    Returns:
        A table of `schemas.SAMPLES` and rows of `schemas.LEDGER`.

    Raises:
        UserError: A file is absent, or crops, landmarks and masks do not belong together.
    """
    videos = read_table(files.index)
    landmarks = read_table(files.landmarks, ["crop_row", "status"]).to_pydict()
    with MaskReader(files.masks) as masks:
        mask_source = masks.source
    with CropReader(files.crops) as crops:
        rows = {"landmarks": len(landmarks["status"]), "masks": len(mask_source)}
        for stage, count in rows.items():
            if count != len(crops):
                raise UserError(
                    f"{getattr(files, stage)} has {count} rows and {files.crops} has {len(crops)}: "
                    f"they come from different runs. Delete the {stage} file and run the same command again"
                )
        has_landmarks = np.array([status == OK for status in landmarks["status"]], bool)
        samples = sample_table(crops, videos, shard, has_landmarks, mask_source)
        faces = count_faces(read_table(files.faces, FACE_COLUMNS))
        ledger = ledger_rows(videos.to_pylist(), read_rows(files.frames), faces, crops, has_landmarks, mask_source)
    return samples, ledger


def sample_table(
    crops: CropReader, videos: pa.Table, shard: str, has_landmarks: np.ndarray, mask_source: np.ndarray
) -> pa.Table:
    """The samples of a shard (`schemas.SAMPLES`): its crops that were not lost, in their order.

    Args:
        crops: N crops.
        videos: The shard's list (`schemas.INDEX`).
        shard: Its name.
        has_landmarks: (N,) bool.
        mask_source: (N,) where the manipulation mask comes from.
    """
    row_of_video = {video_id: row for row, video_id in enumerate(videos["video_id"].to_pylist())}
    usable = np.flatnonzero(crops.status == OK)
    video_rows = np.array([row_of_video[video_id] for video_id in crops.video_id[usable]], np.int64)
    columns = {name: videos[name].take(pa.array(video_rows)) for name in _FROM_INDEX}
    frame_index, track_id = crops.frame_index[usable], crops.track_id[usable]
    columns |= {
        "sample_id": [
            f"{video_id}#{frame}#{track}"
            for video_id, frame, track in zip(crops.video_id[usable], frame_index, track_id, strict=True)
        ],
        "video_id": crops.video_id[usable],
        "shard": pa.repeat(shard, len(usable)),
        "crop_row": usable,
        "frame_index": frame_index,
        "pts_seconds": crops.pts_seconds[usable],
        "track_id": track_id,
        **{name: crops.box[usable, side] for side, name in enumerate(("x0", "y0", "x1", "y1"))},
        "has_landmarks": has_landmarks[usable],
        "mask_source": mask_source[usable],
        "sharpness": crops.sharpness[usable],
        "score": crops.score[usable],
    }
    return pa.table({name: columns[name] for name in SAMPLES.names}).cast(SAMPLES)


@dataclass(frozen=True)
class FaceCounts:
    """What the faces stage saw of each video, by video_id."""

    frames_with_face: Counter
    frames_undecoded: Counter
    tracks: Counter
    message: dict[str, str]  # why a frame did not decode
    boxes_dropped: Counter
    drop_message: dict[str, str]


def count_faces(faces: pa.Table) -> FaceCounts:
    """What a table of faces (the columns `FACE_COLUMNS` of `schemas.FACES`) says of its videos."""
    rows = list(zip(*(faces[name].to_pylist() for name in FACE_COLUMNS), strict=True))
    dropped = [(video, message) for video, _, _, status, message in rows if status == NO_FACE and message]
    # a face that the settings leave out was found all the same
    with_face = {(video, frame) for video, frame, _, status, _ in rows if status in (OK, UNUSED)}
    tracks = {(video, track) for video, _, track, status, _ in rows if status in (OK, UNUSED)}
    return FaceCounts(
        frames_with_face=Counter(video for video, _ in with_face),
        frames_undecoded=Counter(video for video, _, _, status, _ in rows if status == UNDECODED),
        tracks=Counter(video for video, _ in tracks),
        message={video: message for video, _, _, status, message in rows if status == UNDECODED},
        boxes_dropped=Counter(video for video, _ in dropped),
        drop_message=dict(dropped),
    )


def ledger_rows(
    videos: list[dict],
    frames: list[dict],
    faces: FaceCounts,
    crops: CropReader,
    has_landmarks: np.ndarray,
    mask_source: np.ndarray,
) -> list[dict]:
    """What became of every video of a shard, as rows of `schemas.LEDGER`.

    Args:
        videos: Rows of `schemas.INDEX`.
        frames: Rows of `schemas.FRAMES`.
        faces: What the faces stage saw of each.
        crops: N crops.
        has_landmarks: (N,) bool.
        mask_source: (N,) where the manipulation mask comes from.
    """
    n_sampled = Counter(frame["video_id"] for frame in frames if frame["status"] == OK)
    frame_failure = {frame["video_id"]: frame for frame in frames if frame["status"] != OK}
    good = crops.status == OK
    n_crops = Counter(crops.video_id[good])
    n_lost_crops = Counter(crops.video_id[~good])
    n_landmarks = Counter(crops.video_id[good & has_landmarks])
    n_masks = Counter(crops.video_id[good & (mask_source != MaskSource.UNKNOWN)])
    ledger = []
    for video in videos:
        key = video["video_id"]
        stage, status, message = _outcome(
            video, frame_failure.get(key), faces, n_sampled[key], n_crops=n_crops[key], n_lost_crops=n_lost_crops[key]
        )
        ledger.append(
            {
                **{name: video[name] for name in LEDGER.names if name in video},
                "stage": stage,
                "status": status,
                "message": message,
                "n_frames_sampled": n_sampled[key],
                "n_frames_with_face": faces.frames_with_face[key],
                "n_tracks": faces.tracks[key],
                "n_crops": n_crops[key],
                "n_landmarks": n_landmarks[key],
                "n_masks": n_masks[key],
            }
        )
    return ledger


def _outcome(
    video: dict, frame_failure: dict | None, faces: FaceCounts, n_sampled: int, *, n_crops: int, n_lost_crops: int
) -> tuple[str | None, str, str]:
    """What became of a video: the first stage that lost it or some of its frames, its status, and why."""
    key = video["video_id"]
    n_undecoded = faces.frames_undecoded[key]
    if video["status"] != OK:
        return "index", video["status"], video["message"]
    if frame_failure is not None:
        return "frames", frame_failure["status"], frame_failure["message"]
    if n_undecoded and n_undecoded == n_sampled:
        return "faces", UNDECODED, faces.message[key]
    if not faces.tracks[key]:
        message = f"no face in {n_sampled - n_undecoded} decoded frames"
        if faces.boxes_dropped[key]:
            message += f"; {faces.boxes_dropped[key]} boxes were dropped, such as: {faces.drop_message[key]}"
        return "faces", NO_FACE, message
    if not n_crops:
        return "crops", UNDECODED, f"none of {n_lost_crops} faces could be cut"
    # some of its frames, or of its faces, are there
    if n_undecoded:
        return "faces", PARTIAL, f"{n_undecoded} of {n_sampled} sampled frames did not decode"
    if n_lost_crops:
        return "crops", PARTIAL, f"{n_lost_crops} faces lie in frames that did not decode"
    if video["message"]:
        return "index", PARTIAL, video["message"]
    return None, OK, ""


def collect_dataset(data: Path, dataset: str, n_shards: int) -> tuple[pa.Table, list[dict]]:
    """Samples, by shard and crop, and ledger, by video id, of a whole data set."""
    tables, ledger = [], []
    shards = shard_names(n_shards)
    for shard in progress(shards, total=n_shards, description="collect samples", unit="shard"):
        samples, rows = collect_shard(ShardFiles.of(data, dataset, shard), shard)
        tables.append(samples)
        ledger += rows
    return pa.concat_tables(tables), sorted(ledger, key=lambda row: row["video_id"])


def describe_ledger(ledger: list[dict]) -> str:
    """What a data set came to, in a few lines.

    Returns:
        A line that counts the videos by status, the lost and the left out by reason; then, for each split that has any,
        a line that counts the real and the fake face crops and the videos that they come from.
    """
    counts = Counter(row["status"] for row in ledger)
    found = describe_statuses(counts)
    lines = [f"{len(ledger):,} videos: {found}; {sum(row['n_crops'] for row in ledger):,} face crops"]
    splits = {row["split"] for row in ledger if row["n_crops"]}
    for split in sorted(splits, key=lambda name: (name is None, name)):
        used = [row for row in ledger if row["split"] == split and row["n_crops"]]
        parts = []
        for label, word in ((0, "real"), (1, "fake")):
            crops = [row["n_crops"] for row in used if row["label"] == label]
            parts.append(f"{sum(crops):,} {word} crops of {len(crops):,} videos")
        lines.append(f"{split or 'no split'}: {', '.join(parts)}")
    return "\n".join(lines)


def check_lost(ledger: list[dict], max_lost_share: float, lost_list: Path) -> None:
    """Stop where too many of the videos that were asked for gave nothing.

    Args:
        ledger: Rows of `schemas.LEDGER` of one data set; the `unused` ones do not count.
        max_lost_share: Share of the videos that may be lost.
        lost_list: CSV file to write, with every lost video and why, when they are too many.

    Raises:
        UserError: They are too many.
    """
    asked = [row for row in ledger if row["status"] != UNUSED]
    lost = [row for row in asked if row["status"] not in _NOT_LOST]
    if len(lost) <= max_lost_share * len(asked):
        return
    with atomic_path(lost_list) as temporary, open(temporary, "w", newline="") as file:
        writer = csv.DictWriter(file, ("video_id", "path", "stage", "status", "message"), extrasaction="ignore")
        writer.writeheader()
        writer.writerows(lost)
    reasons = describe_statuses(Counter(row["status"] for row in lost))
    # the first of each reason
    examples = list({row["status"]: row for row in reversed(lost)}.values())[::-1][:_EXAMPLES]
    shown = "".join(f"\n  {row['video_id']}: {row['status']} ({row['message']})" for row in examples)
    dataset = lost[0]["dataset"]
    raise UserError(
        f"data set {dataset!r}: {len(lost):,} of {len(asked):,} videos are lost ({len(lost) / len(asked):.1%}), more "
        f"than max_lost_share ({max_lost_share:g}) allows: {reasons}. Such as:{shown}\nAll of them are listed in "
        f"{lost_list}. Mend the collection and index it again; or, if they may be missing, raise max_lost_share in "
        f"config.yaml, for all or under datasets.{dataset}, and run the same command again: nothing else reruns"
    )


def main() -> None:
    """Command line of the stage."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, type=Path, help="folder of the store, with index/, frames/, faces/, …")
    parser.add_argument("--dataset", required=True, help="name of the data set")
    parser.add_argument("--n-shards", required=True, type=int)
    parser.add_argument("--output", required=True, type=Path, help="samples (Parquet) to write")
    parser.add_argument("--ledger", required=True, type=Path, help="ledger (Parquet) to write")
    parser.add_argument(
        "--max-lost-share",
        type=float,
        default=MAX_LOST_SHARE,
        help="share of the videos that may be lost before nothing is written (default: %(default)g)",
    )
    parser.add_argument(
        "--lost", type=Path, help="CSV of lost videos, written when they are too many (default: beside the ledger)"
    )
    args = parser.parse_args()
    samples, ledger = collect_dataset(args.data, args.dataset, args.n_shards)
    lost_list = args.lost or args.ledger.with_suffix(".lost.csv")
    lost_list.unlink(missing_ok=True)  # of an earlier attempt
    for line in describe_ledger(ledger).splitlines():
        log.info("%s: %s", args.dataset, line)
    check_lost(ledger, args.max_lost_share, lost_list)
    origin = Origin(args.dataset, "samples", "{}", versions.SAMPLES)
    write_table(args.ledger, ledger, LEDGER, origin)
    write_table(args.output, samples, SAMPLES, origin)


if __name__ == "__main__":
    run_command(main)
