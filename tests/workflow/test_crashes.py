"""Nothing is lost: whatever is killed, and whenever, the same command again ends with the same results."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

import psutil
import pytest
import yaml

from helpers.crash_trials import (
    FACES_TO_SAMPLES,
    GROUP,
    RAW_TO_FRAMES,
    SNAKEMAKE,
    TARGET,
    TRAINING_TO_RESULT,
    WHOLE,
    WORKER,
    Snakemake,
    compare,
    run_undisturbed,
    token_of,
    trial,
    wait_until_gone,
)
from helpers.small_run import ROOT
from preprocess.running import orphans
from preprocess.running.cli import UserError
from preprocess.running.orphans import RUN_VARIABLE, WATCHED_VARIABLE, process_name
from preprocess.synthetic import SyntheticSettings, collection, make_collection
from workflow import run_guard
from workflow.run_guard import Run, begin

# what is killed, and while which part of the workflow runs
QUICK_TRIALS = ((SNAKEMAKE, TRAINING_TO_RESULT), (WORKER, FACES_TO_SAMPLES), (GROUP, RAW_TO_FRAMES))
# each kind of kill four times at the beginning, thrice in the middle, twice at the end, and once somewhere in a whole
# run: thirty
SLOW_TRIALS = tuple(
    (target, part)
    for part, times in ((WHOLE, 1), (TRAINING_TO_RESULT, 2), (FACES_TO_SAMPLES, 3), (RAW_TO_FRAMES, 4))
    for target in (SNAKEMAKE, WORKER, GROUP)
    for _ in range(times)
)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """Runs that nothing disturbed: those of the parts, and the whole."""
    return run_undisturbed(tmp_path_factory.mktemp("undisturbed"))


def try_to_kill(undisturbed, tmp_path, trials):
    def try_once(seed: int) -> None:
        target, part = trials[seed]
        folder = tmp_path / str(seed)
        trial(undisturbed[part], folder, target, seed)
        shutil.rmtree(folder)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(try_once, range(len(trials))))


@pytest.mark.timeout(1800)
def test_a_run_that_is_killed_ends_with_the_same_results_after_the_same_command(undisturbed, tmp_path):
    try_to_kill(undisturbed, tmp_path, QUICK_TRIALS)


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_thirty_runs_killed_at_other_moments_end_with_the_same_results(undisturbed, tmp_path):
    assert len(SLOW_TRIALS) == 30
    try_to_kill(undisturbed, tmp_path, SLOW_TRIALS)


@pytest.mark.timeout(900)
def test_a_second_run_is_refused_and_one_that_is_asked_to_end_leaves_nothing(undisturbed, tmp_path):
    whole = undisturbed[WHOLE]
    folder = Path(shutil.copytree(whole.before, tmp_path / "run"))
    lists = "data/index/tiny/0000.parquet"
    for asked_to_end in (signal.SIGINT, signal.SIGTERM):
        run = Snakemake(folder, lists)
        assert run.wait_for_jobs(1)
        token = token_of(folder)
        if asked_to_end == signal.SIGINT:
            os.killpg(run.process.pid, signal.SIGSTOP)  # lest it ends meanwhile
            _second_run_is_refused(folder, run)
            os.killpg(run.process.pid, signal.SIGCONT)
        os.killpg(run.process.pid, asked_to_end)  # as a terminal does
        assert run.process.wait(300) == 1, run.printed()
        wait_until_gone(token)
        assert (folder / ".snakemake/run.lock").read_text() == ""
        assert not (folder / lists).exists()
        assert not list(folder.rglob("*.partial"))
    assert "was killed" not in Snakemake(folder, lists).end()
    compare(folder, whole.folder, whole_run=False)
    assert (folder / lists).exists()


def _second_run_is_refused(folder, run):
    other = folder.parent / "second"
    other.mkdir()
    shutil.copy(folder / "config.yaml", other)
    command = [
        *(sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--directory", str(folder)),
        *("--configfile", str(other / "config.yaml"), "--workflow-profile", str(ROOT / "profiles/default")),
        *("--cores", "1", TARGET),
    ]
    second = subprocess.run(command, cwd=other, capture_output=True, text=True)
    assert second.returncode == 1
    assert f"another run is going on in this folder: process {run.process.pid} on " in second.stderr
    assert "Two runs would write the same files" in second.stderr
    assert not any(word in second.stderr for word in ("Traceback", "File ", "unlock"))
    assert subprocess.run([*command, "--dry-run"], cwd=other, capture_output=True).returncode == 0
    status = subprocess.run([*command[:-1], "status"], cwd=other, capture_output=True, text=True)
    assert status.returncode == 0, status.stderr


# --- what a killed run leaves ----------------------------------------------------------------------------------


@pytest.fixture
def begin_here(tmp_path, monkeypatch):
    """A function that begins a run in a folder as Snakemake would, but ends with the test."""
    monkeypatch.setenv(RUN_VARIABLE, "of this test")
    monkeypatch.setattr(run_guard.atexit, "register", lambda *_: None)
    monkeypatch.setattr(run_guard, "_POLL_SECONDS", 0.05)

    def call(last: Run | None) -> dict:
        books = tmp_path / ".snakemake"
        books.mkdir(exist_ok=True)
        if last:
            (books / "run.lock").write_text(json.dumps(asdict(last)))
        begin(a_run(token="new", books=str(books)))
        return json.loads((books / "run.lock").read_text())

    return call


def a_run(**values) -> Run:
    *here, _, start = process_name(os.getpid()).split()
    ended = " ".join((*here, str(1 << 30), start))  # there are no ids so high
    this = {"process": ended, "host": "here", "machine": orphans.machine(), "command": "snakemake"}
    rest = {
        "books": "/gone/.snakemake",
        "token": "dead",
        "pid": 7,
        "start": "noon",
        "log": None,
        "executor": "local",
        "cancel": None,
        "status": None,
    }
    return Run(**(this | rest | values))


def test_what_a_killed_run_left_is_ended_and_its_locks_removed(begin_here, tmp_path):
    locks = tmp_path / ".snakemake/locks"
    locks.mkdir(parents=True)
    (locks / "0.output.lock").write_text("data/crops/d/0000.h5\n")
    orphan, stranger = (
        subprocess.Popen(["sleep", "1000"], env=os.environ | {RUN_VARIABLE: token}) for token in ("dead", "deadly")
    )
    try:
        assert begin_here(a_run())["token"] == "new"
        assert orphan.wait(10) == -signal.SIGKILL
        assert stranger.poll() is None
    finally:
        for process in (orphan, stranger):
            process.kill()
            process.wait()
    assert not locks.exists()
    assert os.environ[RUN_VARIABLE] == "new"


def test_a_run_that_may_live_on_another_machine_is_left_alone(begin_here, tmp_path):
    locks = tmp_path / ".snakemake/locks"
    locks.mkdir(parents=True)
    with pytest.raises(UserError, match=r"process 7 on node7(.|\n)*rm -rf .*run\.lock .*locks"):
        begin_here(a_run(host="node7", machine="another"))
    assert locks.exists()
    # a machine that was restarted, and a container on this one under another name
    assert begin_here(a_run(machine="before"))["token"] == "new"


def test_a_folder_that_cannot_be_written_to_is_named(begin_here, tmp_path):
    (tmp_path / ".snakemake/run.lock").mkdir(parents=True)
    with pytest.raises(UserError, match=r"cannot write .*run\.lock: Is a directory"):
        begin_here(None)


def test_where_files_cannot_be_locked_a_second_run_is_known_by_its_process(begin_here, monkeypatch):
    def no_locks(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(run_guard.fcntl, "flock", no_locks)
    with pytest.raises(UserError, match="another run is going on"):
        begin_here(a_run(process=process_name(os.getpid())))
    ended = subprocess.Popen(["sleep", "1000"])
    name = process_name(ended.pid)
    ended.kill()
    ended.wait()
    assert begin_here(a_run(process=name))["token"] == "new"


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    """Folder of a cluster's commands: `squeue` shows what stands in `queue`, `scancel` writes down its arguments."""
    folder = tmp_path / "cluster"
    folder.mkdir()
    commands = {
        "squeue": 'cat "$here/queue"; test -e "$here/cancelled" && sed -i 1d "$here/queue"; true',
        "scancel": 'echo "$@" >> "$here/cancelled"',
        "status": 'grep -qx "$1" "$here/queue" && echo running || echo failed; '
        'test -e "$here/cancelled" && sed -i 1d "$here/queue"; true',
    }
    for name, text in commands.items():
        (folder / name).write_text(f'#!/bin/sh\nhere="{folder}"\n{text}\n')
        (folder / name).chmod(0o755)
    (folder / "queue").write_text("11\n12\n")
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)
    return folder


def slurm_run(tmp_path) -> Run:
    log = tmp_path / "snakemake.log"
    log.write_text("Building DAG of jobs...\nSLURM run ID: 0b1c-77\nSubmitted job\n")
    return a_run(executor="slurm", log=str(log))


def test_slurm_jobs_of_a_killed_run_are_cancelled_and_have_gone_before_the_next_begins(begin_here, cluster, tmp_path):
    begin_here(slurm_run(tmp_path))
    assert (cluster / "cancelled").read_text() == "--name=0b1c-77\n"
    assert (cluster / "queue").read_text() == ""


def test_a_run_waits_for_a_slurm_that_does_not_answer_and_keeps_the_record(begin_here, cluster, tmp_path):
    (cluster / "squeue").write_text("#!/bin/sh\necho 'Unable to contact slurm controller' >&2\nexit 1\n")
    with pytest.raises(UserError, match=r"squeue .*Unable to contact slurm controller"):
        begin_here(slurm_run(tmp_path))
    assert json.loads((tmp_path / ".snakemake/run.lock").read_text())["token"] == "dead"


def test_without_the_log_that_names_its_slurm_jobs_a_killed_run_is_left_to_the_user(begin_here, cluster):
    with pytest.raises(UserError, match=r"gone\.log.*squeue --me.*rm -rf"):
        begin_here(a_run(executor="slurm", log="gone.log"))


def test_jobs_of_a_killed_run_on_another_cluster_are_cancelled_by_their_ids(begin_here, cluster, tmp_path):
    notes = tmp_path / ".snakemake/incomplete"
    notes.mkdir(parents=True)
    for name, text in {"a": '{"external_jobid": "11"}', "b": '{"external_jobid": null}', "c": '{"extern'}.items():
        (notes / name).write_text(text)
    (cluster / "queue").write_text("11\n")
    generic = a_run(executor="cluster-generic", cancel=str(cluster / "scancel"), status=str(cluster / "status"))
    begin_here(generic)
    assert (cluster / "cancelled").read_text() == "11\n"


def test_without_a_command_to_cancel_jobs_the_user_is_told_their_ids(begin_here, tmp_path):
    notes = tmp_path / ".snakemake/incomplete"
    notes.mkdir(parents=True)
    (notes / "a").write_text('{"external_jobid": "11"}')
    with pytest.raises(UserError, match=r"on the cluster: 11\..*cluster-generic-cancel-cmd"):
        begin_here(a_run(executor="cluster-generic"))


def test_every_profile_makes_again_what_a_killed_run_left_unfinished():
    profiles = sorted((ROOT / "profiles").glob("*/config*.yaml"))
    assert len(profiles) > 1
    for profile in profiles:
        assert yaml.safe_load(profile.read_text())["rerun-incomplete"] is True, profile


# --- processes -------------------------------------------------------------------------------------------------


def test_a_job_ends_when_its_snakemake_has_gone_and_only_then(tmp_path):
    snakemake = subprocess.Popen(["sleep", "1000"])
    program = "import time; from preprocess.running.cli import run_command; run_command(lambda: time.sleep(1000))"
    environment = os.environ | {WATCHED_VARIABLE: process_name(snakemake.pid)}
    job = subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, env=environment, stderr=subprocess.PIPE)
    of_another = environment | {WATCHED_VARIABLE: f"another pid:[1] {snakemake.pid} 1"}
    elsewhere = subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, env=of_another)
    try:
        with pytest.raises(subprocess.TimeoutExpired):
            job.wait(3)
        snakemake.kill()  # and not waited for: what is dead but still listed counts as gone
        assert job.wait(60) == orphans.ORPHANED
        assert b"Snakemake has ended without its jobs" in job.stderr.read()
        assert elsewhere.poll() is None
        late = subprocess.run([sys.executable, "-c", program], cwd=ROOT, env=environment, timeout=60, check=False)
        assert late.returncode == orphans.ORPHANED
    finally:
        for process in (snakemake, job, elsewhere):
            process.kill()
            process.wait()


def test_a_program_that_is_asked_to_end_removes_what_it_was_writing(tmp_path):
    program = (
        "import sys, time\nfrom preprocess.running.cli import run_command\n"
        "from preprocess.store.atomic import atomic_path\n"
        "def main():\n"
        "    with atomic_path(sys.argv[1]) as temporary:\n"
        "        print(temporary, flush=True)\n"
        "        time.sleep(1000)\n"
        "run_command(main)"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "file")]
    job = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE)
    job.stdout.readline()
    job.terminate()
    assert job.wait(60) == 128 + signal.SIGTERM
    assert list(tmp_path.iterdir()) == []


def test_processes_that_render_end_with_the_program_that_started_them(tmp_path):
    command = [
        *(sys.executable, "-m", "preprocess.synthetic", "--layout", "celebdf", "--root", str(tmp_path / "root")),
        *("--truth", str(tmp_path / "truth"), "--manifest", str(tmp_path / "manifest.json"), "--threads", "2"),
        *("--settings", '{"n_sources": 40, "extras": false}'),
    ]
    program = subprocess.Popen(command, cwd=ROOT, env=os.environ | {RUN_VARIABLE: f"render {tmp_path}"})
    main = psutil.Process(program.pid)
    deadline = time.monotonic() + 120
    # two that render, and what `multiprocessing` starts beside them
    while len(main.children(recursive=True)) < 3 or not list((tmp_path / "root").rglob("*.mp4")):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    program.kill()
    program.wait()
    wait_until_gone(f"render {tmp_path}")
    assert not (tmp_path / "manifest.json").exists()


def test_a_rendering_killed_as_it_clears_its_folder_can_be_started_again(tmp_path, monkeypatch):
    class Killed(BaseException):
        pass

    def kill(*_):
        raise Killed

    settings = SyntheticSettings(n_sources=4, n_frames=2, fakes_per_source=1, extras=False, height=180, width=240)
    folders = (tmp_path / "root", tmp_path / "truth")
    first = make_collection("celebdf", *folders, settings, 1)
    with monkeypatch.context() as patch, contextlib.suppress(Killed):
        patch.setattr(collection.shutil, "rmtree", kill)
        make_collection("celebdf", *folders, settings, 1)
    assert make_collection("celebdf", *folders, settings, 1) == first
