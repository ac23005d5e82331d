"""Rows over the seeds of an experiment: their mean, their standard deviation, the best of them.

What a column holds there is said by its rule, which every column of a table has.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from detectors.measures.runs import BEST_ROW, MEAN_ROW, STD_ROW


@dataclass(frozen=True)
class Rule:
    """What a column holds in the rows over the seeds; each is made of the seeds' values, in their order.

    Attributes:
        mean: In the row `mean`.
        std: In the row `std`.
        no_best: In the row `best` where no seed is the best; else that seed's own value stands there.
    """

    mean: Callable[[Sequence], object]
    std: Callable[[Sequence], object]
    no_best: Callable[[Sequence], object]


def _alike(values: Sequence) -> object:
    first = values[0]
    if any(value != first and not (_is_nan(value) and _is_nan(first)) for value in values):
        raise ValueError(f"the seeds do not have it alike, found {list(values)}; give the column another rule")
    return first


def _is_nan(value: object) -> bool:
    return isinstance(value, float) and math.isnan(value)


def _rounded_up(values: Sequence) -> int:
    return math.ceil(np.mean(values))


def _mean(values: Sequence) -> float:
    return float(np.mean(values))


def _std(values: Sequence) -> float:
    return float(np.std(values, ddof=1))


def _agreed(values: Sequence) -> float:
    return values[0] if len(set(values)) == 1 else math.nan


def _undefined(values: Sequence) -> float:
    return math.nan


SEED = Rule(lambda values: MEAN_ROW, lambda values: STD_ROW, lambda values: BEST_ROW)
# names, and counts of what all seeds were given
ALIKE = Rule(_alike, _alike, _alike)
# The mean is rounded up: a video that one seed misses stays visible. The row of the deviation has the rounded mean too.
COUNT = Rule(_rounded_up, _rounded_up, _rounded_up)
# not defined where it is not defined for one of the seeds
METRIC = Rule(_mean, _std, _undefined)
# no single threshold was used where the seeds have several
THRESHOLD = Rule(_agreed, _std, _undefined)
# that of a mean does not follow from those of the seeds: whoever has the resamples puts it in
INTERVAL = Rule(_undefined, _undefined, _undefined)


def mean_row(rules: Mapping[str, Rule], seeds: Sequence[dict]) -> dict:
    """The mean of the seeds' rows.

    Args:
        rules: Of every column.
        seeds: Their rows, each with a value for every column.
    """
    return _row(rules, seeds, "mean")


def std_row(rules: Mapping[str, Rule], seeds: Sequence[dict]) -> dict:
    """The sample standard deviation (n - 1) of the seeds' rows, two at least; arguments as for `mean_row`."""
    return _row(rules, seeds, "std")


def best_row(rules: Mapping[str, Rule], seeds: Sequence[dict], metric: str) -> dict:
    """The row of the seed with the highest value of a metric, the first of equals.

    Where one of the values is not defined, no seed is the best, and what only a seed can tell is not given.

    Args:
        rules: As for `mean_row`; the column `seed` is among them.
        seeds: As for `mean_row`.
        metric: Column to choose by.
    """
    if any(math.isnan(row[metric]) for row in seeds):
        return _row(rules, seeds, "no_best")
    return {**max(seeds, key=lambda row: row[metric]), "seed": BEST_ROW}


def _row(rules: Mapping[str, Rule], seeds: Sequence[dict], kind: str) -> dict:
    row = {}
    for name, rule in rules.items():
        try:
            row[name] = getattr(rule, kind)([of_seed[name] for of_seed in seeds])
        except ValueError as error:
            raise ValueError(f"column {name!r}: {error}") from error
    return row
