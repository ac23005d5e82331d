"""A store of a few small face crops for the tests of the detectors; fakes carry an obvious trace."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import pyarrow as pa

from preprocess.store.crop_file import Crop, write_crops
from preprocess.store.image_codecs import encode_crop
from preprocess.store.origin import Origin
from preprocess.store.schemas import SAMPLES
from preprocess.store.tables import write_table

# of the crop's point (0, 0) in the frame, and the face box in frame pixels
CROP_X, CROP_Y = 100, 50
BOX = (120.0, 70.0, 160.0, 110.0)
CROP_SIZE = (80, 80)


class TinyStore(NamedTuple):
    """Where a store stands.

    Attributes:
        samples: Table of its one data set.
        crops: Folder of its crops.
    """

    samples: Path
    crops: Path

    @property
    def data(self) -> Path:
        """The folder of the whole store."""
        return self.crops.parent


def face_pixels(rng: np.random.Generator, method: str) -> np.ndarray:
    """Smooth colours; a fake has a fine pattern, of its own for each method, over the face."""
    image = cv2.resize(rng.integers(60, 200, (5, 5, 3), dtype=np.uint8), CROP_SIZE, interpolation=cv2.INTER_CUBIC)
    if method != "real":
        rows, columns = np.indices(CROP_SIZE)
        stripes = {"stripes": rows // 2 % 2, "columns": columns // 2 % 2}[method]
        face = image[20:60, 20:60].astype(int) + 50 * stripes[20:60, 20:60, None] - 25
        image[20:60, 20:60] = np.clip(face, 0, 255)
    return image


def make_store(
    root: Path,
    dataset: str = "tiny",
    *,
    splits: tuple[str, ...] = ("train", "val", "test"),
    n_groups: int = 3,
    n_frames: int = 2,
    methods: tuple[str, ...] = ("real", "stripes", "columns"),
    n_shards: int = 2,
) -> TinyStore:
    """Write crops and samples: per split `n_groups` source groups with one video of each method."""
    rng = np.random.default_rng([len(dataset), n_groups, n_frames])
    shards: dict[str, list[Crop]] = {f"{shard:04d}": [] for shard in range(n_shards)}
    samples = []
    for number, (split, group) in enumerate((split, group) for split in splits for group in range(n_groups)):
        shard = f"{number % n_shards:04d}"
        source = f"{dataset}/real/original/{split}{group}"
        for method in methods:
            video_id = f"{dataset}/{method}/original/{split}{group}"
            for frame in range(n_frames):
                crop = Crop(
                    video_id=video_id,
                    frame_index=frame,
                    pts_seconds=frame / 25,
                    track_id=0,
                    box=np.array(BOX, np.float32),
                    score=0.9,
                    size=CROP_SIZE,
                    crop_to_frame=np.array([[1, 0, CROP_X], [0, 1, CROP_Y]], np.float64),
                    padding_px=(0, 0, 0, 0),
                    encoded=encode_crop(face_pixels(rng, method)),
                )
                samples.append(
                    dict.fromkeys(SAMPLES.names)
                    | {
                        "sample_id": f"{video_id}#{frame}#0",
                        "video_id": video_id,
                        "dataset": dataset,
                        "shard": shard,
                        "crop_row": len(shards[shard]),
                        "frame_index": frame,
                        "track_id": 0,
                        "label": int(method != "real"),
                        "method": method,
                        "compression": "original",
                        "split": split,
                        "source_group": source,
                    }
                )
                shards[shard].append(crop)
    for shard, crops in shards.items():
        write_crops(root / "crops" / dataset / f"{shard}.h5", crops, Origin(dataset, "crops", "{}", 1, shard))
    path = root / "samples" / f"{dataset}.parquet"
    write_table(path, pa.Table.from_pylist(samples, schema=SAMPLES), SAMPLES, Origin(dataset, "samples", "{}", 1))
    return TinyStore(path, root / "crops")
