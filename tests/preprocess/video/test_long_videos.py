"""Videos that take too long, and videos that are long: neither costs more than itself."""

import time

import numpy as np
import pytest

from benchmarks.measure import stage_cost
from helpers.tiny_videos import repeat_packets, write_tiny_frames, write_video
from preprocess.crops import CropsSettings, crop_shard
from preprocess.faces import FacesSettings, track_shard
from preprocess.frames import FramesSettings, sample_shard
from preprocess.index import index_videos
from preprocess.settings.index import IndexSettings
from preprocess.store.tables import read_rows
from preprocess.synthetic import render_portrait
from preprocess.synthetic.encode import write_video as write_rendered
from preprocess.video.outcomes import NO_FACE, OK, UNDECODED


def test_a_video_that_a_decoder_never_returns_from_is_given_up_by_every_stage(tmp_path):
    # half a megabyte that takes minutes to decode
    write_tiny_frames(tmp_path / "endless.gif", (4000, 4000), n_frames=20_000)
    write_video(tmp_path / "fine.mp4", n_frames=4)
    begin = time.monotonic()
    videos = index_videos("d", "videos", tmp_path, 1, IndexSettings(label="real"))
    frames = sample_shard(videos, tmp_path, FramesSettings(n_frames=3), workers=1)
    assert [row["status"] for row in frames] == [OK] * 6
    faces = track_shard(videos, frames, tmp_path, FacesSettings(), device="cpu", workers=1, video_seconds=6)
    endless, fine = faces[:3], faces[3:]
    assert [row["status"] for row in fine] == [NO_FACE] * 3
    reason = "reading it took longer than 6 s (video_seconds) and was ended"
    assert [(row["status"], row["message"]) for row in endless] == [(UNDECODED, reason)] * 3

    box = {"track_id": 0, "score": 1.0, "x0": 0.0, "y0": 0.0, "x1": 8.0, "y1": 8.0}
    crops = crop_shard(videos, [frame | box for frame in frames], tmp_path, CropsSettings(), workers=1, video_seconds=6)
    outcome = [(crop.video_id.split("/")[-1], crop.frame_index, crop.status, crop.message) for crop in crops]
    # what came in time is kept
    lost = [row for row in outcome if row[2] != OK]
    assert {row[0] for row in lost} == {"endless.gif"}
    assert all(row[2:] == (UNDECODED, reason) for row in lost)
    assert [row[2] for row in outcome[3:]] == [OK] * 3
    assert time.monotonic() - begin < 120


@pytest.mark.slow
def test_a_two_hour_1080p_video_runs_within_two_gigabytes(tmp_path):
    portrait, _ = render_portrait(np.random.default_rng(3), 1080, 1920)
    short = tmp_path / "short.mp4"
    write_rendered(short, np.repeat(portrait[None], 250, axis=0), fps=25, crf=40)
    (tmp_path / "raw").mkdir()
    repeat_packets(short, tmp_path / "raw/long.mp4", times=720)
    data = tmp_path / "data"
    options = {"layout": "videos", "predictor": "none", "settings": {"index": {"label": "real"}}}
    for stage in ("index", "frames", "faces", "crops", "landmarks", "masks"):
        cost = stage_cost(stage, data, tmp_path / "raw", **options)
        assert cost.peak_bytes < 2e9, stage
    assert read_rows(data / "index/c.parquet")[0]["duration_seconds"] == pytest.approx(7200)
    faces = read_rows(data / "faces/c/0000.parquet")
    assert [face["status"] for face in faces] == [OK] * 32


@pytest.mark.slow
def test_memory_does_not_grow_with_the_frames_that_are_searched(tmp_path):
    portrait, _ = render_portrait(np.random.default_rng(3), 1080, 1920)
    short = tmp_path / "short.mp4"
    write_rendered(short, np.repeat(portrait[None], 100, axis=0), fps=25, crf=40)
    settings = {"index": {"label": "real"}, "frames": {"mode": "stride", "stride": 1}}
    peaks = {}
    for times in (2, 16):
        root = tmp_path / f"raw{times}"
        root.mkdir()
        repeat_packets(short, root / "a.mp4", times=times)
        options = {"layout": "videos", "predictor": "none", "settings": settings}
        costs = {
            stage: stage_cost(stage, root / "data", root, **options) for stage in ("index", "frames", "faces", "crops")
        }
        peaks[times] = {stage: cost.peak_bytes for stage, cost in costs.items()}
        assert len(read_rows(root / "data/faces/c/0000.parquet")) == 100 * times
    # 1400 more frames are 2 GB at the size that is searched, and 0.5 GB of crops
    for stage in ("faces", "crops"):
        assert peaks[16][stage] < peaks[2][stage] + 2e8, peaks
