import numpy as np
import pytest

from helpers.grey_videos import grey_frames, write_video
from preprocess.face.search import SearchedFrame
from preprocess.face.tracks import box_iou
from preprocess.faces import (
    FacesSettings,
    can_inherit,
    inherit_faces,
    track_shard,
    track_video,
)
from preprocess.frames import FramesSettings, sample_shard
from preprocess.synthetic import render_portrait
from preprocess.video.outcomes import NO_FACE, OK, UNDECODED

REAL, FAKE = "d/real/original/a", "d/swap/original/a_b"


def face_row(frame_index, status=OK, **values):
    row = {"video_id": REAL, "frame_index": frame_index, "pts_seconds": frame_index / 25, "track_id": 0}
    return row | {"x0": 1.0, "y0": 2.0, "x1": 3.0, "y1": 4.0, "score": 0.9, "status": status, "message": ""} | values


def frame_row(frame_index, video_id=FAKE):
    return {
        "video_id": video_id,
        "frame_index": frame_index,
        "pts_seconds": 1 + frame_index / 25,
        "status": OK,
        "message": "",
    }


@pytest.fixture(scope="module")
def portrait():
    return render_portrait(np.random.default_rng(3), 270, 360)


@pytest.fixture(scope="module")
def portrait_video(portrait, tmp_path_factory):
    """Ten frames: the portrait, with nobody in frames 6 and 7."""
    frames = np.repeat(portrait[0][None], 10, axis=0)
    frames[6:8] = 90
    return write_video(tmp_path_factory.mktemp("videos") / "a.mp4", frames)


def video_rows(index_row, **fake):
    size = {"height": 270, "width": 360, "n_frames": 10}
    return [
        index_row(REAL, "a.mp4", **size),
        index_row(FAKE, "a.mp4", **size | {"label": 1, "method": "swap", "source_id": REAL} | fake),
    ]


def test_a_fake_gets_the_boxes_of_its_real_video(portrait_video, index_row):
    videos = video_rows(index_row)
    frames = sample_shard(videos, portrait_video.parent, FramesSettings(n_frames=10), workers=1)
    rows = track_shard(videos, frames, portrait_video.parent, FacesSettings(), device="cpu", workers=2)
    real, fake = rows[:10], rows[10:]
    assert [row["status"] for row in real] == [OK] * 6 + [NO_FACE] * 2 + [OK] * 2
    assert {row["track_id"] for row in real if row["status"] == OK} == {0}, "the gap is bridged"
    assert all(row.get("inherited_from") is None for row in real)
    assert all(row["inherited_from"] == REAL for row in fake)
    keys = ("frame_index", "x0", "y0", "x1", "y1", "track_id", "status")
    assert [[row.get(key) for key in keys] for row in fake] == [[row.get(key) for key in keys] for row in real]


def test_a_fake_that_disagrees_is_searched_itself(portrait_video, index_row):
    videos = video_rows(index_row, n_frames=9)
    frames = sample_shard(videos, portrait_video.parent, FramesSettings(n_frames=3), workers=1)
    rows = track_shard(videos, frames, portrait_video.parent, FacesSettings(), device="cpu", workers=1)
    assert [row["status"] for row in rows] == [OK] * 6
    assert [row["inherited_from"] for row in rows] == [None] * 6


@pytest.mark.parametrize("change", [{"n_frames": 11}, {"height": 1}, {"width": 1}, {"source_id": "d/real/original/b"}])
def test_when_a_fake_cannot_inherit(index_row, change):
    usable = {row["video_id"]: row for row in video_rows(index_row)}
    assert can_inherit(usable[FAKE], usable)
    assert not can_inherit(usable[FAKE] | change, usable)
    assert not can_inherit(usable[REAL], usable)


def test_a_real_video_that_lost_frames_cannot_vouch():
    faces = [face_row(0), face_row(1, UNDECODED), face_row(2, NO_FACE)]
    assert inherit_faces([frame_row(0), frame_row(1)], faces) is None
    inherited = inherit_faces([frame_row(0), frame_row(2)], faces)
    assert [(row["video_id"], row["status"], row["pts_seconds"]) for row in inherited] == [
        (FAKE, OK, 1.0),
        (FAKE, NO_FACE, 1.08),
    ]


def test_frames_that_do_not_decode_are_rows(tmp_path, index_row):
    write_video(tmp_path / "a.mp4", grey_frames(3))
    frames = [frame_row(1, REAL), frame_row(7, REAL)]
    rows = track_shard([index_row(REAL, "a.mp4")], frames, tmp_path, FacesSettings(), device="cpu", workers=1)
    assert [(row["frame_index"], row["status"]) for row in rows] == [(1, NO_FACE), (7, UNDECODED)]
    assert rows[1]["message"]


def track_script(script, **settings):
    """Rows of a video whose frames show the given (x, score) boxes of side 20."""
    searched = [
        SearchedFrame(
            index,
            np.full(512, 1 / 512),
            np.array([(x, 5.0, x + 20, 25.0) for x, _ in found]).reshape(-1, 4),
            np.array([score for _, score in found]),
            np.zeros((len(found), 5, 2)),
        )
        for index, found in enumerate(script)
    ]
    return track_video([frame_row(index, REAL) for index in range(len(script))], searched, FacesSettings(**settings))


def test_a_track_whose_best_box_is_no_sure_face_is_dropped_and_says_so():
    # a face that is sure once; a print on a shirt that never is; and a frame with the print alone
    script = [[(0, 0.92), (40, 0.95)], [(0, 0.999), (40, 0.96)], [(40, 0.95)], []]
    rows = track_script(script)
    assert [(row["frame_index"], row["status"]) for row in rows] == [
        (0, OK),
        (0, NO_FACE),
        (1, OK),
        (1, NO_FACE),
        (2, NO_FACE),
        (3, NO_FACE),
    ]
    assert {row["x0"] for row in rows if row["status"] == OK} == {0}
    assert [("0.960" in row["message"], "track_score (0.995)" in row["message"]) for row in rows if row["message"]] == [
        (True, True)
    ] * 3
    kept = track_script(script, track_score=0.95)
    assert [row["status"] for row in kept] == [OK] * 5 + [NO_FACE]


def test_a_short_track_is_dropped_and_says_so():
    rows = track_script([[(0, 0.999)], [(0, 0.999), (40, 0.999)]], min_track_frames=2)
    assert [row["status"] for row in rows] == [OK, OK, NO_FACE]
    assert "min_track_frames (2)" in rows[2]["message"]


def test_a_single_frame_keeps_its_faces():
    (row,) = track_script([[(0, 0.91)]])
    assert row["status"] == OK


def test_a_cut_between_two_portraits_gives_two_tracks(portrait, tmp_path, index_row):
    other, _ = render_portrait(np.random.default_rng(18), 270, 360)
    write_video(tmp_path / "a.mp4", np.stack([portrait[0]] * 4 + [other] * 4))
    frames = [frame_row(index, REAL) for index in range(8)]
    video = index_row(REAL, "a.mp4", height=270, width=360)
    rows = track_shard([video], frames, tmp_path, FacesSettings(), device="cpu", workers=1)
    assert [row["track_id"] for row in rows] == [0] * 4 + [1] * 4
    boxes = np.array([[row[key] for key in ("x0", "y0", "x1", "y1")] for row in (rows[3], rows[4])])
    assert box_iou(boxes[:1], boxes[1:])[0, 0] >= 0.3, "overlap alone would link them"
