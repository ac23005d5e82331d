"""The aggregation and the threshold that scores of one's own files are judged by."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from detectors.scoring.trained import Decision, TrainedSeed, choose_threshold, resolve_decision
from helpers.tiny_predictions import write_predictions


def test_the_threshold_is_that_of_the_validation_file_for_the_aggregation_or_of_the_checkpoint(tmp_path):
    of_seed = TrainedSeed((tmp_path / "detector.ckpt",), tmp_path / "validation.parquet")
    facts = {"thresholds": {"frame": 0.1, "video": 0.3}}
    trained = [SimpleNamespace(path=of_seed.checkpoints[0], facts=facts, detector=SimpleNamespace(aggregation="mean"))]
    assert choose_threshold([of_seed], trained, "mean") == 0.3
    assert np.isnan(choose_threshold([of_seed], trained, "confident")), "the checkpoint's is of another aggregation"
    # the mean of a video's two scores: 0.2 and 0.3 are real, 0.6 and 0.8 fake
    scores = {"a": (0, 0.1, 0.3), "b": (0, 0.2, 0.4), "c": (1, 0.5, 0.7), "d": (1, 0.7, 0.9)}
    rows = [
        {"sample_id": f"{name}#{frame}", "video_id": name, "frame_index": frame, "label": label, "score": score}
        for name, (label, *of_video) in scores.items()
        for frame, score in enumerate(of_video)
    ]
    write_predictions(of_seed.validation, rows, stage="validate", split="val")
    assert 0.3 < choose_threshold([of_seed], trained, "mean") <= 0.6


@pytest.mark.parametrize(
    ("own", "asked", "threshold", "expected"),
    [
        (("max_then_mean",), "detector", None, Decision("max_then_mean", 0.3)),
        (("max_then_mean",), "detector", 0.0, Decision("max_then_mean", 0.0)),
        (("max_then_mean",), "mean", 0.6, Decision("mean", 0.6)),
        (("max_then_mean", "confident"), "detector", 0.6, Decision("mean", 0.6)),
    ],
)
def test_what_is_asked_for_comes_before_what_is_the_detectors_own(tmp_path, own, asked, threshold, expected):
    seeds = [TrainedSeed((tmp_path / f"{name}.ckpt",), tmp_path / "absent.parquet") for name in own]
    facts = {"thresholds": {"frame": 0.1, "video": 0.3}}
    trained = [
        SimpleNamespace(path=seed.checkpoints[0], facts=facts, detector=SimpleNamespace(aggregation=name))
        for seed, name in zip(seeds, own, strict=True)
    ]
    assert resolve_decision(seeds, trained, asked, threshold) == expected
