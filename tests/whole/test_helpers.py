"""What the other tests lean on: forks that behave as fresh processes, and folders made once for all processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from helpers.fork_server import run_python
from helpers.once import made_once

PROGRAM = """
import atexit, os, signal, sys
atexit.register(print, "the end")
print(__name__, sys.argv, os.getcwd(), sys.path, os.environ["GIVEN"], "HOME" in os.environ, sys.stdin.read())
print(sorted(name for name in sys.modules if name.split(".")[0] in ("preprocess", "detectors", "workflow", "helpers")))
print("said on stderr", file=sys.stderr)
if sys.argv[1] == "raise":
    raise ValueError("of the program")
if sys.argv[1] == "kill":
    sys.stdout.flush()
    os.kill(os.getpid(), signal.SIGTERM)
sys.exit({"code": 7, "text": "a last word"}.get(sys.argv[1]))
"""


@pytest.fixture
def command(tmp_path):
    """How `python -m program` is called; it lies in the current folder of the call."""
    (tmp_path / "program.py").write_text(PROGRAM)
    return [sys.executable, "-m", "program"]


@pytest.mark.parametrize("ending", ["well", "code", "text", "raise", "kill"])
def test_a_fork_does_what_a_fresh_python_does(command, tmp_path, ending):
    environment = {"GIVEN": "ü", "PYTHONPATH": str(tmp_path / "elsewhere"), "PATH": os.environ["PATH"]}
    environment |= {name: value for name, value in os.environ.items() if name.startswith(("PYTHONIO", "LC_", "LANG"))}
    options = {"cwd": tmp_path, "env": environment}
    forked = run_python([*command, ending], **options)
    fresh = subprocess.run(
        [*command, ending], capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False, **options
    )
    assert (forked.returncode, forked.stdout) == (fresh.returncode, fresh.stdout)
    # a traceback has frames of the helper
    last = -1 if ending == "raise" else 0
    assert forked.stderr.splitlines()[last:] == fresh.stderr.splitlines()[last:]
    merged = run_python([*command, ending], merge=True, **options)
    assert sorted(merged.stdout.splitlines()) == sorted((forked.stdout + forked.stderr).splitlines())


def test_a_fork_sees_what_the_code_is_now(tmp_path):
    for number in ("1", "2"):
        (tmp_path / "counted.py").write_text(f"print({number})")
        assert run_python([sys.executable, "-m", "counted"], cwd=tmp_path).stdout == f"{number}\n"


def test_a_fork_that_takes_too_long_is_killed_and_the_next_is_served(tmp_path):
    (tmp_path / "slow.py").write_text("import time\ntime.sleep(1000)")
    with pytest.raises(TimeoutError, match=r"slow.*longer than 3 s"):
        run_python([sys.executable, "-m", "slow"], cwd=tmp_path, timeout=3)
    assert nothing_runs_in(tmp_path)
    assert run_python([sys.executable, "-m", "json.tool", "--help"], cwd=tmp_path).returncode == 0


def test_when_a_test_is_interrupted_its_program_ends_and_the_next_is_served(tmp_path):
    class Interrupted(Exception):
        pass

    def interrupt(*_):
        raise Interrupted

    (tmp_path / "slow.py").write_text("import time\ntime.sleep(1000)")
    before = signal.signal(signal.SIGUSR1, interrupt)
    timer = threading.Timer(3, os.kill, (os.getpid(), signal.SIGUSR1))
    try:
        timer.start()
        with pytest.raises(Interrupted):
            run_python([sys.executable, "-m", "slow"], cwd=tmp_path)
    finally:
        timer.cancel()
        signal.signal(signal.SIGUSR1, before)
    assert nothing_runs_in(tmp_path)
    assert run_python([sys.executable, "-m", "json.tool", "--help"], cwd=tmp_path).returncode == 0


def nothing_runs_in(folder: Path) -> bool:
    """Whether every process whose current folder this was has ended, or does within half a minute."""
    deadline = time.monotonic() + 30
    while any(process.info["cwd"] == str(folder) for process in psutil.process_iter(["cwd"])):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


@pytest.mark.parametrize("command", [["sh", "-c", "true"], [sys.executable, "-c", "1"], [sys.executable, "-m"]])
def test_only_modules_of_this_python_are_forked(command, tmp_path):
    with pytest.raises(ValueError, match="-m <module>"):
        run_python(command, cwd=tmp_path)


def test_what_is_asked_for_at_once_is_made_once_and_again_when_it_failed(tmp_path, monkeypatch):
    calls = []

    def make(folder):
        calls.append(folder)
        (folder / f"file{len(calls)}").touch()
        time.sleep(0.1)
        if len(calls) == 1:
            raise RuntimeError("the first time")

    factory = SimpleNamespace(getbasetemp=lambda: tmp_path / "gw0")
    (tmp_path / "gw0").mkdir()
    monkeypatch.setenv("PYTEST_XDIST_WORKER", "gw0")
    with ThreadPoolExecutor(3) as pool:
        made = [pool.submit(made_once, factory, "thing", make) for _ in range(3)]
    failed = [of for of in made if of.exception()]
    assert [str(of.exception()) for of in failed] == ["the first time"]
    assert {of.result() for of in made if of not in failed} == {tmp_path / "thing"}
    assert [path.name for path in (tmp_path / "thing").iterdir()] == ["file2"]
    assert len(calls) == 2
    monkeypatch.delenv("PYTEST_XDIST_WORKER")
    assert made_once(factory, "thing", lambda folder: None) == tmp_path / "gw0/thing"
