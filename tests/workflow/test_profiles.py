"""The profiles of clusters: they load, and every job that they would submit asks for what it needs."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from helpers.fork_server import run_python
from helpers.small_run import ROOT

CLUSTERS = ("slurm", "generic")
GPU_RULES = {"track_faces", "detect_landmarks", "train_detector", "predict_dataset"}
SHARED_STAGES = {"sample_frames", "detect_landmarks", "make_masks"}
N_SHARDS = 20


def profile(name: str) -> Path:
    return ROOT / "profiles" / name


def settings(name: str) -> dict:
    return yaml.safe_load((profile(name) / "config.yaml").read_text())


def snakemake(folder: Path, *arguments: str) -> str:
    """What Snakemake prints, for a real collection of many shards that it never reads."""
    config = {
        "datasets": {"d": {"layout": "dfdc", "root": str(folder), "n_shards": N_SHARDS}},
        "experiments": {"e": {"detector": "ucf", "train": ["d"], "test": ["d"], "seeds": [0]}},
        "landmarks": {"predictor": "none"},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), *arguments]
    done = run_python(command, cwd=folder, merge=True, timeout=300)
    assert done.returncode == 0, done.stdout[-5000:]
    return done.stdout


@pytest.fixture(scope="module", params=CLUSTERS)
def submitted(request, tmp_path_factory):
    """What a profile submits, one dictionary a job, from a submit command that only takes notes."""
    folder = tmp_path_factory.mktemp(request.param)
    submit = folder / "submit"
    submit.write_text(f"#!/bin/sh\nsed -n 's/^# properties = //p' \"$1\" >>'{folder}/jobs'\necho 1\n")
    submit.chmod(0o755)
    options = [
        *("--workflow-profile", str(profile(request.param)), "--executor", "cluster-generic"),
        *("--cluster-generic-submit-cmd", str(submit), "--immediate-submit", "--notemp"),
        *("--seconds-between-status-checks", "1", "--max-status-checks-per-second", "1000"),
    ]
    index = folder / "data/index/d.parquet"
    snakemake(folder, str(index.relative_to(folder)), *options)
    # what lists the shards and what looks for leaks run at once and here: they are there when the rest is asked for
    lists = [index.with_suffix("") / f"{shard:04}.parquet" for shard in range(N_SHARDS)]
    for path in (index, *lists, folder / "results/e/leakage.csv"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    snakemake(folder, *options)
    return [json.loads(line) for line in (folder / "jobs").read_text().splitlines()]


def rule_of(job: dict) -> str:
    """Of a group, whose jobs are all of one rule, the rule that makes its first file."""
    if "rule" in job:
        return job["rule"]
    stage = job["output"][0].split("/")[1]
    return {"frames": "sample_frames", "landmarks": "detect_landmarks", "masks": "make_masks"}[stage]


def test_every_job_says_how_long_it_takes_and_how_much_memory(submitted):
    for job in submitted:
        assert 10 <= job["resources"]["runtime"] <= 1440, job
        assert 1000 <= job["resources"]["mem_mb"] <= 32000, job
        assert 1 <= job["threads"] <= 8, job


def test_every_job_has_a_log(submitted):
    assert all(job["log"] for job in submitted if "rule" in job)


def test_gpu_rules_ask_for_one_gpu_also_in_a_group(submitted):
    asked = {(rule_of(job) in GPU_RULES, job["resources"].get("gpu", 0)) for job in submitted}
    assert asked == {(True, 1), (False, 0)}
    assert {rule_of(job) for job in submitted} >= GPU_RULES


def test_shards_of_short_stages_share_jobs_and_the_others_have_their_own(submitted):
    shards = {}
    for job in submitted:
        shards.setdefault(rule_of(job), []).append(len(job["output"]))
    assert sorted(shards["sample_frames"]) == [4, 16]
    assert shards["detect_landmarks"] == shards["make_masks"] == 5 * [4]
    assert shards["track_faces"] == shards["crop_faces"] == N_SHARDS * [1]


def test_lists_of_shards_are_made_without_a_job(submitted):
    assert not any("list_shards" in rule_of(job) for job in submitted)


@pytest.mark.parametrize("name", CLUSTERS)
def test_profile_holds_what_the_default_one_says_of_reruns_and_failures(name):
    # how much may run at once is each machine's own
    expected = {key: value for key, value in settings("default").items() if key not in ("cores", "resources")}
    assert {key: settings(name).get(key) for key in expected} == expected


@pytest.mark.parametrize("name", CLUSTERS)
def test_profile_groups_only_rules_that_exist(name):
    groups = settings(name)["groups"]
    assert set(groups) == SHARED_STAGES
    assert set(groups.values()) == set(settings(name)["group-components"])


def test_slurm_profile_plans_as_it_is_and_with_all_of_its_suggestions(tmp_path):
    text = (profile("slurm") / "config.yaml").read_text()
    suggested = re.sub(r"^( *)# (?=[\w-]+:( |$)|  )", r"\1", text, flags=re.MULTILINE)
    found = yaml.safe_load(suggested)
    assert found["default-resources"]["slurm_account"] == "my_account"
    assert found["slurm-status-command"] == "squeue"
    # the sweep of docs/robustness.md and the figures of docs/explain.md are no part of `all`
    assert set(found["set-resources"]) == GPU_RULES | {"predict_distorted", "explain_detector"}
    (tmp_path / "suggested").mkdir()
    (tmp_path / "suggested/config.yaml").write_text(suggested)
    for path in (profile("slurm"), tmp_path / "suggested"):
        printed = snakemake(tmp_path, "--dry-run", "--workflow-profile", str(path))
        assert "Provided remote nodes: 200" in printed or "results/e/eval.csv" in printed


# Stand-ins that note how they were called; what they answer is that of the real ones' manuals.
def stand_in(folder: Path, name: str, answer: str) -> dict[str, str]:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" >\'{folder}/called\'\n{answer}\n')
    (folder / name).chmod(0o755)
    return {"PATH": f"{folder}:{os.environ['PATH']}"}


@pytest.mark.parametrize(
    ("scheduler", "command", "answer", "job", "expected"),
    [
        ("sge", "qsub", "echo 17", "17", {"smp", "8", "h_rt=7200", "h_vmem=2000M", "gpu=1"}),
        ("pbs", "qsub", "echo 17.head", "17.head", {"walltime=02:00:00", "select=1:ncpus=8:mem=16000mb:ngpus=1"}),
        ("lsf", "bsub", "echo 'Job <17> is submitted to queue <gpu>.'", "17", {"8", "120", "16000MB", "num=1"}),
    ],
)
def test_submit_command_says_it_in_the_words_of_the_scheduler(tmp_path, scheduler, command, answer, job, expected):
    environment = stand_in(tmp_path / "bin", command, answer)
    submit = [profile("generic") / "submit.sh", scheduler, "8", "16000", "120", "1", "-q", "long", "script.sh"]
    done = subprocess.run(submit, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == f"{job}\n"
    called = (tmp_path / "bin/called").read_text().splitlines()
    assert expected <= set(called)
    assert called[-3:] == ["-q", "long", "script.sh"]
    submit[5] = "0"
    subprocess.run(submit, cwd=tmp_path, env=environment, capture_output=True, check=True)
    assert "gpu" not in (tmp_path / "bin/called").read_text()


def test_submit_command_refuses_another_scheduler(tmp_path):
    done = subprocess.run(
        [profile("generic") / "submit.sh", "condor", "1", "1", "1", "0", "script.sh"],
        cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 2
    assert "allowed: sge, pbs, lsf" in done.stderr


SGE_RECORD = "jobnumber    17\\nfailed       {}    \\nexit_status  {}                   \\n"
PBS_RECORD = "Job Id: 17.head\\n    job_state = {}\\n    Exit_status = {}\\n"


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ({"bjobs": "echo PEND"}, "running"),
        ({"bjobs": "echo RUN"}, "running"),
        ({"bjobs": "echo DONE"}, "success"),
        ({"bjobs": "echo EXIT"}, "failed"),
        ({"bjobs": "exit 255"}, "running"),
        ({"qstat": "echo ' 17 0.5 snakejob user r 11/21/2026'", "qacct": "exit 1"}, "running"),
        ({"qstat": "echo ' 17 0.5 snakejob user Eqw 11/21/2026'", "qacct": "exit 1"}, "failed"),
        ({"qstat": "echo ' 117 0.5 snakejob user r 11/21/2026'", "qacct": "exit 1"}, "running"),
        ({"qstat": "", "qacct": f"printf '{SGE_RECORD.format(0, 0)}'"}, "success"),
        ({"qstat": "", "qacct": f"printf '{SGE_RECORD.format(0, 1)}'"}, "failed"),
        ({"qstat": "", "qacct": f"printf '{SGE_RECORD.format('100 : assumedly after job', 137)}'"}, "failed"),
        ({"qstat": f"printf '{PBS_RECORD.format('Q', '')}'"}, "running"),
        ({"qstat": f"printf '{PBS_RECORD.format('F', 0)}'"}, "success"),
        ({"qstat": f"printf '{PBS_RECORD.format('F', 271)}'"}, "failed"),
        ({"qstat": "exit 1"}, "running"),
    ],
)
def test_status_command_understands_the_schedulers(tmp_path, answers, expected):
    for name, answer in answers.items():
        environment = stand_in(tmp_path / "bin", name, answer)
    done = subprocess.run(
        [profile("generic") / "status.sh", "17"], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout == f"{expected}\n"
