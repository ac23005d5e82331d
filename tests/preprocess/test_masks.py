"""Hull and manipulation masks against masks that are known."""

from pathlib import Path

import cv2
import h5py
import numpy as np
import pyarrow as pa
import pytest

from helpers.programs import run_program
from preprocess.crops import CropsSettings, cut_crop
from preprocess.masks import MasksSettings, difference_mask, hull_mask, main, make_masks, structural_difference
from preprocess.running.cli import UserError
from preprocess.store.blobs import BlobReader
from preprocess.store.crop_file import Crop, CropReader, decode_png, write_crops
from preprocess.store.origin import Origin
from preprocess.store.schemas import INDEX, LANDMARKS
from preprocess.store.tables import write_table
from preprocess.synthetic import FaceTruth, render_portrait
from preprocess.synthetic.encode import write_video
from preprocess.video.outcomes import UNDECODED

SIZE = (240, 260)
N_FRAMES = 4
N_MASK_FRAMES = 3  # the mask video is shorter than its fake
ORIGIN = Origin("d", "test", "{}", 1, "0000")


def iou(mask: np.ndarray, truth: np.ndarray) -> float:
    mask, truth = mask > 127, truth > 127
    return (mask & truth).sum() / (mask | truth).sum()


def forge(image: np.ndarray, truth: FaceTruth) -> tuple[np.ndarray, np.ndarray]:
    """Lay another person's face, turned and coloured otherwise, into a soft hull; the fake and where it was changed."""
    weight = cv2.GaussianBlur(hull_mask(truth.landmarks, image.shape[:2]).astype(np.float32) / 255, (0, 0), 2)
    weight = np.clip(2 * weight - 1, 0, 1)[..., None]
    other = cv2.GaussianBlur(cv2.flip(np.roll(image, 9, axis=0), 1), (0, 0), 1.5)
    fake = np.round(weight * other + (1 - weight) * image).astype(np.uint8)
    return fake, (weight[..., 0] > 0).astype(np.uint8) * 255


@pytest.fixture(scope="module")
def faces() -> list[tuple[np.ndarray, FaceTruth]]:
    return [render_portrait(np.random.default_rng((5, index)), *SIZE) for index in range(N_FRAMES)]


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
    arguments += ["--index", folder / "index.parquet", "--root", folder / "raw", "--workers", workers]
    run_program(main, *arguments)


def test_hull_holds_what_lies_between_the_landmarks():
    square = np.array([[10, 20], [30, 20], [30, 40], [10, 40], [20, 30]], np.float32)
    expected = np.zeros((50, 60), np.uint8)
    expected[20:41, 10:31] = 255
    np.testing.assert_array_equal(hull_mask(square, (50, 60)), expected)
    # half outside: cut off at the border, not moved
    np.testing.assert_array_equal(hull_mask(square - [20, 0], (50, 60))[:, :11], expected[:, 20:31])


def test_structural_difference_follows_the_formula():
    rng = np.random.default_rng(0)
    real, fake = rng.integers(0, 255, (2, 11, 11, 3), dtype=np.uint8)
    assert np.abs(structural_difference(real, real)).max() < 1e-5
    # at the centre of 11 x 11 pixels the window is the whole image
    axis = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
    weight = np.outer(axis, axis) / axis.sum() ** 2
    x, y = (cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(float) for image in (real, fake))
    mean_x, mean_y = (weight * x).sum(), (weight * y).sum()
    var_x, var_y = (weight * (x - mean_x) ** 2).sum(), (weight * (y - mean_y) ** 2).sum()
    covariance = (weight * (x - mean_x) * (y - mean_y)).sum()
    c1, c2 = 6.5025, 58.5225
    similarity = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    similarity *= (2 * covariance + c2) / (var_x + var_y + c2)
    assert structural_difference(real, fake)[5, 5] == pytest.approx(1 - similarity, abs=1e-4)


def test_difference_finds_the_manipulation_under_compression(faces):
    for image, truth in faces:
        fake, mask = forge(image, truth)
        real, fake = (
            cv2.imdecode(cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 70])[1], cv2.IMREAD_COLOR)
            for picture in (image, fake)
        )
        assert iou(difference_mask(real, fake, truth.box, MasksSettings()), mask) > 0.7
        # another compression alone is no manipulation
        again = cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 60])[1], cv2.IMREAD_COLOR)
        assert (difference_mask(real, again, truth.box, MasksSettings()) > 0).sum() < 0.05 * (mask > 0).sum()


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


def test_landmarks_of_other_crops_are_refused(shard):
    others = pa.table({"crop_row": [0, 1, 2]})
    with pytest.raises(UserError, match=r"landmarks and crops of shard 0000 of d .*\(3 and 25 rows\)"):
        list(make_masks(shard[0] / "crops.h5", others, [], Path(), MasksSettings(), workers=1))
