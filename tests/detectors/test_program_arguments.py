"""What each program of `detectors` asks for when it is called with nothing."""

from __future__ import annotations

import pytest

from helpers.programs import required_arguments

REQUIRED = {
    "detectors.data.augmentation": "output, --crops",
    "detectors.ensemble": "--experiment, --members, --output",
    "detectors.evaluate": "--experiment, --train, --predictions, --ledgers, --output, --figures",
    "detectors.evaluation.compare": "--scores, --output",
    "detectors.evaluation.cross_evaluation": "--evaluations, --output, --figures",
    "detectors.evaluation.leakage": "--experiment, --index, --datasets, --train, --test, --output",
    "detectors.evaluation.perturbations": "--scores, --index, --output, --figure",
    "detectors.evaluation.predict_distorted": "--checkpoint, --samples, --data, --output",
    "detectors.evaluation.robustness": "--train, --predictions, --output, --figure",
    "detectors.evaluation.summarise": "--evaluations, --output",
    "detectors.explain": "--checkpoint, --samples, --predictions, --data, --output",
    "detectors.families.sbi.preview": "--samples, --data, --output",
    "detectors.figures.learning_curves": "--summaries, --output",
    "detectors.predict": "--checkpoint, --samples, --data, --output",
    "detectors.retrieve": "image, --datasets",
    "detectors.score": "detector, files",
    "detectors.train": "--experiment, --detector, --samples, --data, --output, --summary, --validation, --logs",
}


@pytest.mark.parametrize("program", REQUIRED)
def test_what_it_cannot_do_without_is_asked_for(program):
    assert required_arguments(program) == REQUIRED[program]
