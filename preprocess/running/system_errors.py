"""What the system refuses, in words that say what to do: a full disc, a read-only folder, too little memory."""

from __future__ import annotations

import contextlib
import errno
import os
import shlex
import shutil
import signal
import sys
from pathlib import Path

OUT_OF_MEMORY = "give the job more memory (`mem_mb` of its rule), or fewer threads or a smaller batch_size"

_BRIEF_CHARACTERS = 200

# Why writing fails, and the way out.
_WAYS_OUT = {
    errno.ENOSPC: "free some space, or move the folder to a larger disc and leave a link to it in its place",
    errno.EDQUOT: "free some space, or ask for a larger quota",
    errno.EFBIG: "a limit on the size of files is set (`ulimit -f`), or the file system allows no larger ones",
    errno.EROFS: "mount the file system for writing, or run in another folder",
    errno.EACCES: "give yourself the right to write there, or run in another folder",
    errno.EPERM: "give yourself the right to write there, or run in another folder",
    errno.ENOTDIR: "a part of the path is a file: remove it",
    errno.EEXIST: "a part of the path is a file: remove it",
    errno.EISDIR: "a folder lies where the file belongs: remove it",
    errno.EIO: "look at the system's log (`dmesg`) before you trust the disc with more",
}
# Exit code by which a shell tells that a program was killed.
_KILLED = 128 + signal.SIGKILL
# What PyTorch and OpenCV say instead of raising MemoryError.
_MEMORY_WORDS = ("can't allocate memory", "Insufficient memory", "CUDA out of memory", "Unable to allocate")


def describe_write_error(error: OSError, path: str | Path | None) -> str | None:
    """What went wrong when a file was written, and the way out; None for what may be a bug.

    Args:
        error: What was raised.
        path: The file; None when it is not known.
    """
    if error.errno not in _WAYS_OUT:
        return None
    free = ""
    if error.errno == errno.ENOSPC and path is not None:
        with contextlib.suppress(OSError):
            usage = shutil.disk_usage(Path(path).parent)
            free = f" ({usage.free / 1e6:,.0f} of {usage.total / 1e6:,.0f} MB are free)"
    what = f"cannot write {path}: " if path is not None else ""
    return f"{what}{os.strerror(error.errno)}{free}; {_WAYS_OUT[error.errno]}. Then run the same command again"


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, of the machine, of the job or of the GPU."""
    return isinstance(error, MemoryError) or any(words in str(error) for words in _MEMORY_WORDS)


def describe(error: BaseException) -> str | None:
    """What to tell the user of an error that a stage did not handle; None for what may be a bug."""
    if is_out_of_memory(error):
        return f"memory ran out ({str(error).splitlines()[0] if str(error) else 'MemoryError'}); {OUT_OF_MEMORY}"
    # what only writing can meet: rights may be lacking for reading too
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS):
        return describe_write_error(error, error.filename and os.fsdecode(error.filename))
    return None


def shell_prefix(programs: str | None, modules: str) -> str:
    """What the workflow's shell commands begin with: where programs and modules lie, and a last word for the killed.

    A program that is killed says nothing; the shell that started it sees the signal.

    Args:
        programs: Folder to search for programs first; None where an environment of the job's own comes first.
        modules: Folder of the Python modules.
    """
    path = f'PATH={shlex.quote(programs)}:"$PATH" ' if programs else ""
    prefix = (
        f"export {path}PYTHONPATH={shlex.quote(modules)} "
        # threads that wait sleep: spinning, they take the cores from the jobs beside them
        'OMP_WAIT_POLICY="${OMP_WAIT_POLICY:-PASSIVE}"; '
        f"trap '[ $? -ne {_KILLED} ] || python -m {__name__}' EXIT; "
    )
    return prefix.replace("{", "{{").replace("}", "}}")  # Snakemake fills in braces


def brief(error: BaseException) -> str:
    """An error's message on one line, cut where it is long."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= _BRIEF_CHARACTERS else text[:_BRIEF_CHARACTERS] + " …"


if __name__ == "__main__":
    print(f"error: the job was killed (signal 9), mostly because memory ran out: {OUT_OF_MEMORY}", file=sys.stderr)
