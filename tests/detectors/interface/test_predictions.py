"""In which precision samples are scored."""

from __future__ import annotations

import pytest
import torch

from detectors.data.samples import Samples
from detectors.interface.detector import Detector
from detectors.interface.predictions import predict_samples
from detectors.interface.settings import DetectorSettings
from helpers.tiny_store import make_store


class TrainedInHalf(Detector):
    """A product of matrices that bfloat16 cannot hold: 1 / 3."""

    precision = "bf16-mixed"

    def fit(self, training):
        raise NotImplementedError

    def score(self, images):
        return (torch.full((len(images), 1), 1 / 3) @ torch.ones(1, 1))[:, 0]


def test_a_cpu_scores_in_full_precision_whatever_the_training(tmp_path):
    store = make_store(tmp_path, splits=("test",), n_groups=1)
    samples = Samples.read([store.samples])
    detector = TrainedInHalf(DetectorSettings(size=32), ["real", "swap"])
    scores = predict_samples(detector, samples, store.data, batch_size=8, workers=0, device="cpu")
    assert len(scores) == len(samples)
    assert scores == pytest.approx(1 / 3, abs=1e-6)
