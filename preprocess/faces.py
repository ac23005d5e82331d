"""Find faces in the sampled frames and link them into face tracks: `python -m preprocess.faces --help`.

Faces are found in real videos; a fake inherits the boxes of the real video that it was made from, frame for
frame, when frame count and size agree. Otherwise it is searched like a real one.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from preprocess.face.sampling import leave_out
from preprocess.face.search import SearchedFrame, SearchSettings, search_videos
from preprocess.face.tracks import FaceTracker
from preprocess.running.cli import VIDEO_SECONDS, add_worker_arguments, progress, run_command
from preprocess.running.device import pick_device
from preprocess.running.raw_files import RawFiles
from preprocess.running.settings import load_settings, settings_json
from preprocess.settings.faces import FacesSettings
from preprocess.store import versions
from preprocess.store.origin import Origin
from preprocess.store.schemas import FACES
from preprocess.store.tables import read_rows, write_table
from preprocess.video.outcomes import NO_FACE, OK, UNDECODED, UNUSED
from preprocess.video.probe import ProbeError


def track_video(frames: list[dict], searched: Iterable[SearchedFrame], settings: FacesSettings) -> list[dict]:
    """Link the faces of one video.

    Args:
        frames: Its rows of `schemas.FRAMES` with status `ok`, in order.
        searched: The faces of those that decode, in order; ProbeError raised on the way ends them.
        settings: What makes a track.

    Returns:
        Rows of `schemas.FACES`, by frame, then track. A frame without a face has a row `no_face`; so has every box
        of a track that was dropped, with the reason. A face that `faces_per_video` leaves out is `unused`.
    """
    tracker = FaceTracker(
        iou_threshold=settings.iou_threshold,
        max_gap=settings.max_gap,
        max_jump=settings.max_jump,
        scene_cuts=settings.scene_cuts,
    )
    pts_seconds = {frame["frame_index"]: frame["pts_seconds"] for frame in frames}
    by_frame: dict[int, list[dict]] = {}
    reason = "the frame did not decode; the file is shorter or more broken than its packets say"
    try:
        for found in searched:
            seconds = pts_seconds[found.frame_index]
            ids = tracker.add(found.boxes, pts_seconds=seconds, histogram=found.histogram, appearance=found.appearance)
            by_frame[found.frame_index] = [_found(found, face, int(ids[face])) for face in np.argsort(ids)]
    except ProbeError as error:
        reason = error.message
    dropped = _dropped_tracks(by_frame, settings)

    rows = []
    for frame in frames:
        place = {key: frame[key] for key in ("video_id", "frame_index", "pts_seconds")}
        faces = by_frame.get(frame["frame_index"])
        if faces is None:
            rows.append(place | {"status": UNDECODED, "message": reason})
        elif not faces:
            rows.append(place | {"status": NO_FACE, "message": ""})
        else:
            rows += [place | face for face in faces if face["track_id"] not in dropped]
            reasons = [dropped[face["track_id"]] for face in faces if face["track_id"] in dropped]
            rows += [place | {"status": NO_FACE, "message": why} for why in reasons]
    return leave_out(rows, settings.faces_per_video) if settings.faces_per_video else rows


def _found(frame: SearchedFrame, face: int, track_id: int) -> dict:
    x0, y0, x1, y1 = frame.boxes[face].tolist()
    return {
        "track_id": track_id,
        **{"x0": x0, "y0": y0, "x1": x1, "y1": y1},
        "score": float(frame.scores[face]),
        "points": frame.points[face].reshape(-1).tolist(),
        "inherited_from": None,
        "status": OK,
        "message": "",
    }


def _dropped_tracks(by_frame: dict[int, list[dict]], settings: FacesSettings) -> dict[int, str]:
    """Why a track is not kept, by track id; tracks that are kept are absent."""
    scores = defaultdict(list)
    for faces in by_frame.values():
        for face in faces:
            scores[face["track_id"]].append(face["score"])
    dropped = {}
    for track, seen in scores.items():
        if len(seen) < settings.min_track_frames:
            why = f"has {len(seen)} sampled frames, fewer than min_track_frames ({settings.min_track_frames})"
        elif len(by_frame) > 1 and max(seen) < settings.track_score:
            why = f"never scores above {max(seen):.3f}, less than track_score ({settings.track_score})"
        else:
            continue
        dropped[track] = f"dropped a box: its track {why}"
    return dropped


def track_shard(
    videos: list[dict],
    frames: list[dict],
    root: Path,
    settings: FacesSettings,
    *,
    device: str,
    workers: int,
    video_seconds: float = VIDEO_SECONDS,
) -> list[dict]:
    """Rows of `schemas.FACES` for a shard; see `search_videos`, `track_video` and `inherit_faces`.

    Raises:
        UserError: A file is not the one that was indexed, or cannot be reached.
    """
    raw_files = RawFiles.of_videos(videos, root)
    by_video = defaultdict(list)
    for frame in frames:
        if frame["status"] == OK:
            by_video[frame["video_id"]].append(frame)
    usable = {video["video_id"]: video for video in videos if video["video_id"] in by_video}

    def track(keys: list[str], description: str) -> dict[str, list[dict]]:
        searched = search_videos(
            [(usable[key], [frame["frame_index"] for frame in by_video[key]]) for key in keys],
            raw_files,
            SearchSettings(
                settings.min_size_px, settings.score_threshold, settings.full_search_every, settings.batch_size
            ),
            device=device,
            workers=workers,
            video_seconds=video_seconds,
        )
        searched = progress(searched, total=len(keys), description=description)
        return {key: track_video(by_video[key], found, settings) for key, found in zip(keys, searched, strict=True)}

    heirs = [key for key, video in usable.items() if settings.inherit and can_inherit(video, usable)]
    found = track(sorted(usable.keys() - set(heirs)), "track faces")
    inherited = {key: inherit_faces(by_video[key], found[usable[key]["source_id"]]) for key in heirs}
    # a real video that lost frames, or decodes at other indices, cannot vouch for its fakes
    orphans = [key for key, rows in inherited.items() if rows is None]
    if orphans:
        found |= track(orphans, "track other fakes")
    found |= {key: rows for key, rows in inherited.items() if rows is not None}
    return [row for key in sorted(found) for row in found[key]]


def can_inherit(video: dict, usable: dict[str, dict]) -> bool:
    """Whether a fake agrees with its real video in frame count and size, and that video is in the shard."""
    source = usable.get(video["source_id"])
    return (
        source is not None
        and source["source_id"] is None
        and all(source[key] == video[key] for key in ("n_frames", "height", "width"))
    )


def inherit_faces(frames: list[dict], source_faces: list[dict]) -> list[dict] | None:
    """Faces of a fake from the faces of its real video, frame for frame.

    Args:
        frames: The fake's rows of `schemas.FRAMES`.
        source_faces: The real video's rows of `schemas.FACES`.

    Returns:
        Rows of `schemas.FACES`, or None when the real video has not searched every one of the fake's frames.
    """
    by_frame = defaultdict(list)
    for face in source_faces:
        if face["status"] in (OK, NO_FACE, UNUSED):
            by_frame[face["frame_index"]].append(face)
    if any(frame["frame_index"] not in by_frame for frame in frames):
        return None
    return [
        {
            **face,
            "video_id": frame["video_id"],
            "pts_seconds": frame["pts_seconds"],
            "inherited_from": face["video_id"],
        }
        for frame in frames
        for face in by_frame[frame["frame_index"]]
    ]


def main() -> None:
    """Command line of the stage."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--list", required=True, type=Path, help="list of the shard")
    parser.add_argument("--frames", required=True, type=Path, help="sampled frames of the shard (Parquet)")
    parser.add_argument("--root", required=True, type=Path, help="raw folder of the data set")
    parser.add_argument("--output", required=True, type=Path, help="Parquet file to write")
    parser.add_argument("--settings", default="{}", help=f"JSON; defaults: {settings_json(FacesSettings())}")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:<number>")
    add_worker_arguments(parser)
    args = parser.parse_args()
    settings = load_settings(FacesSettings, args.settings)
    rows = track_shard(
        read_rows(args.list),
        read_rows(args.frames),
        args.root,
        settings,
        device=pick_device(args.device),
        workers=args.workers,
        video_seconds=args.video_seconds,
    )
    origin = Origin(args.list.parent.name, "faces", settings_json(settings), versions.FACES, args.list.stem)
    write_table(args.output, rows, FACES, origin)


if __name__ == "__main__":
    run_command(main)
