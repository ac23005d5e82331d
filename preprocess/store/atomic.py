"""Files that appear whole or not at all."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from preprocess.running.cli import UserError
from preprocess.running.system_errors import describe_write_error

# Ending of a file that is being written.
_PARTIAL = ".partial"


@contextlib.contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Give a temporary path beside `path`; move it there when the block ends well, else remove it.

    What a killed writer of the same file left is removed first: a file has one writer at a time.

    Raises:
        UserError: The system refuses to write the file: a full or read-only disc, no right to write, and the like.
    """
    path = Path(path)
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_strays(path)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=_PARTIAL, dir=path.parent)
        temporary = Path(name)
        os.close(handle)
        yield temporary
        _move(temporary, path)
    except (OSError, RuntimeError) as error:
        message = _describe(error, path, temporary)
        if message is None:
            raise
        raise UserError(message) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def _remove_strays(path: Path) -> None:
    """Remove what killed writers of a file left beside it."""
    with os.scandir(path.parent) as entries:
        strays = [entry.path for entry in entries if entry.name.endswith(_PARTIAL)]
    for stray in map(Path, strays):
        if stray.name.removesuffix(_PARTIAL).rpartition(".")[0] == f".{path.name}":
            stray.unlink(missing_ok=True)


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
