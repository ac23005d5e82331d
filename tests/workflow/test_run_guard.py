"""One store, one run: folders whose data or results are one, and what a run leaves there that was killed elsewhere."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from base64 import urlsafe_b64encode
from dataclasses import asdict
from pathlib import Path

import pytest
import yaml
from snakemake.persistence.file import FilePersistence

from helpers.crash_trials import PATIENCE_SECONDS, Snakemake, config, token_of
from helpers.finished_run import read_only, run_after
from preprocess.running import orphans
from preprocess.running.cli import UserError
from preprocess.running.orphans import RUN_VARIABLE, process_name, processes_of
from workflow import run_guard
from workflow.run_guard import Run, begin

RENDERED = "data/synthetic/tiny/manifest.json"


# --- with Snakemake ----------------------------------------------------------------------------------------------


@pytest.mark.timeout(600)
def test_a_run_in_another_folder_on_the_store_is_refused_and_sees_to_it_once_it_is_killed(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    for folder in (one, two):
        folder.mkdir()
        (folder / "config.yaml").write_text(yaml.safe_dump(config() | {"landmarks": {}}))
    (one / "data").mkdir()
    (two / "data").symlink_to("../one/data")
    first = Snakemake(one, RENDERED)
    assert first.wait_for_jobs(1), first.printed()
    token = token_of(one)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while (
        len(processes_of(token)) < 2
    ):  # a shell and its program: one that is stopped as it is forked holds the lock, too
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.killpg(first.process.pid, signal.SIGSTOP)  # lest it ends meanwhile, or its jobs when it is killed
    try:
        second = Snakemake(two, RENDERED)
        assert second.process.wait(300) == 1
        assert f"another run is going on in {one}/data, where this folder's data lies" in second.printed()
        assert f": process {first.process.pid} on " in second.printed()
        assert f" in {one}, started " in second.printed()
        assert "Traceback" not in second.printed()
        assert "cannot be locked" not in Snakemake(two, "--dry-run", RENDERED).end()
    finally:
        first.process.kill()
    first.process.wait()
    assert list((one / ".snakemake/locks").iterdir())
    dry = Snakemake(one, "--dry-run", RENDERED).end()
    assert "This was a dry-run" in dry
    assert "cannot be locked" not in dry
    printed = Snakemake(two, RENDERED).end()
    assert f"was killed (process {first.process.pid} on " in printed
    assert re.search(r"Ended \d+ processes", printed)
    assert processes_of(token) == []
    assert not (one / ".snakemake/locks").exists()
    assert [(one / name).read_text() for name in (".snakemake/run.lock", "data/.run.lock")] == ["", ""]
    assert (two / "results/.run.lock").read_text() == ""
    assert (one / RENDERED).is_file()


# --- without it --------------------------------------------------------------------------------------------------


@pytest.fixture
def begin_in(monkeypatch):
    """A function that begins a run in a folder as Snakemake would, but ends with the test."""
    monkeypatch.setenv(RUN_VARIABLE, "of this test")
    monkeypatch.setattr(run_guard.atexit, "register", lambda *call: at_exit.append(call))
    at_exit: list[tuple] = []

    def call(folder: Path, token: str = "new", **values) -> list[tuple]:
        folder.mkdir(exist_ok=True)
        begin(a_run(folder, token=token, process=process_name(os.getpid()), **values))
        return at_exit

    yield call
    for _, descriptor, _ in at_exit:
        os.close(descriptor)


def a_run(folder: Path, **values) -> Run:
    *here, _, start = process_name(os.getpid()).split()
    ended = " ".join((*here, str(1 << 30), start))  # there are no ids so high
    given = {"books": str(folder / ".snakemake"), "token": "dead", "process": ended, "pid": 7, "host": "here"}
    given |= {"machine": orphans.machine(), "start": "noon", "command": "snakemake", "log": None, "executor": "local"}
    return Run(**(given | {"cancel": None, "status": None} | values))


@pytest.fixture
def folders(tmp_path):
    """A store, and two folders that have links to it: the first to its data and results, the second to its data."""
    store, one, two = (tmp_path / name for name in ("store", "one", "two"))
    for path in (one, two, store / "data", store / "results"):
        path.mkdir(parents=True)
    for folder, name in ((one, "data"), (one, "results"), (two, "data")):
        (folder / name).symlink_to(store / name)
    return store, one, two


def killed(folder: Path, *others: Path, **values) -> Run:
    """A run that was killed in `folder`, and stands in these locks, too."""
    run = a_run(folder, **values)
    (folder / ".snakemake/locks").mkdir(parents=True)
    (folder / ".snakemake/locks/0.output.lock").write_text("data/crops/d/0000.h5\n")
    for path in (folder / ".snakemake/run.lock", *others):
        path.write_text(json.dumps(asdict(run)))
    return run


def token_in(path: Path) -> str | None:
    text = path.read_text()
    return json.loads(text)["token"] if text else None


@pytest.mark.parametrize("name", ["data", "results"])
def test_data_and_results_have_one_run_each(folders, tmp_path, begin_in, name):
    store, one, _ = folders
    at_exit = begin_in(one)
    assert token_in(store / "data/.run.lock") == token_in(store / "results/.run.lock") == "new"
    other = tmp_path / "other"
    other.mkdir()
    (other / name).symlink_to(store / name)
    with pytest.raises(UserError, match=rf"going on in {store}/{name}, where this folder's {name} lies: .* in {one},"):
        begin_in(other, "newer")
    assert token_in(store / name / ".run.lock") == "new"
    assert token_in(other / ".snakemake/run.lock") is None
    (other / name).unlink()
    begin_in(other, "newer")  # what it had taken before it was refused is free again
    for call, *arguments in at_exit[:3]:
        call(*arguments)
    assert [path.read_text() for path in (store / "data/.run.lock", store / "results/.run.lock")] == ["", ""]
    assert token_in(other / "data/.run.lock") == "newer"


def test_one_folder_may_be_both_data_and_results(tmp_path, begin_in):
    (tmp_path / "store").mkdir()
    for name in ("data", "results"):
        (tmp_path / name).symlink_to("store")
    assert len(begin_in(tmp_path)) == 2


def test_who_may_write_to_the_store_may_lock_it(folders, begin_in):
    store, one, _ = folders
    (store / "data").chmod(0o2775)
    (store / "results").chmod(0o700)
    begin_in(one)
    assert [(store / name / ".run.lock").stat().st_mode & 0o777 for name in ("data", "results")] == [0o664, 0o600]


def test_what_a_run_left_that_was_killed_in_another_folder_is_ended(folders, begin_in):
    store, one, two = folders
    killed(one, store / "data/.run.lock", store / "results/.run.lock")
    shared, long, apart = "data/crops/d/0000.h5", f"data/{'long' * 70}", "results/e/eval.csv"
    notes = FilePersistence(path=one / ".snakemake")
    for file in (shared, long, apart):
        notes._mark_incomplete(file, "11")
    for strange in ("migrated", urlsafe_b64encode(b"data/\0").decode()):
        (one / ".snakemake/incomplete" / strange).touch()
    orphan = subprocess.Popen(["sleep", "1000"], env=os.environ | {RUN_VARIABLE: "dead"})
    try:
        begin_in(two)
        assert orphan.wait(10) == -signal.SIGKILL
    finally:
        orphan.kill()
        orphan.wait()
    assert not (one / ".snakemake/locks").exists()
    assert token_in(one / ".snakemake/run.lock") is None
    assert token_in(store / "data/.run.lock") == "new"
    assert token_in(store / "results/.run.lock") == "dead"  # which is not of this folder
    adopted = FilePersistence(path=two / ".snakemake")
    assert adopted._filter_incomplete_keys((shared, long, apart)) == {shared, long}
    assert adopted._get_external_jobids((shared, long)) == set()


def test_a_folder_whose_later_run_has_seen_to_it_is_left_alone(folders, begin_in):
    store, one, two = folders
    killed(one, store / "data/.run.lock")
    (one / "data").unlink()  # from now on it has data of its own
    (one / "results").unlink()
    begin_in(one, "later")
    (one / ".snakemake/locks").mkdir()
    begin_in(two)
    assert (one / ".snakemake/locks").exists()
    assert token_in(one / ".snakemake/run.lock") == "later"


def test_a_folder_in_which_a_run_is_starting_is_waited_for(folders, begin_in):
    store, one, two = folders
    killed(one, store / "data/.run.lock")
    with open(one / ".snakemake/run.lock") as file:
        run_guard.fcntl.flock(file, run_guard.fcntl.LOCK_EX)
        with pytest.raises(UserError, match=f"just starting in {one}; give your command again"):
            begin_in(two)
    assert token_in(store / "data/.run.lock") == "dead"
    begin_in(two)


def test_a_copy_of_a_store_in_use_ends_nothing_of_its_run(tmp_path, begin_in):
    copy = tmp_path / "copy"
    (copy / "data").mkdir(parents=True)
    alive = subprocess.Popen(["sleep", "1000"], env=os.environ | {RUN_VARIABLE: "alive"})
    try:
        killed(copy, copy / "data/.run.lock", token="alive", process=process_name(alive.pid))
        begin_in(copy)
        assert alive.poll() is None
    finally:
        alive.kill()
        alive.wait()
    assert not (copy / ".snakemake/locks").exists()
    assert token_in(copy / "data/.run.lock") == "new"


def test_a_folder_that_was_moved_after_the_kill_has_its_locks_removed(tmp_path, begin_in):
    killed(tmp_path / "before")
    begin_in((tmp_path / "before").rename(tmp_path / "after"))
    assert not (tmp_path / "after/.snakemake/locks").exists()


def test_a_store_whose_run_may_live_on_another_machine_is_left_alone(folders, begin_in):
    store, one, two = folders
    killed(one, store / "data/.run.lock", host="node7", machine="another")
    with pytest.raises(UserError, match=r"(?s)process 7 on node7.*after: rm -rf (.*)") as refused:
        begin_in(two)
    assert (one / ".snakemake/locks").exists()
    subprocess.run(str(refused.value).rpartition("after: ")[2], shell=True, check=True)
    assert list((one / ".snakemake").iterdir()) == []
    begin_in(two)


def test_jobs_on_a_cluster_whose_folder_has_gone_are_left_to_the_user(folders, begin_in):
    store, one, two = folders
    killed(one, store / "data/.run.lock", executor="cluster-generic", cancel="cancel")
    shutil.rmtree(one)
    with pytest.raises(UserError, match=r"names its jobs on the cluster, has gone.*rm -rf .*\.run\.lock"):
        begin_in(two)
    assert token_in(store / "data/.run.lock") == "dead"


def test_a_folder_of_a_killed_run_that_cannot_be_opened_is_told(folders, begin_in):
    store, one, two = folders
    killed(one, store / "data/.run.lock")
    (one / ".snakemake/run.lock").unlink()
    (one / ".snakemake/run.lock").mkdir()
    with pytest.raises(UserError, match=r"its folder cannot be opened: .*Is a directory.*rm -rf"):
        begin_in(two)


def test_a_link_to_a_disc_that_is_away_is_told(tmp_path, begin_in):
    (tmp_path / "data").symlink_to(tmp_path / "disc/store")
    with pytest.raises(UserError, match=r"data is a link to .*/disc/store, which is not there: mount its disc"):
        begin_in(tmp_path)
    assert not (tmp_path / "disc").exists()


def begin_elsewhere(folder: Path, closed: Path) -> subprocess.CompletedProcess[str]:
    """Begin a run in a process for which a folder is read-only."""
    setup = read_only(closed)
    if not setup:
        pytest.skip("nothing keeps this user from writing")
    program = (
        "import json, sys\nfrom preprocess.running.cli import run_command\nfrom workflow.run_guard import Run, begin\n"
        "run_command(lambda: begin(Run(**json.loads(sys.argv[1]))))\nprint('begun')"
    )
    command = [sys.executable, "-c", program, json.dumps(asdict(a_run(folder, token="new")))]
    return run_after(setup, command, folder)


def test_data_that_are_only_read_need_no_lock(folders):
    store, _, two = folders
    done = begin_elsewhere(two, store / "data")
    assert done.stdout.endswith("begun\n"), done.stdout
    assert f"Nothing can be written to {store}/data (" in done.stdout
    assert list((store / "data").iterdir()) == []
    assert (two / "results/.run.lock").exists()


@pytest.mark.parametrize("name", ["results", ".snakemake"])
def test_results_and_books_must_be_writable(folders, name):
    store, one, _ = folders
    (one / ".snakemake").mkdir()
    done = begin_elsewhere(one, store / name if name == "results" else one / name)
    assert "begun" not in done.stdout
    assert re.search(rf"cannot write \S+/{name}/\.?run\.lock: .*run in another folder", done.stdout), done.stdout


def test_a_lock_of_data_that_cannot_be_had_for_another_reason_is_told(folders, begin_in):
    store, _, two = folders
    (store / "data/.run.lock").mkdir()
    with pytest.raises(UserError, match=r"cannot write .*data/\.run\.lock: Is a directory"):
        begin_in(two)


def test_a_run_that_cannot_sign_all_its_locks_signs_none(folders, begin_in, monkeypatch):
    store, one, _ = folders
    write, full = run_guard._write, store / "results/.run.lock"

    def refuse(lock, text):
        if text and os.path.realpath(f"/proc/self/fd/{lock}") == str(full):
            raise OSError(errno.ENOSPC, "No space left on device")
        write(lock, text)

    monkeypatch.setattr(run_guard, "_write", refuse)
    with pytest.raises(UserError, match=f"cannot write {full}: No space left"):
        begin_in(one)
    assert [path.read_text() for path in (one / ".snakemake/run.lock", store / "data/.run.lock")] == ["", ""]
