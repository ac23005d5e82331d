"""What tests share: finished runs, and rows of the index."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from helpers.finished_run import finish, finished_in
from helpers.once import made_once
from helpers.small_run import FINISHED, ROOT, SMALL_CONFIG, snakemake
from preprocess.running import workers
from preprocess.video.outcomes import OK

# as the workflow's own jobs: threads that spin while they wait take the cores from whatever runs beside the tests
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# with tensors so small, threads take longer to share the work than to do it
os.environ.setdefault("OMP_NUM_THREADS", "1")
# a shell ignores interrupts in what it starts in the background, and so would the runs that tests interrupt
signal.signal(signal.SIGINT, signal.default_int_handler)


# Files of tests that take longest come first: where several processes share the files (`make test`), none of them is
# left alone with a long one at the end.
LONGEST_FIRST = (
    "whole/test_pipeline.py",
    "workflow/test_crashes.py",
    "workflow/test_walks.py",
    "whole/test_faults.py",
    "preprocess/test_protocols.py",
    "preprocess/video/test_long_videos.py",
    "workflow/test_robustness_targets.py",
    "whole/test_robustness.py",
    "workflow/test_reruns.py",
    "preprocess/test_landmarks.py",
    "detectors/test_train.py",
    "preprocess/face/test_real_photos.py",
    "whole/test_untrusted.py",
    "preprocess/test_faces.py",
    "detectors/families/test_sbi.py",
    "detectors/families/test_lav.py",
)


def pytest_collection_modifyitems(items):
    """Bring the longest first; among the others the order stays."""
    places = {Path(__file__).parent / name: place for place, name in enumerate(LONGEST_FIRST)}
    if gone := [str(path) for path in places if not path.is_file()]:
        raise pytest.UsageError(f"LONGEST_FIRST names files that are not there: {', '.join(gone)}")
    items.sort(key=lambda item: places.get(item.path, len(places)))


if "PYTEST_XDIST_WORKER" in os.environ:
    # All workers of a process are forked from one server, which has imported what the first of them asked for: for a
    # whole suite it is to be what any of them needs, lest each of the others imports PyTorch anew.
    _context = workers._context
    _set_preload = _context.set_forkserver_preload
    _context.set_forkserver_preload = lambda modules: _set_preload([*modules, "preprocess.face.detector"])


@pytest.fixture(scope="session")
def run(tmp_path_factory):
    """Folder in which the whole workflow has run; tests read it, and alter copies."""

    def make(folder):
        (folder / "printed.txt").write_text(snakemake(folder, *FINISHED, config=SMALL_CONFIG))

    return made_once(tmp_path_factory, "run", make)


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """A small run, done, whose raw collection was read-only; tests read it, and alter copies."""
    return finished_in(made_once(tmp_path_factory, "finished", finish))


@pytest.fixture(scope="session")
def shipped_store():
    """The folder `data` of the collections as shipped; minutes when they are not there yet."""
    names = ("ff_synthetic", "celebdf_synthetic", "dfdc_synthetic")
    snakemake(ROOT, *(f"data/samples/{name}.parquet" for name in names), cores=12)
    return ROOT / "data"


@pytest.fixture
def index_row():
    """A function that makes a row of the index with what the stages read of it."""

    def make(video_id: str, path: str, **values) -> dict:
        row = {
            "video_id": video_id,
            "dataset": "d",
            "path": path,
            "kind": "video",
            "label": 0,
            "method": "real",
            "compression": "original",
            "split": "train",
            "source_id": None,
            "source_group": video_id,
            "identities": [],
            "mask_path": None,
            "metadata": None,
            "codec": "h264",
            "height": 48,
            "width": 64,
            "n_frames": 10,
            "fps": 25.0,
            "duration_seconds": 0.4,
            # null: a test that alters raw files says what they were
            "n_bytes": None,
            "checksum": None,
            "mask_checksum": None,
            "shard": "0000",
            "status": OK,
            "message": "",
        }
        return row | values

    return make
