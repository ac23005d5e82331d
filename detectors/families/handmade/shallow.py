"""Classifiers of feature vectors: fitted by scikit-learn, kept and evaluated as tensors.

What a fit comes to is a few arrays, so a detector file holds nothing that would have to be trusted when it is read,
is the same whatever the version of scikit-learn, and scores on any device. The tests hold the scores to
scikit-learn's own.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from sklearn.decomposition import PCA
from sklearn.ensemble import AdaBoostClassifier, GradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier
from threadpoolctl import threadpool_limits
from torch import Tensor, nn

SVM, LOGISTIC, FOREST, GRADIENT, ADA = (
    "svm",
    "logistic_regression",
    "random_forest",
    "gradient_boosting",
    "adaboost",
)
CLASSIFIERS = (SVM, LOGISTIC, FOREST, GRADIENT, ADA)

_N_TREES = 200
# leaves of a tree of a forest: 200 such trees are 3 MB at most, however many faces they have seen
_MAX_LEAVES = 256
_MIN_LEAF_SAMPLES = 3
_CALIBRATION_FOLDS = 3

# vectors evaluated at once
_CHUNK = 4096


class TensorState(nn.Module):
    """A module whose tensors have the sizes that they were fitted or loaded with."""

    def set(self, **tensors: np.ndarray | float) -> None:
        """Replace tensors, by name; each keeps its type."""
        for name, values in tensors.items():
            old = getattr(self, name)
            setattr(self, name, torch.as_tensor(np.asarray(values)).to(old.device, old.dtype))

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *args: object) -> None:
        for name, old in list(self._buffers.items()):
            loaded = state_dict.get(prefix + name)
            if loaded is not None and old is not None:
                setattr(self, name, torch.empty(loaded.shape, dtype=old.dtype, device=old.device))
        super()._load_from_state_dict(state_dict, prefix, *args)


class Logistic(TensorState):
    """Logistic regression: the logistic function of a weighted sum."""

    weight: Tensor
    bias: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("weight", torch.empty(0, dtype=torch.float64))
        self.register_buffer("bias", torch.empty((), dtype=torch.float64))

    def fit(self, vectors: np.ndarray, labels: np.ndarray, groups: np.ndarray, seed: int, threads: int) -> None:
        fitted = LogisticRegression(max_iter=1000).fit(vectors, labels)
        self.set(weight=fitted.coef_[0], bias=fitted.intercept_[0])

    def forward(self, vectors: Tensor) -> Tensor:
        return torch.sigmoid(vectors @ self.weight + self.bias)


class KernelMachine(TensorState):
    """A support vector machine with Gaussian kernel, its decision made a probability by a logistic function.

    Platt's method: that function is fitted to decisions on vectors which the machine has not seen, in folds that keep
    source groups together.
    """

    support: Tensor
    dual: Tensor
    intercept: Tensor
    gamma: Tensor
    slope: Tensor
    offset: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("support", torch.empty(0, 0))  # (S, D)
        self.register_buffer("dual", torch.empty(0, dtype=torch.float64))  # (S,)
        for name in ("intercept", "gamma", "slope", "offset"):
            self.register_buffer(name, torch.empty((), dtype=torch.float64))

    def fit(self, vectors: np.ndarray, labels: np.ndarray, groups: np.ndarray, seed: int, threads: int) -> None:
        gamma = 1 / max(vectors.shape[1] * float(vectors.var()), 1e-12)
        machine = SVC(gamma=gamma)
        decisions = _unseen_decisions(machine, vectors, labels, groups, seed)
        machine.fit(vectors, labels)
        if decisions is None:
            decisions = machine.decision_function(vectors)
        platt = LogisticRegression(C=np.inf).fit(decisions[:, None], labels)
        self.set(
            support=machine.support_vectors_,
            dual=machine.dual_coef_[0],
            intercept=machine.intercept_[0],
            gamma=gamma,
            slope=platt.coef_[0, 0],
            offset=platt.intercept_[0],
        )

    def forward(self, vectors: Tensor) -> Tensor:
        support = self.support.double()
        squares = (vectors**2).sum(1)[:, None] + (support**2).sum(1) - 2 * vectors @ support.T
        decisions = torch.exp(-self.gamma * squares.clamp(min=0)) @ self.dual + self.intercept
        return torch.sigmoid(self.slope * decisions + self.offset)


def _unseen_decisions(
    machine: SVC, vectors: np.ndarray, labels: np.ndarray, groups: np.ndarray, seed: int
) -> np.ndarray | None:
    """(N,) decisions of machines fitted without a vector's group; None where there are too few groups for that."""
    n_folds = min(_CALIBRATION_FOLDS, len(np.unique(groups)), *np.bincount(labels, minlength=2).tolist())
    if n_folds < 2:
        return None
    cut = StratifiedGroupKFold(n_folds, shuffle=True, random_state=seed)
    folds = list(cut.split(vectors, labels, groups))
    if any(len(np.unique(labels[rest])) < 2 for rest, _ in folds):
        return None
    return cross_val_predict(machine, vectors, labels, cv=folds, method="decision_function")


class Trees(TensorState):
    """Decision trees: a link function of the sum of the leaves that a vector ends in.

    Args:
        kind: `random_forest` (leaves are shares of fakes; no link), `gradient_boosting` or `adaboost` (logistic).
    """

    feature: Tensor
    threshold: Tensor
    left: Tensor
    right: Tensor
    value: Tensor
    root: Tensor
    depth: Tensor
    bias: Tensor

    def __init__(self, kind: str) -> None:
        super().__init__()
        self._kind = kind
        # nodes of all trees, end to end; a leaf leads to itself
        self.register_buffer("feature", torch.empty(0, dtype=torch.int16))
        self.register_buffer("threshold", torch.empty(0, dtype=torch.float64))
        self.register_buffer("left", torch.empty(0, dtype=torch.int32))
        self.register_buffer("right", torch.empty(0, dtype=torch.int32))
        self.register_buffer("value", torch.empty(0, dtype=torch.float64))
        self.register_buffer("root", torch.empty(0, dtype=torch.int32))
        self.register_buffer("depth", torch.empty((), dtype=torch.int32))
        self.register_buffer("bias", torch.empty((), dtype=torch.float64))

    def fit(self, vectors: np.ndarray, labels: np.ndarray, groups: np.ndarray, seed: int, threads: int) -> None:
        bias = 0.0
        if self._kind == FOREST:
            fitted = RandomForestClassifier(
                _N_TREES,
                max_leaf_nodes=_MAX_LEAVES,
                min_samples_leaf=_MIN_LEAF_SAMPLES,
                random_state=seed,
                n_jobs=threads,
            ).fit(vectors, labels)
            trees = [(tree.tree_, tree.tree_.value[:, 0, 1] / _N_TREES) for tree in fitted.estimators_]
        elif self._kind == GRADIENT:
            # each tree sees half of the vectors and looks at few features: better, and much faster
            fitted = GradientBoostingClassifier(
                n_estimators=_N_TREES, subsample=0.5, max_features="sqrt", random_state=seed
            ).fit(vectors, labels)
            rate, share = fitted.learning_rate, float(np.mean(labels))
            bias = math.log(share / (1 - share))
            trees = [(tree.tree_, rate * tree.tree_.value[:, 0, 0]) for tree in fitted.estimators_[:, 0]]
        else:
            fitted = AdaBoostClassifier(
                DecisionTreeClassifier(max_depth=1), n_estimators=_N_TREES, random_state=seed
            ).fit(vectors, labels)
            # SAMME with two classes: a vote counts for one of them and against the other
            weights = 2 * fitted.estimator_weights_ / fitted.estimator_weights_.sum()
            trees = [
                (tree.tree_, weight * np.where(tree.tree_.value[:, 0].argmax(1) == 1, 1.0, -1.0))
                for tree, weight in zip(fitted.estimators_, weights, strict=False)
            ]
        root = np.cumsum([0, *(tree.node_count for tree, _ in trees)])[:-1]
        is_leaf = np.concatenate([tree.children_left < 0 for tree, _ in trees])
        itself = np.arange(len(is_leaf))
        children = {
            side: np.concatenate(
                [first + getattr(tree, f"children_{side}") for first, (tree, _) in zip(root, trees, strict=True)]
            )
            for side in ("left", "right")
        }
        self.set(
            feature=np.where(is_leaf, 0, np.concatenate([tree.feature for tree, _ in trees])),
            threshold=np.concatenate([tree.threshold for tree, _ in trees]),
            value=np.where(is_leaf, np.concatenate([value for _, value in trees]), 0.0),
            root=root,
            depth=max(tree.max_depth for tree, _ in trees),
            bias=bias,
            **{side: np.where(is_leaf, itself, nodes) for side, nodes in children.items()},
        )

    def forward(self, vectors: Tensor) -> Tensor:
        # scikit-learn's trees see 32 bits
        vectors = vectors.float().double()
        node = self.root.long().expand(len(vectors), -1)
        for _ in range(int(self.depth)):
            goes_left = vectors.gather(1, self.feature[node].long()) <= self.threshold[node]
            node = torch.where(goes_left, self.left[node], self.right[node]).long()
        total = self.value[node].sum(1) + self.bias
        return total if self._kind == FOREST else torch.sigmoid(total)


class ShallowClassifier(TensorState):
    """Vectors, each feature brought to mean 0 and deviation 1, turned into principal components, and classified.

    Args:
        kind: One of `CLASSIFIERS`.
    """

    mean: Tensor
    components: Tensor

    def __init__(self, kind: str):
        super().__init__()
        self.register_buffer("mean", torch.empty(0))  # (D,)
        self.register_buffer("components", torch.empty(0, 0))  # (K, D), the features' deviations in them
        self.machine: KernelMachine | Logistic | Trees
        if kind == SVM:
            self.machine = KernelMachine()
        elif kind == LOGISTIC:
            self.machine = Logistic()
        else:
            self.machine = Trees(kind)

    def fit(
        self,
        vectors: np.ndarray,
        labels: np.ndarray,
        groups: np.ndarray,
        *,
        n_components: int,
        seed: int,
        threads: int = 1,
    ) -> None:
        """Fit to labelled vectors; the result does not depend on `threads`.

        Args:
            vectors: (N, D) float32.
            labels: (N,) 0 or 1, both there.
            groups: (N,) int: vectors of one group are not independent of each other.
            n_components: Principal components, fewer where there are not so many.
            seed: Of what the classifier draws.
            threads: Of the forest.
        """
        # sums of several threads differ in their last bits
        with threadpool_limits(1):
            mean, deviation = vectors.mean(0, dtype=np.float64), vectors.std(0, dtype=np.float64)
            scale = 1 / np.where(deviation > 1e-6, deviation, np.inf)
            standard = (vectors - mean) * scale
            pca = PCA(min(n_components, *vectors.shape), svd_solver="covariance_eigh").fit(standard)
            self.set(mean=mean, components=pca.components_ * scale)
            reduced = self._reduce(torch.from_numpy(vectors)).float().numpy()
            self.machine.fit(reduced, labels.astype(np.int64), groups, seed, threads)

    def forward(self, vectors: Tensor) -> Tensor:
        """(N,) float32 probabilities of (N, D) vectors."""
        parts = [self.machine(self._reduce(part).float().double()) for part in vectors.split(_CHUNK)]
        return torch.cat(parts).float() if parts else vectors.new_zeros(0)

    def _reduce(self, vectors: Tensor) -> Tensor:
        return (vectors - self.mean).double() @ self.components.double().T
