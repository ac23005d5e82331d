"""What each program of `preprocess` asks for when it is called with nothing."""

from __future__ import annotations

import pytest

from helpers.programs import required_arguments

REQUIRED = {
    "preprocess.crops": "--list, --faces, --root, --output",
    "preprocess.export_crops": "dataset, --output",
    "preprocess.faces": "--list, --frames, --root, --output",
    "preprocess.frames": "--list, --root, --output",
    "preprocess.index": "--dataset, --layout, --root, --n-shards, --output",
    "preprocess.landmarks": "--crops, --predictor, --output",
    "preprocess.masks": "--crops, --landmarks, --list, --root, --output",
    "preprocess.preview": "dataset",
    "preprocess.samples": "--data, --dataset, --n-shards, --output, --ledger",
    "preprocess.store.shard_lists": "--index, --n-shards, --output",
    "preprocess.synthetic.__main__": "--layout, --root, --truth, --manifest",
    "preprocess.train_predictor": "--output",
}


@pytest.mark.parametrize("program", REQUIRED)
def test_what_it_cannot_do_without_is_asked_for(program):
    assert required_arguments(program) == REQUIRED[program]
