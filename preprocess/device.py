"""Which device computes: the one asked for, or, of several GPUs, one that no other job of this machine has taken."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import tempfile
from pathlib import Path

from preprocess.cli import UserError

# Locks on the GPUs that this process has taken, by name; the kernel frees them when it ends, however it ends.
_taken: dict[str, int] = {}


def pick_device(name: str) -> str:
    """Turn `auto`, `cpu`, `cuda` or `cuda:<n>` into a device that exists.

    `auto` is the first GPU that no other process of this user has picked so, the first of all when every one is
    taken, and the CPU where there is no GPU.

    Raises:
        UserError: CUDA is asked for and there is none.
    """
    if name == "auto":
        return f"cuda:{_free_gpu(_gpu_names())}" if _has_cuda() else "cpu"
    if name.startswith("cuda") and not _has_cuda():
        raise UserError(f"device {name!r} is asked for, but PyTorch sees no CUDA GPU; use 'cpu' or 'auto'")
    if name != "cpu" and not name.startswith("cuda"):
        raise UserError(f"device {name!r} is unknown; allowed: auto, cpu, cuda, cuda:<number>")
    return name


def _has_cuda() -> bool:
    """Whether PyTorch sees a GPU; without a driver the answer does not take its import, which takes seconds."""
    for driver in ("libcuda.so.1", "libamdhip64.so", "nvcuda.dll"):
        with contextlib.suppress(OSError):
            ctypes.CDLL(driver)
            break
    else:
        return False
    import torch

    return torch.cuda.is_available()


def _gpu_names() -> tuple[str, ...]:
    """What tells each visible GPU from all others of the machine, whatever number a process knows it by."""
    import torch

    return tuple(str(torch.cuda.get_device_properties(gpu).uuid) for gpu in range(torch.cuda.device_count()))


def _free_gpu(names: tuple[str, ...]) -> int:
    """Number of the first GPU that nobody else has taken, which this process then has; 0 when there is none."""
    for gpu, name in enumerate(names):
        if name in _taken:
            return gpu
        path = Path(tempfile.gettempdir()) / f"deepfake-pipeline-{os.getuid()}-gpu-{name}"
        lock = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            continue
        _taken[name] = lock
        return gpu
    return 0
