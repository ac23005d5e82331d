"""Metrics of a deepfake detector: what a table of labels and scores says.

Labels are 0 (real) and 1 (fake); a score is the probability that the face is fake. A score at or above
the threshold counts as fake. A metric that is not defined for the given samples is NaN, never 0: a set
of one class has no ROC curve, a set without fakes no sensitivity.

scikit-learn computes whatever it has. It has no equal error rate, and no fast bootstrap of the AUC.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    f1_score,
    log_loss,
    precision_score,
    recall_score,
    roc_auc_score,
    roc_curve,
)

# those that a bootstrap interval is given for
RESAMPLED = ("auc", "accuracy", "f1")

# of a 95 % interval: of resamples, and of the standard error on either side
INTERVAL_PERCENT = (2.5, 97.5)
INTERVAL_Z = 1.959963984540054

# Scores are stored in single precision, where the number next to 1 is 1 - 6e-8: a certain and wrong
# detector loses -ln(1e-7) = 16.1, not infinity.
LOG_LOSS_CLIP = 1e-7

# what a metric may need, besides a sample
A_REAL, A_FAKE, A_THRESHOLD = "a real", "a fake", "a threshold"


@dataclass(frozen=True)
class Metric:
    """A number that says how good scores are.

    Attributes:
        of: Made of labels (N,), scores (N,), and what is called fake (N,) bool.
        needs: Of `A_REAL`, `A_FAKE` and `A_THRESHOLD`, what must be there; else it is not defined.
        is_loss: Whether the lowest is the best.
    """

    of: Callable[[np.ndarray, np.ndarray, np.ndarray], float]
    needs: frozenset[str]
    is_loss: bool = False


def _log_loss(labels: np.ndarray, scores: np.ndarray) -> float:
    return log_loss(labels, np.clip(scores, LOG_LOSS_CLIP, 1 - LOG_LOSS_CLIP), labels=[0, 1])


def _of_scores(measure: Callable[..., float], *needs: str, is_loss: bool = False) -> Metric:
    return Metric(lambda labels, scores, called_fake: measure(labels, scores), frozenset(needs), is_loss)


def _of_calls(measure: Callable[..., float], *needs: str, **options: float) -> Metric:
    """One of what the threshold makes of the scores."""
    return Metric(
        lambda labels, scores, called_fake: measure(labels, called_fake, **options),
        frozenset({A_THRESHOLD, *needs}),
    )


# each is a column of eval.csv at both levels; docs/evaluation.md tells of all
METRICS = {
    "accuracy": _of_calls(accuracy_score),
    "auc": _of_scores(roc_auc_score, A_REAL, A_FAKE),
    "ap": _of_scores(average_precision_score, A_REAL, A_FAKE),
    "eer": _of_scores(lambda labels, scores: equal_error_rate(labels, scores)[0], A_REAL, A_FAKE, is_loss=True),
    "log_loss": _of_scores(_log_loss, is_loss=True),
    "f1": _of_calls(f1_score, A_FAKE, zero_division=0),
    "sensitivity": _of_calls(recall_score, A_FAKE),
    "specificity": _of_calls(recall_score, A_REAL, pos_label=0),
    "precision": _of_calls(precision_score, A_FAKE, zero_division=np.nan),
    "recall": _of_calls(recall_score, A_FAKE),
    "real_precision": _of_calls(precision_score, A_REAL, pos_label=0, zero_division=np.nan),
    "real_recall": _of_calls(recall_score, A_REAL, pos_label=0),
}


def detection_metrics(labels: np.ndarray, scores: np.ndarray, threshold: float) -> dict[str, float]:
    """All of `METRICS` for one set of samples (or of videos).

    Args:
        labels: (N,) 0 real, 1 fake.
        scores: (N,) probability of being fake, in [0, 1].
        threshold: A score at or above it counts as fake. NaN when there is none: then only AUC, AP, EER and log
            loss are defined.

    Returns:
        Metric by name; NaN where it is not defined. AUC, AP and EER need both classes; sensitivity (the fakes'
        recall), F1 and precision need a fake, specificity (the reals' recall) and the reals' precision a real, each
        precision besides something that is called so. The log loss clips scores to [1e-7, 1 - 1e-7].
    """
    labels, scores = np.asarray(labels, np.int64), np.asarray(scores, np.float64)
    if len(labels) == 0:
        return dict.fromkeys(METRICS, float("nan"))
    is_there = {
        A_REAL: (labels == 0).any(),
        A_FAKE: (labels == 1).any(),
        A_THRESHOLD: not np.isnan(threshold),
    }
    there = {need for need, found in is_there.items() if found}
    called_fake = scores >= threshold
    return {
        name: float(metric.of(labels, scores, called_fake)) if metric.needs <= there else float("nan")
        for name, metric in METRICS.items()
    }


def equal_error_rate(labels: np.ndarray, scores: np.ndarray) -> tuple[float, float]:
    """The equal error rate, and the threshold that comes nearest to it.

    The rate is where the ROC curve, its points joined by straight lines, meets the line of equal false
    positive and false negative rate. The curve's corners are the only thresholds that exist, so the
    threshold belongs to the corner at which the two rates differ least. Any threshold between that
    corner's score and the next lower score classifies these samples alike; the middle is returned,
    because on other samples an edge would be wrong for every score a hair below it.

    Args:
        labels: (N,) 0 real, 1 fake, both present.
        scores: (N,) finite; higher means fake.

    Returns:
        The rate, in [0, 1], and the threshold; NaN and NaN when a class is absent.
    """
    labels, scores = np.asarray(labels, np.int64), np.asarray(scores, np.float64)
    if len(np.unique(labels)) < 2:
        return float("nan"), float("nan")
    false_positive, true_positive, thresholds = roc_curve(labels, scores, drop_intermediate=False)
    # from -1 at (0, 0), where nothing is called fake, up to 1 at (1, 1)
    gap = false_positive - (1 - true_positive)
    after = int(np.argmax(gap >= 0))
    before = after - 1
    along = -gap[before] / (gap[after] - gap[before])
    rate = false_positive[before] + along * (false_positive[after] - false_positive[before])
    # corner 0 has the threshold infinity, and no set of samples needs it
    corner = 1 + int(np.argmin(np.abs(gap[1:])))
    next_lower = thresholds[min(corner + 1, len(thresholds) - 1)]
    return float(rate), float((thresholds[corner] + next_lower) / 2)


def bootstrap(
    labels: np.ndarray, scores: np.ndarray, threshold: float, *, n_resamples: int, seed: int
) -> dict[str, np.ndarray]:
    """Metrics of bootstrap resamples, drawn with replacement among the reals and among the fakes.

    Drawing within each class (stratified) keeps their numbers, so every resample has an AUC. The same labels
    in the same order and the same seed give the same draws, whatever the scores: resample i of two
    detectors (or of two training seeds) holds the same videos.

    Args:
        labels: (N,) 0 real, 1 fake.
        scores: (N,) finite; higher means fake.
        threshold: A score at or above it counts as fake; NaN when there is none.
        n_resamples: How many.
        seed: Of the draws.

    Returns:
        (n_resamples,) of each of `RESAMPLED`, as `detection_metrics` has it of each resample, ties in the AUC counting
        one half; NaN where it is not defined.
    """
    labels, scores = np.asarray(labels, np.int64), np.asarray(scores, np.float64)
    real, fake = scores[labels == 0], scores[labels == 1]
    n_real, n_fake = len(real), len(fake)
    # The order of the scores is the same in every resample, only the counts differ: one sort serves all.
    order = np.argsort(real, kind="stable")
    n_below = np.searchsorted(real[order], fake, "left")
    n_below_or_tied = np.searchsorted(real[order], fake, "right")
    called_fake, found = (real >= threshold).astype(np.int64), (fake >= threshold).astype(np.int64)
    rng = np.random.default_rng(seed)
    doubled_wins, false_alarms, hits = np.zeros((3, n_resamples))
    for resample in range(n_resamples):
        real_counts, fake_counts = draw_counts(rng, n_real), draw_counts(rng, n_fake)
        beaten = np.concatenate(([0], np.cumsum(real_counts[order])))
        # Mann-Whitney U, doubled so that a tie is the whole number 1
        doubled_wins[resample] = fake_counts @ (beaten[n_below] + beaten[n_below_or_tied])
        false_alarms[resample] = real_counts @ called_fake
        hits[resample] = fake_counts @ found
    resampled = dict.fromkeys(RESAMPLED, np.full(n_resamples, np.nan))
    if n_real and n_fake:
        resampled["auc"] = doubled_wins / (2 * n_real * n_fake)
    if not np.isnan(threshold) and len(labels):
        resampled["accuracy"] = (n_real - false_alarms + hits) / len(labels)
        if n_fake:
            resampled["f1"] = 2 * hits / (n_fake + hits + false_alarms)
    return resampled


def draw_counts(rng: np.random.Generator, n_items: int) -> np.ndarray:
    """How often each of n items is in one bootstrap resample of size n: (n_items,) int64."""
    return np.bincount(rng.integers(n_items, size=n_items), minlength=n_items) if n_items else np.zeros(0, np.int64)
