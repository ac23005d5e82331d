"""What a detector is when a family says nothing else."""

from __future__ import annotations

import pytest
import torch

from detectors.data.crop_window import CropWindow
from detectors.interface.detector import Detector
from detectors.interface.settings import DetectorSettings


class Plain(Detector):
    def fit(self, training):
        raise NotImplementedError

    def score(self, images: torch.Tensor) -> torch.Tensor:
        return images.float().mean(dim=(1, 2, 3)) / 255


def test_a_detector_is_whole_locates_nothing_and_scores_videos_by_the_mean():
    settings = DetectorSettings(size=48, margin="20px", shape="pad")
    detector = Plain(settings, ["real", "swap"])
    assert detector.prediction_only is False
    assert Plain(settings, ["real"], prediction_only=True).prediction_only is True
    assert (detector.locates, detector.aggregation) == (False, "mean")
    assert detector.find_cam_layer() is None
    assert detector.window == CropWindow(margin="20px", size=48, shape="pad")
    assert (detector.settings, detector.methods) == (settings, ["real", "swap"])


def test_what_a_family_does_not_say_is_the_score_or_nothing():
    images = torch.full((2, 3, 4, 4), 51, dtype=torch.uint8)
    detector = Plain(DetectorSettings(size=48), ["real"])
    assert detector.evidence(images).tolist() == pytest.approx([0.2, 0.2])
    assert detector.vectors(images) == {}
    assert detector.precision == "32-true"
    with pytest.raises(NotImplementedError, match="Plain does not locate"):
        detector.location_maps(images)
