"""Runs of the workflow, or of a part of it, that are killed at moments drawn from a seed, begun again, and compared."""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import h5py
import psutil
import yaml

from helpers.small_run import TINY_UCF, snakemake_command
from preprocess.running.orphans import processes_of
from preprocess.train_predictor import PredictorSettings, train_predictor

TARGET = "results/tiny/eval.csv"
# The whole run in three parts, each with the files that the part before has made: what a part makes last.
PART_TARGETS = ("data/frames/tiny/0000.parquet", "data/samples/tiny.parquet", TARGET)
RAW_TO_FRAMES, FACES_TO_SAMPLES, TRAINING_TO_RESULT, WHOLE = range(4)
SNAKEMAKE, WORKER, GROUP = "snakemake", "worker", "group"

# Far more than any step takes, on a machine that is busy with much else.
PATIENCE_SECONDS = 600.0
# The smallest predictor that is one; what it finds is of no matter here.
_PREDICTOR = PredictorSettings(n_portraits=8, cascade_depth=2, trees_per_level=5, oversampling=2, pool_size=50)
_JOB_BEGINS = re.compile(r"^Job \d+:", re.MULTILINE)


def config() -> dict:
    """The smallest collection with every stage, from rendering to evaluation."""
    collection = {"n_sources": 4, "fakes_per_source": 2, "n_frames": 6, "height": 180, "width": 240, "extras": False}
    return {
        "datasets": {"tiny": {"layout": "celebdf", "root": "data/raw/tiny", "n_shards": 1, "synthetic": collection}},
        "frames": {"n_frames": 3},
        "landmarks": {"predictor": "predictor.dat"},
        "experiments": {
            "tiny": {
                "detector": "ucf",
                "train": ["tiny"],
                "test": ["tiny"],
                "seeds": [0],
                "settings": TINY_UCF | {"size": 48, "batch_size": 4, "epochs": 3, "val_samples": 16},
            }
        },
    }


def prepare(folder: Path) -> Path:
    """A folder in which nothing has run; the predictor is a file that the user has."""
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(config()))
    train_predictor(_PREDICTOR, threads=1).save(str(folder / "predictor.dat"))
    return folder


class Snakemake:
    """A run of the workflow, in a process group of its own.

    Args:
        folder: Where it runs.
        arguments: Further arguments: what to make.
    """

    def __init__(self, folder: Path, *arguments: str):
        # appended to, so that a folder's file tells all that happened there
        self._log = folder / "printed.txt"
        self._log.touch()
        self._begin = self._log.stat().st_size
        command = snakemake_command(folder, *arguments)
        with open(self._log, "a") as log:
            self.process = subprocess.Popen(
                command, cwd=folder, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )

    def printed(self) -> str:
        """What this run has printed."""
        return self._log.read_bytes()[self._begin :].decode(errors="replace")

    def jobs_begun(self) -> int:
        """How many jobs it has started."""
        return len(_JOB_BEGINS.findall(self.printed()))

    def wait_for_jobs(self, n_jobs: int) -> bool:
        """Wait until so many jobs have begun; False: the run has ended before."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while self.jobs_begun() < n_jobs:
            if self.process.poll() is not None:
                return False
            assert time.monotonic() < deadline, self.printed()[-3000:]
            time.sleep(0.02)
        return True

    def end(self) -> str:
        """Wait for a run that ends well, and return what it printed."""
        code = self.process.wait(PATIENCE_SECONDS)
        assert code == 0, self.printed()[-5000:]
        return self.printed()

    def kill(self, target: str, rng: random.Random) -> bool:
        """Kill it, one of the processes that work for it, or all of them at once, and wait until it has ended.

        Returns:
            Whether there was something to kill; False: it had ended, or its workers with it.
        """
        if target == GROUP:
            # a process group, as a terminal or a batch system knows it
            os.killpg(self.process.pid, signal.SIGKILL)
        elif target == SNAKEMAKE:
            self.process.kill()
        elif not self._kill_a_worker(rng):
            return False
        self.process.wait(PATIENCE_SECONDS)
        return True

    def _kill_a_worker(self, rng: random.Random) -> bool:
        """Kill one as soon as there is one; False: the run has ended."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while self.process.poll() is None:
            assert time.monotonic() < deadline
            # a worker may end between the two
            with contextlib.suppress(psutil.NoSuchProcess):
                if workers := psutil.Process(self.process.pid).children(recursive=True):
                    rng.choice(workers).kill()
                    return True
            time.sleep(0.01)
        return False


@dataclass(frozen=True)
class Undisturbed:
    """A run that nothing disturbed.

    Attributes:
        before: Folder as it was before it.
        folder: Folder as it was after it.
        target: What was asked for.
        job_seconds: Time from the start of each job to that of the next, or to the end; the first item is the time
            before the first job.
    """

    before: Path
    folder: Path
    target: str
    job_seconds: tuple[float, ...]


def run_undisturbed(folder: Path) -> tuple[Undisturbed, ...]:
    """Run the workflow once, part after part, and note when its jobs begin.

    Returns:
        The parts in the order of `PART_TARGETS`, and the whole: places `RAW_TO_FRAMES` to `WHOLE`.
    """
    before = prepare(folder / "0")
    parts = []
    for number, target in enumerate(PART_TARGETS, start=1):
        after = Path(shutil.copytree(before, folder / str(number)))
        run = Snakemake(after, target)
        times = [time.monotonic()]
        while run.wait_for_jobs(len(times)):
            times.append(time.monotonic())
        run.end()
        times.append(time.monotonic())
        parts.append(Undisturbed(before, after, target, tuple(end - begin for begin, end in pairwise(times))))
        before = after
    seconds = (parts[0].job_seconds[0], *(second for part in parts for second in part.job_seconds[1:]))
    return (*parts, Undisturbed(parts[0].before, after, TARGET, seconds))


def trial(undisturbed: Undisturbed, folder: Path, target: str, seed: int) -> None:
    """Kill a run at a random moment, sometimes its recovery as well, and hold what comes of it to the promise."""
    rng = random.Random(f"{target} {seed}")
    n_kills = rng.choice((1, 1, 2))
    killed = 0
    while not killed:  # a moment may come too late for a run that is faster than the undisturbed one
        place = Path(shutil.copytree(undisturbed.before, folder / str(rng.random())))
        killed = sum(_kill_once(undisturbed, place, target, rng) for _ in range(n_kills))
    printed = Snakemake(place, undisturbed.target).end()
    assert "Traceback" not in printed
    compare(place, undisturbed.folder, whole_run=True)
    assert (place / ".snakemake/run.lock").read_text() == ""


def _kill_once(undisturbed: Undisturbed, folder: Path, target: str, rng: random.Random) -> bool:
    """Start the run, or start it again, and kill it; False: it ended before."""
    run = Snakemake(folder, undisturbed.target)
    # a worker is there from the first job on
    job = rng.randrange(1 if target == WORKER else 0, len(undisturbed.job_seconds))
    seconds = rng.random() * undisturbed.job_seconds[job]
    if not run.wait_for_jobs(job):
        run.end()
        return False
    time.sleep(seconds)
    if run.process.poll() is not None:
        run.end()
        return False
    token = token_of(folder)
    if not run.kill(target, rng):
        run.end()
        return False
    compare(folder, undisturbed.folder, whole_run=False)
    # half of the recoveries begin at once, among what the killed run left
    if token and rng.random() < 0.5:
        wait_until_gone(token)
    return True


def token_of(folder: Path) -> str | None:
    """The token of the run that is going on in a folder; None: it has not begun."""
    lock = folder / ".snakemake/run.lock"
    text = lock.read_text() if lock.exists() else ""
    return json.loads(text)["token"] if text else None


def wait_until_gone(token: str) -> None:
    """Wait until the processes of a run have ended by themselves."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while left := processes_of(token):
        assert time.monotonic() < deadline, left
        time.sleep(0.1)


def compare(folder: Path, undisturbed: Path, *, whole_run: bool) -> None:
    """Hold every file that a run has made to that of the undisturbed run, array for array.

    Args:
        folder: Where it ran, or was killed.
        undisturbed: Where the undisturbed run has been.
        whole_run: Whether it has ended: then all files must be there, and no other.
    """
    expected, found = set(_results(undisturbed)), set(_results(folder))
    if whole_run:
        assert found == expected
    # before its manifest is there, a rendered collection is not used
    rendered = (folder / "data/synthetic/tiny/manifest.json").exists()
    for path in sorted(found & expected):
        if rendered or path.parts[:2] != ("data", "raw"):
            assert contents(folder / path) == contents(undisturbed / path), path


def _results(folder: Path) -> Iterator[Path]:
    for top in ("data", "results"):
        for path in (folder / top).rglob("*"):
            # TensorBoard's logs of a training bear times, and a figure in SVG the date; hidden are the lock, which
            # tells who runs, and the book, whose lines come in the order in which jobs end
            hidden = path.name.startswith(".")
            if path.is_file() and "tensorboard" not in path.parts and path.suffix != ".svg" and not hidden:
                yield path.relative_to(folder)


def contents(path: Path) -> object:
    """All that a file holds, but for how long it took."""
    if path.suffix == ".h5":
        with h5py.File(path) as file:
            return arrays(file)
    if path.name == "summary.json":
        summary = json.loads(path.read_text())
        return summary | {"training_seconds": 0, "best": summary["best"] | {"seconds": 0}}
    if path.name == "metrics.csv" or "checkpoints" in path.parts:
        return None  # only training reads them, and its result tells what it read
    return path.read_bytes()


def arrays(file: h5py.File) -> dict:
    """Every array and attribute of an HDF5 file."""
    found: dict[str, object] = {"attributes": dict(file.attrs)}

    def add(name: str, item: h5py.Dataset | h5py.Group) -> None:
        if isinstance(item, h5py.Dataset):
            found[name] = item[()].tobytes() if item.dtype.kind != "O" else item[()].tolist()

    file.visititems(add)
    return found
