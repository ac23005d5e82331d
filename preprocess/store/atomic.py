"""Files that appear whole or not at all.

A writer holds a lock on its temporary file, which the kernel frees when the process dies, however it dies; so what a
killed writer left is told from what another is writing. On file systems without locks the machine and the process
in the file's name tell it. Whoever opens the temporary file by its name must not lock it in turn, as HDF5 does.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import socket
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from preprocess.running.cli import UserError
from preprocess.running.system_errors import describe_write_error

# Ending of a file that is being written.
_PARTIAL = ".partial"
# A writer of another machine that cannot be asked counts as gone when it has written nothing for so long.
_YOUNG_SECONDS = 24 * 3600.0
# The end of a temporary name tells the writer; a dot there would belong to the name of the file.
_WRITER = re.compile(r"-(?P<host>\w+)-(?P<pid>\d+)\.partial")


@contextlib.contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Give a temporary path beside `path`; move it there when the block ends well, else remove it.

    What killed writers of the same file left is removed first; what one that lives is writing stays.

    Raises:
        UserError: The system refuses to write the file: a full or read-only disc, no right to write, and the like.
    """
    path = Path(path)
    temporary = handle = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_strays(path)
        handle, temporary = _create(path)
        yield temporary
        _move(temporary, path)
    except (OSError, RuntimeError) as error:
        message = _describe(error, path, temporary)
        if message is None:
            raise
        raise UserError(message) from error
    finally:
        if temporary is not None and handle is not None:
            # before the file is removed: network file systems keep one that is open, under another name
            _unlock(handle)
            temporary.unlink(missing_ok=True)


def _create(path: Path) -> tuple[int, Path]:
    """A new temporary file beside `path`: a descriptor with its lock, and its name."""
    while True:
        handle, name = tempfile.mkstemp(
            prefix=f".{path.name}.", suffix=f"-{_host()}-{os.getpid()}{_PARTIAL}", dir=path.parent
        )
        # another writer may have taken it for a stray before it was locked
        if _lock(handle) is not False and os.path.exists(name):
            return handle, Path(name)
        os.close(handle)


def _remove_strays(path: Path) -> None:
    """Remove what killed writers of a file left beside it."""
    with os.scandir(path.parent) as entries:
        strays = [entry.path for entry in entries if entry.name.endswith(_PARTIAL)]
    for stray in map(Path, strays):
        if stray.name.removesuffix(_PARTIAL).rpartition(".")[0] == f".{path.name}":
            # its writer has ended meanwhile, or it is another user's in a folder of all
            with contextlib.suppress(FileNotFoundError, PermissionError):
                _remove_if_left(stray)


def _remove_if_left(stray: Path) -> None:
    """Remove a temporary file if its writer is gone."""
    try:
        handle = os.open(stray, os.O_RDWR)
    except PermissionError:  # another user's
        handle = None
    try:
        locked = None if handle is None else _lock(handle)
        if locked or (locked is None and not _may_be_written(stray)):
            stray.unlink()
    finally:
        if handle is not None:
            os.close(handle)


def _lock(handle: int) -> bool | None:
    """Whether the lock on a temporary file is ours now; None: its file system has no locks."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _unlock(handle: int) -> None:
    """Give a file up, also where processes that were forked meanwhile have it open."""
    with contextlib.suppress(OSError):
        fcntl.flock(handle, fcntl.LOCK_UN)
    os.close(handle)


def _may_be_written(stray: Path) -> bool:
    """Whether the writer of a temporary file, as its name tells it, may live."""
    writer = _WRITER.search(stray.name)
    if writer is None or writer["host"] != _host():
        return time.time() - stray.stat().st_mtime < _YOUNG_SECONDS
    try:
        os.kill(int(writer["pid"]), 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # it lives, and is another user's
        return True
    return True


def _host() -> str:
    """This machine in the name of a file."""
    return re.sub(r"\W", "_", socket.gethostname())[:32]


def _move(temporary: Path, path: Path) -> None:
    """Put a finished file, safe on the disc, in its place."""
    with open(temporary, "rb") as file:
        os.fsync(file.fileno())
    # mkstemp makes files that only their owner reads; results are for the whole group
    umask = os.umask(0)
    os.umask(umask)
    temporary.chmod(0o666 & ~umask)
    temporary.replace(path)


def _describe(error: BaseException, path: Path, temporary: Path | None) -> str | None:
    """Why a file could not be written, and the way out; None where the error is of something else."""
    refusal = _system_error(error)
    if refusal is None or not _concerns(refusal, path, temporary):
        return None
    return describe_write_error(refusal, path)


def _system_error(error: BaseException | None) -> OSError | None:
    """The system's error behind one: PyTorch raises a RuntimeError over a full disc."""
    while error is not None and not isinstance(error, OSError):
        error = error.__cause__ or error.__context__
    return error


def _concerns(error: OSError, path: Path, temporary: Path | None) -> bool:
    """Whether an error came of writing this file, not of another one that was read meanwhile."""
    return temporary is None or error.filename is None or Path(os.fsdecode(error.filename)) in (path, temporary)
