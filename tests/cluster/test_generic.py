"""The main job through a generic submit command (`make test-cluster`) that loses jobs and Snakemake on the way.

The queue is tests/cluster/queue, which runs jobs on this machine, detached.
"""

from __future__ import annotations

import json
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from cluster_run import ClusterRun, results

from helpers.small_run import ROOT

COMMANDS = Path(__file__).parent / "queue"
ASKED = "{threads} {resources.mem_mb} {resources.runtime} {resources.gpu}"
# The shipped profile, but for a queue whose jobs take seconds.
OPTIONS = [
    *("--workflow-profile", str(ROOT / "profiles/generic")),
    *("--cluster-generic-submit-cmd", f"{COMMANDS}/submit {ASKED}"),
    *("--cluster-generic-status-cmd", f"{COMMANDS}/status", "--cluster-generic-cancel-cmd", f"{COMMANDS}/cancel"),
    *("--seconds-between-status-checks", "1", "--max-status-checks-per-second", "10", "--latency-wait", "20"),
]


@dataclass(frozen=True)
class Job:
    """A job of the queue: its folder there."""

    folder: Path

    def makes(self, what: str) -> bool:
        """Whether it is to make files whose paths begin so."""
        properties = (self.folder / "script").read_text().splitlines()[1].removeprefix("# properties = ")
        return any(path.startswith(what) for path in json.loads(properties)["output"])

    @property
    def asked(self) -> tuple[int, ...]:
        """Threads, MB, minutes and GPUs."""
        return tuple(int(number) for number in (self.folder / "asked").read_text().split())

    @property
    def exit_status(self) -> int | None:
        path = self.folder / "exit"
        return int(path.read_text()) if path.exists() else None

    def is_running(self) -> bool:
        return (self.folder / "output").exists() and self.exit_status is None and not self.was_killed()

    def was_killed(self) -> bool:
        path = self.folder / "pid"
        return self.exit_status is None and path.exists() and not Path("/proc", path.read_text().strip()).exists()


@dataclass(frozen=True)
class Disturbed:
    """A run that got to its end."""

    run: ClusterRun
    queue: Path

    def jobs(self, what: str) -> list[Job]:
        """Jobs that were to make such files, in the order of their submission."""
        folders = sorted(self.queue.glob("job.*"), key=lambda folder: (folder / "asked").stat().st_mtime_ns)
        return [job for job in map(Job, folders) if job.makes(what)]

    def running(self, what: str) -> list[Job]:
        return [job for job in self.jobs(what) if job.is_running()]


@pytest.fixture(scope="module")
def disturbed(local_run, tmp_path_factory):
    """The main job, done in spite of a job that fails, one that is killed, and a killed Snakemake."""
    folder = tmp_path_factory.mktemp("generic")
    queue = folder / "queue"
    queue.mkdir()
    run = ClusterRun(folder / "run", local_run, OPTIONS, {"QUEUE": str(queue), "FAIL_ONCE": "crop_faces"})
    disturbed = Disturbed(run, queue)
    try:
        run.start()
        [killed, *_] = run.wait_for("a job that tracks faces", lambda: disturbed.running("data/faces/"))
        os.killpg(int((killed.folder / "pid").read_text()), signal.SIGKILL)
        run.wait_for("a job that trains", lambda: disturbed.running("results/one/seed0/detector"))
        run.kill()
        time.sleep(1)
        assert disturbed.running("results/one/seed0/detector"), "the job should have outlived Snakemake"
        run.start()
        run.finish()
        yield disturbed
    finally:
        run.stop()


def test_results_are_those_of_a_run_on_one_machine(disturbed, local_run):
    assert results(disturbed.run.folder) == results(local_run)


def test_jobs_ask_for_what_their_rules_need(disturbed):
    # threads as the test sets them, MB, minutes, GPUs
    assert disturbed.jobs("data/index/")[0].asked == (4, 4000, 480, 0)
    assert disturbed.jobs("results/one/seed0/predictions/")[0].asked == (2, 16000, 240, 1)
    # two shards in one job: side by side where cores allow, one after the other where they share the GPU
    assert [job.asked for job in disturbed.jobs("data/frames/")] == [(4, 4000, 30, 0)]
    assert [job.asked for job in disturbed.jobs("data/landmarks/")] == [(4, 6000, 60, 1)]


def test_killed_job_is_noticed_and_tried_again_with_more(disturbed):
    tracked = disturbed.jobs("data/faces/")
    assert len(tracked) == 3
    assert [job.asked for job in tracked if job.was_killed()] == [(2, 8000, 120, 1)]
    assert [job.asked for job in tracked if job.asked[1] == 16000] == [(2, 16000, 240, 1)]


def test_failed_job_is_tried_again_with_more(disturbed):
    cut = disturbed.jobs("data/crops/")
    assert len(cut) == 3
    assert [job.asked for job in cut if job.exit_status == 1] == [(2, 4000, 120, 0)]
    assert [job.asked for job in cut if job.asked[1] == 8000] == [(2, 8000, 240, 0)]


def test_after_a_kill_the_same_command_ends_what_was_left_and_goes_on(disturbed):
    orphan, again = disturbed.jobs("results/one/seed0/detector")
    assert orphan.was_killed()
    assert again.exit_status == 0
    assert len(disturbed.jobs("data/index/")) == 1
