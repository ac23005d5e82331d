"""Mishaps on a finished run, one at a time: what runs again, and that nothing finished is lost, or wrong in silence.

The stages are stubs (`helpers.stub_stages`), Snakemake, the rules and the planning are real.
"""

from __future__ import annotations

import copy
import os
import shutil
import signal
import subprocess
import sys
import time
from base64 import urlsafe_b64encode
from pathlib import Path

import pytest
import yaml

from helpers.once import made_once
from helpers.small_run import ROOT, planned, snakemake_command
from helpers.stub_stages import (
    CONFIG,
    TARGET,
    contents,
    files_of,
    jobs_that_ran,
    run_stubbed,
    stub_python,
    write_raw,
)
from workflow.plan import read_outdated

PROMISED: list[str] = []


def promise(*lines):
    """Say which lines of the README's table "you lose, break or move" a test holds, by their left column."""
    PROMISED.extend(lines)
    return lambda test: test


TRAINING = {
    "results/e1/seed0/detector.ckpt",
    "results/e1/seed0/predictions/v.parquet",
    "results/e1/seed0/predictions/w.parquet",
    TARGET,
}
CROPS = {"data/crops/v/0000.h5", "data/crops/v/0001.h5", "data/crops/w/0000.h5"}


def below_crops():
    shards = [path.removeprefix("data/crops/").removesuffix(".h5") for path in CROPS]
    files = {f"data/landmarks/{shard}.parquet" for shard in shards} | {f"data/masks/{shard}.h5" for shard in shards}
    return CROPS | files | {"data/samples/v.parquet", "data/samples/w.parquet"} | TRAINING


class Folder:
    """A copy of the finished run, and its config."""

    def __init__(self, path: Path):
        self.path = path
        self.config = copy.deepcopy(CONFIG)
        self.experiment = self.config["experiments"]["e1"]
        self.settings = self.experiment["settings"]

    def write(self) -> None:
        (self.path / "config.yaml").write_text(yaml.safe_dump(self.config))

    def plan(self, *targets: str) -> set[str]:
        self.write()
        return planned(self.path, "--", *(targets or (TARGET,)))

    def call(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return run_stubbed(self.path, self.config, *(arguments or (TARGET,)))

    def run(self, *arguments: str) -> list[str]:
        """First outputs of the jobs that ran."""
        done = self.call(*arguments)
        assert done.returncode == 0, done.stdout[-3000:]
        return [outputs[0] for outputs in jobs_that_ran(self.path)]

    def settle(self) -> None:
        """After one run nothing is left to do."""
        self.run()
        assert self.plan() == set()


@pytest.fixture(scope="session")
def stubbed(tmp_path_factory):
    def make(path):
        write_raw(path, {"v": 5, "w": 3})
        Folder(path).run()

    return made_once(tmp_path_factory, "stubbed", make)


@pytest.fixture
def folder(stubbed, tmp_path):
    shutil.copytree(stubbed, tmp_path / "run")
    return Folder(tmp_path / "run")


def test_every_line_of_the_readme_is_held_by_a_test():
    table = (ROOT / "README.md").read_text().split("| you lose, break or move")[1].split("\n\n")[0]
    lines = [line.split("|")[1].strip() for line in table.splitlines()[2:]]
    assert sorted(lines) == sorted(PROMISED)


# --- nothing runs ----------------------------------------------------------------------------------------------


def touched(folder):
    for path in files_of(folder.path):
        os.utime(folder.path / path)


def without_times(folder):
    shutil.rmtree(folder.path / ".snakemake")
    for number, path in enumerate(sorted(files_of(folder.path))):
        os.utime(folder.path / path, (10**9 + number, 10**9 - number))


def moved_project(folder):
    folder.path.rename(folder.path.with_name("elsewhere"))
    folder.path = folder.path.with_name("elsewhere")


def root_as(text):
    def edit(folder):
        folder.config["datasets"]["v"]["root"] = text.format(folder=folder.path)

    return edit


def a_default_in_words(folder):
    folder.config["crops"] = {"margin": "0.5"}
    folder.config["faces"] = {"min_size_px": 40}


@promise(
    "times of files: `touch`, `cp -r`, `tar -m`",
    "the folder `.snakemake`, or the place of the whole folder",
    "the raw folder, or the way in which `root` names it",
)
@pytest.mark.parametrize(
    "edit",
    [
        touched,
        without_times,
        moved_project,
        root_as("raw/v/"),
        root_as("./raw/v"),
        root_as("{folder}/raw/v"),
        a_default_in_words,
    ],
)
def test_what_changes_no_content_runs_nothing(folder, edit):
    edit(folder)
    assert folder.plan() == set()


def test_touch_is_no_way_to_call_an_old_detector_new(folder):
    folder.settings["learning_rate"] = 0.01
    assert folder.call("--touch", TARGET).returncode == 0
    assert folder.plan() == TRAINING
    shutil.rmtree(folder.path / ".snakemake")
    assert folder.plan() == TRAINING


def test_shards_that_come_and_go_cost_a_look_at_the_raw_folder(folder):
    folder.config["datasets"]["v"]["n_shards"] = 3
    folder.run("index_videos_v")
    folder.config["datasets"]["v"]["n_shards"] = 2
    assert folder.plan() == {"data/index/v.parquet", "data/index/v"}
    folder.settle()


def test_a_file_that_is_made_again_with_the_same_bytes_runs_nothing_below(folder):
    crops = "data/crops/v/0000.h5"
    (folder.path / crops).write_text("damaged")
    assert folder.plan() == {crops}
    assert folder.run() == [crops]
    assert folder.run("--forcerun", crops, "--", TARGET) == [crops]
    assert folder.plan() == set()


def test_what_is_absent_is_made_again_and_nothing_that_stands_on_it(folder):
    for path in CROPS:
        (folder.path / path).unlink()
    assert folder.plan() == CROPS
    folder.config["experiments"]["e2"] = folder.experiment | {"settings": {"pretrained": False, "epochs": 2}}
    folder.write()
    again = {path.replace("/e1/", "/e2/") for path in TRAINING} | {"results/e2/leakage.csv"}
    assert folder.plan("results/e2/eval.csv") == CROPS | again


# --- only what is outdated runs, and all of it --------------------------------------------------------------------


def test_edits_of_test_and_settings_in_one_go_train(folder):
    folder.experiment["test"] = ["w"]
    folder.settings["learning_rate"] = 0.01
    again = TRAINING - {"results/e1/seed0/predictions/v.parquet"} | {"results/e1/leakage.csv"}
    assert folder.plan() == again
    assert set(folder.run()) == again
    assert folder.plan() == set()


def test_another_train_set_trains_in_the_same_call(folder):
    folder.experiment["train"] = ["w"]
    assert folder.plan() == TRAINING | {"results/e1/leakage.csv"}
    folder.settle()


def test_a_raised_version_above_does_not_hide_a_setting_below(folder):
    folder.config["crops"] = {"margin": 0.6}
    folder.settings["learning_rate"] = 0.01
    assert folder.plan() == below_crops()
    folder.settle()


def test_predictions_of_an_older_detector_are_noticed_whoever_asked_for_the_new_one(folder):
    folder.settings["learning_rate"] = 0.01
    folder.run("results/e1/seed0/predictions/w.parquet")
    assert folder.plan() == {"results/e1/seed0/predictions/v.parquet", TARGET}


@promise("a file of the store or of the results: deleted, edited, half copied")
@pytest.mark.parametrize("path", [TARGET, "results/e1/record.json", "results/e1/figures/roc.svg"])
@pytest.mark.parametrize("spoil", [Path.unlink, lambda path: path.write_text("edited")], ids=["gone", "edited"])
def test_a_result_that_was_edited_or_deleted_is_made_again(folder, path, spoil):
    before = contents(folder.path)
    spoil(folder.path / path)
    assert folder.plan() == {TARGET}
    folder.run()
    assert contents(folder.path) == before


# --- what fails has not happened --------------------------------------------------------------------------------


@promise("a job: it failed, was killed, the disc was full")
@pytest.mark.parametrize(
    ("stage", "again"), [("crops", "data/crops/"), ("train", "results/e1/seed0/detector"), ("evaluate", TARGET)]
)
def test_a_job_that_failed_is_tried_again_and_takes_nothing_away(folder, stage, again):
    before = contents(folder.path)
    folder.config["crops"] = {"margin": 0.6}
    (folder.path / "fail").write_text(stage)
    assert folder.call().returncode != 0
    assert contents(folder.path).keys() >= before.keys()
    assert any(path.startswith(again) for path in folder.plan())
    folder.settle()
    folder.config.pop("crops")
    folder.settle()
    assert contents(folder.path) == before


def test_a_training_by_mistake_that_failed_has_not_happened(folder):
    before = contents(folder.path)
    folder.settings["epochs"] = 7
    (folder.path / "fail").write_text("train")
    assert folder.call().returncode != 0
    detector = "results/e1/seed0/detector.ckpt"
    assert contents(folder.path)[detector] == before[detector]
    assert folder.plan() == TRAINING
    folder.settings.pop("epochs")
    folder.settle()
    assert contents(folder.path) == before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_run_that_is_ended_leaves_what_was_there(folder, number):
    before = contents(folder.path)
    folder.settings["epochs"] = 7
    (folder.path / "wait").write_text("train")
    folder.write()
    program = f"import sys; sys.executable = {stub_python()!r}; from snakemake.cli import main; main()"
    command = [sys.executable, "-c", program, *snakemake_command(folder.path, TARGET)[3:]]
    with open(folder.path / "printed.txt", "w") as printed:
        process = subprocess.Popen(
            command, cwd=folder.path, stdout=printed, stderr=subprocess.STDOUT, start_new_session=True
        )
    deadline = time.monotonic() + 120
    while (folder.path / "wait").exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.killpg(process.pid, number)
    process.wait()
    assert contents(folder.path) == before
    folder.settings.pop("epochs")
    assert folder.plan() == set()


@promise("a setting or a `root`, misspelt and put right")
def test_a_misspelt_root_takes_nothing_away(folder):
    before = contents(folder.path)
    folder.config["datasets"]["v"]["root"] = "raw/vv"
    assert folder.plan() == {"data/index/v.parquet"}
    assert folder.call().returncode != 0
    assert contents(folder.path) == before
    folder.config["datasets"]["v"]["root"] = "raw/v"
    assert folder.plan() == set()


def test_what_a_new_index_changes_runs_in_the_same_call_or_the_next(folder):
    write_raw(folder.path, {"v": 6})
    folder.run("index_videos_v")
    (shard,) = {path for path in folder.plan() if path.startswith("data/frames/")}
    again = folder.plan()
    assert TARGET in again
    assert not {path for path in again if path.startswith("data/") and "/w" in path}
    assert {path for path in again if path.startswith("data/crops/")} == {shard.replace("frames", "crops")[:-7] + "h5"}
    folder.settle()


def test_a_figure_of_an_older_detector_is_told_of_and_made_again_when_it_is_asked_for(folder):
    learning = "results/e1/figures/learning.png"
    folder.run(learning)
    folder.settings["learning_rate"] = 0.01
    done = folder.call()
    assert done.returncode == 0
    assert (
        f"{learning} is outdated and was not asked for: results/e1/seed0/summary.json is changed since" in done.stdout
    )
    assert [job.files[0] for job in read_outdated(folder.config, folder.path)] == [learning]
    assert folder.run(learning) == [learning]
    assert read_outdated(folder.config, folder.path) == []


def test_a_file_of_a_job_that_was_cut_short_is_not_taken_for_a_whole_one(folder):
    detector = "results/e1/seed0/detector.ckpt"
    (folder.path / "results/.made.jsonl").unlink()
    shutil.rmtree(folder.path / ".snakemake")
    # nobody knows better
    assert folder.plan() == set()
    note = folder.path / ".snakemake/incomplete" / urlsafe_b64encode(detector.encode()).decode()
    note.parent.mkdir(parents=True, exist_ok=True)
    note.write_text('{"external_jobid": null}')
    assert folder.plan() == TRAINING
