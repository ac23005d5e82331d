"""dlib's file of numbers, written here by hand."""

import pytest

from preprocess.face.dlib_file import read_shape_predictor
from preprocess.running.cli import UserError


def integer(value: int) -> bytes:
    magnitude = abs(value).to_bytes(max(1, (abs(value).bit_length() + 7) // 8), "little")
    return bytes([len(magnitude) | (0x80 if value < 0 else 0)]) + magnitude


def real(value: float) -> bytes:
    """Mantissa and exponent; the values of these tests are sixteenths."""
    return integer(int(value * 16)) + integer(-4)


def matrix(values: list[float]) -> bytes:
    """A column."""
    return integer(-len(values)) + integer(-1) + b"".join(map(real, values))


def tree(first: int, second: int, threshold: float, *leaves: list[float]) -> bytes:
    split = integer(first) + integer(second) + real(threshold)
    return integer(1) + split + integer(len(leaves)) + b"".join(map(matrix, leaves))


def predictor(version: int = 1, anchors: tuple[int, ...] = (1, 0, 1), pixel: int = 2) -> bytes:
    """Two points, one level of two trees of one split, three pixels."""
    trees = tree(0, pixel, 1.5, [1, 2, 3, 4], [-1, -2, -3, -4]), tree(2, 1, -0.25, [5, 6, 7, 8], [0, 0, 0, 0.0625])
    pixels = integer(1) + integer(len(anchors)) + b"".join(map(integer, anchors))
    offsets = integer(1) + integer(3) + b"".join(map(real, [0.5, -0.5, 0.25, 0, 300, 0]))
    shape = matrix([0, 0.25, 1, 0.75])
    return integer(version) + shape + integer(1) + integer(2) + b"".join(trees) + pixels + offsets


def test_every_number_comes_to_its_place(tmp_path):
    path = tmp_path / "predictor.dat"
    path.write_bytes(predictor())
    read = read_shape_predictor(path)
    assert read.initial_shape.tolist() == [[0, 0.25], [1, 0.75]]
    (level,) = read.levels
    assert (level.first.tolist(), level.second.tolist()) == ([[0, 2]], [[2, 1]])
    assert level.threshold.tolist() == [[1.5, -0.25]]
    assert level.leaves.tolist() == [
        *([[1, 2], [3, 4]], [[-1, -2], [-3, -4]]),
        *([[5, 6], [7, 8]], [[0, 0], [0, 0.0625]]),
    ]
    assert level.anchors.tolist() == [1, 0, 1]
    assert level.offsets.tolist() == [[0.5, -0.5], [0.25, 0], [300, 0]]


GOOD = predictor()


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "it ends inside its version"),
        (b"BZh91AY&SY" + bytes(range(256)), "it"),
        (GOOD[: len(GOOD) // 2], "it ends inside"),
        (GOOD[:-1], "it ends inside a number"),
        (GOOD + integer(1), "more follows after its end"),
        (predictor(version=2), "it begins with version 2, only 1 is known"),
        (predictor(anchors=(1, 0)), "its trees name pixels that it does not define"),
        (predictor(pixel=3), "its trees name pixels that it does not define"),
        (predictor(anchors=(1, 0, 2)), "its pixels name landmarks that it does not define"),
    ],
)
def test_what_is_not_a_predictor_is_refused(tmp_path, content, why):
    path = tmp_path / "wrong.dat"
    path.write_bytes(content)
    with pytest.raises(UserError, match=rf"wrong\.dat \({len(content)} bytes\) is not a dlib shape predictor: {why}"):
        read_shape_predictor(path)


def test_an_absent_predictor_is_named(tmp_path):
    with pytest.raises(UserError, match=r"cannot read the landmark predictor .*absent\.dat"):
        read_shape_predictor(tmp_path / "absent.dat")
