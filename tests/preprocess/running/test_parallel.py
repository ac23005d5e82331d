import pytest

from preprocess.running.parallel import ordered_map


def test_ordered_map_keeps_the_order_and_raises():
    assert list(ordered_map(lambda number: number * number, range(50), 4)) == [number * number for number in range(50)]
    with pytest.raises(ZeroDivisionError):
        list(ordered_map(lambda number: 1 // number, [1, 0, 1], 2))
