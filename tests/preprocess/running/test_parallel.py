import pytest

from preprocess.running.parallel import ordered_map


def test_ordered_map_keeps_the_order_and_raises():
    assert list(ordered_map(lambda number: number * number, range(50), 4)) == [number * number for number in range(50)]
    with pytest.raises(ZeroDivisionError):
        list(ordered_map(lambda number: 1 // number, [1, 0, 1], 2))


def test_no_more_than_two_results_a_thread_wait():
    begun = []
    results = ordered_map(lambda item: begun.append(item) or item, range(50), threads=2)
    assert next(results) == 0
    # four were given to the pool before the first was taken
    assert set(begun) <= {0, 1, 2, 3}
    assert next(results) == 1
    assert max(begun) <= 4
    assert list(results) == list(range(2, 50))
