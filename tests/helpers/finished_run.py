"""One small run of the whole workflow, from a raw folder that nobody may write to, for tests that look at its store."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import yaml

from helpers.fork_server import run_python
from helpers.small_run import ROOT, TINY_UCF, snakemake_command

# no landmarks: training a predictor would take longer than all the rest
CONFIG = {
    "datasets": {"c": {"layout": "celebdf", "n_shards": 2}},
    "frames": {"n_frames": 3},
    "landmarks": {"predictor": "none"},
    "experiments": {
        "one": {"detector": "ucf", "train": ["c"], "test": ["c"], "seeds": [0], "settings": TINY_UCF},
    },
}


@dataclass(frozen=True)
class FinishedRun:
    """A run that is done.

    Attributes:
        folder: Where it ran.
        raw: The raw collection, of Celeb-DF's layout.
        raw_before: `snapshot` of the raw collection before the run.
    """

    folder: Path
    raw: Path
    raw_before: dict


def finish(folder: Path) -> None:
    """Render a collection, and run the workflow on it in `<folder>/run` while it is read-only."""
    raw, run = folder / "raw", folder / "run"
    subprocess.run(
        [
            *(sys.executable, "-m", "preprocess.synthetic", "--layout", "celebdf", "--root", str(raw)),
            *("--truth", str(folder / "truth"), "--manifest", str(folder / "manifest.json")),
            *("--settings", '{"n_sources": 4, "extras": false, "n_frames": 8, "fakes_per_source": 1}'),
        ],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    run.mkdir()
    write_config(run, raw)
    (folder / "before.json").write_text(json.dumps(snapshot(raw)))
    done = start_snakemake(run, "results/one/eval.csv", setup=read_only(raw))
    assert done.returncode == 0, done.stdout[-5000:]


def finished_in(folder: Path) -> FinishedRun:
    """What `finish` has left in a folder."""
    return FinishedRun(folder / "run", folder / "raw", json.loads((folder / "before.json").read_text()))


def write_config(folder: Path, raw: Path, **changes: object) -> None:
    """Write `CONFIG` for a raw folder; `changes` are keys of its top."""
    # relative, so that copies of the two folders side by side are as finished as these
    datasets = {"c": CONFIG["datasets"]["c"] | {"root": os.path.relpath(raw, folder)}}
    (folder / "config.yaml").write_text(yaml.safe_dump(CONFIG | {"datasets": datasets} | changes))


def start_snakemake(folder: Path, *arguments: str, setup: str = "", cores: int = 2) -> subprocess.CompletedProcess[str]:
    """Run Snakemake in `folder` as a user does; what it printed is all in `stdout`.

    Args:
        folder: With its config.yaml.
        arguments: Of Snakemake.
        setup: Shell commands before it, in a mount namespace of their own where there are any.
        cores: That it may use.
    """
    return run_after(setup, snakemake_command(folder, *arguments, cores=cores), folder)


def run_stage(module: str, *arguments: str | Path, setup: str = "") -> subprocess.CompletedProcess[str]:
    """Run a stage by hand, as `start_snakemake` runs Snakemake."""
    return run_after(setup, [sys.executable, "-m", module, *map(str, arguments)], ROOT)


def run_after(setup: str, command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a command in `folder` after shell commands, in a mount namespace of its own where these mount something.

    Without any, a Python module is run by `fork_server`.
    """
    if not setup:
        return run_python(command, cwd=folder, merge=True)
    command = ["sh", "-ec", f"{setup}\nexec {shlex.join(command)}"]
    if "mount" in setup:
        command = ["unshare", "--mount", *command]
    return subprocess.run(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=1700, check=False
    )


@cache
def can_mount() -> bool:
    """Whether this process may mount file systems in a namespace of its own."""
    try:
        return subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


def read_only(folder: Path) -> str:
    """Shell commands after which nobody can write to a folder; none where they cannot be had."""
    place = shlex.quote(str(folder))
    if can_mount():
        return f"mount --bind {place} {place}\nmount -o remount,ro,bind {place}"
    return "" if os.geteuid() == 0 else f"chmod -R a-w {place}"


def small_disc(folder: Path, n_bytes: int) -> str:
    """Shell commands after which a folder is a disc of `n_bytes`; needs `can_mount`."""
    return f"mount -t tmpfs -o size={n_bytes} tmpfs {shlex.quote(str(folder))}"


def snapshot(folder: Path) -> dict[str, list]:
    """Size, time of change and hash of every file, and time of change of every folder, by relative path."""
    found = {}
    for path in sorted([folder, *folder.rglob("*")]):
        status = path.stat()
        content = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
        found[str(path.relative_to(folder))] = [status.st_size if content else 0, status.st_mtime_ns, content]
    return found
