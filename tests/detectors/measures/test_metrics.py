"""Metrics against hand-worked numbers and against scikit-learn."""

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.stats import norm
from sklearn import metrics as sklearn_metrics

from detectors.measures.metrics import (
    INTERVAL_PERCENT,
    INTERVAL_Z,
    METRICS,
    RESAMPLED,
    bootstrap,
    detection_metrics,
    draw_counts,
    equal_error_rate,
)
from helpers.tiny_predictions import random_scores


def test_hand_worked_numbers():
    # fakes .9 .6 .4, reals .5 .2: five of six pairs are in order; at .5: TP 2, FN 1, FP 1, TN 1
    metrics = detection_metrics([1, 1, 1, 0, 0], [0.9, 0.6, 0.4, 0.5, 0.2], threshold=0.5)
    assert metrics["auc"] == pytest.approx(5 / 6)
    assert metrics["accuracy"] == pytest.approx(3 / 5)
    assert metrics["sensitivity"] == pytest.approx(2 / 3)
    assert metrics["specificity"] == pytest.approx(1 / 2)
    assert metrics["f1"] == pytest.approx(2 * 2 / (2 * 2 + 1 + 1))
    assert (metrics["precision"], metrics["recall"]) == pytest.approx((2 / 3, 2 / 3))
    assert (metrics["real_precision"], metrics["real_recall"]) == pytest.approx((1 / 2, 1 / 2))
    # precision at each fake found: 1/1, 2/2, 3/4
    assert metrics["ap"] == pytest.approx((1 + 1 + 3 / 4) / 3)
    # corners (0, 2/3) and (1/2, 2/3): the line of equal rates is crossed at 1/3
    assert metrics["eer"] == pytest.approx(1 / 3)
    assert metrics["log_loss"] == pytest.approx(-np.log([0.9, 0.6, 0.4, 0.5, 0.8]).mean())
    assert list(metrics) == list(METRICS)


@pytest.mark.parametrize("seed", range(5))
def test_equal_to_sklearn_with_ties(seed):
    labels, scores = random_scores(seed, n=300)
    metrics = detection_metrics(labels, scores, threshold=0.5)
    called = scores >= 0.5
    assert metrics["auc"] == sklearn_metrics.roc_auc_score(labels, scores)
    assert metrics["ap"] == sklearn_metrics.average_precision_score(labels, scores)
    assert metrics["log_loss"] == pytest.approx(sklearn_metrics.log_loss(labels, scores))
    assert metrics["accuracy"] == sklearn_metrics.accuracy_score(labels, called)
    assert metrics["f1"] == sklearn_metrics.f1_score(labels, called)
    assert metrics["sensitivity"] == metrics["recall"] == sklearn_metrics.recall_score(labels, called)
    assert metrics["specificity"] == metrics["real_recall"] == sklearn_metrics.recall_score(~labels + 2, ~called)
    assert metrics["precision"] == sklearn_metrics.precision_score(labels, called)
    assert metrics["real_precision"] == sklearn_metrics.precision_score(~labels + 2, ~called)


def test_one_class_leaves_empty_what_needs_two():
    real = detection_metrics([0, 0, 0, 0], [0.1, 0.2, 0.3, 0.8], threshold=0.5)
    fake = detection_metrics([1, 1], [0.9, 0.2], threshold=0.5)
    undefined = {name for name, value in real.items() if np.isnan(value)}
    assert undefined == {"auc", "ap", "eer", "f1", "sensitivity", "precision", "recall"}
    assert real["accuracy"] == real["specificity"] == real["real_recall"] == 0.75
    assert real["real_precision"] == 1
    assert real["log_loss"] == pytest.approx(-np.log([0.9, 0.8, 0.7, 0.2]).mean())
    undefined = {name for name, value in fake.items() if np.isnan(value)}
    assert undefined == {"auc", "ap", "eer", "specificity", "real_precision", "real_recall"}
    assert fake["f1"] == pytest.approx(2 / 3)
    assert all(np.isnan(value) for value in detection_metrics([], [], threshold=0.5).values())


def test_without_threshold_only_the_ranking_is_measured():
    metrics = detection_metrics([0, 1], [0.2, 0.7], threshold=np.nan)
    assert metrics["auc"] == 1
    assert {name for name, value in metrics.items() if not np.isnan(value)} == {"auc", "ap", "eer", "log_loss"}


def test_precision_of_a_class_that_nothing_is_called_is_undefined():
    all_real = detection_metrics([0, 1, 1], [0.1, 0.2, 0.3], threshold=0.5)
    assert np.isnan(all_real["precision"])
    assert all_real["real_precision"] == pytest.approx(1 / 3)
    assert (all_real["f1"], all_real["recall"]) == (0, 0)
    all_fake = detection_metrics([0, 1, 1], [0.6, 0.7, 0.8], threshold=0.5)
    assert np.isnan(all_fake["real_precision"])
    assert all_fake["precision"] == pytest.approx(2 / 3)


def test_certain_and_wrong_is_costly_but_finite():
    assert detection_metrics([1], [0.0], threshold=0.5)["log_loss"] == pytest.approx(-np.log(1e-7))


def test_threshold_counts_as_fake():
    assert detection_metrics([0, 1], [0.4, 0.5], threshold=0.5)["accuracy"] == 1


@pytest.mark.parametrize(
    ("labels", "scores", "rate", "threshold"),
    [
        ([0, 0, 1, 1], [0.1, 0.2, 0.8, 0.9], 0.0, 0.5),  # apart: the middle of the gap
        ([1, 1, 0, 0], [0.1, 0.2, 0.8, 0.9], 1.0, 0.5),  # the wrong way round
        ([0, 0, 1, 1], [0.1, 0.6, 0.4, 0.9], 0.5, 0.5),  # one of two is wrong on both sides
        ([0, 1], [0.3, 0.3], 0.5, 0.3),  # nothing is told apart
    ],
)
def test_equal_error_rate_by_hand(labels, scores, rate, threshold):
    assert equal_error_rate(labels, scores) == pytest.approx((rate, threshold))


@pytest.mark.parametrize("seed", range(5))
def test_equal_error_rate_solves_its_equation(seed):
    labels, scores = random_scores(seed, n=300, decimals=1 + seed % 3)
    rate, threshold = equal_error_rate(labels, scores)
    false_positive, true_positive, _ = sklearn_metrics.roc_curve(labels, scores)
    # walk along the curve, because it may be crossed where it is vertical
    corners = np.arange(len(false_positive))
    at = brentq(lambda t: np.interp(t, corners, false_positive + true_positive) - 1, 0, corners[-1])
    assert np.interp(at, corners, false_positive) == pytest.approx(rate, abs=1e-9)

    def gap(value):
        return abs((scores[labels == 0] >= value).mean() - (scores[labels == 1] < value).mean())

    assert gap(threshold) == pytest.approx(min(gap(value) for value in np.unique(scores)))


def test_equal_error_rate_of_one_class_is_undefined():
    assert np.isnan(equal_error_rate([1, 1], [0.1, 0.9])).all()


def test_bootstrap_equals_sklearn_on_every_resample():
    labels, scores = random_scores(0, n=60, decimals=1)
    resampled = bootstrap(labels, scores, 0.5, n_resamples=50, seed=3)
    assert tuple(resampled) == RESAMPLED
    real, fake = scores[labels == 0], scores[labels == 1]
    drawn_labels = np.repeat([0, 1], [len(real), len(fake)])
    rng = np.random.default_rng(3)
    for resample in range(50):
        drawn = np.concatenate(
            [np.repeat(real, draw_counts(rng, len(real))), np.repeat(fake, draw_counts(rng, len(fake)))]
        )
        expected = detection_metrics(drawn_labels, drawn, 0.5)
        for name, values in resampled.items():
            assert values[resample] == pytest.approx(expected[name], abs=1e-12)
    assert all(len(np.unique(values)) > 10 for values in resampled.values())


def test_bootstrap_is_seeded_and_spreads_as_theory_says():
    labels, scores = random_scores(1, n=2000, decimals=6)
    aucs = bootstrap(labels, scores, 0.5, n_resamples=1000, seed=0)["auc"]
    assert np.array_equal(aucs, bootstrap(labels, scores, 0.5, n_resamples=1000, seed=0)["auc"])
    assert not np.array_equal(aucs, bootstrap(labels, scores, 0.5, n_resamples=1000, seed=1)["auc"])
    # variance of the AUC from its placements: DeLong et al., Biometrics 44, 1988
    real, fake = scores[labels == 0], scores[labels == 1]
    wins = (fake[:, None] > real) + 0.5 * (fake[:, None] == real)
    expected = np.sqrt(wins.mean(1).var() / len(fake) + wins.mean(0).var() / len(real))
    assert aucs.mean() == pytest.approx(wins.mean(), abs=3 * expected / np.sqrt(1000))
    assert aucs.std() == pytest.approx(expected, rel=0.1)


def test_an_interval_of_95_percent_leaves_out_a_fortieth_on_either_side():
    """Of resamples by their percentiles, of a standard error by the quantile of the normal distribution."""
    assert tuple(np.array(INTERVAL_PERCENT) / 100) == pytest.approx((0.025, 0.975))
    assert pytest.approx(norm.ppf(0.975), abs=1e-12) == INTERVAL_Z


def test_bootstrap_leaves_undefined_what_the_samples_do_not_define():
    with np.errstate(all="raise"):  # nothing is divided by no fakes
        reals = bootstrap([0, 0], [0.1, 0.7], 0.5, n_resamples=10, seed=0)
        fakes = bootstrap([1, 1], [0.1, 0.7], 0.5, n_resamples=10, seed=0)
    assert {name for name, values in fakes.items() if np.isnan(values).all()} == {"auc"}
    assert {name for name, values in reals.items() if np.isnan(values).all()} == {"auc", "f1"}
    assert set(reals["accuracy"]) <= {0, 0.5, 1}
    without_threshold = bootstrap([0, 1], [0.1, 0.7], np.nan, n_resamples=10, seed=0)
    assert np.isnan(without_threshold["accuracy"]).all()
    assert (without_threshold["auc"] == 1).all()
    assert all(np.isnan(values).all() for values in bootstrap([], [], 0.5, n_resamples=10, seed=0).values())
