"""Faces to look at: those of which a detector is most sure, rightly and wrongly, or those that a user names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from detectors.data.samples import Samples
from preprocess.running.cli import UserError
from preprocess.store.origin import read_origin
from preprocess.store.tables import read_table

REAL, FAKE = 0, 1
# (label, called): what a face is, and what the detector calls it
KINDS = ((FAKE, FAKE), (FAKE, REAL), (REAL, REAL), (REAL, FAKE))


@dataclass(frozen=True, eq=False)
class TestSet:
    """A test data set with what a detector says of its faces.

    Attributes:
        name: Of the data set.
        samples: N labelled samples.
        sample_ids: (N,) their ids.
        scores: (N,) their probabilities of being fake.
    """

    __test__ = False  # for pytest

    name: str
    samples: Samples
    sample_ids: np.ndarray
    scores: np.ndarray


@dataclass(frozen=True)
class Example:
    """A sample that is shown.

    Attributes:
        test_set: Where it is from.
        row: There.
        sample_id: Its id.
        label: 0 real, 1 fake.
        called: What the detector calls it, 0 or 1.
        score: Probability of being fake.
        method: Its method.
    """

    test_set: TestSet
    row: int
    sample_id: str
    label: int
    called: int
    score: float
    method: str


def read_test_set(samples: Path, predictions: Path) -> TestSet:
    """Read the labelled samples that a detector has scored.

    Args:
        samples: Samples table of a data set.
        predictions: What the detector says of them.

    Raises:
        UserError: A file cannot be read, or they do not belong together.
    """
    predicted = read_table(predictions, ["sample_id", "label", "score"]).to_pandas().dropna(subset="label")
    ids = read_table(samples, ["sample_id"])["sample_id"].to_pandas()
    row_of_id = pd.Series(np.arange(len(ids)), index=ids)
    rows = predicted["sample_id"].map(row_of_id)
    if rows.isna().any():
        raise UserError(
            f"{predictions} holds the sample {predicted['sample_id'][rows.isna()].iloc[0]!r}, which {samples} does "
            "not: they are of different dates; predict again"
        )
    return TestSet(
        name=read_origin(samples).dataset,
        samples=Samples.read([samples])[rows.to_numpy(np.int64)],
        sample_ids=predicted["sample_id"].to_numpy(),
        scores=predicted["score"].to_numpy(np.float64),
    )


def most_confident(test_set: TestSet, threshold: float, count: int) -> dict[tuple[int, int], list[Example]]:
    """The faces of each of `KINDS` whose scores are farthest on the side of what they are called, of a video one each.

    Args:
        test_set: Where to look.
        threshold: A score at or above it is called fake.
        count: Faces of each kind, as far as there are any.
    """
    called = (test_set.scores >= threshold).astype(int)
    chosen = {}
    for label, as_what in KINDS:
        rows = np.flatnonzero((test_set.samples.label == label) & (called == as_what))
        towards = -test_set.scores[rows] if as_what == FAKE else test_set.scores[rows]
        rows = rows[np.lexsort([test_set.sample_ids[rows].astype(str), towards])]
        _, first = np.unique(test_set.samples.video_id.codes[rows], return_index=True)
        chosen[label, as_what] = [_example(test_set, row, threshold) for row in rows[np.sort(first)][:count].tolist()]
    return chosen


def named(test_sets: Sequence[TestSet], sample_ids: Sequence[str], threshold: float) -> list[Example]:
    """The samples of the given ids, in their order.

    Raises:
        UserError: An id is in none of the test sets.
    """
    found = []
    for sample_id in sample_ids:
        places = [
            (test_set, int(row)) for test_set in test_sets for row in np.flatnonzero(test_set.sample_ids == sample_id)
        ]
        if not places:
            there = ", ".join(f"{test_set.name} ({len(test_set.sample_ids)})" for test_set in test_sets)
            raise UserError(
                f"no sample {sample_id!r} among the labelled ones that are predicted, of {there}; an id is "
                "<video id>#<frame>#<track>, as in the column sample_id of the predictions"
            )
        test_set, row = places[0]
        found.append(_example(test_set, row, threshold))
    return found


def _example(test_set: TestSet, row: int, threshold: float) -> Example:
    score = float(test_set.scores[row])
    return Example(
        test_set=test_set,
        row=row,
        sample_id=str(test_set.sample_ids[row]),
        label=int(test_set.samples.label[row]),
        called=int(score >= threshold),
        score=score,
        method=test_set.samples.method.text(row) or "",
    )
