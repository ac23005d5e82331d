import pytest

from preprocess.running.parallel import ordered_map


def test_ordered_map_keeps_the_order_and_raises():
    assert list(ordered_map(lambda number: number * number, range(50), 4)) == [number * number for number in range(50)]
    with pytest.raises(ZeroDivisionError):
        list(ordered_map(lambda number: 1 // number, [1, 0, 1], 2))


def test_two_results_a_thread_wait_and_no_more():
    taken = []
    items = (taken.append(number) or number for number in range(50))
    results = ordered_map(lambda number: -number, items, threads=2)
    assert next(results) == 0
    assert taken == [0, 1, 2, 3], "given to the pool before the first result is taken"
    assert next(results) == -1
    assert taken == [0, 1, 2, 3, 4]
    assert list(results) == [-number for number in range(2, 50)]
