"""CPU-seconds and memory of the stages, run by their command lines as the workflow runs them."""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from preprocess.store.stages import SHARD_STAGES

# in order; `index` names the data set `c`
STAGES = tuple(SHARD_STAGES)
_PR_SET_CHILD_SUBREAPER = 36


@dataclass(frozen=True)
class Cost:
    """What a command took.

    Attributes:
        cpu_seconds: Of the command and every process that it started, user and system.
        wall_seconds: From start to end.
        peak_bytes: Resident memory of all its processes together, at its largest; looked at every 0.1 s.
    """

    cpu_seconds: float
    wall_seconds: float
    peak_bytes: int


def own_cpu_seconds() -> float:
    """CPU-seconds of this process so far, user and system."""
    return _cpu_seconds(resource.RUSAGE_SELF)


def stage_cost(
    stage: str,
    data: Path,
    root: Path,
    *,
    layout: str,
    settings: dict[str, dict],
    predictor: str,
    workers: int = 1,
) -> Cost:
    """Run a stage on the data set `c`, which is one shard.

    After the index the shard's list is made as well, which is not counted: it depends on the number of rows alone.

    Args:
        stage: One of `STAGES`.
        data: Folder of the store.
        root: Raw collection.
        layout: How it is laid out.
        settings: Settings of each stage; a stage that is not named has its defaults.
        predictor: Predictor of the landmarks, or `none`.
        workers: Videos worked on side by side.
    """
    lists = data / "index/c/0000.parquet"
    file = {name: data / stage.shard_file("c", "0000") for name, stage in SHARD_STAGES.items()}
    raw = ["--root", root, "--workers", workers]
    arguments = {
        "index": [*raw, "--dataset", "c", "--layout", layout, "--n-shards", 1],
        "frames": [*raw, "--list", lists],
        "faces": [*raw, "--list", lists, "--frames", file["frames"], "--device", "cpu"],
        "crops": [*raw, "--list", lists, "--faces", file["faces"]],
        "landmarks": ["--crops", file["crops"], "--predictor", predictor, "--device", "cpu", "--threads", workers],
        "masks": [*raw, "--list", lists, "--crops", file["crops"], "--landmarks", file["landmarks"]],
    }[stage]
    output = data / "index/c.parquet" if stage == "index" else file[stage]
    command = [sys.executable, "-m", f"preprocess.{stage}", *arguments, "--output", output]
    cost = command_cost([*map(str, command), "--settings", json.dumps(settings.get(stage, {}))])
    if stage == "index":
        options = ["--index", output, "--n-shards", "1", "--output", lists.parent]
        subprocess.run([sys.executable, "-m", "preprocess.store.shard_lists", *options], check=True)
    return cost


def command_cost(command: list[str]) -> Cost:
    """Run a command to its end and measure it."""
    # workers are grandchildren; what they cost is counted when somebody waits for them
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)
    begin_cpu, begin = _cpu_seconds(resource.RUSAGE_CHILDREN), time.monotonic()
    process = subprocess.Popen(
        command,
        stderr=subprocess.PIPE,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        text=True,
        process_group=0,  # tells its workers from other children of this process
    )
    peak = [0]
    watcher = threading.Thread(target=_watch_memory, args=(process, peak))
    watcher.start()
    try:
        _, errors = process.communicate()
    except BaseException:
        os.killpg(process.pid, signal.SIGTERM)  # an interrupt at the terminal does not reach its group
        raise
    watcher.join()
    wall_seconds = time.monotonic() - begin
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{errors}")
    while True:
        try:
            os.waitpid(-process.pid, 0)
        except ChildProcessError:
            return Cost(_cpu_seconds(resource.RUSAGE_CHILDREN) - begin_cpu, wall_seconds, peak[0])


def _watch_memory(process: subprocess.Popen, peak: list[int]) -> None:
    main = psutil.Process(process.pid)
    while process.poll() is None:
        total = 0
        try:
            for one in (main, *main.children(recursive=True)):
                total += one.memory_info().rss
        except psutil.NoSuchProcess:
            pass
        peak[0] = max(peak[0], total)
        time.sleep(0.1)


def _cpu_seconds(who: int) -> float:
    usage = resource.getrusage(who)
    return usage.ru_utime + usage.ru_stime
