"""The results of every stage are those of its version: whoever changes them raises the number.

The workflow makes files again where `preprocess.store.versions` has another number, and only there: a change of results
without one leaves stores that hold old and new results side by side. The stages run on a collection of four tiny
videos; what they give is compared with `pinned_outputs.json`. Other processors and builds of OpenCV, FFmpeg and PyTorch
round otherwise, so pictures are compared by the means of blocks, and numbers with a tolerance.

After a change on purpose: raise the stage's number, then write its outputs anew by

    python -m tests.preprocess.test_versions
"""

from __future__ import annotations

import json
import math
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from preprocess import crops, faces, frames, index, landmarks, masks, samples
from preprocess.face import search
from preprocess.face.shape_predictor import CascadeLevel, ShapePredictor
from preprocess.store.crop_file import CropReader, write_crops
from preprocess.store.mask_file import MaskReader, write_masks
from preprocess.store.origin import Origin
from preprocess.store.schemas import FACES, FRAMES, INDEX, LANDMARKS, N_LANDMARKS
from preprocess.store.stages import STAGES
from preprocess.store.tables import read_rows, read_table, write_table
from preprocess.synthetic.geometry import template

COLLECTION = Path(__file__).with_name("pinned_collection")
PINNED = Path(__file__).with_name("pinned_outputs.json")
DATASET, SHARD = "d", "0000"
# Room around the boxes, at which no corner lies within 0.07 px of where it would round otherwise.
MARGIN = 0.59
BLOCKS = 6  # a picture is pinned as the means of 6 x 6 blocks

# Largest difference of numbers; text and whole numbers are the same.
TOLERANCE = {
    "index": 1e-6,
    "frames": 1e-6,
    "faces": 0.15,  # px; scores are multiplied by 100
    "crops": 1.0,  # px and grey levels; sharpness in hundredths of its logarithm
    "landmarks": 1.5,  # px
    "masks": 8.0,  # of 255, means of blocks
    "samples": 0.15,
}


def in_this_process(function, items, *, prepare=None, **_) -> Iterator[Iterator]:
    """`map_videos` without workers, on which no result depends."""
    if prepare is not None:
        prepare()
    return (function(item) for item in items)


def tiny_predictor() -> ShapePredictor:
    """The average face, moved a little by trees that chance has grown."""
    rng = np.random.default_rng(0)
    n_trees, n_pixels = 6, 30
    shape = template()
    shape = (shape - shape.min(axis=0)) / np.ptp(shape, axis=0) * [0.9, 1.1] + [0.05, -0.2]
    offsets = torch.from_numpy(rng.uniform(-0.1, 0.1, (2, n_pixels)).astype(np.float32))
    anchors = torch.from_numpy(rng.integers(0, N_LANDMARKS, n_pixels))
    level = CascadeLevel(
        first=torch.from_numpy(rng.integers(0, n_pixels, 3 * n_trees)),
        second=torch.from_numpy(rng.integers(0, n_pixels, 3 * n_trees)),
        threshold=torch.from_numpy(rng.integers(-20, 20, (3 * n_trees, 1)).astype(np.int16)),
        leaves=torch.from_numpy(rng.normal(0, 0.002, (4 * n_trees, 2 * N_LANDMARKS)).astype(np.float32)),
        anchors=torch.cat([anchors, anchors + N_LANDMARKS]),
        offsets=offsets.reshape(-1, 1),
        turned_offsets=torch.cat([-offsets[1], offsets[0]])[:, None],
        n_trees=n_trees,
    )
    return ShapePredictor(torch.from_numpy(shape.astype(np.float32)), [level, level])


def block_means(picture: np.ndarray | None) -> list | None:
    """Means of 6 x 6 blocks, red, green and blue (or grey) after one another."""
    if picture is None:
        return None
    rows = np.array_split(picture.astype(float), BLOCKS)
    return [block.mean(axis=(0, 1)).tolist() for row in rows for block in np.array_split(row, BLOCKS, axis=1)]


def outputs(data: Path) -> Iterator[tuple[str, list]]:
    """Run the stages on the collection; the name of each, and what it gives."""
    root, files = COLLECTION, samples.ShardFiles.of(data, DATASET, SHARD)

    def origin(stage: str) -> Origin:
        return Origin(DATASET, stage, "{}", STAGES[stage].version, SHARD)

    listed = index.index_videos(DATASET, "faceforensics", root, 1, index.IndexSettings())
    write_table(files.index, listed, INDEX, origin("index"))
    yield "index", listed

    sampled = frames.sample_shard(listed, root, frames.FramesSettings(n_frames=4), workers=1)
    write_table(files.frames, sampled, FRAMES, origin("frames"))
    yield "frames", sampled

    found = faces.track_shard(listed, sampled, root, faces.FacesSettings(), device="cpu", workers=1)
    write_table(files.faces, found, FACES, origin("faces"))
    yield "faces", [row | {"score": 100 * row["score"]} if row["status"] == "ok" else row for row in found]

    cut = crops.crop_shard(listed, found, root, crops.CropsSettings(margin=MARGIN), workers=1)
    write_crops(files.crops, cut, origin("crops"))
    columns = ("video_id", "frame_index", "track_id", "size", "crop_to_frame", "padding_px", "status")
    with CropReader(files.crops) as cropped:
        yield (
            "crops",
            [
                {name: np.asarray(getattr(cropped, name)[row]).tolist() for name in columns}
                | {"image": block_means(cropped.image(row)), "sharpness": 100 * math.log10(cropped.sharpness[row])}
                for row in range(len(cropped))
            ],
        )
        placed = landmarks.detect_landmarks(cropped, tiny_predictor(), landmarks.LandmarksSettings(), threads=1)
    write_table(files.landmarks, placed, LANDMARKS, origin("landmarks"))
    yield "landmarks", read_rows(files.landmarks)

    table = read_table(files.landmarks, ["crop_row", "landmarks"])
    made = masks.make_masks(files.crops, table, listed, root, masks.MasksSettings(), workers=1)
    write_masks(files.masks, made, origin("masks"))
    with MaskReader(files.masks) as masked:
        yield (
            "masks",
            [
                {
                    "source": masked.source[row],
                    "hull": block_means(masked.hull(row)),
                    "manipulation": block_means(masked.manipulation(row)),
                }
                for row in range(len(masked))
            ],
        )

    rows, ledger = samples.collect_dataset(data, DATASET, 1)
    kept = [{**row, "sharpness": math.log10(row["sharpness"])} for row in rows.to_pylist()]
    yield "samples", [*kept, *ledger]


def plain(value: object) -> object:
    """What JSON gives back of a value."""
    if isinstance(value, dict):
        return {name: plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [plain(item) for item in value]
    value = value.item() if isinstance(value, np.generic) else value
    return round(value, 3) if isinstance(value, float) else value


def differences(found: object, pinned: object, tolerance: float, place: str = "") -> Iterator[str]:
    """Where two outputs differ by more than the tolerance."""
    if isinstance(found, dict) and isinstance(pinned, dict) and found.keys() == pinned.keys():
        for name in found:
            yield from differences(found[name], pinned[name], tolerance, f"{place}.{name}")
    elif isinstance(found, list) and isinstance(pinned, list) and len(found) == len(pinned):
        for number, (one, other) in enumerate(zip(found, pinned, strict=True)):
            yield from differences(one, other, tolerance, f"{place}[{number}]")
    elif isinstance(found, float) and isinstance(pinned, float):
        if not abs(found - pinned) <= tolerance:
            yield f"{place}: {found} where {pinned} was"
    elif found != pinned:
        yield f"{place}: {found!r} where {pinned!r} was"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        for stage in (index, frames, crops, masks, search):
            patch.setattr(stage, "map_videos", in_this_process)
        return {stage: plain(rows) for stage, rows in outputs(tmp_path_factory.mktemp("data"))}


def test_results_are_those_of_their_version(made):
    """Stage by stage: what a later one gives follows from what an earlier one gave."""
    pinned = json.loads(PINNED.read_text())
    for name, stage in STAGES.items():
        number, version = f"versions.{name.upper()}", pinned[name]["version"]
        assert version == stage.version, (
            f"{number} is {stage.version}, and the outputs of {version} are pinned: pin those of the new version by "
            "`python -m tests.preprocess.test_versions`, and say in CHANGELOG.md what changed"
        )
        found = list(differences(made[name], pinned[name]["rows"], TOLERANCE[name]))
        assert not found, (
            f"the stage {name} gives other results, but {number} is still {version}. Undo the change, or raise "
            f"{number} so that every store is made again, and pin the new outputs by `python -m "
            f"tests.preprocess.test_versions`. {len(found)} values differ, such as {name}{found[0]}"
        )


def test_every_stage_is_pinned_and_gives_something(made):
    pinned = json.loads(PINNED.read_text())
    assert list(pinned) == list(STAGES) == list(made) == list(TOLERANCE)
    assert {row["source"] for row in made["masks"]} == {"real", "mask_video", "difference"}
    assert {row["status"] for row in made["faces"]} == {"ok"}


def pin() -> None:
    """Write the outputs of every stage that has another version than the pinned one, and of no other."""
    pinned = json.loads(PINNED.read_text()) if PINNED.exists() else {}
    for stage in (index, frames, crops, masks, search):
        stage.map_videos = in_this_process
    with tempfile.TemporaryDirectory() as folder:
        for stage, rows in outputs(Path(folder)):
            version = STAGES[stage].version
            if pinned.get(stage, {}).get("version") == version:
                found = list(differences(plain(rows), pinned[stage]["rows"], TOLERANCE[stage]))
                if found:
                    sys.exit(f"{stage} differs, but versions.{stage.upper()} is still {version}: raise it first")
                continue
            pinned[stage] = {"version": version, "rows": plain(rows)}
    PINNED.write_text(json.dumps(pinned, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    pin()
