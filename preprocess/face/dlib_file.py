"""The `.dat` file of dlib's shape predictors, read into plain arrays."""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from preprocess.running.cli import UserError

# dlib writes a float as mantissa * 2^exponent; these exponents stand for what has no mantissa
_SPECIAL_EXPONENTS = {32000: np.inf, 32001: -np.inf, 32002: np.nan}
_MAX_INTEGER_BYTES = 8


class _NotAPredictor(Exception):
    """The bytes do not follow dlib's shape predictor format; the message says where."""


@dataclass(frozen=True)
class DlibLevel:
    """One level of the cascade: T trees of S splits and S + 1 leaves, reading F pixels, moving P points.

    A tree's splits lie in the order of a complete binary tree: the children of node i are 2 i + 1 (left) and 2 i + 2.

    Attributes:
        first, second: (S, T) int64, the two of the F pixels that a split compares.
        threshold: (S, T) float32; a sample goes to the left child when first - second > threshold.
        leaves: (T * (S + 1), P, 2) float32, shape corrections x, y in units of the rectangle, tree by tree.
        anchors: (F,) int64, the point of the shape from which a pixel is measured.
        offsets: (F, 2) float32, x, y from there in the frame of the mean shape.
    """

    first: np.ndarray
    second: np.ndarray
    threshold: np.ndarray
    leaves: np.ndarray
    anchors: np.ndarray
    offsets: np.ndarray


@dataclass(frozen=True)
class DlibPredictor:
    """A shape predictor as its file holds it.

    Attributes:
        initial_shape: (P, 2) float32, x and y of the mean shape in units of the rectangle.
        levels: The cascade.
    """

    initial_shape: np.ndarray
    levels: list[DlibLevel]


def read_shape_predictor(path: str | Path) -> DlibPredictor:
    """Read the file that dlib's `shape_predictor` writes.

    Raises:
        UserError: The file is absent, or is not a shape predictor of dlib.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"cannot read the landmark predictor {path}: {error}") from error
    try:
        return _parse(data)
    except _NotAPredictor as error:
        raise UserError(
            f"{path} ({len(data)} bytes) is not a dlib shape predictor: {error}. Give an unpacked .dat file that "
            "dlib's shape_predictor writes, such as shape_predictor_81_face_landmarks.dat"
        ) from error


def _parse(data: bytes) -> DlibPredictor:
    """Build a predictor from the bytes of dlib's file.

    The file holds: version; mean shape, a column x0, y0, x1 …; levels of trees, a tree being its splits (first pixel,
    second pixel, threshold) and its leaves (columns); per level the anchor of every pixel; per level the offset of
    every pixel. Lists begin with their length, matrices with their rows and columns, negated.
    """
    numbers = _Numbers(data)
    if (version := int(numbers.take(1, "its version")[0])) != 1:
        raise _NotAPredictor(f"it begins with version {version}, only 1 is known")
    rows, columns = numbers.take(2, "the mean shape")
    n_values = -int(rows)
    if columns != -1 or n_values < 2 or n_values % 2:
        raise _NotAPredictor(f"its mean shape is a matrix of {-rows} x {-columns}")
    initial_shape = _float_rows(numbers.take(2 * n_values, "the mean shape")).reshape(-1, 2)

    forests = [_parse_forest(numbers, n_values) for _ in range(numbers.size("cascade levels", 10_000))]
    anchors = [
        numbers.take(numbers.size("anchors", 1_000_000), "the anchors") for _ in range(_expect(numbers, len(forests)))
    ]
    offsets = [
        _float_rows(numbers.take(4 * numbers.size("offsets", 1_000_000), "the offsets")).reshape(-1, 2)
        for _ in range(_expect(numbers, len(forests)))
    ]
    if not numbers.ended():
        raise _NotAPredictor("more follows after its end")

    levels = [
        DlibLevel(*forest, anchor, offset) for forest, anchor, offset in zip(forests, anchors, offsets, strict=True)
    ]
    for level in levels:
        if len(level.anchors) != len(level.offsets) or max(level.first.max(), level.second.max()) >= len(level.anchors):
            raise _NotAPredictor("its trees name pixels that it does not define")
        if level.anchors.max() >= len(initial_shape):
            raise _NotAPredictor("its pixels name landmarks that it does not define")
    return DlibPredictor(initial_shape, levels)


def _parse_forest(numbers: _Numbers, n_values: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Read the trees of one level: `first`, `second`, `threshold` and `leaves` of `DlibLevel`."""
    n_trees = numbers.size("trees", 1_000_000)
    n_splits = numbers.size("splits of a tree", (1 << 15) - 1)
    n_leaves = n_splits + 1
    if n_leaves & n_splits:
        raise _NotAPredictor(f"a tree has {n_splits} splits, a complete tree has 1, 3, 7, 15 …")
    # dlib grows all trees to the same depth, so that they all take the same count of numbers; the first tree's leading
    # number is read already, its place is filled in
    per_leaf = 2 + 2 * n_values
    per_tree = 1 + 4 * n_splits + 1 + n_leaves * per_leaf
    trees = np.concatenate([[n_splits], numbers.take(n_trees * per_tree - 1, "the trees")]).reshape(n_trees, per_tree)
    splits = trees[:, 1 : 1 + 4 * n_splits].reshape(n_trees, n_splits, 4)
    leaves = trees[:, 2 + 4 * n_splits :].reshape(n_trees * n_leaves, per_leaf)
    if (
        (trees[:, 0] != n_splits).any()
        or (trees[:, 1 + 4 * n_splits] != n_leaves).any()
        or (leaves[:, :2] != (-n_values, -1)).any()
    ):
        raise _NotAPredictor("its trees differ in depth or in the number of points that they move")
    return (
        splits[..., 0].T,
        splits[..., 1].T,
        _floats(splits[..., 2].T, splits[..., 3].T),
        _float_rows(leaves[:, 2:]).reshape(len(leaves), -1, 2),
    )


class _Numbers:
    """The integers of a dlib file, read one after the other.

    dlib writes every integer as a control byte (low four bits: number of bytes that follow, highest bit: negative) and
    its magnitude, lowest byte first; a float is two integers, mantissa and exponent. A shape predictor is nothing else.
    """

    def __init__(self, data: bytes):
        self._values = _decode_integers(data)
        self._position = 0

    def take(self, count: int, what: str) -> np.ndarray:
        """The next `count` integers."""
        part = self._values[self._position : self._position + count]
        if count < 0 or len(part) < count:
            raise _NotAPredictor(f"it ends inside {what}")
        self._position += count
        return part

    def size(self, what: str, largest: int) -> int:
        """The next integer, which must be a plausible number of something."""
        value = int(self.take(1, f"the number of {what}")[0])
        if not 1 <= value <= largest:
            raise _NotAPredictor(f"it states {value} {what}")
        return value

    def ended(self) -> bool:
        """Whether all integers are read."""
        return self._position == len(self._values)


def _decode_integers(data: bytes) -> np.ndarray:
    """Decode a run of dlib's integers to int64."""
    # where an integer begins depends on the length of the one before it: the only loop in Python over all numbers
    step = data.translate(bytes(1 + (control & 0x0F) for control in range(256)))
    begins, begin, end = array("q"), 0, len(data)
    append = begins.append
    while begin < end:
        append(begin)
        begin += step[begin]
    if begin != end:
        raise _NotAPredictor("it ends inside a number")
    starts = np.frombuffer(begins, np.int64)
    content = np.frombuffer(data + bytes(_MAX_INTEGER_BYTES), np.uint8)
    control = content[starts]
    n_bytes = control & 0x0F
    if (n_bytes > _MAX_INTEGER_BYTES).any() or (n_bytes == 0).any() or (control & 0x70).any():
        raise _NotAPredictor("it holds bytes that are not dlib's integers")
    values = np.zeros(len(starts), np.int64)
    for byte in range(int(n_bytes.max(initial=0))):
        has_byte = np.flatnonzero(n_bytes > byte)
        values[has_byte] |= content[starts[has_byte] + 1 + byte].astype(np.int64) << (8 * byte)
    return np.where(control & 0x80, -values, values)


def _floats(mantissa: np.ndarray, exponent: np.ndarray) -> np.ndarray:
    """float32 values from dlib's mantissas and exponents."""
    with np.errstate(over="ignore"):  # of a file that claims the impossible
        values = np.ldexp(mantissa.astype(np.float64), np.clip(exponent, -2000, 2000).astype(np.int32))
    for special, value in _SPECIAL_EXPONENTS.items():
        values[exponent == special] = value
    return values.astype(np.float32)


def _float_rows(numbers: np.ndarray) -> np.ndarray:
    """Floats from mantissa, exponent, mantissa, exponent … along the last axis."""
    return _floats(numbers[..., 0::2], numbers[..., 1::2])


def _expect(numbers: _Numbers, count: int) -> int:
    """Read a list's length that must be `count`."""
    found = int(numbers.take(1, "the pixels of a level")[0])
    if found != count:
        raise _NotAPredictor(f"it has {count} cascade levels but pixels for {found}")
    return count
