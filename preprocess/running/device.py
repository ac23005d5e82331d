"""Which device computes: the one asked for, or, of several GPUs, one that no other job of this machine has taken."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import tempfile
from collections.abc import Collection
from pathlib import Path

from preprocess.running.cli import UserError

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


def pick_devices(name: str, count: int) -> tuple[str, ...]:
    """As `pick_device`, `count` of them where there are GPUs; a CPU is always one.

    Raises:
        UserError: There are not so many GPUs, or one is named and several are asked for.
    """
    first = pick_device(name)
    if count == 1 or first == "cpu":
        return (first,)
    if name != "auto":
        raise UserError(f"device {name!r} is one GPU, and the setting gpus asks for {count}; use 'auto', or gpus: 1")
    names = _gpu_names()
    if count > len(names):
        raise UserError(f"gpus: found {count}; this machine shows {len(names)}: {', '.join(names)}")
    gpus = [int(first.partition(":")[2])]
    for _ in range(count - 1):
        gpus.append(_free_gpu(names, but=gpus))
    return tuple(f"cuda:{gpu}" for gpu in gpus)


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


def _free_gpu(names: tuple[str, ...], but: Collection[int] = ()) -> int:
    """Number of the first GPU that nobody else has taken, which this process then has; the first when there is none.

    Args:
        names: Of all GPUs.
        but: Numbers of those that are out of the question.
    """
    left = [gpu for gpu in range(len(names)) if gpu not in but]
    for gpu in left:
        name = names[gpu]
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
    return left[0]
