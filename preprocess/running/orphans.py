"""Processes that outlive the Snakemake which started them: they end by themselves, and can be found and ended.

After `kill -9` of Snakemake its jobs know nothing of it. Every Snakemake process of this workflow names itself in the
environment that its jobs inherit, and `cli.run_command` has each of them watch it. What still runs when
the next run begins, such as a library call that lets no other thread work, is ended there (`workflow.run_guard`).

/proc is read here rather than with psutil: that tells a process's start as a time of day, which moves with the clock;
names need ticks since the machine's start, and its boot and namespace ids are not in psutil at all.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path

# The Snakemake process whose end is the end of the job, as `process_name` writes it.
WATCHED_VARIABLE = "DEEPFAKE_PIPELINE_SNAKEMAKE"
# The token of the run to which a process belongs.
RUN_VARIABLE = "DEEPFAKE_PIPELINE_RUN"

# Exit code of a job whose Snakemake has gone, as of one whose terminal has.
ORPHANED = 128 + signal.SIGHUP
_WATCH_INTERVAL_SECONDS = 0.5
_PROC = Path("/proc")


def machine() -> str:
    """What tells this machine, since it was last started, from all others; containers on it have the same."""
    return (_PROC / "sys/kernel/random/boot_id").read_text().strip()


def process_name(pid: int) -> str:
    """A name that no other process ever has: machine, namespace of process ids, id and time of start.

    Raises:
        ProcessLookupError: There is no such process.
    """
    start = _start_time(pid)
    if start is None:
        raise ProcessLookupError(f"there is no process {pid}")
    return " ".join((*_here(), str(pid), start))


def is_running(name: str) -> bool | None:
    """Whether the process of that `process_name` runs; None: it belongs to another machine or container."""
    *place, pid, start = name.split()
    if tuple(place) != _here():
        return None
    return _start_time(int(pid)) == start


def end_with_snakemake() -> None:
    """From now on, end this process at once when the Snakemake that started it has gone; without one, do nothing."""
    name = os.environ.get(WATCHED_VARIABLE)
    if not name or is_running(name) is None:
        return
    _end_if_gone(name)
    threading.Thread(target=_watch, args=(name,), name="snakemake-watch", daemon=True).start()


def processes_of(run: str) -> list[int]:
    """Ids of the processes of this user that belong to a run, by its token."""
    wanted = f"{RUN_VARIABLE}={run}".encode()
    found = []
    for folder in _PROC.iterdir():
        if not folder.name.isdigit() or int(folder.name) == os.getpid():
            continue
        try:
            environment = (folder / "environ").read_bytes()
        except OSError:  # it has ended, or it is not ours
            continue
        if wanted in environment.split(b"\0"):
            found.append(int(folder.name))
    return sorted(found)


def end_processes_of(run: str, *, timeout_seconds: float = 30.0) -> int:
    """Kill what is left of a run, and wait until it has gone.

    Returns:
        How many processes there were.

    Raises:
        TimeoutError: Some are still there, as those that wait for a dead network disc; the message names them.
    """
    ended: set[int] = set()
    deadline = time.monotonic() + timeout_seconds
    while left := processes_of(run):
        if time.monotonic() > deadline:
            raise TimeoutError(f"the processes {', '.join(map(str, left))} do not end")
        for pid in left:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
            ended.add(pid)
        time.sleep(0.1)
    return len(ended)


def _here() -> tuple[str, str]:
    return machine(), os.readlink(_PROC / "self/ns/pid")


def _start_time(pid: int) -> str | None:
    """When a process was started, in ticks since the machine was; None when it has ended."""
    try:
        # the name of the program, in brackets, may hold anything
        state, *fields = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if state in "ZX" else fields[18]


def _watch(name: str) -> None:
    while True:
        time.sleep(_WATCH_INTERVAL_SECONDS)
        _end_if_gone(name)


def _end_if_gone(name: str) -> None:
    if not is_running(name):
        print("error: Snakemake has ended without its jobs; this one ends too", file=sys.stderr, flush=True)
        os._exit(ORPHANED)
