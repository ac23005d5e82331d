"""Where a name belongs is the same on every machine: another hash would shuffle every split, shard and held-out set."""

from __future__ import annotations

from preprocess.store import versions
from preprocess.store.shards import shard_name, shard_names, stable_hash


def test_the_hash_is_blake2b_of_64_bits():
    # b2sum --length 64, read as one number
    assert stable_hash("") == 0xE4A6A0577479B2B4
    assert stable_hash("abc") == 0xD8BB14D833D59559
    assert stable_hash("Ä") != stable_hash("A")


def test_shards_are_numbered_in_four_digits_from_0():
    assert (shard_name(7), shard_name(12345)) == ("0007", "12345")
    assert shard_names(3) == ["0000", "0001", "0002"]


def test_versions_are_raised_on_purpose():
    """A raised version runs a stage again for everybody: raise it here too, and say why in CHANGELOG.md."""
    found = {name: value for name, value in vars(versions).items() if name.isupper() and isinstance(value, int)}
    assert found == {
        **{"SYNTHETIC": 2, "INDEX": 3, "FRAMES": 1, "FACES": 3, "CROPS": 2, "LANDMARKS": 1, "MASKS": 2, "SAMPLES": 2},
        **{"PREDICTOR": 2, "TRAIN": 3, "PREDICT": 2, "EVALUATE": 2, "LEAKAGE": 1, "STUDIES": 1, "ROBUSTNESS": 1},
        **{"PERTURBATIONS": 1, "EXPLAIN": 1, "RETRIEVAL": 1},
    }
