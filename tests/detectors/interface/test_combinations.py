"""Settings that do not go together are told before anything runs."""

import dataclasses

import pytest

from detectors.families import FAMILIES
from detectors.families.registry import detector_class
from detectors.interface.combinations import mistaken_combinations


def settings_of(family: str, **settings) -> dict:
    return dataclasses.asdict(detector_class(family).Settings(**settings))


@pytest.mark.parametrize("family", FAMILIES)
def test_the_defaults_of_every_family_go_together(family):
    assert mistaken_combinations(settings_of(family)) == []


@pytest.mark.parametrize(
    ("family", "settings", "said"),
    [
        ("classifier", {"batch_size": 16, "gpus": 3}, "batch_size: found 16, which 3 GPUs cannot share"),
        ("classifier", {"optimizer": "sam"}, "precision: found '16-mixed' with the optimizer 'sam'"),
        ("sbi", {"accumulate_batches": 2}, "accumulate_batches: found 2 with the optimizer 'sam'"),
        ("siamese", {"embedding_epochs": 10, "epochs": 10}, "embedding_epochs: found 10 with 10 epochs"),
    ],
)
def test_a_mistake_begins_with_its_setting(family, settings, said):
    (mistake,) = mistaken_combinations(settings_of(family, **settings))
    assert mistake.startswith(said)
