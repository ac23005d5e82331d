"""How pictures become bytes, without loss: crops in an encoding of the store's own, masks and others as PNG."""

from __future__ import annotations

from itertools import pairwise

import cv2
import numpy as np
import pyarrow as pa

# What `encode_crop` makes: the attribute `encoding` of /images, so that files of another kind are refused by name.
CROP_ENCODING = "zstd of row differences of green, red - green, blue - green"

# Level 9 would save 6 % for six times the time to write (docs/performance.md). Calls share no state, and no GIL.
_ZSTD = pa.Codec("zstd", compression_level=1)

_BLOCK_SUM_ROWS = 24  # image rows of a block, see `_sum_rows`


def encode_crop(image: np.ndarray) -> bytes:
    """Encode a crop without loss, smaller than PNG and several times faster to write and read (docs/performance.md).

    Three planes, green, red - green and blue - green (WebP's "subtract green", RFC 9649, section 4.3), each row less
    the row above it (PNG's filter "up"), all modulo 256; then zstd.

    Args:
        image: RGB uint8 `(height, width, 3)`.
    """
    rows = image.copy()
    rows[1:] -= image[:-1]
    red, green, blue = cv2.split(rows)
    return _ZSTD.compress(np.stack([green, red - green, blue - green]), asbytes=True)


def decode_crop(encoded: bytes | np.ndarray, size: tuple[int, int] | np.ndarray) -> np.ndarray:
    """Decode what `encode_crop` made.

    Args:
        encoded: Bytes, or a uint8 array of them.
        size: (height, width) of the crop.

    Returns:
        RGB uint8 `(height, width, 3)`.
    """
    height, width = (int(side) for side in size)
    planes = np.frombuffer(_ZSTD.decompress(encoded, 3 * height * width), np.uint8).reshape(3, height, width)
    green = planes[0]
    image = cv2.merge([planes[1] + green, green, planes[2] + green])
    _sum_rows(image.reshape(height, -1))
    return image


def _sum_rows(rows: np.ndarray) -> None:
    """`np.cumsum(rows, axis=0, out=rows)` in a sixth of its time, modulo 256; rows is (height, n) uint8.

    Blocks of rows are summed side by side, then each takes up the last row of the block before it: few calls, whole
    rows each.
    """
    n_blocks = len(rows) // _BLOCK_SUM_ROWS
    blocks = rows[: n_blocks * _BLOCK_SUM_ROWS].reshape(n_blocks, _BLOCK_SUM_ROWS, rows.shape[1])
    for row in range(1, _BLOCK_SUM_ROWS):
        blocks[:, row] += blocks[:, row - 1]
    for before, block in pairwise(blocks):
        block += before[-1]
    for row in range(max(1, n_blocks * _BLOCK_SUM_ROWS), len(rows)):
        rows[row] += rows[row - 1]


def encode_png(image: np.ndarray) -> bytes:
    """Encode an RGB `(height, width, 3)` or grey `(height, width)` uint8 image as PNG, without loss."""
    pixels = image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    # the filter "up" writes and reads in about 0.6 of the time of libpng's own choice (docs/performance.md)
    options = [cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_UP]
    done, encoded = cv2.imencode(".png", pixels, options)
    if not done:
        raise ValueError(f"cannot encode an image of shape {image.shape}")
    return encoded.tobytes()


def decode_png(encoded: bytes) -> np.ndarray:
    """Decode PNG bytes to RGB `(height, width, 3)` or grey `(height, width)` uint8."""
    image = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_UNCHANGED)
    assert image is not None, "not a PNG"
    return image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def encode_mask(mask: np.ndarray) -> bytes:
    """Encode a mask, (height, width) uint8 of 0 and 255, as a PNG of one bit a pixel."""
    done, encoded = cv2.imencode(".png", mask, [cv2.IMWRITE_PNG_BILEVEL, 1, cv2.IMWRITE_PNG_COMPRESSION, 1])
    if not done:
        raise ValueError(f"cannot encode a mask of shape {mask.shape}")
    return encoded.tobytes()
