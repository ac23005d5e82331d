"""What made a file of the store: every file says it of itself.

Parquet tables carry the fields of `Origin` in their schema's metadata, HDF5 files in their attributes.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import h5py
import pyarrow.parquet as pq


@dataclass(frozen=True)
class Origin:
    """What made a file of the store.

    Attributes:
        dataset: Name of the data set in the config.
        stage: Name of the stage.
        settings: The stage's resolved settings as sorted JSON.
        version: The stage's version (`preprocess.store.versions`).
        shard: Name of the shard; empty for a table of the whole data set.
    """

    dataset: str
    stage: str
    settings: str
    version: int
    shard: str = ""


def read_origin(path: str | Path) -> Origin:
    """What made a file of the store, a Parquet table or (`.h5`) an HDF5 file."""
    if Path(path).suffix == ".h5":
        with h5py.File(path, "r") as file:
            metadata = dict(file.attrs)
    else:
        metadata = {key.decode(): value.decode() for key, value in (pq.read_schema(path).metadata or {}).items()}
    return Origin(
        dataset=metadata["dataset"],
        stage=metadata["stage"],
        settings=metadata["settings"],
        version=int(metadata["version"]),
        shard=metadata["shard"],
    )
