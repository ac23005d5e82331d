"""Classifiers of vectors: the tensors say what scikit-learn says, and survive a file."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from sklearn.ensemble import AdaBoostClassifier, GradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

from detectors.families.handmade.shallow import CLASSIFIERS, KernelMachine, ShallowClassifier


def problem(n=160, seed=0):
    """Vectors of 12 features on different scales, of which three tell the label, and groups of four."""
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(n, 12)).astype(np.float32)
    labels = (vectors[:, :3].sum(1) + 0.3 * rng.normal(size=n) > 0).astype(np.int64)
    return vectors * np.geomspace(0.1, 100, 12, dtype=np.float32), labels, np.arange(n) // 4


def fitted(kind, **options):
    vectors, labels, groups = problem()
    classifier = ShallowClassifier(kind)
    classifier.fit(vectors, labels, groups, **{"n_components": 10, "seed": 3} | options)
    return classifier


def sklearns(kind, n_components=10):
    """The same by scikit-learn alone; of the SVM, its decision."""
    machine = {
        "svm": SVC(gamma="scale"),
        "logistic_regression": LogisticRegression(max_iter=1000),
        "random_forest": RandomForestClassifier(200, max_leaf_nodes=256, min_samples_leaf=3, random_state=3),
        "gradient_boosting": GradientBoostingClassifier(
            n_estimators=200, subsample=0.5, max_features="sqrt", random_state=3
        ),
        "adaboost": AdaBoostClassifier(DecisionTreeClassifier(max_depth=1), n_estimators=200, random_state=3),
    }[kind]
    vectors, labels, _ = problem()
    return make_pipeline(StandardScaler(), PCA(n_components, svd_solver="covariance_eigh"), machine).fit(
        vectors, labels
    )


@pytest.mark.parametrize("kind", [kind for kind in CLASSIFIERS if kind != "svm"])
def test_scores_are_scikit_learns(kind):
    others = problem(300, seed=1)[0]
    ours = fitted(kind)(torch.from_numpy(others)).numpy()
    # a vector within rounding of a tree's threshold may fall on its other side
    assert np.quantile(np.abs(ours - sklearns(kind).predict_proba(others)[:, 1]), 0.98) < 1e-5


def test_decision_of_the_machine_is_scikit_learns_and_its_probability_rises_with_it():
    others = problem(300, seed=1)[0]
    classifier, reference = fitted("svm"), sklearns("svm")
    scores = classifier(torch.from_numpy(others)).double()
    machine = classifier.machine
    assert isinstance(machine, KernelMachine)
    assert machine.slope > 0
    decisions = (torch.logit(scores) - machine.offset) / machine.slope
    assert np.allclose(decisions, reference.decision_function(others), atol=1e-3)


@pytest.mark.parametrize("kind", CLASSIFIERS)
def test_probabilities_are_near_the_labels_of_unseen_vectors(kind):
    others, labels, _ = problem(300, seed=1)
    scores = fitted(kind)(torch.from_numpy(others)).numpy()
    assert scores.dtype == np.float32
    assert ((scores >= 0) & (scores <= 1)).all()
    assert ((scores > 0.5) == labels).mean() > 0.8


@pytest.mark.parametrize("kind", CLASSIFIERS)
def test_a_file_of_plain_tensors_gives_the_same_scores(kind):
    others = torch.from_numpy(problem(50, seed=1)[0])
    classifier, file = fitted(kind), io.BytesIO()
    torch.save(classifier.state_dict(), file)
    file.seek(0)
    again = ShallowClassifier(kind)
    again.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(again(others), classifier(others))
    # the parts do not depend on what else is scored
    assert torch.allclose(again(others[:7]), classifier(others)[:7], atol=1e-6)


def test_a_file_that_lacks_a_tensor_is_refused_with_its_name():
    state = fitted("logistic_regression").state_dict()
    del state["machine.bias"]
    with pytest.raises(RuntimeError, match=r'Missing key\(s\) in state_dict: "machine.bias"'):
        ShallowClassifier("logistic_regression").load_state_dict(state)


@pytest.mark.parametrize("kind", CLASSIFIERS)
def test_a_seed_gives_the_same_bytes_on_any_number_of_threads(kind):
    one, two = (fitted(kind, threads=threads).state_dict() for threads in (1, 2))
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_another_seed_grows_another_forest():
    one, two = (fitted("random_forest", seed=seed).state_dict()["machine.threshold"] for seed in (0, 1))
    assert one.shape != two.shape or not torch.equal(one, two)


@pytest.mark.parametrize("kind", CLASSIFIERS)
def test_a_feature_that_never_changes_counts_for_nothing(kind):
    vectors, labels, groups = problem()
    vectors[:, 5] = 7
    classifier = ShallowClassifier(kind)
    classifier.fit(vectors, labels, groups, n_components=12, seed=0)
    changed = vectors.copy()
    changed[:, 5] = -1000
    assert torch.equal(classifier(torch.from_numpy(changed)), classifier(torch.from_numpy(vectors)))


def test_a_machine_with_a_single_group_is_calibrated_on_what_it_has():
    vectors, labels, _ = problem(40)
    classifier = ShallowClassifier("svm")
    classifier.fit(vectors, labels, np.zeros(40, int), n_components=12, seed=0)
    assert ((classifier(torch.from_numpy(vectors)) > 0.5).numpy() == labels).mean() > 0.9


def test_no_vectors_have_no_scores():
    assert fitted("adaboost")(torch.empty(0, 12)).shape == (0,)
