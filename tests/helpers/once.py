"""What takes long to make, made once for all the processes that share the tests: `made_once`."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """A folder for a fixture of the session.

    pytest-xdist has a session in each of its processes. The first that comes makes the folder, the others wait for it;
    without pytest-xdist there is one process.

    Args:
        factory: Of temporary folders.
        name: Of the folder, unique among all tests.
        make: Fills the empty folder that it is given. Where it fails, the next that asks tries again.
    """
    shared = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    folder, done = shared / name, shared / f"{name}.done"
    with open(shared / f"{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            make(folder)
            done.touch()
    return folder
