"""The samples of a store as columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from preprocess.running.cli import UserError
from preprocess.store.schemas import REAL

UNKNOWN_LABEL = -1

_TEXT_COLUMNS = ("dataset", "shard", "video_id", "method", "split", "source_group")
_NUMBER_COLUMNS = ("crop_row", "frame_index", "track_id")


@dataclass(frozen=True)
class TextColumn:
    """A column of few different texts.

    Attributes:
        names: The different texts.
        codes: (N,) int32, row of `names`; -1 where the text is null.
    """

    names: tuple[str, ...]
    codes: np.ndarray

    def __getitem__(self, rows: np.ndarray) -> TextColumn:
        return TextColumn(self.names, self.codes[rows])

    def text(self, row: int) -> str | None:
        """The text of one row; None where it is null."""
        code = self.codes[row]
        return self.names[code] if code >= 0 else None

    def equals(self, name: str) -> np.ndarray:
        """(N,) bool: where the text is `name`."""
        return self.codes == (self.names.index(name) if name in self.names else len(self.names))


@dataclass(frozen=True)
class Samples:
    """Columns of samples tables (`schemas.SAMPLES`): 39 bytes a row, whatever the length of the ids.

    Attributes:
        dataset, shard, video_id, method, split, source_group: Texts.
        crop_row: (N,) int32, row of the shard's crops file.
        frame_index, track_id: (N,) int32; a track is one of its video.
        label: (N,) int8: 0 real, 1 fake, -1 unknown.
    """

    dataset: TextColumn
    shard: TextColumn
    video_id: TextColumn
    method: TextColumn
    split: TextColumn
    source_group: TextColumn
    crop_row: np.ndarray
    frame_index: np.ndarray
    track_id: np.ndarray
    label: np.ndarray

    @classmethod
    def read(cls, paths: Sequence[str | Path]) -> Samples:
        """Read samples tables, one after another.

        Raises:
            UserError: A file is absent, or is no samples table.
        """
        tables = [_read(path) for path in paths]
        table = pa.concat_tables(tables).unify_dictionaries().combine_chunks()
        texts = {name: _text_column(table[name]) for name in _TEXT_COLUMNS}
        label = table["label"].fill_null(UNKNOWN_LABEL).to_numpy()
        numbers = {name: table[name].to_numpy() for name in _NUMBER_COLUMNS}
        columns: dict[str, Any] = {**texts, **numbers}
        return cls(**columns, label=label)

    def __len__(self) -> int:
        return len(self.label)

    def __getitem__(self, rows: np.ndarray) -> Samples:
        """The samples at `rows` (numbers or a mask), in that order."""
        return Samples(**{name: getattr(self, name)[rows] for name in self.__dataclass_fields__})

    def groups(self) -> np.ndarray:
        """(N,) int: a number for each source group; a video of unknown origin is a group of its own."""
        # behind the numbers of the named groups
        own = len(self.source_group.names) + self.video_id.codes
        return np.where(self.source_group.codes >= 0, self.source_group.codes, own)

    def crops_file(self, row: int) -> str:
        """The crops file of a sample, relative to the folder of crops."""
        return f"{self.dataset.text(row)}/{self.shard.text(row)}.h5"


def _read(path: str | Path) -> pa.Table:
    columns = [*_TEXT_COLUMNS, *_NUMBER_COLUMNS, "label"]
    try:
        missing = [name for name in columns if name not in pq.read_schema(path).names]
        if missing:
            raise UserError(f"{path} is no samples table: it has no column {', '.join(missing)}")
        # ids are read as codes: as text, ten million samples would take gigabytes
        return pq.ParquetFile(path, read_dictionary=list(_TEXT_COLUMNS), page_checksum_verification=True).read(columns)
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"cannot read the samples {path}: {error}. Run collect_samples for it again") from error


def _text_column(column: pa.ChunkedArray) -> TextColumn:
    column = column.combine_chunks()
    if isinstance(column, pa.ChunkedArray):  # what combining no chunks at all gives
        column = pa.array([], pa.dictionary(pa.int32(), pa.string()))
    codes = column.indices.fill_null(-1).to_numpy(zero_copy_only=False)
    return TextColumn(tuple(column.dictionary.to_pylist()), codes.astype(np.int32, copy=False))


def reals_and_fakes(samples: Samples, need: str) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the real and of the fake samples, ascending.

    Args:
        samples: Training samples.
        need: Why there must be both, for the message.

    Raises:
        UserError: There are no reals or no fakes.
    """
    reals, fakes = np.flatnonzero(samples.label == 0), np.flatnonzero(samples.label == 1)
    if not len(reals) or not len(fakes):
        raise UserError(
            f"the training samples hold {len(reals)} real and {len(fakes)} fake crops of "
            f"{', '.join(samples.dataset.names)}; {need}: add a data set to the experiment's train list"
        )
    return reals, fakes


def training_methods(samples: Samples) -> list[str]:
    """Names of the classes that a detector can tell apart: `real`, then the fakes' methods by name."""
    codes = np.unique(samples.method.codes[samples.label == 1])
    return [REAL, *sorted(samples.method.names[code] for code in codes)]
