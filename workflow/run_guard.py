"""One run in a folder at a time, and the same command again after any end: what every run begins with.

A run holds a lock on `.snakemake/run.lock`, which the kernel frees when the process dies, however it dies; the file
says who holds it. A run that ends by itself empties the file, so what stands in it when the lock can be had is a run
that was killed. The next one then ends what that left behind (processes on this machine, jobs on a cluster) before it
removes the dead run's Snakemake locks and starts. `workflow.snakemake_seam` decides which runs need no lock.
"""

from __future__ import annotations

import atexit
import errno
import fcntl
import json
import os
import re
import shlex
import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from snakemake.logging import logger

from preprocess.running.cli import UserError
from preprocess.running.orphans import (
    RUN_VARIABLE,
    end_processes_of,
    is_running,
)
from preprocess.running.system_errors import describe_write_error

# All of it lies in the folder where a run keeps its books.
BOOKS = Path(".snakemake")
LOCK = "run.lock"

_RECORD_BYTES = 1 << 16
# A cancelled job is asked to end, and killed when it does not; Slurm gives it 30 s by default.
_CANCEL_SECONDS = 300.0
_POLL_SECONDS = 1.0
_COMMAND_SECONDS = 60.0
# File systems, and mounts of them, that know no locks.
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


@dataclass(frozen=True)
class Run:
    """Who runs in a folder.

    Attributes:
        token: Names the run; all its processes have it in their environment.
        process: The main process (`orphans.process_name`).
        pid: Its id.
        host: Name of its machine.
        machine: The same, as `orphans.machine` tells it.
        start: Local time of its start.
        command: What was typed.
        log: Snakemake's log of the run.
        executor: Name of the executor: local, slurm, cluster-generic, …
        cancel: Command that takes job ids and cancels them on a generic cluster, if there is one.
        status: Command that takes a job id and prints running, success or failed there, if there is one.
    """

    token: str
    process: str
    pid: int
    host: str
    machine: str
    start: str
    command: str
    log: str | None
    executor: str
    cancel: str | None
    status: str | None

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}, started {self.start} as: {self.command}"


def begin(run: Run, books: Path) -> None:
    """Take a folder for a run until the process ends, and end what a killed run has left there.

    Args:
        run: The run that begins.
        books: Snakemake's folder `.snakemake`.

    Raises:
        UserError: Another run is going on there, or may be; what a killed one left cannot be ended; or the folder
            cannot be written to.
    """
    try:
        lock = _take(run, books)
    except OSError as error:
        told = describe_write_error(error, books / LOCK)
        if told is None:
            raise
        raise UserError(told) from error
    os.environ[RUN_VARIABLE] = run.token
    # after Snakemake's threads, which wait for the jobs; the lock itself goes with the process
    atexit.register(_write, lock, "")


def _take(run: Run, books: Path) -> int:
    books.mkdir(exist_ok=True)
    lock = os.open(books / LOCK, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        locked = _try_lock(lock)
        last = _read(lock)
        if locked is False or (locked is None and last and is_running(last.process)):
            raise _refusal(last)
        if last is not None:
            _recover(last, run, books)
        _write(lock, json.dumps(asdict(run)))
    except BaseException:
        os.close(lock)
        raise
    return lock


def _try_lock(lock: int) -> bool | None:
    """Whether the lock is ours now; None: this file system has no locks."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        logger.warning("This folder's file system has no locks: a second run is only told from this machine.")
        return None
    return True


def _read(lock: int) -> Run | None:
    try:
        return Run(**json.loads(os.pread(lock, _RECORD_BYTES, 0)))
    except (ValueError, TypeError):  # empty, or of another version
        return None


def _write(lock: int, text: str) -> None:
    os.ftruncate(lock, 0)
    os.pwrite(lock, text.encode(), 0)


def _refusal(other: Run | None) -> UserError:
    if other is None:
        return UserError("another run is just starting in this folder; give your command again when it has ended")
    return UserError(
        f"another run is going on in this folder: {other}\n"
        "Two runs would write the same files. Wait until it has ended"
        + (f" (follow it with: tail -f {shlex.quote(other.log)})" if other.log else "")
        + f", or end it with Ctrl-C or: kill -INT {other.pid} (which lets its running jobs finish)\n"
        "Dry runs (--dry-run) and reports may be made meanwhile; --directory runs in another folder."
    )


def _recover(last: Run, run: Run, books: Path) -> None:
    """End what a killed run has left: first what could still write, then its locks."""
    if last.machine != run.machine and last.host != run.host:
        raise UserError(
            f"the last run in this folder did not exit cleanly, or is still running, on another machine: {last}\n"
            f"Give your command on {last.host}. If you know that the run and its jobs have ended, or that machine has "
            f"gone for good, give it again after: {_forget(books)}"
        )
    try:
        n_ended = end_processes_of(last.token)
    except TimeoutError as error:
        raise UserError(
            f"the last run in this folder was killed ({last}), and what it left cannot be ended: {error}. They wait "
            "for a disk or a device: see to that, or restart the machine, then give the command again"
        ) from error
    n_cancelled = _CANCEL.get(last.executor, _cancel_nothing)(last, books)
    # nobody else can hold them: they are this machine's, whose only run is this one
    locks = books / "locks"
    was_locked = locks.is_dir() and any(locks.iterdir())
    shutil.rmtree(locks, ignore_errors=True)
    if n_ended or n_cancelled or was_locked:
        logger.warning(
            f"The last run in this folder was killed ({last}); what it left unfinished is made again."
            + (f" Ended {n_ended} processes that it left." if n_ended else "")
            + (f" Cancelled {n_cancelled} jobs that it left on the cluster." if n_cancelled else "")
        )


def _forget(books: Path) -> str:
    """What the user types to vouch for it that nothing of the last run is left."""
    return f"rm -rf {shlex.quote(str(books / LOCK))} {shlex.quote(str(books / 'locks'))}"


def _cancel_nothing(last: Run, books: Path) -> int:
    return 0


def _cancel_slurm(last: Run, books: Path) -> int:
    """Cancel a run's Slurm jobs, which all have the run's id as their name; the log tells it."""
    try:
        text = Path(last.log or "").read_text(errors="replace")
    except OSError as error:
        raise UserError(
            f"the last run in this folder was killed ({last}); its log {last.log}, which names its Slurm jobs, cannot "
            f"be read. Cancel what is left of it (squeue --me), then give the command again after: {_forget(books)}"
        ) from error
    found = re.search(r"SLURM run ID: (\S+)", text)
    if not found:  # killed before it submitted anything
        return 0
    name = found[1]

    def queued() -> list[str]:
        return _cluster(["squeue", "--noheader", "--format=%i", f"--name={name}"], last).split()

    return _cancel(queued, lambda jobs: _cluster(["scancel", f"--name={name}"], last), last)


def _cancel_generic(last: Run, books: Path) -> int:
    """Cancel a run's jobs on a generic cluster; Snakemake keeps the ids of those whose files are not finished."""
    jobs = set()
    for path in (books / "incomplete").rglob("*"):
        if path.is_file():
            try:
                jobs.add(json.loads(path.read_text())["external_jobid"])
            except (ValueError, KeyError):  # killed as it wrote the note: not yet submitted
                continue
    jobs -= {None}
    if not jobs:
        return 0
    if not last.cancel:
        raise UserError(
            f"the last run in this folder was killed ({last}); its jobs may still be on the cluster: "
            f"{', '.join(sorted(jobs))}. Its profile names no command to cancel them (cluster-generic-cancel-cmd). "
            f"End them, then give the command again after: {_forget(books)}"
        )

    command = [last.cancel]

    def queued() -> list[str]:
        return [job for job in jobs if _cluster(f"{last.status} {shlex.quote(job)}", last).strip() == "running"]

    if not last.status:
        _cluster([*command, *sorted(jobs)], last)
        return len(jobs)
    return _cancel(queued, lambda found: _cluster([*command, *found], last), last)


_CANCEL = {"slurm": _cancel_slurm, "cluster-generic": _cancel_generic}


def _cancel(queued: Callable[[], list[str]], cancel: Callable[[list[str]], object], last: Run) -> int:
    """Cancel what is queued or running, wait until it has gone, and return how many jobs there were."""
    jobs = queued()
    if not jobs:
        return 0
    logger.info(f"Cancelling {len(jobs)} jobs that a killed run has left on the cluster ...")
    cancel(jobs)
    deadline = time.monotonic() + _CANCEL_SECONDS
    while left := queued():
        if time.monotonic() > deadline:
            raise UserError(
                f"the last run in this folder was killed ({last}); its jobs {', '.join(left)} were cancelled, but are "
                f"still there after {_CANCEL_SECONDS:g} s. Give the command again when they have gone"
            )
        time.sleep(_POLL_SECONDS)
    return len(jobs)


def _cluster(command: list[str] | str, last: Run) -> str:
    """What a command of the cluster prints; a text is a shell's, a list is not."""
    shown = command if isinstance(command, str) else shlex.join(command)
    try:
        done = subprocess.run(
            command,
            shell=isinstance(command, str),
            check=True,
            capture_output=True,
            text=True,
            timeout=_COMMAND_SECONDS,
        )
    except (OSError, subprocess.SubprocessError) as error:
        said = getattr(error, "stderr", None) or str(error)
        raise UserError(
            f"the last run in this folder was killed ({last}); whether its jobs still run on the cluster cannot be "
            f"told, for `{shown}` failed: {said.strip()}. Give the command again where and when that works"
        ) from error
    return done.stdout
