"""Names of shards, and the hash that decides where a name belongs: the same on every machine, in every run."""

from __future__ import annotations

import hashlib


def stable_hash(text: str) -> int:
    """A number in [0, 2^64) that depends on the text alone (BLAKE2b); Python's own `hash` differs from run to run."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


def shard_name(number: int) -> str:
    """Name of a shard: "0000", "0001", …"""
    return f"{number:04d}"


def shard_names(n_shards: int) -> list[str]:
    """Names of all shards of a data set, in order."""
    return [shard_name(number) for number in range(n_shards)]
