"""The record of an experiment: everything its figures depend on, in one file."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from detectors.evaluation.record import write_record
from detectors.evaluation.settings import EvaluateSettings
from helpers.tiny_store import make_store
from preprocess.running.cli import UserError
from preprocess.store import versions
from preprocess.store.checksum import file_sha256
from preprocess.store.crop_file import write_crops
from preprocess.store.origin import Origin
from preprocess.store.schemas import LEDGER
from preprocess.store.tables import write_table


def write(folder, summaries):
    samples, crops = make_store(folder, "tiny")
    ledger = samples.with_name("tiny.ledger.parquet")
    rows = [dict.fromkeys(LEDGER.names) | {"video_id": str(video), "shard": f"{video % 2:04d}"} for video in range(5)]
    write_table(ledger, rows, LEDGER, Origin("tiny", "samples", "{}", 1))
    # left by an index of three shards
    write_crops(crops / "tiny/0002.h5", [], Origin("tiny", "crops", '{"margin": 9}', 7, "0002"))
    write_crops(folder / "masks/tiny/0002.h5", [], Origin("tiny", "masks", "{}", 7, "0002"))
    write_record(
        folder / "record.json",
        experiment="exp",
        evaluate_settings=EvaluateSettings(n_bootstrap=7),
        ledgers=[ledger],
        summaries=summaries,
        table=pd.DataFrame({"dataset": ["tiny"], "video_auc": [0.75], "video_ap": [np.nan]}),
    )
    return json.loads((folder / "record.json").read_text()), ledger


def test_it_holds_settings_fingerprints_versions_and_figures(tmp_path):
    summary = tmp_path / "summary.json"
    summary.write_text(
        '{"seed": 3, "settings": {"epochs": 5}, "training_seconds": 1.5, "best": {"epoch": 4, "seconds": 0.3}}'
    )
    record, ledger = write(tmp_path, [summary])
    assert record["experiment"] == "exp"
    tiny = record["datasets"]["tiny"]
    assert tiny["ledger_sha256"] == file_sha256(ledger)
    assert tiny["crops"] == {"version": 1, "settings": {}, "n_shards": 2}
    assert set(tiny) == {"ledger_sha256", "crops"}, "of masks only a shard lies about that no video is in"
    assert record["trainings"] == [{"seed": 3, "settings": {"epochs": 5}, "best": {"epoch": 4}}]
    assert record["evaluate"]["n_bootstrap"] == 7
    assert record["evaluation"] == [{"dataset": "tiny", "video_auc": 0.75, "video_ap": None}]
    assert record["stage_versions"]["TRAIN"] == versions.TRAIN
    assert record["libraries"]["numpy"] == np.__version__


def test_a_summary_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(UserError, match=r"absent\.json.*train again"):
        write(tmp_path, [tmp_path / "absent.json"])
