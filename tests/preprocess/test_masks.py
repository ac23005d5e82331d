"""The masks file of a shard against masks that are known."""

import os
import shutil
from pathlib import Path

import cv2
import h5py
import numpy as np
import pyarrow as pa
import pytest

from helpers.forged_faces import forge, iou, portraits
from helpers.programs import run_program
from preprocess.crops import CropsSettings, cut_crop
from preprocess.face.mask_images import hull_mask
from preprocess.masks import MasksSettings, main, make_masks
from preprocess.running.cli import UserError
from preprocess.running.raw_files import file_checksum
from preprocess.store.blobs import BlobReader
from preprocess.store.crop_file import Crop, CropReader, write_crops
from preprocess.store.image_codecs import decode_png
from preprocess.store.mask_file import MaskSource
from preprocess.store.origin import Origin
from preprocess.store.schemas import INDEX, LANDMARKS
from preprocess.store.tables import read_rows, read_table, write_table
from preprocess.synthetic import FaceTruth
from preprocess.synthetic.encode import write_video
from preprocess.video.outcomes import UNDECODED

SIZE = (240, 260)
N_FRAMES = 4
N_MASK_FRAMES = 3  # the mask video is shorter than its fake
ORIGIN = Origin("d", "test", "{}", 1, "0000")


@pytest.fixture(scope="module")
def faces() -> list[tuple[np.ndarray, FaceTruth]]:
    return portraits(N_FRAMES, SIZE)


def video_row(video_id: str, label: int | None, **columns) -> dict:
    size = {"height": SIZE[0], "width": SIZE[1]}
    return {"video_id": video_id, "dataset": "d", "label": label, "kind": "video", "status": "ok", **size, **columns}


@pytest.fixture(scope="module")
def shard(tmp_path_factory, faces) -> tuple[Path, np.ndarray]:
    """A shard of a real video, its fakes and others, in the files that the stage reads; and the true masks."""
    folder = tmp_path_factory.mktemp("shard")
    masks = np.stack([forge(image, truth)[1] for image, truth in faces])
    write_video(folder / "raw" / "masks" / "fake.mp4", iter(masks[:N_MASK_FRAMES]), 25, 10)
    small = [cv2.resize(mask, (SIZE[1] // 2, SIZE[0] // 2), interpolation=cv2.INTER_AREA) for mask in masks]
    write_video(folder / "raw" / "masks" / "small.mp4", iter(small), 25, 10)
    (folder / "raw" / "masks" / "broken.mp4").write_bytes(b"not a video")
    videos = [
        video_row("d/fake/a", 1, source_id="d/real/a", mask_path="masks/fake.mp4"),
        video_row("d/fake/broken", 1, source_id="d/real/a", mask_path="masks/broken.mp4"),
        video_row("d/fake/orphan", 1, source_id="d/real/elsewhere"),
        video_row("d/fake/small", 1, mask_path="masks/small.mp4"),
        video_row("d/real/a", 0),
        video_row("d/unlabelled", None),
    ]
    crops = []
    for video in videos:
        for index, (image, truth) in enumerate(faces):
            face = {"video_id": video["video_id"], "frame_index": index, "pts_seconds": index / 25, "track_id": 0}
            face |= dict(zip(("x0", "y0", "x1", "y1"), truth.box.tolist(), strict=True)) | {"score": 1.0}
            pixels = forge(image, truth)[0] if video["label"] == 1 else image
            crops.append(cut_crop(pixels, face, CropsSettings()))
    lost = Crop(
        video_id="d/unlabelled", frame_index=N_FRAMES, pts_seconds=1.0, track_id=0, box=np.zeros(4), score=1.0,
        size=(0, 0), crop_to_frame=np.zeros((2, 3)), padding_px=(0, 0, 0, 0), encoded=b"", sharpness=0.0,
        status=UNDECODED, message="",
    )  # fmt: skip
    write_crops(folder / "crops.h5", [*crops, lost], ORIGIN)
    points = [truth.landmarks.reshape(-1) for _, truth in faces] * len(videos)
    landmarks = [
        {"video_id": crop.video_id, "crop_row": row, "landmarks": found, "status": crop.status}
        for row, (crop, found) in enumerate(zip([*crops, lost], [*points, None], strict=True))
    ]
    write_table(folder / "landmarks.parquet", landmarks, LANDMARKS, ORIGIN)
    write_table(folder / "index.parquet", videos, INDEX, ORIGIN)
    return folder, masks


def run(folder: Path, output: Path, workers: int) -> None:
    arguments = ["--crops", folder / "crops.h5", "--landmarks", folder / "landmarks.parquet", "--output", output]
    arguments += ["--list", folder / "index.parquet", "--root", folder / "raw", "--workers", workers]
    run_program(main, *arguments)


def test_every_crop_has_the_best_mask_that_there_is(shard, faces, tmp_path):
    folder, truths = shard
    run(folder, tmp_path / "masks.h5", 2)
    with CropReader(folder / "crops.h5") as crops, h5py.File(tmp_path / "masks.h5") as file:
        assert dict(file.attrs) == {
            "dataset": "d", "shard": "0000", "stage": "masks", "version": file.attrs["version"],
            "settings": file.attrs["settings"],
        }  # fmt: skip
        sources = file["mask_source"].asstr()[:].tolist()
        assert sources == [
            *["mask_video"] * N_MASK_FRAMES, "difference",  # d/fake/a
            *["difference"] * N_FRAMES,  # d/fake/broken
            *["unknown"] * N_FRAMES,  # d/fake/orphan
            *["mask_video"] * N_FRAMES,  # d/fake/small
            *["real"] * N_FRAMES,
            *["unknown"] * (N_FRAMES + 1),  # d/unlabelled, and the lost crop
        ]  # fmt: skip
        hulls, manipulations = BlobReader(file["hull"]), BlobReader(file["manipulation"])
        assert len(hulls) == len(manipulations) == len(crops)
        assert hulls[len(crops) - 1] == b""
        for row, source in enumerate(sources):
            if source == "unknown":
                assert manipulations[row] == b""
                continue
            mask = decode_png(manipulations[row])
            assert mask.shape == tuple(crops.size[row])
            assert set(np.unique(mask)) <= {0, 255}
            window = crops.crop_to_frame[row], tuple(crops.size[row][::-1].tolist())
            cut = {"flags": cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP}
            frame_index = crops.frame_index[row]
            truth = cv2.warpAffine(truths[frame_index], *window, **cut)
            if source == "real":
                assert not mask.any()
            else:
                small = crops.video_id[row] == "d/fake/small"
                least = {"mask_video": 0.93 if small else 0.99, "difference": 0.7}[source]
                assert iou(mask, truth) > least, f"{crops.video_id[row]}, frame {frame_index}"
            hull = cv2.warpAffine(hull_mask(faces[frame_index][1].landmarks, SIZE), *window, **cut)
            assert iou(decode_png(hulls[row]), hull) > 0.97


def test_same_bytes_for_any_number_of_workers(shard, tmp_path):
    contents = []
    for workers in (1, 3):
        path = tmp_path / f"{workers}.h5"
        run(shard[0], path, workers)
        contents.append(path.read_bytes())
    assert contents[0] == contents[1]


@pytest.mark.parametrize("change", ["as it was", "touched", "replaced", "gone", "never there"])
def test_a_mask_video_that_is_not_the_one_of_the_index_stops_the_stage(shard, tmp_path, change):
    folder = shard[0]
    shutil.copytree(folder / "raw", tmp_path / "raw")
    mask = tmp_path / "raw/masks/fake.mp4"
    videos = read_rows(folder / "index.parquet")
    for video in videos:
        if video["mask_path"] == "masks/fake.mp4" and change != "never there":
            video["mask_checksum"] = file_checksum(mask)

    def masks(**options):
        landmarks, raw = read_table(folder / "landmarks.parquet"), tmp_path / "raw"
        options |= {"settings": MasksSettings(), "workers": 1}
        return list(make_masks(folder / "crops.h5", landmarks, videos, raw, **options))

    if change in ("replaced", "touched"):
        content = bytearray(mask.read_bytes())
        content[-1] ^= change == "replaced"
        mask.write_bytes(content)
        os.utime(mask, (0, 0))
    elif change != "as it was":
        mask.unlink()
    if change in ("replaced", "gone"):
        how = {"replaced": "has changed", "gone": r"was there .* 1 of 1 such files .*disc mounted"}[change]
        with pytest.raises(UserError, match=rf"'d': masks/fake\.mp4 {how}.*index_videos_d`"):
            masks()
        with pytest.raises(UserError, match=how):  # its worker is ended before it compares anything
            masks(video_seconds=0)
    else:
        n_from_video = sum(made.source == MaskSource.MASK_VIDEO for made in masks())
        assert n_from_video == N_FRAMES + (0 if change == "never there" else N_MASK_FRAMES)


def test_landmarks_of_other_crops_are_refused(shard):
    others = pa.table({"crop_row": [0, 1, 2]})
    with pytest.raises(UserError, match=r"landmarks and crops of shard 0000 of d .*\(3 and 25 rows\)"):
        list(make_masks(shard[0] / "crops.h5", others, [], Path(), MasksSettings(), workers=1))
