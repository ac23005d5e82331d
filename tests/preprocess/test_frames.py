import numpy as np
import pytest

from helpers.grey_videos import grey_frames, write_video
from preprocess.frames import FramesSettings, sample_frames, sample_shard
from preprocess.video.outcomes import OK, UNREADABLE


def test_uniform_takes_the_middle_of_equal_parts():
    assert sample_frames(300, FramesSettings(n_frames=3)).tolist() == [50, 150, 250]
    assert sample_frames(4, FramesSettings(n_frames=4)).tolist() == [0, 1, 2, 3]
    assert sample_frames(3, FramesSettings(n_frames=32)).tolist() == [0, 1, 2]


@pytest.mark.parametrize("n_frames", [1, 31, 32, 33, 47, 300, 1001])
def test_uniform_never_repeats_or_leaves_the_video(n_frames):
    chosen = sample_frames(n_frames, FramesSettings(n_frames=32))
    assert len(chosen) == min(n_frames, 32)
    assert (np.diff(chosen) > 0).all()
    assert chosen[0] >= 0
    assert chosen[-1] < n_frames


def test_stride_and_clip():
    assert sample_frames(25, FramesSettings(mode="stride", stride=10)).tolist() == [0, 10, 20]
    assert sample_frames(10, FramesSettings(mode="clip", n_frames=4)).tolist() == [3, 4, 5, 6]


def test_every_video_has_rows(tmp_path, index_row):
    write_video(tmp_path / "a.mkv", grey_frames(10), times=[3, 4, 5, 9, 10, 11, 12, 20, 21, 22])
    (tmp_path / "broken.mp4").write_text("gone since it was indexed")
    videos = [
        index_row("d/real/original/a", "a.mkv"),
        index_row("d/real/original/broken", "broken.mp4"),
        index_row("d/real/original/never", "never.mp4", status=UNREADABLE),
        index_row("d/real/original/photo", "photo.png", kind="image", n_frames=1),
    ]
    rows = sample_shard(videos, tmp_path, FramesSettings(n_frames=2), workers=2)
    assert [(row["video_id"][-5:], row["frame_index"], row["status"]) for row in rows] == [
        ("nal/a", 2, OK),
        ("nal/a", 7, OK),
        ("roken", None, UNREADABLE),
        ("photo", 0, OK),
    ]
    assert [row["pts_seconds"] for row in rows[:2]] == pytest.approx([5 / 25, 20 / 25])
    assert rows[2]["message"]
