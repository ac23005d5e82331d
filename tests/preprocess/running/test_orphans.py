"""Processes are told apart for ever, and those of a run are found and ended."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from preprocess.running.orphans import (
    ORPHANED,
    RUN_VARIABLE,
    WATCHED_VARIABLE,
    end_processes_of,
    is_running,
    process_name,
    processes_of,
)

WAIT = "import time; print('ready', flush=True); time.sleep(60)"


def start(code: str = WAIT, **environment: str) -> subprocess.Popen:
    process = subprocess.Popen(
        [sys.executable, "-c", code], env=os.environ | environment, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "ready\n"
    return process


def test_a_process_has_a_name_that_no_later_one_has():
    process = start()
    name = process_name(process.pid)
    assert is_running(name) is True
    *place, pid, began = name.split()
    assert int(pid) == process.pid
    assert is_running(" ".join([*place, pid, str(int(began) + 1)])) is False, "another that has its number"
    assert is_running(" ".join(["elsewhere", *place[1:], pid, began])) is None, "another machine"
    process.kill()
    # it has ended, though its parent has not asked yet
    while process_state(process.pid) != "Z":
        time.sleep(0.01)
    assert is_running(name) is False
    process.wait()
    assert is_running(name) is False
    with pytest.raises(ProcessLookupError, match=f"there is no process {process.pid}"):
        process_name(process.pid)


def process_state(pid: int) -> str:
    with open(f"/proc/{pid}/stat") as file:
        return file.read().rpartition(")")[2].split()[0]


def test_the_processes_of_a_run_are_ended_and_no_others(monkeypatch):
    monkeypatch.setenv(RUN_VARIABLE, "ours")
    ours, other = [start(**{RUN_VARIABLE: "ours"}) for _ in range(2)], start(**{RUN_VARIABLE: "ours too"})
    assert processes_of("ours") == sorted(process.pid for process in ours), "this process is none of them"
    assert processes_of("ours too") == [other.pid]
    for process in ours:
        process.kill()
        process.wait()
    assert end_processes_of("ours") == 0
    assert other.poll() is None
    other.kill()
    other.wait()


def test_what_is_left_of_a_run_is_killed():
    # its parent has gone, so that nobody has to be asked
    code = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {WAIT!r}])"
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | {RUN_VARIABLE: "left"}, stdout=subprocess.DEVNULL, check=True
    )
    assert done.returncode == 0
    assert len(processes_of("left")) == 1
    assert end_processes_of("left") == 1
    assert processes_of("left") == []


def test_a_job_ends_when_its_snakemake_has_gone():
    snakemake = start()
    code = f"from preprocess.running.orphans import end_with_snakemake as end; end(); {WAIT}"
    job = start(code, **{WATCHED_VARIABLE: process_name(snakemake.pid)})
    assert job.poll() is None
    snakemake.kill()
    snakemake.wait()
    assert job.wait(timeout=20) == ORPHANED == 129
