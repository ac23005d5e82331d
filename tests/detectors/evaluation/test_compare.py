"""DeLong's test against its definition by pairs, by hand, and by permutation."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from detectors.evaluation import compare as module
from detectors.evaluation.compare import COLUMNS, compare, delong_test, placements
from helpers.programs import run_program
from helpers.tiny_predictions import video_scores
from preprocess.running.cli import UserError
from preprocess.store.origin import Origin
from preprocess.store.schemas import VIDEO_SCORES
from preprocess.store.tables import write_table


def two_detectors(seed, n=120, decimals=2):
    """Labels and correlated scores of two detectors, with ties."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, n)
    common = rng.normal(0.7 * labels, 1)
    return labels, np.round(common + rng.normal(0, 0.6, (2, n)), decimals)


def slow_delong(labels, scores):
    """DeLong et al., 1988: the covariance of AUCs from the kernel of all pairs of a fake and a real."""
    fake, real = scores[:, labels == 1], scores[:, labels == 0]
    kernel = (fake[:, :, None] > real[:, None, :]) + 0.5 * (fake[:, :, None] == real[:, None, :])
    aucs = kernel.mean(axis=(1, 2))
    of_fakes, of_reals = kernel.mean(axis=2), kernel.mean(axis=1)
    n_fake, n_real = fake.shape[1], real.shape[1]
    covariance = np.zeros((len(scores), len(scores)))
    for i in range(len(scores)):
        for j in range(len(scores)):
            s10 = sum((of_fakes[i] - aucs[i]) * (of_fakes[j] - aucs[j])) / (n_fake - 1)
            s01 = sum((of_reals[i] - aucs[i]) * (of_reals[j] - aucs[j])) / (n_real - 1)
            covariance[i, j] = s10 / n_fake + s01 / n_real
    return aucs, covariance


def test_hand_worked_numbers():
    # a puts every fake above every real, b puts the fake .2 below both reals
    labels = np.array([1, 1, 0, 0])
    a = placements(labels, np.array([[0.9, 0.8, 0.1, 0.2]]))
    b = placements(labels, np.array([[0.9, 0.2, 0.3, 0.4]]))
    assert a.fake.tolist() == [1, 1]
    assert b.fake.tolist() == [1, 0]
    assert b.real.tolist() == [0.5, 0.5]
    result = delong_test(a, b)
    assert (result.auc_a, result.auc_b) == (1, 0.5)
    # differences of the fakes 0 and 1: variance 1/2 over 2; of the reals 1/2 and 1/2: none
    assert result.standard_error == pytest.approx(0.5)
    assert result.z == pytest.approx(1)
    assert result.p == pytest.approx(2 * norm.sf(1))


@pytest.mark.parametrize("seed", range(4))
def test_equal_to_the_definition_by_pairs(seed):
    labels, scores = two_detectors(seed, decimals=1 + seed % 2)
    aucs, covariance = slow_delong(labels, scores)
    result = delong_test(*(placements(labels, of_one[None]) for of_one in scores))
    assert (result.auc_a, result.auc_b) == pytest.approx(tuple(aucs))
    assert result.auc_a == pytest.approx(roc_auc_score(labels, scores[0]))
    variance = covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1]
    assert result.standard_error == pytest.approx(math.sqrt(variance))
    assert result.z == pytest.approx((aucs[0] - aucs[1]) / math.sqrt(variance))
    assert result.p == pytest.approx(2 * norm.sf(abs(result.z)))


def test_several_seeds_are_the_contrast_of_their_mean_aucs():
    labels, scores = two_detectors(5, n=80)
    rng = np.random.default_rng(0)
    all_scores = np.concatenate([scores, scores + rng.normal(0, 0.3, scores.shape), scores[:1] + 0.1])
    of_a, of_b = [0, 2, 4], [1, 3]
    aucs, covariance = slow_delong(labels, all_scores)
    contrast = np.zeros(5)
    contrast[of_a], contrast[of_b] = 1 / 3, -1 / 2
    result = delong_test(placements(labels, all_scores[of_a]), placements(labels, all_scores[of_b]))
    assert result.auc_a == pytest.approx(aucs[of_a].mean())
    assert result.standard_error == pytest.approx(math.sqrt(contrast @ covariance @ contrast))
    assert result.z == pytest.approx(contrast @ aucs / result.standard_error)


def test_p_agrees_with_a_permutation_of_the_two_detectors():
    labels, scores = two_detectors(2, n=150, decimals=6)
    # ranks, so that the scores of the two may change places
    ranks = np.argsort(np.argsort(scores, axis=1), axis=1).astype(float)
    result = delong_test(*(placements(labels, of_one[None]) for of_one in ranks))
    rng = np.random.default_rng(0)
    differences = []
    for _ in range(2000):
        swapped = np.where(rng.random(len(labels)) < 0.5, ranks, ranks[::-1])
        differences.append(placements(labels, swapped[:1]).auc - placements(labels, swapped[1:]).auc)
    permuted = np.mean(np.abs(differences) >= abs(result.auc_a - result.auc_b) - 1e-12)
    assert 0.05 < result.p < 0.95
    assert result.p == pytest.approx(permuted, abs=0.06)


def test_under_no_difference_p_is_uniform():
    ps = []
    for seed in range(200):
        labels, scores = two_detectors(seed, n=100, decimals=6)
        ps.append(delong_test(*(placements(labels, of_one[None]) for of_one in scores)).p)
    # five standard errors of a share of 200
    assert np.mean(np.array(ps) < 0.1) == pytest.approx(0.1, abs=0.1)
    assert np.mean(np.array(ps) < 0.5) == pytest.approx(0.5, abs=0.17)


def test_identical_detectors_have_no_z():
    labels, scores = two_detectors(0)
    same = placements(labels, scores[:1])
    result = delong_test(same, same)
    assert result.standard_error == 0
    assert math.isnan(result.z)
    assert math.isnan(result.p)


A = {"f0": 0.9, "f1": 0.8, "r0": 0.1, "r1": 0.2}
B = {"f0": 0.9, "f1": 0.2, "r0": 0.3, "r1": 0.4}


def test_every_pair_on_every_common_data_set():
    tables = [video_scores(name, dataset, A) for name in ("a", "b", "c") for dataset in ("ff", "dfdc")]
    tables += [video_scores("a", "only", A)]
    table = compare(pd.concat(tables))
    assert tuple(table.columns) == COLUMNS
    pairs = table[["experiment_a", "experiment_b", "dataset"]].to_numpy().tolist()
    expected = [("a", "b"), ("a", "c"), ("b", "c")]
    assert pairs == [[*pair, dataset] for pair in expected for dataset in ("ff", "dfdc")]


def test_row_of_the_table_holds_the_test():
    row = compare(pd.concat([video_scores("a", "ff", A), video_scores("b", "ff", B)])).iloc[0]
    assert row[["auc_a", "auc_b", "difference", "z"]].tolist() == pytest.approx([1, 0.5, 0.5, 1])
    assert row["difference_low"] == pytest.approx(0.5 - 1.96 * 0.5, abs=1e-4)
    assert row["difference_high"] == pytest.approx(0.5 + 1.96 * 0.5, abs=1e-4)
    assert row["p"] == pytest.approx(0.3173, abs=1e-4)


def test_only_common_videos_are_compared_and_filled_scores_counted():
    a = video_scores("a", "ff", A | {"r2": 0.99}, missing=["f1"])
    of_seeds = [video_scores("b", "ff", B, seed=0), video_scores("b", "ff", B | {"f9": 0.1}, seed=1, missing=["r0"])]
    row = compare(pd.concat([a, *of_seeds])).iloc[0]
    assert (row["n_videos"], row["n_videos_missing"]) == (4, 2)
    assert (row["auc_a"], row["auc_b"]) == (1, 0.5)


def test_one_class_has_no_test():
    reals = {"r0": 0.1, "r1": 0.2}
    row = compare(pd.concat([video_scores("a", "ff", reals), video_scores("b", "ff", reals)])).iloc[0]
    assert row["n_videos"] == 2
    assert row[["auc_a", "auc_b", "difference", "z", "p"]].isna().all()


def test_labels_that_disagree():
    with pytest.raises(UserError, match="disagree about the label of 'r0'"):
        compare(pd.concat([video_scores("a", "ff", A), video_scores("b", "ff", A, labels={"r0": 1})]))


def test_command(tmp_path):
    paths = []
    for name, scores in (("a", A), ("b", B)):
        paths.append(tmp_path / f"{name}.parquet")
        rows = video_scores(name, "ff", scores).to_dict("records")
        write_table(paths[-1], rows, VIDEO_SCORES, Origin("ff", "evaluate", "{}", 1))
    output = tmp_path / "compare.csv"
    run_program(module.main, "--scores", *paths, "--output", output)
    assert output.read_text().splitlines()[1].startswith("a,b,ff,4,0,1,0.5,0.5,")
    assert "<td" in (tmp_path / "tables/compare.html").read_text()
