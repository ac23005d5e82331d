"""Which samples a detector learns from, and which it is validated on."""

from __future__ import annotations

import numpy as np

from detectors.data.samples import UNKNOWN_LABEL, Samples
from preprocess.store.shards import stable_hash

TRAIN, VAL = "train", "val"

# first word of a seed: which choice the generator is for
_SUBSET = 3


def split_for_training(samples: Samples, val_share: float) -> tuple[np.ndarray, np.ndarray]:
    """Rows to train on and rows to validate on; no source group is in both.

    A data set with a `val` split validates on it. Of one without, a share of the train split's source groups is
    held out, at least one of each kind (only real, only fake, both) of which there are two: those with the
    smallest hashes of their names, so that the choice does not change with the order of rows or the seed.
    Samples without a label, and the `test` split, are in neither.

    Args:
        samples: Of one or more data sets.
        val_share: Share of the source groups.

    Returns:
        Training rows and validation rows, ascending.
    """
    known = samples.label != UNKNOWN_LABEL
    train, val = known & samples.split.equals(TRAIN), known & samples.split.equals(VAL)
    for code in np.unique(samples.dataset.codes[train]):
        of_dataset = samples.dataset.codes == code
        if val_share and not (val & of_dataset).any():
            rows = np.flatnonzero(train & of_dataset)
            held_out = rows[_held_out(samples[rows], val_share)]
            train[held_out], val[held_out] = False, True
    return np.flatnonzero(train), np.flatnonzero(val)


def _held_out(samples: Samples, share: float) -> np.ndarray:
    """Mask (N,) of the samples whose source group is held out."""
    groups, first, of_sample = np.unique(samples.groups(), return_index=True, return_inverse=True)
    kind = np.zeros(len(groups), np.int8)
    for label in (0, 1):
        np.bitwise_or.at(kind, of_sample[samples.label == label], 1 << label)
    held_out = np.zeros(len(groups), bool)
    for value in np.unique(kind):
        members = np.flatnonzero(kind == value)
        if len(members) > 1:
            hashes = [stable_hash(_group_name(samples, first[member])) for member in members]
            count = min(max(1, round(share * len(members))), len(members) - 1)
            held_out[members[np.argsort(hashes)[:count]]] = True
    return held_out[of_sample]


def _group_name(samples: Samples, row: int) -> str:
    name = samples.source_group.text(row)
    if name is None:
        name = samples.video_id.text(row)
    assert name is not None, "every video has an id"
    return name


def draw_rows(rows: np.ndarray, items: np.ndarray, count: int | None, seed: int) -> np.ndarray:
    """A random subset of rows, ascending, of items drawn whole; all when `count` is None or not smaller.

    Args:
        rows: (N,) rows of samples.
        items: (N,) int64, the item of each, counted from 0.
        count: Rows to have at most, but at least one item.
        seed: Of the draw.
    """
    if count is None or count >= len(rows):
        return rows
    n_rows = np.bincount(items)
    order = np.random.default_rng([_SUBSET, seed]).permutation(len(n_rows))
    n_drawn = max(1, np.searchsorted(np.cumsum(n_rows[order]), count, side="right"))
    return rows[np.isin(items, order[:n_drawn])]
