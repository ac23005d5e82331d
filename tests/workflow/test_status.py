"""`python -m workflow.status` and `snakemake status` on a finished and on a partial run."""

from __future__ import annotations

import json
import shutil
import sys
from collections import Counter
from copy import deepcopy

import pyarrow.parquet as pq
import pytest
import yaml

from helpers.fork_server import run_python
from helpers.small_run import SMALL_CONFIG, snakemake
from preprocess.video.outcomes import OK, PARTIAL, UNUSED
from workflow.plan import read_outdated
from workflow.state import read_status
from workflow.status import format_status

STAGES = ["index", "frames", "faces", "crops", "landmarks", "masks", "samples"]


def outdated(config, folder):
    return {file for job in read_outdated(config, folder) for file in job.files}


def status(config, folder):
    """Stages by data set and name, and experiments by name."""
    datasets, experiments = read_status(config, folder, outdated(config, folder))
    return {of.name: {stage.stage: stage for stage in of.stages} for of in datasets}, {
        of.name: of for of in experiments
    }


@pytest.fixture
def partial(run, tmp_path):
    """The finished run less one shard of faces and what follows it, all of `dfdc`, and the predictions of a seed."""
    for path in ("data/index", "data/frames", "data/faces", "data/crops", "data/landmarks", "data/masks"):
        shutil.copytree(run / path, tmp_path / path)
    shutil.copytree(run / "data/samples", tmp_path / "data/samples")
    shutil.copytree(run / "results", tmp_path / "results", ignore=shutil.ignore_patterns("logs"))
    for file in ("faces/ff/0001.parquet", "crops/ff/0001.h5", "landmarks/ff/0001.parquet", "masks/ff/0001.h5"):
        (tmp_path / "data" / file).unlink()
    for file in ("samples/ff.parquet", "samples/ff.ledger.parquet", "index/dfdc.parquet"):
        (tmp_path / "data" / file).unlink()
    for stage in STAGES[:-1]:
        shutil.rmtree(tmp_path / "data" / stage / "dfdc")
    for file in ("dfdc.parquet", "dfdc.ledger.parquet"):
        (tmp_path / "data/samples" / file).unlink()
    shutil.rmtree(tmp_path / "results/small/seed1/predictions")
    return tmp_path


def test_a_finished_run_has_nothing_left_and_nothing_outdated(run):
    datasets, experiments = status(SMALL_CONFIG, run)
    for stages in datasets.values():
        assert list(stages) == STAGES
        for stage in stages.values():
            assert stage.n_done == stage.n_files == (1 if stage.stage == "samples" else 2)
            assert (stage.n_outdated, stage.videos_left) == (0, 0)
            assert stage.n_bytes > 0
    assert all(of.evaluated and not of.left for of in experiments.values())


def test_losses_of_the_stages_add_up_to_the_ledgers_reasons(run):
    datasets, _ = status(SMALL_CONFIG, run)
    n_lost = 0
    for name, stages in datasets.items():
        ledger = pq.read_table(run / f"data/samples/{name}.ledger.parquet").to_pylist()
        lost = Counter(row["status"] for row in ledger if row["status"] not in (OK, PARTIAL, UNUSED))
        by_stage = Counter((row["stage"], row["status"]) for row in ledger if row["status"] in lost)
        for stage in STAGES[:-1]:
            expected = {reason: count for (of, reason), count in by_stage.items() if of == stage}
            assert stages[stage].lost == expected, (name, stage)
        assert stages["samples"].lost == lost
        assert stages["samples"].videos_ok == len(ledger) - lost.total() == stages["crops"].videos_ok
        n_lost += lost.total()
    # the rendered collections hold videos that are lost, so there was something to add up
    assert n_lost > 0


def test_a_partial_run_says_which_shards_and_how_many_videos_are_left(run, partial):
    whole, _ = status(SMALL_CONFIG, run)
    datasets, experiments = status(SMALL_CONFIG, partial)
    ff = datasets["ff"]
    assert [ff[stage].n_done for stage in STAGES] == [2, 2, 1, 1, 1, 1, 0]
    frames = pq.read_table(partial / "data/frames/ff/0001.parquet", columns=["video_id", "status"]).to_pylist()
    n_left = len({row["video_id"] for row in frames if row["status"] == OK})
    assert n_left > 0
    assert [ff[stage].videos_left for stage in STAGES[:6]] == [0, 0, n_left, n_left, n_left, n_left]
    assert 0 < ff["crops"].videos_ok < whole["ff"]["crops"].videos_ok
    assert experiments["one"].evaluated
    small = experiments["small"]
    assert (small.n_trained, small.n_predicted, small.n_predictions, small.evaluated) == (2, 2, 4, False)
    assert small.left == [
        *(f"results/small/seed1/predictions/{dataset}.parquet" for dataset in ("ff", "dfdc")),
        "results/small/eval.csv",
    ]


def test_a_data_set_that_has_not_begun_shows_no_figures(partial):
    datasets, _ = read_status(SMALL_CONFIG, partial, outdated(SMALL_CONFIG, partial))
    dfdc = next(of for of in datasets if of.name == "dfdc")
    assert dfdc.n_videos is None
    assert all((stage.n_done, stage.n_bytes, stage.lost) == (0, 0, {}) for stage in dfdc.stages)
    lines = format_status([dfdc], []).splitlines()
    assert lines[0].startswith("dfdc: not indexed yet, 2 shards, 0 B")
    assert [line.split() for line in lines[2:]] == [
        [stage, "0", "1" if stage == "samples" else "2", "—", "1" if stage == "samples" else "2", *"——?—"]
        for stage in STAGES
    ]


def test_files_of_other_settings_are_outdated(run):
    config = deepcopy(SMALL_CONFIG)
    config["datasets"]["ff"]["crops"] = {"margin": "0.7"}
    datasets, _ = status(config, run)
    assert (datasets["ff"]["crops"].n_done, datasets["ff"]["crops"].n_outdated) == (0, 2)
    assert datasets["ff"]["faces"].n_done == datasets["dfdc"]["crops"].n_done == 2


def test_the_command_line_prints_aligned_columns_and_json(partial):
    (partial / "config.yaml").write_text(yaml.safe_dump(SMALL_CONFIG))
    command = [sys.executable, "-m", "workflow.status"]
    printed = run_python(command, cwd=partial).stdout
    (header, *rows) = printed.splitlines()[1:9]
    # right-aligned columns end where their heading ends
    for heading in ("done", "outdated", "videos ok", "videos left", "size"):
        end = header.index(heading) + len(heading)
        assert all(len(row) == end or row[end] == " " for row in rows), printed
        assert all(row[end - 1] != " " for row in rows), printed
    state = json.loads(run_python([*command, "--json"], cwd=partial).stdout)
    stages = {of["name"]: {stage["stage"]: stage for stage in of["stages"]} for of in state["datasets"]}
    assert {name: of["faces"]["n_done"] for name, of in stages.items()} == {"ff": 1, "celebdf": 2, "dfdc": 0}
    assert {of["name"]: of["n_predicted"] for of in state["experiments"]} == {"one": 1, "small": 2}


def test_snakemake_prints_the_same_and_only_that_when_quiet(partial):
    printed = snakemake(partial, "--quiet", "all", "--", "status", config=SMALL_CONFIG)
    written = yaml.safe_load((partial / "config.yaml").read_text())
    direct = format_status(*read_status(written, partial, outdated(written, partial)))
    assert direct in printed
    assert len(printed.splitlines()) <= len(direct.splitlines()) + 2


def test_a_broken_file_of_the_store_is_named(partial):
    path = partial / "data/crops/ff/0000.h5"
    path.write_bytes(path.read_bytes()[:1000])
    (partial / "config.yaml").write_text(yaml.safe_dump(SMALL_CONFIG))
    done = run_python([sys.executable, "-m", "workflow.status"], cwd=partial)
    assert done.returncode == 1
    assert "data/crops/ff/0000.h5" in done.stderr
    assert "Traceback" not in done.stderr
