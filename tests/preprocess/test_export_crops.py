"""Crops as files: the names, the pixels, the choice, and what a user may get wrong."""

import sys

import cv2
import numpy as np
import pytest

from helpers.fork_server import run_python
from helpers.small_run import ROOT
from helpers.tiny_store import make_store
from preprocess.export_crops import choose_rows, export_crops, label_crops
from preprocess.running.cli import UserError
from preprocess.store.crop_file import Crop, CropReader, write_crops
from preprocess.store.origin import Origin
from preprocess.video.outcomes import UNDECODED

SHARD = "0001"


@pytest.fixture
def crops(tmp_path):
    make_store(tmp_path / "data")
    with CropReader(tmp_path / f"data/crops/tiny/{SHARD}.h5") as reader:
        yield reader


def exported(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("threads", [1, 3])
def test_files_hold_the_pixels_of_their_crops(crops, tmp_path, threads):
    export_crops(crops, choose_rows(crops), tmp_path / "out", threads)
    names = {}
    for row in range(len(crops)):
        names[f"{crops.video_id[row]}/{crops.frame_index[row]:06d}_{crops.track_id[row]}.png"] = row
    assert exported(tmp_path / "out") == sorted(names)
    for name, row in names.items():
        pixels = cv2.imread(str(tmp_path / "out" / name), cv2.IMREAD_COLOR)[..., ::-1]
        assert np.array_equal(pixels, crops.image(row))


def test_one_video_or_track(crops):
    rows = choose_rows(crops, "stripes/original/train1")
    assert len(rows) == 2
    assert set(crops.video_id[rows]) == {"tiny/stripes/original/train1"}
    assert np.array_equal(choose_rows(crops, track=0), np.arange(len(crops)))
    with pytest.raises(UserError, match=r"'train1' and track 7.*tiny/columns/original"):
        choose_rows(crops, "train1", track=7)


def lost_crop(path, video_id):
    lost = Crop(video_id, 3, 0.1, 0, np.zeros(4), 0.5, (0, 0), np.eye(2, 3), (0, 0, 0, 0), b"", status=UNDECODED)
    write_crops(path, [lost], Origin("d", "crops", "{}", 1, "0000"))
    return CropReader(path)


def test_lost_crops_are_left_out_and_counted(tmp_path, caplog):
    with lost_crop(tmp_path / "crops.h5", "d/a") as crops, pytest.raises(UserError, match="no crop"):
        choose_rows(crops)
    assert "1 crops were lost" in caplog.text


@pytest.mark.parametrize("video_id", ["../up", "/root", "d/../../up"])
def test_ids_cannot_leave_the_folder(crops, tmp_path, video_id):
    crops.video_id = np.array([video_id] * len(crops), object)
    with pytest.raises(UserError, match="names no folder inside"):
        export_crops(crops, np.array([0]), tmp_path / "out")
    assert not (tmp_path / "up").exists()


def test_a_file_in_the_way_is_named(crops, tmp_path):
    (tmp_path / "out").write_text("no folder")
    with pytest.raises(UserError, match=r"cannot write .*out/tiny"):
        export_crops(crops, np.array([0]), tmp_path / "out")


def test_command_line(tmp_path):
    make_store(tmp_path / "data")
    command = [sys.executable, "-m", "preprocess.export_crops", "tiny", SHARD, "--data", tmp_path / "data"]
    run = run_python([*command, "--output", tmp_path / "out", "--only", "train1"], cwd=ROOT)
    assert run.returncode == 0, run.stderr
    assert "6 crops in" in run.stdout
    assert len(exported(tmp_path / "out")) == 6
    run = run_python([*command, "--output", tmp_path / "out", "--only", "nobody"], cwd=ROOT)
    assert run.returncode == 1
    assert run.stderr.startswith("error: shard 0001 of tiny holds no crop of a video whose id holds 'nobody'")


def test_labels_stand_beside_the_crops_and_in_a_list_for_each_split(tmp_path):
    make_store(tmp_path / "data", splits=("train", "test"))
    command = [sys.executable, "-m", "preprocess.export_crops", "tiny", "all", "--data", tmp_path / "data", "--labels"]
    run = run_python([*command, "--output", tmp_path / "out"], cwd=ROOT)
    assert run.returncode == 0, run.stderr
    assert "36 crops in" in run.stdout
    assert "18 with their labels in" in run.stdout
    names = exported(tmp_path / "out")
    pictures = [name for name in names if name.endswith(".png")]
    assert len(pictures) == 36
    assert set(names) == {*pictures, *(name.replace(".png", ".txt") for name in pictures), "train.txt", "test.txt"}
    listed = {}
    for split in ("train", "test"):
        lines = [line.split() for line in (tmp_path / f"out/{split}.txt").read_text().splitlines()]
        assert all(f"/{split}" in path for path, _ in lines)
        listed |= dict(lines)
    assert listed == {name: str(int("/real/" not in name)) for name in pictures}
    assert all((tmp_path / "out" / name).with_suffix(".txt").read_text() == f"{listed[name]}\n" for name in pictures)


def test_of_all_shards_some_may_hold_nothing_that_is_wanted(tmp_path):
    make_store(tmp_path / "data")
    command = [sys.executable, "-m", "preprocess.export_crops", "tiny", "all", "--data", tmp_path / "data"]
    command += ["--output", tmp_path / "out", "--only"]
    for only, n_crops in (("train0", 6), ("train1", 6)):
        run = run_python([*command, only], cwd=ROOT)
        assert run.returncode == 0, run.stderr
        assert f"{n_crops} crops in" in run.stdout
    assert run_python([*command, "nobody"], cwd=ROOT).returncode == 1


def test_crops_that_the_samples_do_not_know_are_named(crops, tmp_path):
    samples, _ = make_store(tmp_path / "other", n_frames=1)
    with pytest.raises(UserError, match=r"knows nothing of \d+ crops of shard 0001, such as tiny/.*collect_samples"):
        label_crops(crops, np.arange(len(crops)), samples, tmp_path)
