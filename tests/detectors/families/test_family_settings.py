"""Settings of the families: what goes together, and that names in them are those of the modules that they lead to."""

from __future__ import annotations

from typing import get_args

import pytest

from detectors.data.augmentation import CHAINS
from detectors.data.crop_window import SHAPES
from detectors.data.labelled_crops import BALANCES
from detectors.data.masked_crops import AUGMENTATIONS
from detectors.families import FAMILIES
from detectors.families.handmade.shallow import CLASSIFIERS
from detectors.families.registry import detector_class
from detectors.families.settings import MaskedAugmentation, VectorClassifier
from detectors.interface.settings import Augmentation, Balance, Shape
from preprocess.running.settings import mistakes


@pytest.mark.parametrize("family", FAMILIES)
def test_planning_and_training_know_the_same_settings(family):
    assert detector_class(family).Settings is FAMILIES[family].settings


@pytest.mark.parametrize("family", FAMILIES)
def test_the_defaults_of_every_family_go_together(family):
    assert mistakes(FAMILIES[family].settings, FAMILIES[family].settings.defaults()) == []


@pytest.mark.parametrize(
    ("names", "there"),
    [
        (Augmentation, CHAINS),
        (Shape, SHAPES),
        (Balance, BALANCES),
        (MaskedAugmentation, AUGMENTATIONS),
        (VectorClassifier, CLASSIFIERS),
    ],
)
def test_names_are_those_that_are_there(names, there):
    assert get_args(names) == tuple(there)


@pytest.mark.parametrize(
    ("family", "settings", "said"),
    [
        ("classifier", {"batch_size": 16, "gpus": 3}, "batch_size: found 16, which 3 GPUs cannot share"),
        ("classifier", {"optimizer": "sam"}, "precision: found '16-mixed' with the optimizer 'sam'"),
        ("sbi", {"accumulate_batches": 2}, "accumulate_batches: found 2 with the optimizer 'sam'"),
        ("siamese", {"embedding_epochs": 10, "epochs": 10}, "embedding_epochs: found 10 with 10 epochs"),
        # a family adds to the rules of all networks
        ("triplet", {"batch_size": 16, "gpus": 3}, "batch_size: found 16, which 3 GPUs cannot share"),
        ("ucf", {"channels": 12}, "channels: found 12; Channels of content and forgery features, a multiple of 8"),
        ("ela", {"quality": 101}, "quality: found 101; the largest allowed value is 100"),
    ],
)
def test_a_mistake_begins_with_its_setting(family, settings, said):
    (mistake,) = mistakes(FAMILIES[family].settings, settings)
    assert mistake.startswith(said)


@pytest.mark.parametrize(
    ("family", "settings"),
    [
        ("classifier", {"batch_size": 15, "gpus": 3}),
        ("classifier", {"optimizer": "sam", "precision": "bf16-mixed"}),
        ("classifier", {"accumulate_batches": 2}),
        ("sbi", {"accumulate_batches": 1}),
        ("sbi", {"optimizer": "adam", "precision": "16-mixed"}),
        ("siamese", {"embedding_epochs": 9, "epochs": 10}),
        ("ucf", {"channels": 16}),
        ("ela", {"quality": 100}),
    ],
)
def test_what_goes_together_is_allowed(family, settings):
    assert mistakes(FAMILIES[family].settings, settings) == []
