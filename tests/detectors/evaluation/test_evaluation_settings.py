"""Names in the settings of the evaluation are those of the modules that they lead to."""

from __future__ import annotations

from typing import get_args

import pytest

from detectors.evaluation.distortions import DISTORTIONS, STRENGTHS
from detectors.evaluation.leakage import KINDS
from detectors.evaluation.settings import Aggregation, Distortion, EvaluateSettings, RobustnessSettings, Strength
from detectors.measures.aggregation import AGGREGATIONS
from detectors.measures.runs import DETECTOR
from preprocess.running.settings import mistakes
from workflow.config_model import Leak


@pytest.mark.parametrize(
    ("names", "there"),
    [
        (Aggregation, (DETECTOR, *AGGREGATIONS)),
        (Distortion, DISTORTIONS),
        (Strength, STRENGTHS),
        (Leak, KINDS),
    ],
)
def test_names_are_those_that_are_there(names, there):
    assert get_args(names) == tuple(there)


def test_all_distortions_are_tried_in_all_strengths_by_default():
    assert RobustnessSettings().distortions == tuple(DISTORTIONS)
    assert RobustnessSettings().strengths == tuple(STRENGTHS)


@pytest.mark.parametrize(
    ("right", "wrong", "said"),
    [
        ({"threshold": 1}, {"threshold": 1.01}, "threshold: found 1.01; the largest allowed value is 1"),
        ({"threshold": "validation"}, {"threshold": "valid"}, 'threshold: found "valid"; Score from which'),
        (
            {"missing_score": None},
            {"missing_score": -0.1},
            "missing_score: found -0.1; the smallest allowed value is 0",
        ),
        ({"aggregation": "mean"}, {"aggregation": "median"}, "aggregation: found \"median\"; did you mean 'mean'?"),
    ],
)
def test_limits_of_the_evaluation(right, wrong, said):
    assert mistakes(EvaluateSettings, right) == []
    (line,) = mistakes(EvaluateSettings, wrong)
    assert line.startswith(said)
