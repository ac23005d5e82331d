"""Training end to end on a tiny store: learning, resuming, determinism, the files it leaves, prediction."""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from detectors import train as train_stage
from detectors.families.registry import load_detector
from detectors.predict import predict_dataset
from helpers.programs import run_program
from helpers.short_run import last_checkpoint, predict_on_cpu, same_weights, train_on_cpu, weights_of
from helpers.small_run import ROOT
from helpers.tiny_store import make_store
from preprocess.running.cli import UserError
from preprocess.running.orphans import RUN_VARIABLE, processes_of
from preprocess.store.checksum import stamp
from preprocess.store.origin import read_origin
from preprocess.store.schemas import PREDICTIONS
from preprocess.store.tables import read_rows

SETTINGS = {
    "backbone": "test_resnet",
    "pretrained": False,
    "backbone_stride": 8,
    "size": 48,
    "channels": 16,
    "epochs": 3,
    "batch_size": 6,
    "learning_rate": 2e-3,
    "cpu_threads": 1,
}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return make_store(tmp_path_factory.mktemp("store"))


def train(store, folder, *, settings=None, samples=None, detector="ucf", **options):
    return train_on_cpu(detector, SETTINGS | (settings or {}), samples or [store.samples], folder, **options)


@pytest.fixture(scope="module")
def undisturbed(store, tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    train(store, folder)
    return folder


KILLED_TRAINING = """
import json, os, signal, sys
import lightning as L
import torch
from detectors import train

options, moment = json.loads(sys.argv[1]), sys.argv[2]
save, fit = torch.save, L.Trainer.fit


def kill():
    os.kill(os.getpid(), signal.SIGKILL)


class KillInEpoch(L.Callback):
    def on_train_batch_start(self, trainer, module, batch, batch_index):
        if (trainer.current_epoch, batch_index) == (1, 1):
            kill()


def kill_in_checkpoint(checkpoint, file):
    save(checkpoint, file)
    if checkpoint["epoch"] == 1 and "last" in file.name:
        file.truncate(file.tell() // 2)
        kill()


def fit_and_die(trainer, *arguments, **values):
    if moment == "in an epoch":
        trainer.callbacks.append(KillInEpoch())
    fit(trainer, *arguments, **values)
    kill()


L.Trainer.fit = fit_and_die
if moment == "in a checkpoint":
    torch.save = kill_in_checkpoint
paths = {name: train.Path(options.pop(name)) for name in ("data", "output", "summary", "validation", "logs")}
train.train_detector(**options, **paths)
"""


@pytest.mark.parametrize("moment", ["in an epoch", "in a checkpoint", "after the last epoch"])
def test_a_killed_training_ends_with_the_weights_it_would_have_had(store, undisturbed, tmp_path, caplog, moment):
    options = {"experiment": "exp", "detector": "ucf", "seed": 3, "device": "cpu", "workers": 2, "settings": SETTINGS}
    paths = {"data": store.data, "output": tmp_path / "detector.ckpt", "logs": tmp_path / "logs"}
    paths |= {"summary": tmp_path / "summary.json", "validation": tmp_path / "validation.parquet"}
    options |= {"samples": [str(store.samples)]} | {name: str(path) for name, path in paths.items()}
    killed = subprocess.run(
        [sys.executable, "-c", KILLED_TRAINING, json.dumps(options), moment],
        cwd=ROOT,
        env=os.environ | {RUN_VARIABLE: str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert not (tmp_path / "detector.ckpt").exists()
    deadline = time.monotonic() + 60
    while processes_of(str(tmp_path)):  # its loader's workers
        assert time.monotonic() < deadline
        time.sleep(0.1)

    with caplog.at_level(logging.INFO, logger="detectors"):
        train(store, tmp_path)
    assert "going on from" in caplog.text
    epochs = [message.split()[2] for message in caplog.messages if message.startswith("train: epoch")]
    assert epochs == {"in an epoch": ["2", "3"], "in a checkpoint": ["2", "3"], "after the last epoch": []}[moment]
    assert same_weights(weights_of(tmp_path), weights_of(undisturbed))
    last = [last_checkpoint(folder) for folder in (tmp_path, undisturbed)]
    assert same_weights(last[0]["state_dict"], last[1]["state_dict"])
    assert [row["epoch"] for row in last[0]["history"]] == [0, 1, 2]
    losses = [[row["train/total"] for row in checkpoint["history"]] for checkpoint in last]
    assert losses[0] == losses[1]
    assert (tmp_path / "logs/metrics.csv").read_text().count("\n") == 4
    assert not list(tmp_path.rglob("*.partial"))


def test_workers_do_not_change_the_weights_and_seeds_do(store, undisturbed, tmp_path):
    train(store, tmp_path / "workers", workers=2)
    assert (tmp_path / "workers/detector.ckpt").read_bytes() == (undisturbed / "detector.ckpt").read_bytes()
    train(store, tmp_path / "seed", seed=4, settings={"epochs": 1})
    assert not same_weights(weights_of(tmp_path / "seed"), weights_of(undisturbed))


def test_every_file_is_written_where_the_command_line_says(store, tmp_path):
    files = {name: tmp_path / name / "file" for name in ("output", "summary", "validation")}
    options = [text for name, path in files.items() for text in (f"--{name}", path)]
    options += ["--experiment", "exp", "--detector", "ucf", "--seed", 3, "--samples", store.samples]
    options += ["--data", store.data, "--logs", tmp_path / "logs", "--device", "cpu"]
    run_program(train_stage.main, *options, "--settings", json.dumps(SETTINGS | {"epochs": 1}))
    assert {path.name for path in tmp_path.iterdir()} == {*files, "logs"}
    assert load_detector(files["output"])[1]["experiment"] == "exp"
    n_val = sum(row["n_crops"] for row in json.loads(files["summary"].read_text())["counts"] if row["part"] == "val")
    assert len(read_rows(files["validation"])) == n_val > 0


def test_other_settings_start_anew(store, tmp_path, caplog):
    train(store, tmp_path, settings={"epochs": 1})
    with caplog.at_level(logging.INFO, logger="detectors"):
        summary = train(store, tmp_path, settings={"epochs": 1, "learning_rate": 1e-3})
    assert "starting anew" in caplog.text
    assert summary["best_epoch"] == 0
    assert summary["settings"]["learning_rate"] == 1e-3


def test_settings_that_return_take_their_detector_back_unless_the_crops_are_others(tmp_path, caplog):
    store = make_store(tmp_path / "store")
    folder, first, second = tmp_path / "folder", {"epochs": 1}, {"epochs": 1, "learning_rate": 1e-3}
    train(store, folder, settings=first)
    before = [(folder / name).read_bytes() for name in ("detector.ckpt", "validation.parquet", "summary.json")]
    train(store, folder, settings=second)
    with caplog.at_level(logging.INFO, logger="detectors"):
        summary = train(store, folder, settings=first)
    assert "taken back" in caplog.text
    assert summary == json.loads(before[-1])
    assert [(folder / name).read_bytes() for name in ("detector.ckpt", "validation.parquet", "summary.json")] == before
    # the same samples of other crops
    crops = store.crops / "tiny/0000.h5"
    others = shutil.copy(crops, tmp_path)
    with h5py.File(others, "r+") as file:
        file.attrs["settings"] = "others"
    stamp(Path(others))
    shutil.move(others, crops)
    caplog.clear()
    train(store, folder, settings=second)
    assert "taken back" not in caplog.text


def test_summary_tells_what_was_trained(undisturbed):
    summary = json.loads((undisturbed / "summary.json").read_text())
    assert summary["settings"]["margin"] == 0.15  # defaults too
    assert summary["seed"] == 3
    assert summary["train"] == ["tiny"]
    assert summary["methods"] == ["real", "columns", "stripes"]
    assert len(summary["samples"]["tiny.parquet"]) == 64
    counts = {(row["part"], row["method"]): (row["n_videos"], row["n_crops"]) for row in summary["counts"]}
    assert counts == {(part, method): (3, 6) for part in ("train", "val") for method in summary["methods"]}
    assert summary["n_parameters"] == sum(parameter.numel() for parameter in _whole(undisturbed).parameters())
    assert 0 <= summary["best"]["val/video_auc"] <= 1
    assert summary["libraries"]["torch"] == torch.__version__
    assert list((undisturbed / "logs/tensorboard").glob("events*"))


def _whole(folder):
    return load_detector(folder / "detector.ckpt", prediction_only=False)[0]


def test_it_learns_what_makes_a_fake_and_predicts_in_table_order(store, tmp_path):
    summary = train(store, tmp_path, settings={"epochs": 12, "augmentation": "none"})
    assert summary["best"]["val/video_auc"] == 1
    output = tmp_path / "predictions.parquet"
    options = {"checkpoint": tmp_path / "detector.ckpt", "samples": store.samples, "data": store.data, "device": "cpu"}
    predict_dataset(**options, split="test", output=output, batch_size=5)
    rows = read_rows(output)
    expected = [row for row in read_rows(store.samples) if row["split"] == "test"]
    assert list(rows[0]) == PREDICTIONS.names
    for row, sample in zip(rows, expected, strict=True):
        assert {key: row[key] for key in row if key != "score"} == {key: sample[key] for key in row if key != "score"}
    score = np.array([row["score"] for row in rows])
    label = np.array([row["label"] for row in rows])
    assert score[label == 1].min() > score[label == 0].max()
    origin = read_origin(output)
    assert (origin.dataset, origin.stage) == ("tiny", "predict")
    assert json.loads(origin.settings) == {
        "experiment": "exp",
        "seed": 3,
        "detector": "ucf",
        "train": ["tiny"],
        "split": "test",
        "aggregation": "mean",
        "frame_threshold": summary["thresholds"]["frame"],
        "video_threshold": summary["thresholds"]["video"],
    }
    everything = predict_dataset(**options, split="all", output=output, batch_size=64)
    assert len(everything) == len(read_rows(store.samples))


def test_a_split_without_samples_gives_an_empty_table(undisturbed, tmp_path, caplog):
    untested = make_store(tmp_path, "untested", splits=("train",))
    assert predict_on_cpu(undisturbed, untested.samples).empty
    assert "untested" in caplog.text


def test_two_data_sets_one_without_val_and_a_draw_per_epoch(store, tmp_path):
    second = make_store(store.data, "second", splits=("train",), n_groups=5)
    settings = {"epochs": 1, "samples_per_epoch": 8, "val_samples": 10}
    summary = train(store, tmp_path, samples=[store.samples, second.samples], settings=settings)
    assert summary["train"] == ["second", "tiny"]
    n_val = sum(row["n_crops"] for row in summary["counts"] if row["part"] == "val")
    assert n_val == 10
    trained = {(r["dataset"], r["method"]): r["n_videos"] for r in summary["counts"] if r["part"] == "train"}
    assert trained["second", "real"] == 4
    assert last_checkpoint(tmp_path)["global_step"] == 1  # 8 crops are 4 pairs, one batch


def test_without_validation_the_last_epoch_is_kept(tmp_path, caplog):
    store = make_store(tmp_path, splits=("train",))
    summary = train(store, tmp_path, settings={"epochs": 1, "val_share": 0.0})
    assert "the last epoch is kept" in caplog.text
    assert summary["thresholds"] == {"frame": None, "video": None}
    assert load_detector(tmp_path / "detector.ckpt")[1]["thresholds"] == {"frame": None, "video": None}


def test_mistakes_are_explained(store, tmp_path):
    with pytest.raises(UserError, match=r"detector 'ufc' is unknown; allowed: .*ucf"):
        train(store, tmp_path, detector="ufc")
    with pytest.raises(UserError, match="unknown key 'batchsize'; did you mean 'batch_size'"):
        train(store, tmp_path, settings={"batchsize": 3})
    only_test = make_store(tmp_path, "held", splits=("test",))
    with pytest.raises(UserError, match=r"no samples to train on.*held.*test 18"):
        train(only_test, tmp_path)
    reals = make_store(tmp_path, "reals", methods=("real",))
    with pytest.raises(UserError, match="0 fake crops of reals"):
        train(reals, tmp_path)
    (tmp_path / "no.ckpt").write_bytes(b"not a checkpoint")
    with pytest.raises(UserError, match=r"cannot read the detector .*no\.ckpt"):
        load_detector(tmp_path / "no.ckpt")
