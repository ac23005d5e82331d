"""The main job on a real Slurm (`make test-cluster`) that loses Snakemake itself, a job and a node on the way."""

from __future__ import annotations

import re
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from cluster_run import ClusterRun, kill_trees, results

from helpers.small_run import ROOT

HERE = Path(__file__).parent
GPU_RULES = ("track_faces", "detect_landmarks", "train_detector", "predict_dataset")
# The shipped profile, but for a cluster without accounting whose jobs take seconds.
OPTIONS = [
    *("--workflow-profile", str(ROOT / "profiles/slurm")),
    *("--slurm-status-command", "squeue", "--slurm-init-seconds-before-status-checks", "1"),
    *("--max-status-checks-per-second", "10", "--latency-wait", "20"),
]


@dataclass(frozen=True)
class Job:
    """A job as Slurm describes it: `fields` of `scontrol show job`, and the rule that it runs."""

    fields: dict[str, str]

    @property
    def id(self) -> str:
        return self.fields["JobId"]

    @property
    def state(self) -> str:
        return self.fields["JobState"]

    @property
    def rule(self) -> str:
        # of a group: rule_<group>_<rule>; of a job: rule_<rule>_wildcards_<...>
        return self.fields["Comment"].removeprefix("rule_").partition("_wildcards_")[0]


class Slurm:
    """The cluster that start_slurm.sh starts."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {"CLUSTER_DIR": str(folder), "SLURM_CONF": str(folder / "slurm.conf")}

    def script(self, name: str, *arguments: str) -> None:
        subprocess.run([HERE / name, *arguments], check=True, timeout=300)

    def call(self, *command: str) -> str:
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout

    def jobs(self, rule: str | None = None) -> list[Job]:
        """Every job since the start, or those of one rule."""
        lines = self.call("scontrol", "--oneliner", "show", "jobs").splitlines()
        jobs = [Job(dict(re.findall(r"(\S+?)=(\S*)", line))) for line in lines if line.startswith("JobId=")]
        return [job for job in jobs if rule is None or job.rule.endswith(rule)]

    def running(self, rule: str | None = None, node: str | None = None) -> list[Job]:
        jobs = [job for job in self.jobs(rule) if job.state == "RUNNING"]
        return [job for job in jobs if node is None or job.fields["NodeList"] == node]

    def node_state(self, node: str) -> str:
        return self.call("sinfo", "--noheader", "--nodes", node, "--format=%t").strip()

    def cut_power(self, node: str) -> None:
        """Let a node go down with all that runs on it."""
        ids = {job.id for job in self.running(node=node)}
        # first the daemon, which would tell of the jobs' death
        psutil.Process(int((self.folder / f"slurmd.{node}.pid").read_text())).kill()
        steps = [
            process
            for process in psutil.process_iter(["cmdline"])
            if (found := re.match(r"slurmstepd: \[(\d+)\.", " ".join(process.info["cmdline"] or [])))
            and found[1] in ids
        ]
        assert steps, "no job steps found to kill"
        kill_trees(steps)
        self.call("scontrol", "update", f"nodename={node}", "state=down", "reason=power")

    def switch_on(self, node: str) -> None:
        self.call("slurmd", "-N", node)


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    slurm = Slurm(Path("/run/pipeline-slurm"))
    slurm.script("start_slurm.sh")
    yield slurm
    slurm.script("stop_slurm.sh")


@dataclass(frozen=True)
class Disturbed:
    """A run that got to its end, all jobs, and the ids of those that were lost on the way."""

    run: ClusterRun
    jobs: list[Job]
    orphans: list[str]
    cancelled: str
    lost: list[str]


@pytest.fixture(scope="module")
def disturbed(slurm, local_run, tmp_path_factory):
    """The main job, done in spite of a killed Snakemake, a cancelled job and a node without power."""
    run = ClusterRun(tmp_path_factory.mktemp("slurm") / "run", local_run, OPTIONS, slurm.environment)

    def both_submitted() -> list[Job]:
        jobs = slurm.jobs("track_faces")
        return jobs if [job.state for job in jobs] == ["RUNNING", "PENDING"] else []

    try:
        run.start()
        orphans = [job.id for job in run.wait_for("two jobs for one GPU", both_submitted)]
        run.kill()
        time.sleep(1)
        assert both_submitted(), "the jobs should have outlived Snakemake"
        run.start()

        def tracking_again() -> list[Job]:
            return [job for job in slurm.running("track_faces") if job.id not in orphans]

        [cancelled, *_] = run.wait_for("a job that tracks faces", tracking_again)
        slurm.call("scancel", cancelled.id)

        lost = run.wait_for("a job that cuts crops", lambda: slurm.running("crop_faces", "cpunode"))
        slurm.cut_power("cpunode")
        ids = {job.id for job in lost}

        def started_again() -> bool:
            again = [job for job in slurm.jobs("crop_faces") if job.fields["Restarts"] == "1"]
            return {job.id for job in again if job.state in ("RUNNING", "COMPLETED")} >= ids

        run.wait_for("the start of the lost jobs elsewhere", started_again)
        slurm.switch_on("cpunode")
        run.finish()
        yield Disturbed(run, slurm.jobs(), orphans, cancelled.id, sorted(ids))
    finally:
        run.stop()


def test_results_are_those_of_a_run_on_one_machine(disturbed, local_run):
    expected = results(local_run)
    assert {"results/one/eval.csv", "results/one/seed0/detector.ckpt", "data/crops/c/0001.h5"} <= set(expected)
    assert results(disturbed.run.folder) == expected


def test_gpu_rules_ask_for_a_gpu_and_run_where_it_is(disturbed):
    with_gpu = [job for job in disturbed.jobs if job.rule.endswith(GPU_RULES)]
    assert {rule for rule in GPU_RULES if any(job.rule.endswith(rule) for job in with_gpu)} == set(GPU_RULES)
    assert {job.fields["TresPerJob"] for job in with_gpu} == {"gres:gpu:1"}
    # one was cancelled before it had a node
    assert {job.fields["NodeList"] for job in with_gpu} - {""} == {"gpunode"}
    assert not any("TresPerJob" in job.fields for job in disturbed.jobs if job not in with_gpu)


def test_shards_of_short_stages_share_a_job(disturbed):
    for rule in ("sample_frames", "detect_landmarks", "make_masks"):
        assert len([job for job in disturbed.jobs if job.rule.endswith(rule)]) == 1
    assert len([job for job in disturbed.jobs if job.rule == "crop_faces"]) == 2


def test_cancelled_job_is_tried_again_with_twice_the_memory_and_time(disturbed):
    tracked = [job for job in disturbed.jobs if job.rule == "track_faces"]
    [cancelled] = [job for job in tracked if job.id == disturbed.cancelled]
    assert cancelled.state == "CANCELLED"
    assert cancelled.fields["NodeList"] == "gpunode"
    assert cancelled.fields["MinMemoryNode"] == "8000M"
    assert cancelled.fields["TimeLimit"] == "02:00:00"
    [again] = [job for job in tracked if job.fields["MinMemoryNode"] == "16000M"]
    assert again.fields["TimeLimit"] == "04:00:00"
    assert again.state == "COMPLETED"


def test_jobs_of_a_node_that_fails_start_again_on_another(disturbed):
    lost = [job for job in disturbed.jobs if job.id in disturbed.lost]
    assert lost
    assert {(job.state, job.fields["Restarts"], job.fields["NodeList"]) for job in lost} == {
        ("COMPLETED", "1", "gpunode")
    }


def test_node_that_came_back_is_used_again(disturbed, slurm):
    assert slurm.node_state("cpunode") == "idle"
    [evaluated] = [job for job in disturbed.jobs if job.rule == "evaluate_detector"]
    assert evaluated.fields["NodeList"] == "cpunode"


def test_after_a_kill_the_same_command_ends_what_was_left_and_goes_on(disturbed):
    orphans = [job for job in disturbed.jobs if job.id in disturbed.orphans]
    # the nodes are this machine, where the next run ends what the killed one has started before it asks the cluster
    assert [job.state in ("CANCELLED", "FAILED") for job in orphans] == [True, True]
    assert orphans[1].state == "CANCELLED"
    again = [job for job in disturbed.jobs if job.rule == "track_faces" and job not in orphans]
    assert max(job.fields["EndTime"] for job in orphans) <= min(job.fields["SubmitTime"] for job in again)
    # what was done before the kill was not done again
    for rule in ("index_videos_c", "sample_frames"):
        assert len([job for job in disturbed.jobs if job.rule.endswith(rule)]) == 1
    assert not [job for job in disturbed.jobs if job.state in ("RUNNING", "PENDING")]


def test_interrupted_run_cancels_its_jobs(slurm, local_run, tmp_path):
    run = ClusterRun(tmp_path / "run", local_run, OPTIONS, slurm.environment)
    before = [job.id for job in slurm.jobs()]
    try:
        run.start()
        [job, *_] = run.wait_for("a job", lambda: [job for job in slurm.running() if job.id not in before])
    finally:
        run.stop()
    assert "Terminating processes on user request" in run.printed()
    [state] = [found.state for found in slurm.jobs() if found.id == job.id]
    assert state in ("CANCELLED", "COMPLETING")
