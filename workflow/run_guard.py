"""One run in a folder and on a store at a time, and the same command again after any end: what every run begins with.

A run holds a lock on `.snakemake/run.lock`, and on `.run.lock` in the folders where `data` and `results` really lie,
for several folders may have links to one store. The kernel frees them when the process dies, however it dies; the
files say who holds them. A run that ends by itself empties them, so what stands in one when the lock can be had is a
run that was killed, here or in another folder. The next one then ends what that left behind (processes on this machine,
jobs on a cluster) before it removes the dead run's Snakemake locks and starts. `workflow.snakemake_seam` decides which
runs need no lock.
"""

from __future__ import annotations

import atexit
import contextlib
import errno
import fcntl
import json
import os
import re
import shlex
import shutil
import subprocess
import time
from base64 import urlsafe_b64decode
from collections.abc import Callable, Iterator
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

# The folder where a run keeps its books, and its lock there.
BOOKS = Path(".snakemake")
LOCK = "run.lock"
# Folders beside the books into which a run writes, and the lock in each. Data may be those of somebody else, which are
# only read.
DATA, RESULTS = "data", "results"
STORE_LOCK = ".run.lock"

_RECORD_BYTES = 1 << 16
# A cancelled job is asked to end, and killed when it does not; Slurm gives it 30 s by default.
_CANCEL_SECONDS = 300.0
_POLL_SECONDS = 1.0
_COMMAND_SECONDS = 60.0
# File systems, and mounts of them, that know no locks.
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
_NO_RIGHT = (errno.EROFS, errno.EACCES, errno.EPERM)


@dataclass(frozen=True)
class Run:
    """Who runs in a folder.

    Attributes:
        books: Its folder `.snakemake`, absolute.
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

    books: str
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
        folder = Path(self.books).parent
        return f"process {self.pid} on {self.host} in {folder}, started {self.start} as: {self.command}"


@dataclass(frozen=True)
class _Lock:
    """A lock that this process holds until it ends.

    Attributes:
        path: The file.
        descriptor: The file, open; the lock goes with it.
        last: The run that was killed while it held the lock, if there was one.
    """

    path: Path
    descriptor: int
    last: Run | None


def begin(run: Run) -> None:
    """Take a folder and its store for a run until the process ends, and end what a killed run has left there.

    Args:
        run: The run that begins.

    Raises:
        UserError: Another run is going on there, or may be; what a killed one left cannot be ended; or a folder cannot
            be written to.
    """
    locks = _take_all(Path(run.books))
    try:
        _recover_all(locks, run)
        _sign(locks, run)
    except BaseException:
        _release(locks)
        raise
    os.environ[RUN_VARIABLE] = run.token
    for lock in locks:
        # after Snakemake's threads, which wait for the jobs; the lock itself goes with the process
        atexit.register(_write, lock.descriptor, "")


def _take_all(books: Path) -> list[_Lock]:
    """Take the locks of a folder, then those of its store in the order of their paths: all or none of them."""
    locks: list[_Lock] = []
    try:
        with _told(books / LOCK):
            books.mkdir(exist_ok=True)
            locks.append(_take(books / LOCK, "this folder"))
        for folder, name in sorted(_store(books.parent).items()):
            with _told(folder / STORE_LOCK):
                try:
                    locks.append(_take(folder / STORE_LOCK, f"{folder}, where this folder's {name} lies"))
                except OSError as error:
                    if name == RESULTS or not _is_closed(folder, error):
                        raise
                    logger.warning(
                        f"Nothing can be written to {folder} ({os.strerror(error.errno or 0)}): its data are only "
                        "read, without a lock; nobody else should change them meanwhile."
                    )
    except BaseException:
        _release(locks)
        raise
    return locks


def _store(folder: Path) -> dict[Path, str]:
    """Where data and results of a folder really lie, each with its name; both may be one."""
    found = {}
    for name in (DATA, RESULTS):
        path = folder / name
        with _told(path):
            real = Path(os.path.realpath(path))
            if path.is_symlink() and not path.exists():
                raise UserError(
                    f"{path} is a link to {real}, which is not there: mount its disc or make that folder, then run the "
                    "same command again"
                )
            path.mkdir(exist_ok=True)
        found[real] = name
    return found


def _is_closed(folder: Path, error: OSError) -> bool:
    """Whether a lock could not be had because nobody here may write to its folder."""
    return error.errno in _NO_RIGHT and not os.access(folder, os.W_OK | os.X_OK)


@contextlib.contextmanager
def _told(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        told = describe_write_error(error, path)
        if told is None:
            raise
        raise UserError(told) from error


def _take(path: Path, where: str) -> _Lock:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        with contextlib.suppress(OSError):  # another's file: whoever may write to the folder may lock it already
            os.fchmod(descriptor, path.parent.stat().st_mode & 0o666)
        locked = _try_lock(descriptor, path.parent)
        last = _read(descriptor)
        if locked is False or (locked is None and last and is_running(last.process)):
            raise _refusal(last, where)
    except BaseException:
        os.close(descriptor)
        raise
    return _Lock(path, descriptor, last)


def _sign(locks: list[_Lock], run: Run) -> None:
    """Write into all locks who holds them, or into none."""
    try:
        for lock in locks:
            with _told(lock.path):
                _write(lock.descriptor, json.dumps(asdict(run)))
    except BaseException:
        for lock in locks:  # what a killed run left has been seen to by now
            with contextlib.suppress(OSError):
                _write(lock.descriptor, "")
        raise


def _release(locks: list[_Lock]) -> None:
    for lock in locks:
        os.close(lock.descriptor)


def _try_lock(lock: int, folder: Path) -> bool | None:
    """Whether the lock is ours now; None: this file system has no locks."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        logger.warning(f"The file system of {folder} has no locks: a second run is only told from this machine.")
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


def _refusal(other: Run | None, where: str) -> UserError:
    if other is None:
        return UserError(f"another run is just starting in {where}; give your command again when it has ended")
    return UserError(
        f"another run is going on in {where}: {other}\n"
        "Two runs would write the same files. Wait until it has ended"
        + (f" (follow it with: tail -f {shlex.quote(other.log)})" if other.log else "")
        + f", or end it with Ctrl-C or: kill -INT {other.pid} (which lets its running jobs finish)\n"
        "Dry runs (--dry-run) and reports may be made meanwhile; --directory runs in another folder, which must have "
        "data and results of its own."
    )


def _recover_all(locks: list[_Lock], run: Run) -> None:
    """See to what killed runs have left, each of them once."""
    killed: dict[str, tuple[Run, list[Path]]] = {}
    for lock in locks:
        if lock.last is not None:
            killed.setdefault(lock.last.token, (lock.last, []))[1].append(lock.path)
    for last, paths in killed.values():
        _recover(last, run, paths)


def _recover(last: Run, run: Run, paths: list[Path]) -> None:
    """End what a killed run has left: first what could still write, then its locks.

    Args:
        last: The killed run.
        run: The run that begins.
        paths: The locks of ours that tell of it.
    """
    ours = Path(run.books)
    if ours / LOCK in paths:  # also if the folder has been moved since
        books = ours
    else:
        books = Path(last.books)
        paths = [*paths, books / LOCK]
    if is_running(last.process):
        # it holds its own locks: this is a copy of its folder or its store
        if books == ours:
            shutil.rmtree(books / "locks", ignore_errors=True)
        return
    forget = f"rm -rf {shlex.join(map(str, [*paths, books / 'locks']))}"
    if last.machine != run.machine and last.host != run.host:
        raise UserError(
            f"the last run on these files did not exit cleanly, or is still running, on another machine: {last}\n"
            f"Give your command on {last.host}. If you know that the run and its jobs have ended, or that machine has "
            f"gone for good, give it again after: {forget}"
        )
    with contextlib.nullcontext(True) if books == ours else _books_of(last, forget) as to_do:
        if to_do:
            _end(last, books, forget)
            if books != ours:
                _adopt(books, ours)


@contextlib.contextmanager
def _books_of(last: Run, forget: str) -> Iterator[bool]:
    """Hold another folder's books while what a killed run left there is ended.

    Yields:
        Whether there is something to end; False: a later run in that folder has seen to it.
    """
    books = Path(last.books)
    try:
        lock = os.open(books / LOCK, os.O_RDWR)
    except FileNotFoundError:
        yield True
        return
    except OSError as error:
        raise UserError(
            f"the last run on these files was killed ({last}), and its folder cannot be opened: {error}. Have the same "
            f"command given there, or see that nothing of it is left and give yours again after: {forget}"
        ) from error
    try:
        locked = _try_lock(lock, books)
        found = _read(lock)
        if found is None or found.token != last.token:
            yield False
        elif locked is False:
            raise _refusal(None, str(books.parent))
        else:
            yield True
            _write(lock, "")
    finally:
        os.close(lock)


def _end(last: Run, books: Path, forget: str) -> None:
    try:
        n_ended = end_processes_of(last.token)
    except TimeoutError as error:
        raise UserError(
            f"the last run on these files was killed ({last}), and what it left cannot be ended: {error}. They wait "
            "for a disk or a device: see to that, or restart the machine, then give the command again"
        ) from error
    n_cancelled = _CANCEL.get(last.executor, _cancel_nothing)(last, books, forget)
    # nobody else can hold them: they are this machine's, whose only run is this one
    locks = books / "locks"
    was_locked = locks.is_dir() and any(locks.iterdir())
    shutil.rmtree(locks, ignore_errors=True)
    if n_ended or n_cancelled or was_locked:
        logger.warning(
            f"The last run on these files was killed ({last}); what it left unfinished is made again."
            + (f" Ended {n_ended} processes that it left." if n_ended else "")
            + (f" Cancelled {n_cancelled} jobs that it left on the cluster." if n_cancelled else "")
        )


def _adopt(theirs: Path, ours: Path) -> None:
    """Note for Snakemake here what a killed run in another folder left unfinished of the files that both have.

    Snakemake names each note by the file's path in base64, in pieces, all but the last of them behind an @.
    """
    for note in (theirs / "incomplete").rglob("*"):
        if not note.is_file():
            continue
        place = note.relative_to(theirs)
        try:
            file = urlsafe_b64decode("".join(place.parts[1:])).decode()  # which passes over the @
            is_shared = os.path.realpath(theirs.parent / file) == os.path.realpath(ours.parent / file)
        except ValueError:  # no note of Snakemake's
            continue
        if is_shared:
            (ours / place).parent.mkdir(parents=True, exist_ok=True)
            (ours / place).write_text('{"external_jobid": null}')


def _cancel_nothing(last: Run, books: Path, forget: str) -> int:
    return 0


def _cancel_slurm(last: Run, books: Path, forget: str) -> int:
    """Cancel a run's Slurm jobs, which all have the run's id as their name; the log tells it."""
    try:
        text = Path(last.log or "").read_text(errors="replace")
    except OSError as error:
        raise UserError(
            f"the last run on these files was killed ({last}); its log {last.log}, which names its Slurm jobs, cannot "
            f"be read. Cancel what is left of it (squeue --me), then give the command again after: {forget}"
        ) from error
    found = re.search(r"SLURM run ID: (\S+)", text)
    if not found:  # killed before it submitted anything
        return 0
    name = found[1]

    def queued() -> list[str]:
        return _cluster(["squeue", "--noheader", "--format=%i", f"--name={name}"], last).split()

    return _cancel(queued, lambda jobs: _cluster(["scancel", f"--name={name}"], last), last)


def _cancel_generic(last: Run, books: Path, forget: str) -> int:
    """Cancel a run's jobs on a generic cluster; Snakemake keeps the ids of those whose files are not finished."""
    if not books.is_dir():
        raise UserError(
            f"the last run on these files was killed ({last}); its folder, which names its jobs on the cluster, has "
            f"gone. Cancel what is left of them, then give the command again after: {forget}"
        )
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
            f"the last run on these files was killed ({last}); its jobs may still be on the cluster: "
            f"{', '.join(sorted(jobs))}. Its profile names no command to cancel them (cluster-generic-cancel-cmd). "
            f"End them, then give the command again after: {forget}"
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
                f"the last run on these files was killed ({last}); its jobs {', '.join(left)} were cancelled, but are "
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
            f"the last run on these files was killed ({last}); whether its jobs still run on the cluster cannot be "
            f"told, for `{shown}` failed: {said.strip()}. Give the command again where and when that works"
        ) from error
    return done.stdout
