"""Whether a raw folder that the config calls by another name is the same collection, so that no scan is needed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from workflow.made import Made
from workflow.up_to_date import Task

# What takes the time on a network disc is waiting, so several files are waited for.
_READERS = 16


def places_of(root: str) -> dict[str, str]:
    """What is noted of a root: its name in the config, and where that leads."""
    return {"root": root, "real_root": os.path.realpath(root)}


def moved(task: Task, made: Made) -> str | None:
    """Why a scan has to run when the root is another one.

    Args:
        task: The scan, whose first output is the index, or another job that reads or writes under a root.
        made: What the book says of it.

    Returns:
        None when the root is the same folder, or when every video of the index lies under it with the size that it had;
        what is new there only a scan sees (`snakemake index`).
    """
    before, now = made.places.get("root"), task.places.get("root")
    if before is None or now is None:
        return None
    # the folder of the run may have moved, and with it a collection below it
    if task.places["real_root"] in (made.places["real_root"], os.path.realpath(before)):
        return None
    if not os.path.isdir(now):
        return f"root was {before!r}, is {now!r}, where there is no folder"
    sizes = list(_sizes(task.outputs[0]))
    with ThreadPoolExecutor(_READERS) as readers:
        found = readers.map(_size, (Path(now, path) for path, _ in sizes))
        n_other = sum(one != size for one, (_, size) in zip(found, sizes, strict=True))
    if sizes and not n_other:
        return None
    return f"root was {before!r}, is {now!r}, where {n_other:,} of {len(sizes):,} videos are not as they were"


def _sizes(index: str) -> Iterator[tuple[str, int]]:
    """Path and size of each video that an index could read."""
    try:
        table = pq.read_table(index, columns=["path", "n_bytes"])
    except (OSError, KeyError, pa.ArrowException):  # not an index: nothing is known
        return
    for path, n_bytes in zip(*(table[name].to_pylist() for name in ("path", "n_bytes")), strict=True):
        if n_bytes is not None:
            yield path, n_bytes


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None
