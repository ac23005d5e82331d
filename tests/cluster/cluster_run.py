"""A small workflow that ends here first, then on a cluster that loses jobs: both must leave the same bytes."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import psutil

from helpers.small_run import ROOT, TINY_UCF, snakemake
from preprocess.train_predictor import PredictorSettings, train_predictor

TARGET = "results/one/eval.csv"
# The longest that a run may take, and that a job may be waited for.
RUN_SECONDS = 900
JOB_SECONDS = 400
# Two cores behind the pretended nodes: more workers would only be more processes.
FEW_THREADS = dict.fromkeys(("track_faces", "crop_faces", "train_detector", "predict_dataset"), 2)

Found = TypeVar("Found")


def make_local_run(folder: Path) -> Path:
    """Render a collection, train a landmark predictor, run the workflow here; return the folder of that run."""
    raw, predictor = folder / "raw", folder / "small_81.dat"
    subprocess.run(
        [
            *(sys.executable, "-m", "preprocess.synthetic", "--layout", "celebdf", "--root", str(raw)),
            *("--truth", str(folder / "truth"), "--manifest", str(folder / "manifest.json")),
            *("--settings", '{"n_sources": 4, "extras": false, "n_frames": 8, "fakes_per_source": 1}'),
        ],
        cwd=ROOT,
        check=True,
    )
    settings = PredictorSettings(
        n_portraits=40, max_side_px=160, boxes_per_portrait=2, cascade_depth=3, trees_per_level=20, oversampling=4
    )
    train_predictor(settings, threads=2).save(str(predictor))
    config = {
        "datasets": {
            "c": {
                "layout": "celebdf",
                "root": str(raw),
                "n_shards": 2,
                "landmarks": {"predictor": str(predictor)},
            }
        },
        "frames": {"n_frames": 3},
        "experiments": {
            "one": {"detector": "ucf", "train": ["c"], "test": ["c"], "seeds": [0], "settings": TINY_UCF},
        },
    }
    run = folder / "here"
    snakemake(run, TARGET, config=config, cores=2)
    return run


def results(folder: Path) -> dict[str, str]:
    """SHA-256 of every file that a run is asked for, by its path; left out is what holds times."""
    files = (path for stage in ("data", "results") for path in (folder / stage).rglob("*") if path.is_file())
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
        if path.name != "summary.json" and "logs" not in path.parts and not path.name.startswith(".")
    }


class ClusterRun:
    """Snakemake in a folder of its own, on a cluster.

    Args:
        folder: Where it runs.
        like: A run here, whose config it takes.
        options: What is said to Snakemake beside the target; the shipped profile first of all.
        environment: Variables for it and its jobs.
    """

    def __init__(self, folder: Path, like: Path, options: list[str], environment: dict[str, str]) -> None:
        folder.mkdir()
        shutil.copy(like / "config.yaml", folder)
        self.folder = folder
        self._command = [
            *(sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), TARGET, *options),
            *("--set-threads", *(f"{rule}={n}" for rule, n in FEW_THREADS.items())),
        ]
        self._environment = os.environ | environment
        self._process: subprocess.Popen | None = None

    def start(self) -> None:
        """Give the command; every time it is the same one."""
        with open(self.folder / "printed.txt", "a") as printed:
            self._process = subprocess.Popen(
                self._command,
                cwd=self.folder,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=printed,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def wait_for(self, what: str, look: Callable[[], Found | None]) -> Found:
        """Look until something is found.

        Raises:
            AssertionError: The run ended before, or it took too long.
        """
        deadline = time.monotonic() + JOB_SECONDS
        while not (found := look()):
            assert self._process.poll() is None, f"the run ended before {what}:\n{self.printed()[-5000:]}"
            assert time.monotonic() < deadline, f"no {what} in {JOB_SECONDS} s:\n{self.printed()[-5000:]}"
            time.sleep(0.1)
        return found

    def kill(self) -> None:
        """Kill the main process as a machine does that has run out of memory: nothing can be tidied up."""
        self._process.kill()
        self._process.wait()

    def finish(self) -> None:
        """Wait for the end.

        Raises:
            AssertionError: It failed.
        """
        status = self._process.wait(RUN_SECONDS)
        assert status == 0, self.printed()[-8000:]

    def printed(self) -> str:
        """All that Snakemake said, of every start."""
        return (self.folder / "printed.txt").read_text()

    def stop(self) -> None:
        """End it with the test, however that went; a cluster's jobs are cancelled."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
            try:
                self._process.wait(30)
            except subprocess.TimeoutExpired:
                self.kill()


def kill_trees(processes: list[psutil.Process]) -> None:
    """Kill processes and all that they have started."""
    trees = [member for process in processes for member in (process, *process.children(recursive=True))]
    for process in trees:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
