"""The masks file of a shard: its layout, writing and reading.

    /hull/encoded, offset           PNG of the hull of crop i; no bytes when the crop has no landmarks
    /manipulation/encoded, offset   PNG of the manipulation mask of crop i; no bytes when it is unknown
    /mask_source            (N,)    str: `MaskSource`

Row i belongs to crop i of the crops file. Both are PNGs of one bit a pixel, which read as 0 and 255;
`preprocess.store.blobs.BlobReader` reads the groups.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import cv2
import h5py
import numpy as np

from preprocess.running.cli import UserError
from preprocess.store.blobs import BlobReader
from preprocess.store.hdf5 import create_h5
from preprocess.store.image_codecs import decode_png
from preprocess.store.origin import Origin


class MaskSource(enum.StrEnum):
    """Where the manipulation mask of a crop comes from."""

    REAL = "real"  # the video is real: nothing is manipulated
    MASK_VIDEO = "mask_video"
    DIFFERENCE = "difference"  # between the fake and the real video that it was made from
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class CropMasks:
    """The masks of one crop.

    Attributes:
        hull: PNG; empty when the crop has no landmarks.
        manipulation: PNG; empty when it is unknown.
        source: Where the manipulation mask comes from.
    """

    hull: bytes = b""
    manipulation: bytes = b""
    source: MaskSource = MaskSource.UNKNOWN


def write_masks(path: str | Path, masks: Iterable[CropMasks], origin: Origin) -> None:
    """Write the masks file of a shard, a row for each crop in their order."""
    sources = []
    with create_h5(path, origin) as file:
        hull, manipulation = (file.create_blobs(name) for name in ("hull", "manipulation"))
        for crop in masks:
            hull.append(crop.hull)
            manipulation.append(crop.manipulation)
            sources.append(crop.source.value)
        hull.close()
        manipulation.close()
        file.create_dataset("mask_source", data=np.array(sources, object), dtype=h5py.string_dtype())


class MaskReader:
    """Read the masks file of a shard. Not for sharing across a fork: open one in each worker.

    Attributes:
        source: (N,) object array of where each manipulation mask comes from, `MaskSource` as text.

    Raises:
        UserError: The file is absent, cannot be read, or is no masks file.
    """

    def __init__(self, path: str | Path):
        try:
            self._file = h5py.File(path, "r")
        except OSError as error:
            raise UserError(f"cannot read {path}: {error}. Run make_masks for it again") from error
        absent = [name for name in ("hull", "manipulation", "mask_source") if name not in self._file]
        if absent:
            self._file.close()
            raise UserError(f"{path} has no {absent[0]!r}, so it is no masks file. Run make_masks for it again")
        self.source = self._file["mask_source"].asstr()[:]
        self._hull, self._manipulation = (BlobReader(self._file[name]) for name in ("hull", "manipulation"))

    def __len__(self) -> int:
        return len(self.source)

    def __enter__(self) -> MaskReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def hull(self, row: int) -> np.ndarray | None:
        """(height, width) uint8 hull mask of crop `row`, 0 or 255; None when the crop has no landmarks."""
        return _decode(self._hull[row])

    def manipulation(self, row: int) -> np.ndarray | None:
        """(height, width) uint8 manipulation mask of crop `row`, 0 or 255; None when it is unknown."""
        return _decode(self._manipulation[row])


class MaskRows:
    """Read the manipulation masks of a masks file in any order: nothing is loaded ahead, so hundreds can stay open.

    Not for sharing across a fork: open one in each worker.

    Raises:
        UserError: The file is absent, cannot be read, or is no masks file.
    """

    def __init__(self, path: str | Path):
        self.path = path
        try:
            # as for crops, HDF5's chunk cache would read 1 MiB for each mask
            self._file = h5py.File(path, "r", rdcc_nbytes=0)
            self._encoded = self._file["manipulation/encoded"]
            self._offset = self._file["manipulation/offset"]
        except (OSError, KeyError) as error:
            raise UserError(f"cannot read the masks {path}: {error}. Run make_masks for it again") from error

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def read(self, row: int) -> np.ndarray | None:
        """Mask of crop `row`, (height, width) uint8: 255 where it was manipulated, else 0; None when it is unknown.

        Raises:
            UserError: The file has no such row, or its bytes are damaged.
        """
        if not 0 <= row < len(self._offset) - 1:
            raise UserError(f"{self.path} has no mask {row}, only {len(self._offset) - 1}: run make_masks for it again")
        begin, end = self._offset[row : row + 2]
        if begin == end:
            return None
        mask = cv2.imdecode(self._encoded[begin:end], cv2.IMREAD_GRAYSCALE)
        if mask is None:
            raise UserError(
                f"mask {row} of {self.path} is damaged. Run `python -m workflow.verify`: it names every damaged file "
                "and how to make it again"
            )
        return mask


def _decode(encoded: bytes) -> np.ndarray | None:
    return decode_png(encoded) if encoded else None
