"""The one list of stages: a stage is in all the places that have to know it, or a test says which forgot it."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest

from preprocess.samples import ShardFiles
from preprocess.store import versions
from preprocess.store.stages import SHARD_STAGES, STAGES


def test_files_lie_where_the_design_says():
    assert [stage.shard_file("d", "0003") for stage in SHARD_STAGES.values()] == [
        "index/d/0003.parquet",
        "frames/d/0003.parquet",
        "faces/d/0003.parquet",
        "crops/d/0003.h5",
        "landmarks/d/0003.parquet",
        "masks/d/0003.h5",
    ]
    assert {name: stage.tables("d") for name, stage in STAGES.items() if stage.table_suffixes} == {
        "index": ("index/d.parquet",),
        "samples": ("samples/d.parquet", "samples/d.ledger.parquet"),
    }


@pytest.mark.parametrize("name", STAGES)
def test_the_version_of_a_stage_is_its_own(name):
    assert STAGES[name].version == getattr(versions, name.upper())


def test_collecting_samples_knows_the_files_of_every_stage():
    assert [field.name for field in dataclasses.fields(ShardFiles)] == list(SHARD_STAGES)
    files = ShardFiles.of(Path("data"), "d", "0000")
    for name, stage in SHARD_STAGES.items():
        assert getattr(files, name) == Path("data") / stage.shard_file("d", "0000")


def test_planning_reads_the_list_without_the_libraries_of_the_stages():
    program = "import sys; import preprocess.store.stages; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert not {"numpy", "pyarrow", "h5py", "torch"} & set(done.stdout.split())


def test_a_video_without_landmarks_or_mask_is_not_lost_and_settings_of_two_stages_are_their_data_sets_own():
    assert [name for name, stage in STAGES.items() if not stage.loses_videos] == ["landmarks", "masks"]
    assert [name for name, stage in STAGES.items() if not stage.for_all_datasets] == ["index", "samples"]
