"""What tests share: small video files, made on the spot."""

from __future__ import annotations

import os
import signal

import pytest

from helpers.finished_run import finish
from helpers.small_run import FINISHED, ROOT, SMALL_CONFIG, snakemake
from preprocess.video.outcomes import OK

# as the workflow's own jobs: threads that spin while they wait take the cores from whatever runs beside the tests
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# with tensors so small, threads take longer to share the work than to do it
os.environ.setdefault("OMP_NUM_THREADS", "1")
# a shell ignores interrupts in what it starts in the background, and so would the runs that tests interrupt
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def run(tmp_path_factory):
    """Folder in which the whole workflow has run; tests read it, and alter copies."""
    folder = tmp_path_factory.mktemp("run")
    (folder / "printed.txt").write_text(snakemake(folder, *FINISHED, config=SMALL_CONFIG))
    return folder


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """A small run, done, whose raw collection was read-only; tests read it, and alter copies."""
    return finish(tmp_path_factory.mktemp("finished"))


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
            "n_bytes": 1,
            "checksum": "0" * 32,
            "mask_checksum": None,
            "shard": "0000",
            "status": OK,
            "message": "",
        }
        return row | values

    return make
