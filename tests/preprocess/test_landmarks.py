"""Landmarks of crops, with a predictor trained on rendered portraits."""

from pathlib import Path

import dlib
import numpy as np
import pytest

from helpers.programs import run_program
from preprocess import landmarks
from preprocess.crops import CropsSettings, cut_crop
from preprocess.landmarks import (
    LandmarksSettings,
    detect_landmarks,
    landmark_rect,
    load_predictor,
    main,
)
from preprocess.running.cli import UserError
from preprocess.store.crop_file import Crop, CropReader, write_crops
from preprocess.store.origin import Origin, read_origin
from preprocess.store.tables import read_rows
from preprocess.synthetic import FaceTruth, render_portrait
from preprocess.train_predictor import PredictorSettings, train_predictor
from preprocess.video.outcomes import NO_LANDMARKS, UNDECODED

N_FACES = 12
SMALL = PredictorSettings(
    n_portraits=80, max_side_px=240, boxes_per_portrait=3, cascade_depth=6, trees_per_level=40, oversampling=6
)  # fmt: skip


@pytest.fixture(scope="module")
def predictor_path(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("predictor") / "synthetic_81.dat"
    train_predictor(SMALL, threads=2).save(str(path))
    return path


@pytest.fixture(scope="module")
def shard(tmp_path_factory) -> tuple[Path, list[FaceTruth]]:
    """Crops of rendered faces of different sizes, every third one reduced, then one that was lost."""
    path = tmp_path_factory.mktemp("crops") / "0000.h5"
    crops, truths = [], []
    for index in range(N_FACES):
        rng = np.random.default_rng((99, index))
        image, truth = render_portrait(rng, 200 + 10 * index, 240)
        face = {"video_id": "d/real/c23/a", "frame_index": index, "pts_seconds": index / 25, "track_id": 0}
        face |= dict(zip(("x0", "y0", "x1", "y1"), truth.box.tolist(), strict=True)) | {"score": 1.0}
        crops.append(cut_crop(image, face, CropsSettings(max_size_px=None if index % 3 else 100)))
        truths.append(truth)
    lost = Crop(
        video_id="d/real/c23/a", frame_index=N_FACES, pts_seconds=0.5, track_id=0, box=np.zeros(4), score=1.0,
        size=(0, 0), crop_to_frame=np.zeros((2, 3)), padding_px=(0, 0, 0, 0), encoded=b"", sharpness=0.0,
        status=UNDECODED, message="cut short",
    )  # fmt: skip
    write_crops(path, [*crops, lost], Origin("d", "crops", "{}", 1, "0000"))
    return path, truths


def test_rect_is_the_square_of_dlib():
    rects = landmark_rect(np.array([[10.0, 20.0, 110.0, 164.0], [-50.4, 0.0, 49.6, 100.0]]))
    # sqrt(100 * 144) = 120; 0.98 * 120 = 117.6; centre (60, 92 + 7.92)
    assert rects.tolist() == [[1, 41, 119, 159], [-49, 7, 49, 105]]


def test_every_crop_has_its_row(shard, predictor_path):
    path, truths = shard
    predictor = load_predictor(predictor_path, "cpu")
    with CropReader(path) as crops:
        rows = detect_landmarks(crops, predictor, LandmarksSettings(batch_size=5), threads=2)
        alone = detect_landmarks(crops, predictor, LandmarksSettings(batch_size=1), threads=1)
    assert [row["crop_row"] for row in rows] == list(range(N_FACES + 1))
    assert [row["frame_index"] for row in rows] == list(range(N_FACES + 1))
    assert (rows[-1]["status"], rows[-1]["message"], rows[-1]["landmarks"]) == (UNDECODED, "cut short", None)
    for row, other, truth in zip(rows, alone, truths, strict=False):
        assert row["status"] == "ok"
        np.testing.assert_array_equal(row["landmarks"], other["landmarks"])
        points = row["landmarks"].reshape(81, 2)
        between_eyes = np.linalg.norm(truth.landmarks[36:42].mean(axis=0) - truth.landmarks[42:48].mean(axis=0))
        error = np.linalg.norm(points - truth.landmarks, axis=1).mean() / between_eyes
        assert error < 0.12, f"crop {row['crop_row']}: mean error is {error:.1%} of the distance between the eyes"


def test_batches_hold_every_crop_once_and_a_bounded_number_of_pixels(shard, monkeypatch):
    with CropReader(shard[0]) as crops:
        areas = crops.size[:N_FACES].astype(int).prod(axis=1)
        limit = int(3 * areas.max())
        monkeypatch.setattr(landmarks, "_BATCH_PIXELS", limit)
        batches = landmarks._batches_of_similar_size(crops, 8)
        assert sorted(np.concatenate(batches).tolist()) == list(range(N_FACES))
        assert all(len(rows) * int(crops.size[rows].max(axis=0).prod()) <= limit for rows in batches)
        assert max(map(len, batches)) > 3, "small crops share a batch"
        monkeypatch.setattr(landmarks, "_BATCH_PIXELS", 1)
        assert [len(rows) for rows in landmarks._batches_of_similar_size(crops, 8)] == [1] * N_FACES


def test_landmarks_can_be_left_out(shard):
    with CropReader(shard[0]) as crops:
        rows = detect_landmarks(crops, None, LandmarksSettings(), threads=1)
    assert [row["status"] for row in rows] == [NO_LANDMARKS] * N_FACES + [UNDECODED]
    assert all(row["landmarks"] is None for row in rows)


def test_points_are_those_of_dlib_on_the_same_crops(shard, predictor_path):
    reference = dlib.shape_predictor(str(predictor_path))
    with CropReader(shard[0]) as crops:
        rows = detect_landmarks(crops, load_predictor(predictor_path, "cpu"), LandmarksSettings(), threads=1)
        for index in range(N_FACES):
            (scale_x, _, shift_x), (_, scale_y, shift_y) = crops.crop_to_frame[index]
            scale, shift = np.array([scale_x, scale_y]), np.array([shift_x, shift_y])
            # the box in the crop; edges lie half a pixel before pixel centres
            box = ((crops.box[index].reshape(2, 2) - 0.5 - shift) / scale + 0.5).reshape(4)
            x0, y0, x1, y1 = landmark_rect(box).tolist()
            parts = reference(crops.image(index), dlib.rectangle(x0, y0, x1 - 1, y1 - 1)).parts()
            expected = np.array([(part.x, part.y) for part in parts])
            points = (rows[index]["landmarks"].reshape(81, 2) - shift) / scale
            assert np.abs(points - expected).max() <= 0.501  # dlib rounds its points


def test_command_writes_the_table(shard, predictor_path, tmp_path):
    output = tmp_path / "0000.parquet"
    arguments = ["--crops", shard[0], "--predictor", predictor_path, "--output", output, "--device", "cpu"]
    run_program(main, *arguments, "--settings", '{"batch_size": 7}')
    rows = read_rows(output)
    assert len(rows) == N_FACES + 1
    assert len(rows[0]["landmarks"]) == 162
    assert rows[-1]["landmarks"] is None
    origin = read_origin(output)
    assert (origin.dataset, origin.shard, origin.stage) == ("d", "0000", "landmarks")


def test_predictor_must_be_there_and_have_81_points(tmp_path):
    with pytest.raises(UserError, match=r"landmarks.predictor.*absent.*19,743,860 bytes.*8cae4375"):
        load_predictor(tmp_path / "absent.dat", "cpu")
    options = dlib.shape_predictor_training_options()
    options.cascade_depth, options.num_trees_per_cascade_level, options.oversampling_amount = 1, 2, 2
    parts = [dlib.point(x, y) for x, y in ((10, 10), (30, 12), (20, 30))]
    face = dlib.full_object_detection(dlib.rectangle(0, 0, 39, 39), parts)
    image = np.random.default_rng(0).integers(0, 255, (40, 40), dtype=np.uint8)
    path = tmp_path / "three.dat"
    dlib.train_shape_predictor([image] * 2, [[face]] * 2, options).save(str(path))
    with pytest.raises(UserError, match="places 3 points, 81 are needed"):
        load_predictor(path, "cpu")


def test_training_gives_the_same_bytes_on_any_number_of_threads(tmp_path):
    settings = {"n_portraits": 4, "max_side_px": 180, "cascade_depth": 2, "trees_per_level": 5}
    contents = []
    for name, seed, threads in (("one", 3, 1), ("two", 3, 2), ("other", 4, 1)):
        path = tmp_path / name
        train_predictor(PredictorSettings(**settings, seed=seed), threads=threads).save(str(path))
        contents.append(path.read_bytes())
    assert contents[0] == contents[1]
    assert contents[0] != contents[2]
