"""Cut the index of a data set into one list for each shard: `python -m preprocess.store.shard_lists --help`.

The lists are what every later stage reads. A list depends on its own videos alone, so that a change in the raw folder
changes the lists of the shards that it concerns, and no byte of the others.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import pyarrow as pa

from preprocess.running.cli import UserError, run_command
from preprocess.store.origin import read_origin
from preprocess.store.schemas import INDEX
from preprocess.store.shards import shard_names
from preprocess.store.tables import read_table, write_table


def write_shard_lists(index: Path, folder: Path, n_shards: int) -> None:
    """Write `<folder>/<shard>.parquet` for every shard, with the rows of the index that lie in it, in their order.

    Args:
        index: Table of the whole data set, as `preprocess.index` writes it.
        folder: Where the lists go.
        n_shards: How many shards the index was made for.

    Raises:
        UserError: The index is absent or was made for another number of shards.
    """
    table, origin = read_table(index), read_origin(index)
    shards = table["shard"].to_pylist()
    unknown = sorted(set(shards) - set(shard_names(n_shards)))
    if unknown:
        raise UserError(f"{index} holds videos of shard {unknown[-1]}, but n_shards is {n_shards}; index them again")
    rows: dict[str, list[int]] = {shard: [] for shard in shard_names(n_shards)}
    for row, shard in enumerate(shards):
        rows[shard].append(row)
    for shard, its_rows in rows.items():
        path = folder / f"{shard}.parquet"
        write_table(path, table.take(pa.array(its_rows, pa.int64())), INDEX, replace(origin, shard=shard))


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--index", required=True, type=Path, help="table of the data set, data/index/<data set>.parquet"
    )
    parser.add_argument("--n-shards", required=True, type=int, help="shards that the index was made for")
    parser.add_argument("--output", required=True, type=Path, help="folder to write one <shard>.parquet per shard to")
    args = parser.parse_args()
    write_shard_lists(args.index, args.output, args.n_shards)


if __name__ == "__main__":
    run_command(main)
