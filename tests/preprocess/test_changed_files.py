"""What each stage does when the raw folder is no longer the one that was indexed; mask videos are in test_masks.py."""

import os

import pytest

from helpers.grey_videos import grey_frames, write_video
from preprocess.crops import CropsSettings, crop_shard
from preprocess.faces import FacesSettings, track_shard
from preprocess.frames import FramesSettings, sample_shard
from preprocess.running.cli import UserError
from preprocess.running.raw_files import file_checksum
from preprocess.store.crop_file import write_crops
from preprocess.store.origin import Origin
from preprocess.video.outcomes import OK

VIDEO_ID = "d/real/original/{}"
BOX = {"track_id": 0, "x0": 20.0, "y0": 10.0, "x1": 40.0, "y1": 34.0, "score": 0.9}


def sampled(names="ab"):
    """Frame 1 of each video, as a row of the frames and of the faces."""
    place = {"frame_index": 1, "pts_seconds": 0.04, "status": OK, "message": ""}
    return [{"video_id": VIDEO_ID.format(name)} | place | BOX for name in names]


def run_frames(videos, root, **options):
    return sample_shard(videos, root, FramesSettings(n_frames=1), workers=1, **options)


def run_faces(videos, root, **options):
    return track_shard(videos, sampled(), root, FacesSettings(), device="cpu", workers=1, **options)


def run_faces_for_a_gpu(videos, root, **options):
    return track_shard(videos, sampled(), root, FacesSettings(), device="cpu:0", workers=1, **options)


def run_crops(videos, root, **options):
    crops = crop_shard(videos, sampled(), root, CropsSettings(), workers=1, **options)
    return [(crop.video_id, crop.encoded) for crop in crops]


every_stage = pytest.mark.parametrize("run", [run_frames, run_faces, run_faces_for_a_gpu, run_crops])


@pytest.fixture
def raw(tmp_path):
    """Two videos."""
    (tmp_path / "raw").mkdir()
    for name in "ab":
        write_video(tmp_path / f"raw/{name}.mp4", grey_frames(3))
    return tmp_path / "raw"


@pytest.fixture
def videos(raw, index_row):
    """Their rows, as the index writes them."""
    return [
        index_row(VIDEO_ID.format(path.stem), path.name, n_bytes=path.stat().st_size, checksum=file_checksum(path))
        for path in sorted(raw.iterdir())
    ]


def replace_bytes(path, seconds):
    """Give a file other bytes of the same size, and a time."""
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    os.utime(path, (seconds, seconds))


@every_stage
def test_a_file_with_the_same_bytes_and_other_times_is_read(run, raw, videos):
    before = run(videos, raw)
    assert len(before) == 2
    os.utime(raw / "b.mp4", (2**33, 2**33))
    (raw / "a.mp4").rename(raw / "moved.mp4")
    (raw / "a.mp4").write_bytes((raw / "moved.mp4").read_bytes())
    assert run(videos, raw) == before


@every_stage
def test_an_absent_file_stops_the_stage(run, raw, videos):
    (raw / "b.mp4").unlink()
    with pytest.raises(
        UserError, match=r"'d': b\.mp4 .*1 of 2 such files of shard 0000.*disc mounted.*index_videos_d`"
    ):
        run(videos, raw)


@every_stage
def test_a_root_that_is_away_stops_the_stage(run, raw, videos):
    raw.rename(raw.with_name("away"))
    with pytest.raises(UserError, match=rf"its root '{raw}' cannot be reached .*disc mounted"):
        run(videos, raw)
    raw.mkdir()  # where a disc is mounted, there is an empty folder without it
    with pytest.raises(UserError, match=r"2 of 2 such files of shard 0000.*disc mounted"):
        run(videos, raw)


@every_stage
def test_a_file_of_another_size_stops_the_stage(run, raw, videos):
    n_bytes = (raw / "b.mp4").stat().st_size
    os.truncate(raw / "b.mp4", n_bytes - 1)
    message = rf"b\.mp4 has changed .* {n_bytes - 1:,} bytes, the index says {n_bytes:,}\. .*index_videos_d`"
    with pytest.raises(UserError, match=message):
        run(videos, raw)


@every_stage
@pytest.mark.parametrize("seconds", [0, 2**33])
def test_a_file_replaced_by_one_of_the_same_size_stops_the_stage(run, raw, videos, seconds):
    replace_bytes(raw / "b.mp4", seconds)
    with pytest.raises(UserError, match=r"b\.mp4 has changed .*checksum.*index_videos_d`"):
        run(videos, raw)


@every_stage
def test_that_a_worker_was_ended_is_no_row_of_a_file_that_has_changed(run, raw, videos):
    assert len(run(videos, raw, video_seconds=0)) == 2
    replace_bytes(raw / "b.mp4", 0)
    with pytest.raises(UserError, match=r"b\.mp4 has changed"):
        run(videos, raw, video_seconds=0)


def test_images_are_compared_before_their_only_frame_is_sampled(raw, videos):
    images = [video | {"kind": "image"} for video in videos]
    assert [row["frame_index"] for row in run_frames(images, raw)] == [0, 0]
    (raw / "b.mp4").unlink()
    with pytest.raises(UserError, match="disc mounted"):
        run_frames(images, raw)


def test_a_stage_that_is_stopped_leaves_no_file(raw, videos, tmp_path):
    (raw / "b.mp4").unlink()
    crops = crop_shard(videos, sampled(), raw, CropsSettings(), workers=1)
    with pytest.raises(UserError, match="disc mounted"):
        write_crops(tmp_path / "crops/0000.h5", crops, Origin("d", "crops", "{}", 1, "0000"))
    assert list((tmp_path / "crops").iterdir()) == []


def test_what_is_broken_by_itself_stays_a_row(raw, videos):
    (raw / "b.mp4").write_bytes(b"no video")
    videos[1] |= {"n_bytes": 8, "checksum": file_checksum(raw / "b.mp4")}
    assert [row["status"] for row in run_frames(videos, raw)] == [OK, "unreadable"]
    assert [row["status"] for row in run_faces(videos, raw)] == ["no_face", "undecoded"]
    assert [len(encoded) > 0 for _, encoded in run_crops(videos, raw)] == [True, False]
