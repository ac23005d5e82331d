"""Limits of the settings of detectors and of evaluations: the smallest and the largest value that is taken."""

from __future__ import annotations

import pytest

from detectors.evaluation.predict_distorted import RobustnessSettings
from detectors.evaluation.settings import EvaluateSettings
from detectors.families.registry import detector_class
from detectors.interface.settings import DetectorSettings, NetworkSettings
from preprocess.running.cli import UserError
from preprocess.running.settings import load_settings

SHARE = (0.0, 1.0)
ABOVE_0 = (0.0, None)
FROM_1 = (1, None)
# of a network as of the detectors that are named: smallest and largest value
NETWORK = {
    "size": (32, None),
    "margin": ABOVE_0,
    "val_samples": FROM_1,
    "val_share": SHARE,
    **dict.fromkeys(("cpu_threads", "epochs", "batch_size", "accumulate_batches", "samples_per_epoch"), FROM_1),
    **dict.fromkeys(("learning_rate", "weight_decay", "sam_radius", "step_factor"), ABOVE_0),
    **dict.fromkeys(("momentum", "constant_share"), SHARE),
    **dict.fromkeys(("step_epochs", "gpus"), FROM_1),
}
OF_FAMILY = {
    "ucf": {
        "channels": (8, None),
        **dict.fromkeys(("dropout", "decoder_dropout", "permute_probability"), SHARE),
        **dict.fromkeys(("specific_weight", "reconstruction_weight", "contrastive_weight"), ABOVE_0),
        "contrastive_margin": ABOVE_0,
    },
    "classifier": {
        **dict.fromkeys(("dropout", "fake_weight", "label_smoothing"), SHARE),
        "focal_gamma": ABOVE_0,
    },
    "spsl": {"phase_gain": ABOVE_0},
    "sbi": {"size": (32, None), "margin": ABOVE_0, "epochs": FROM_1, "hsv_shift": ABOVE_0, "dropout": SHARE},
    "siamese": {"embedding_margin": ABOVE_0, **dict.fromkeys(("embedding_size", "hidden_size"), FROM_1)},
    "triplet": {"embedding_epochs": FROM_1},
    "temporal": {
        **dict.fromkeys(("n_frames", "lstm_size", "lstm_layers"), FROM_1),
        **dict.fromkeys(("unfrozen_layers", "unfreeze_per_epoch"), (0, None)),
    },
    "lav": {
        "fusion_channels": (8, None),
        **dict.fromkeys(("location_weight", "similarity_weight"), ABOVE_0),
        "similarity_momentum": SHARE,
    },
    "dct": {"train_samples": (2, None), "vectors_per_crop": FROM_1, "pca_components": FROM_1, "block_px": (4, None)},
    "ela": {"quality": FROM_1, "grid": FROM_1},
    "ela_cnn": {"quality": FROM_1, "gain": ABOVE_0},
    "sift": {"max_keypoints": FROM_1, "min_contrast": ABOVE_0},
}
LIMITS = [
    *((NetworkSettings, name, *limits) for name, limits in NETWORK.items()),
    *((DetectorSettings, name, *NETWORK[name]) for name in ("size", "margin", "val_share", "cpu_threads")),
    *(
        (detector_class(family).Settings, name, *limits)
        for family in OF_FAMILY
        for name, limits in OF_FAMILY[family].items()
    ),
    (EvaluateSettings, "n_bootstrap", 1, None),
    (EvaluateSettings, "bootstrap_seed", 0, None),
    (EvaluateSettings, "threshold", 0.0, 1.0),
    (EvaluateSettings, "missing_score", 0.0, 1.0),
    (RobustnessSettings, "max_samples", 1, None),
    (RobustnessSettings, "seed", 0, None),
]


@pytest.mark.parametrize(
    ("settings", "name", "least", "most"), LIMITS, ids=[f"{row[0].__name__}.{row[1]}" for row in LIMITS]
)
def test_a_setting_has_its_limits(settings, name, least, most):
    for limit, step in ((least, -1), (most, 1)):
        if limit is not None:
            assert getattr(load_settings(settings, {name: limit}), name) == limit
            with pytest.raises(UserError, match=name):
                load_settings(settings, {name: limit + step * (1 if isinstance(limit, int) else 1e-4)})


def test_an_evaluation_is_as_documented():
    """docs/evaluation.md: 1,000 resamples, a threshold from validation, one half for what was not predicted."""
    settings = EvaluateSettings()
    assert (settings.n_bootstrap, settings.bootstrap_seed, settings.threshold) == (1000, 0, "validation")
    assert (settings.aggregation, settings.missing_score) == ("detector", 0.5)
    assert (RobustnessSettings().max_samples, RobustnessSettings().seed) == (10_000, 0)
