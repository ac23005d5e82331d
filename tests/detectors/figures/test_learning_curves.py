"""Learning curves show every seed's history and the epoch that was kept."""

from __future__ import annotations

import json
from functools import partial

import pandas as pd
import pytest

from detectors.figures.learning_curves import draw_learning_curves, read_training
from detectors.figures.style import write_figure
from preprocess.running.cli import UserError


def write_training(folder, seed, best_epoch, history):
    (folder / "logs").mkdir(parents=True)
    (folder / "summary.json").write_text(json.dumps({"experiment": "e", "seed": seed, "best_epoch": best_epoch}))
    if history is not None:
        pd.DataFrame(history).to_csv(folder / "logs/metrics.csv", index=False)
    return folder / "summary.json"


@pytest.fixture
def summaries(tmp_path):
    histories = [
        {
            "epoch": [0, 1, 2],
            "seconds": [1.0, 1.0, 1.0],
            "train/common": [0.9, 0.8, 0.7],
            "train/total": [2.0, 1.5, 1.0 - seed / 10],
            "val/frame_log_loss": [0.8, 0.7, 0.6],
            "val/frame_auc": [0.5, 0.6, 0.7],
            "val/video_auc": [0.5, 0.8, 0.6],
            "val/selection": [0.5, 0.8, 0.6],
        }
        for seed in range(2)
    ]
    return [write_training(tmp_path / f"seed{seed}", seed, 1.0, history) for seed, history in enumerate(histories)]


def test_there_is_a_panel_for_each_loss_and_metric_and_a_line_for_each_seed(summaries):
    figure = draw_learning_curves([read_training(path) for path in summaries])
    assert [axes.get_title() for axes in figure.axes] == [
        "training loss: total",
        "training loss: common",
        "validation frame log loss",
        "validation frame AUC",
        "validation video AUC",
    ]
    total, video_auc = figure.axes[0], figure.axes[4]
    curves = [line for line in total.lines if len(line.get_xdata()) > 1]
    assert [list(line.get_ydata()) for line in curves] == [[2, 1.5, 1], [2, 1.5, 0.9]]
    assert [list(line.get_xdata()) for line in curves] == [[1, 2, 3]] * 2, "epochs are counted from 1 for a reader"
    dots = [(line.get_xdata()[0], line.get_ydata()[0]) for line in video_auc.lines if len(line.get_xdata()) == 1]
    assert dots == [(2, 0.8)] * 2, "the epoch that was kept"


def test_what_was_not_validated_has_no_panel(tmp_path):
    history = {"epoch": [0], "seconds": [1.0], "train/total": [2.0], "val/frame_auc": [None], "val/video_auc": [None]}
    training = read_training(write_training(tmp_path / "seed0", 0, 0.0, history))
    assert [axes.get_title() for axes in draw_learning_curves([training]).axes] == ["training loss: total"]


def test_a_detector_without_epochs_says_so(tmp_path):
    training = read_training(write_training(tmp_path / "seed0", 0, None, None))
    figure = draw_learning_curves([training])
    assert not figure.axes
    assert "does not learn in epochs" in figure.texts[0].get_text()


def test_a_summary_without_its_history_is_named(tmp_path):
    path = write_training(tmp_path / "seed0", 0, 3.0, None)
    with pytest.raises(UserError, match=r"summary\.json.*metrics\.csv"):
        read_training(path)


def test_the_same_histories_give_the_same_bytes(summaries, tmp_path):
    trainings = [read_training(path) for path in summaries]
    files = [write_figure(tmp_path / name, partial(draw_learning_curves, trainings)) for name in ("a", "b")]
    for one, other in zip(*files, strict=True):
        assert one.read_bytes() == other.read_bytes()
