"""What is no fault of the code: full discs, folders that nobody may write to, too little memory, broken collections."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import yaml

from helpers.finished_run import (
    can_mount,
    read_only,
    run_after,
    run_stage,
    small_disc,
    snapshot,
    start_snakemake,
    write_config,
)
from helpers.small_run import ROOT, TINY_UCF, snakemake_command
from helpers.tiny_store import make_store
from preprocess.running.cli import UserError
from preprocess.running.workers import map_videos
from preprocess.samples import check_lost
from preprocess.store.tables import read_rows
from preprocess.video.outcomes import MISSING, NO_FACE, OK, PARTIAL, UNLABELLED, UNREADABLE, UNUSED

needs_mount = pytest.mark.skipif(not can_mount(), reason="this user may not mount file systems")


@pytest.fixture
def run(finished, tmp_path):
    """A copy of the finished run and its raw collection, to be spoilt."""
    shutil.copytree(finished.raw, tmp_path / "raw")
    return Path(shutil.copytree(finished.folder, tmp_path / "run"))


def crop_faces(finished, output: Path, **options) -> subprocess.CompletedProcess[str]:
    data = finished.folder / "data"
    return run_stage(
        "preprocess.crops",
        *("--list", data / "index/c/0000.parquet", "--faces", data / "faces/c/0000.parquet"),
        *("--root", finished.raw, "--output", output),
        **options,
    )


def sample_frames(finished, output: Path, **options) -> subprocess.CompletedProcess[str]:
    data = finished.folder / "data"
    return run_stage(
        "preprocess.frames",
        *("--list", data / "index/c/0000.parquet", "--root", finished.raw, "--output", output),
        **options,
    )


# --- discs and rights --------------------------------------------------------------------------


@needs_mount
@pytest.mark.parametrize(("stage", "n_bytes"), [(sample_frames, 0), (crop_faces, 65536)])
def test_a_full_disc_is_told_with_file_and_way_out(finished, tmp_path, stage, n_bytes):
    folder = tmp_path / "full"
    folder.mkdir()
    # the smallest file system has a page; a file that fills it leaves none
    setup = f"{small_disc(folder, max(n_bytes, 4096))}\n" + (
        f"head -c 4096 /dev/zero > {folder}/x" if not n_bytes else ""
    )
    done = stage(finished, folder / "c/0000.file", setup=setup)
    assert done.returncode == 1, done.stdout
    assert f"error: cannot write {folder}/c/0000.file: No space left on device (0 of 0 MB are free)" in done.stdout
    assert "free some space" in done.stdout
    assert "Traceback" not in done.stdout


@pytest.mark.parametrize("stage", [sample_frames, crop_faces])
def test_a_limit_on_the_size_of_files_is_told_and_leaves_nothing(finished, tmp_path, stage):
    done = stage(finished, tmp_path / "0000.file", setup="ulimit -f 1")
    assert done.returncode == 1, done.stdout
    assert f"error: cannot write {tmp_path}/0000.file: File too large; a limit on the size of files" in done.stdout
    assert "Traceback" not in done.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("stage", [sample_frames, crop_faces])
def test_a_folder_that_nobody_may_write_to_is_told(finished, tmp_path, stage):
    folder = tmp_path / "closed"
    folder.mkdir()
    setup = read_only(folder)
    if not setup:
        pytest.skip("nothing keeps this user from writing")
    done = stage(finished, folder / "c/0000.file", setup=setup)
    assert done.returncode == 1, done.stdout
    assert f"error: cannot write {folder}/c/0000.file: " in done.stdout
    assert "run in another folder" in done.stdout
    assert "Traceback" not in done.stdout


def test_a_file_in_the_place_of_a_folder_is_told(finished, tmp_path):
    (tmp_path / "c").touch()
    done = sample_frames(finished, tmp_path / "c/0000.parquet")
    assert done.returncode == 1
    assert "cannot write" in done.stdout
    assert "Traceback" not in done.stdout


@needs_mount
def test_the_workflow_tells_of_a_full_disc_and_the_same_command_goes_on_when_there_is_room(finished, run):
    crops = {path.name: path.read_bytes() for path in (run / "data/crops/c").iterdir()}
    for path in (run / "data/crops/c").iterdir():
        path.unlink()
    command = ("--forcerun", "data/crops/c/0000.h5", "data/crops/c/0001.h5", "--", "data/samples/c.parquet")
    failed = start_snakemake(run, *command, setup=small_disc(run / "data/crops", 65536))
    assert failed.returncode == 1
    log = (run / "logs/crops/c/0001.log").read_text()
    assert "error: cannot write data/crops/c/0001.h5: No space left on device" in log
    assert "error: cannot write data/crops/c/0001.h5: No space left on device" in failed.stdout
    assert "Traceback" not in failed.stdout
    done = start_snakemake(run, *command)
    assert done.returncode == 0, done.stdout[-3000:]
    assert {path.name: path.read_bytes() for path in (run / "data/crops/c").iterdir()} == crops


@needs_mount
def test_a_training_tells_of_a_full_disc(tmp_path):
    samples, crops = make_store(tmp_path)
    (tmp_path / "full").mkdir()
    done = run_stage(
        "detectors.train",
        *("--experiment", "one", "--detector", "ucf", "--samples", samples, "--data", crops.parent),
        *("--settings", json.dumps(TINY_UCF), "--output", tmp_path / "full/detector.ckpt"),
        *("--summary", tmp_path / "full/summary.json", "--validation", tmp_path / "full/validation.parquet"),
        *("--logs", tmp_path / "full/logs"),
        setup=small_disc(tmp_path / "full", 1_000_000),
    )
    assert done.returncode == 1
    assert f"error: cannot write {tmp_path}/full/logs/checkpoints/" in done.stdout
    assert "No space left on device" in done.stdout
    assert "Traceback" not in done.stdout


# --- memory ------------------------------------------------------------------------------------


def allocate_too_much(_):
    yield np.empty(1 << 50, np.uint8)


def test_a_worker_that_finds_no_memory_stops_the_stage_and_says_what_to_do():
    with pytest.raises(UserError, match=r"memory ran out in a worker .*Unable to allocate.* fewer threads"):
        list(map(list, map_videos(allocate_too_much, [1], workers=1)))


@pytest.mark.parametrize(
    ("raised", "told"),
    [
        ("MemoryError()", "error: memory ran out (MemoryError); give the job more memory"),
        ("RuntimeError('DefaultCPUAllocator: can\\'t allocate memory: you tried to')", "error: memory ran out ("),
        ("OSError(28, 'No space left on device', '/x/last.ckpt')", "error: cannot write /x/last.ckpt: No space left"),
    ],
)
def test_what_the_system_refuses_anywhere_is_told_in_one_line(raised, told):
    program = f"from preprocess.running.cli import run_command\ndef main(): raise {raised}\nrun_command(main)"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert told in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_killed_job_is_told_and_the_other_shards_go_on(finished, run):
    for shard in ("0000", "0001"):
        (run / f"data/frames/c/{shard}.parquet").unlink()
    targets = ("data/frames/c/0000.parquet", "data/frames/c/0001.parquet")
    process = subprocess.Popen(
        snakemake_command(run, *targets), cwd=run, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    kill_stage(run, "--output data/frames/c/0000.parquet", process)
    printed, _ = process.communicate(timeout=300)
    assert process.returncode == 1
    assert "error: the job was killed (signal 9), mostly because memory ran out: give the job more memory" in printed
    assert printed.count("the job was killed") == 1
    assert not (run / targets[0]).exists()
    assert (run / targets[1]).read_bytes() == (finished.folder / targets[1]).read_bytes()
    again = start_snakemake(run, *targets)
    assert again.returncode == 0, again.stdout[-3000:]
    assert (run / targets[0]).read_bytes() == (finished.folder / targets[0]).read_bytes()


def kill_stage(folder: Path, argument: str, snakemake: subprocess.Popen) -> None:
    """Kill the Python process that runs in `folder` with an argument, as soon as it is there."""
    end = time.monotonic() + 240
    while time.monotonic() < end and snakemake.poll() is None:
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and int(entry.name) != os.getpid():
                try:
                    words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
                    if argument in " ".join(words[1:]) and words[1:2] == ["-m"] and (entry / "cwd").samefile(folder):
                        os.kill(int(entry.name), signal.SIGKILL)
                        return
                except OSError:
                    continue
        time.sleep(0.01)
    pytest.fail("the stage never ran")


# --- collections that lose too much ------------------------------------------------------------


def row(status: str, number: int = 0) -> dict:
    return {
        "video_id": f"d/real/original/{status}{number}",
        "dataset": "d",
        "path": f"{status}{number}.mp4",
        "stage": "index",
        "status": status,
        "message": "" if status == OK else f"why it is {status}",
    }


def test_lost_videos_are_counted_against_those_that_were_asked_for(tmp_path):
    ledger = [row(OK), row(PARTIAL), row(MISSING), row(UNLABELLED), *(row(UNUSED, number) for number in range(100))]
    check_lost(ledger, 0.5, tmp_path / "lost.csv")
    assert not (tmp_path / "lost.csv").exists()
    with pytest.raises(UserError) as caught:
        check_lost([*ledger, row(NO_FACE)], 0.5, tmp_path / "lost.csv")
    for words in (
        "data set 'd': 3 of 5 videos are lost (60.0%)",
        "max_lost_share (0.5)",
        "1 missing, 1 unlabelled, 1 no_face",
        "d/real/original/missing0: missing (why it is missing)",
        "datasets.d",
        str(tmp_path / "lost.csv"),
    ):
        assert words in str(caught.value)
    with open(tmp_path / "lost.csv") as file:
        assert [line["status"] for line in csv.DictReader(file)] == [MISSING, UNLABELLED, NO_FACE]


def test_none_may_be_lost_and_all_may_be_lost(tmp_path):
    check_lost([row(OK), row(UNUSED)], 0, tmp_path / "lost.csv")
    check_lost([row(UNUSED)], 0, tmp_path / "lost.csv")
    check_lost([row(MISSING), row(UNREADABLE)], 1, tmp_path / "lost.csv")
    with pytest.raises(UserError, match="1 of 2"):
        check_lost([row(OK), row(UNREADABLE)], 0, tmp_path / "lost.csv")


def test_a_shard_whose_videos_are_all_broken_stops_the_run_until_the_setting_allows_it(run, tmp_path):
    raw = tmp_path / "raw"
    index = read_rows(run / "data/index/c.parquet")
    broken = {video["path"] for video in index if video["shard"] == "0001"}
    for path in broken:
        (raw / path).write_bytes(b"no video")
    n_left = len(index) - len(broken)
    shrank = start_snakemake(run, "index")
    assert shrank.returncode == 1
    assert f"accept_smaller: {n_left} in config.yaml" in shrank.stdout
    config = run / "config.yaml"
    of_all = yaml.safe_load(config.read_text())
    of_all["datasets"]["c"]["accept_smaller"] = n_left
    config.write_text(yaml.safe_dump(of_all))
    accepted = start_snakemake(run, "index")
    assert accepted.returncode == 0, accepted.stdout[-3000:]

    stopped = start_snakemake(run, "data/samples/c.parquet")
    assert stopped.returncode == 1
    told = f"{len(broken)} of {len(index)} videos are lost"
    assert told in stopped.stdout
    assert told in (run / "logs/samples/c.log").read_text()
    assert f"{len(broken)} unreadable" in stopped.stdout
    assert "raise max_lost_share in config.yaml" in stopped.stdout
    assert "Traceback" not in stopped.stdout
    with open(run / "logs/samples/c.lost.csv") as file:
        assert {line["path"] for line in csv.DictReader(file)} == broken
    for stage, suffix in (("frames", "parquet"), ("faces", "parquet"), ("crops", "h5"), ("masks", "h5")):
        for shard in ("0000", "0001"):
            assert (run / f"data/{stage}/c/{shard}.{suffix}").is_file()

    write_config(run, raw, max_lost_share=1)
    plan = start_snakemake(run, "data/samples/c.parquet", "--dry-run").stdout
    assert {line.split()[0] for line in plan.splitlines() if line.endswith(" 1")} == {"collect_samples", "total"}, plan
    done = start_snakemake(run, "data/samples/c.parquet")
    assert done.returncode == 0, done.stdout[-3000:]
    ledger = read_rows(run / "data/samples/c.ledger.parquet")
    assert {video["path"] for video in ledger if video["status"] == UNREADABLE} == broken
    assert {video["path"] for video in ledger if video["n_crops"]} == {video["path"] for video in index} - broken
    assert not (run / "logs/samples/c.lost.csv").exists()

    # once they are collected, no limit collects them again
    write_config(run, raw, max_lost_share=0)
    assert "Nothing to be done" in start_snakemake(run, "data/samples/c.parquet", "--dry-run").stdout


def test_a_collection_without_a_usable_video_stops_at_the_index(tmp_path):
    (tmp_path / "raw").mkdir()
    for number in range(5):
        (tmp_path / f"raw/{number}.mp4").write_bytes(b"no video")
    done = run_stage(
        "preprocess.index",
        *("--dataset", "d", "--layout", "videos", "--root", tmp_path / "raw", "--n-shards", "1"),
        *("--settings", '{"label": "real"}', "--output", tmp_path / "d.parquet"),
    )
    assert done.returncode == 1
    assert "error: dataset 'd': none of its 5 videos can be used: 5 unreadable" in done.stdout
    assert "d/real/original/0.mp4" in done.stdout
    assert not (tmp_path / "d.parquet").exists()


# --- the raw folder ----------------------------------------------------------------------------


def test_the_raw_folder_is_never_written_to(finished):
    """The run that `finished` holds went on a folder that was mounted read-only, where this user may mount."""
    assert (finished.folder / "results/one/eval.csv").is_file()
    assert snapshot(finished.raw) == finished.raw_before


@needs_mount
def test_read_only_means_read_only(tmp_path):
    done = run_after(read_only(tmp_path), ["touch", str(tmp_path / "file")], tmp_path)
    assert done.returncode != 0
    assert "Read-only file system" in done.stdout
