"""Which sample each item of an epoch is."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from detectors.data.labelled_crops import BalancedDraws
from detectors.data.samples import Samples, TextColumn

# rows 0 to 3 real, 4 to 6 fakes of `a`, 7 and 8 fakes of `b`, 9 without a label
LABELS = np.array([0, 0, 0, 0, 1, 1, 1, 1, 1, -1], np.int8)
METHODS = np.array([0, 0, 0, 0, 1, 1, 1, 2, 2, 0], np.int32)


def draws(balance: str, seed: int = 0) -> BalancedDraws:
    text = TextColumn(("real", "a", "b"), METHODS)
    others = dict.fromkeys(set(Samples.__dataclass_fields__) - {"method", "label"}, text)
    return BalancedDraws(Samples(method=text, label=LABELS, **others), seed, balance)


def rows(of: BalancedDraws, epoch: int) -> list[int]:
    return [of.row(epoch, index) for index in range(len(of))]


def test_unbalanced_an_item_is_a_labelled_sample_in_its_order():
    assert rows(draws("none"), 5) == list(range(9))


@pytest.mark.parametrize("balance", ["label", "method"])
def test_even_items_are_reals_and_odd_ones_fakes(balance):
    of = draws(balance)
    assert len(of) == 9
    for epoch in range(3):
        assert [int(LABELS[row]) for row in rows(of, epoch)] == [0, 1] * 4 + [0]


def test_by_method_every_method_has_its_turn():
    of = draws("method")
    for epoch in range(3):
        assert [int(METHODS[row]) for row in rows(of, epoch)[1::2]] == [1, 2, 1, 2]


def test_an_epoch_goes_on_where_the_last_one_ended():
    of = draws("label")
    # nine items are five reals and four fakes; what the fifth pair would have of the fakes is passed over
    reals = [row for epoch in range(4) for row in rows(of, epoch)[::2]]
    assert reals == (reals[:4] * 5)[: len(reals)], "the same order of the four over and over"
    assert Counter(reals) == dict.fromkeys(range(4), 5)
    fakes = [of.row(epoch, 2 * pair + 1) for epoch in range(4) for pair in range(5)]
    assert fakes == (fakes[:5] * 4)[: len(fakes)]
    assert set(fakes) == set(range(4, 9))


def test_by_method_an_epoch_goes_on_in_each_method():
    of = draws("method")
    # five pairs are three turns of two methods
    first = [of.row(epoch, 2 * pair + 1) for epoch in range(3) for pair in (0, 2, 4)]
    assert first == first[:3] * 3
    assert set(first) == {4, 5, 6}
    second = [of.row(epoch, 2 * pair + 1) for epoch in range(4) for pair in (1, 3)]
    # of the third turn, `b` is not read: the next epoch begins one further
    assert Counter(second) == {7: 4, 8: 4}
    assert second[0] != second[1] == second[2] != second[3]


def test_the_seed_chooses_the_order():
    assert len({tuple(rows(draws("label", seed), 0)) for seed in range(4)}) > 1
    assert rows(draws("label", 3), 1) == rows(draws("label", 3), 1)


def test_what_a_seed_draws_stays_what_it_was():
    """Trainings of a seed are repeated by it: another order would be another result."""
    assert rows(draws("label"), 0) == [3, 7, 1, 5, 0, 8, 2, 4, 3]
    assert rows(draws("method"), 1) == [1, 5, 0, 7, 2, 4, 3, 8, 1]
