"""Parity with dlib's own shape predictor, on predictors that dlib trains here."""

from pathlib import Path

import cv2
import dlib
import numpy as np
import pytest
import torch

from preprocess.face.shape_predictor import ShapePredictor, grey_values


def draw_face(rng: np.random.Generator, mean_shape: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A blurred noise picture with a dot on every landmark: image, box (exclusive, may leave the image), points."""
    height, width = (int(side) for side in rng.integers(90, 200, 2))
    image = cv2.resize(rng.integers(0, 255, (10, 10, 3), dtype=np.uint8), (width, height))
    side = int(rng.integers(50, 100))
    x0, y0 = rng.integers(-20, width - side + 20), rng.integers(-20, height - side + 20)
    angle = rng.normal(0, 0.15)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    points = ((mean_shape - 0.5) @ turn.T + 0.5) * side + (x0, y0)
    for x, y in points:
        cv2.circle(image, (round(x), round(y)), 2, tuple(int(value) for value in rng.integers(0, 255, 3)), -1)
    return image, np.array([x0, y0, x0 + side, y0 + side]), points


def dlib_rectangle(box: np.ndarray) -> dlib.rectangle:
    return dlib.rectangle(int(box[0]), int(box[1]), int(box[2]) - 1, int(box[3]) - 1)


def train(path: Path, n_points: int, tree_depth: int) -> np.ndarray:
    """Train a small predictor with dlib; returns the mean shape that its faces have."""
    rng = np.random.default_rng(n_points)
    mean_shape = rng.uniform(0.1, 0.9, (n_points, 2))
    images, detections = [], []
    for _ in range(12):
        image, box, points = draw_face(rng, mean_shape)
        images.append(image)
        parts = [dlib.point(round(x), round(y)) for x, y in points]
        detections.append([dlib.full_object_detection(dlib_rectangle(box), parts)])
    options = dlib.shape_predictor_training_options()
    options.cascade_depth, options.num_trees_per_cascade_level, options.tree_depth = 4, 40, tree_depth
    options.oversampling_amount, options.num_test_splits, options.feature_pool_size = 5, 5, 100
    options.nu = 0.3
    options.random_seed, options.num_threads = "parity", 1
    dlib.train_shape_predictor(images, detections, options).save(str(path))
    return mean_shape


def pad(images: list[np.ndarray]) -> tuple[torch.Tensor, torch.Tensor]:
    sizes = torch.tensor([image.shape[:2] for image in images])
    # 255 in the padding: it must not be read
    batch = torch.full((len(images), *sizes.amax(dim=0).tolist()), 255, dtype=torch.uint8)
    for padded, image in zip(batch, images, strict=True):
        padded[: image.shape[0], : image.shape[1]] = torch.from_numpy(grey_values(image))
    return batch, sizes


def test_grey_values_are_rounded_down():
    rng = np.random.default_rng(3)
    image = rng.integers(0, 256, (40, 50, 3), dtype=np.uint8)
    image[0, :4] = [(255, 255, 255), (255, 255, 254), (0, 0, 2), (1, 1, 1)]
    grey = grey_values(image)
    assert grey.dtype == np.uint8
    assert grey[0, :4].tolist() == [255, 254, 0, 1]
    assert np.array_equal(grey, image.sum(axis=2) // 3)


DEVICES = [
    "cpu",
    pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU is there")),
]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("n_points", "tree_depth"), [(5, 4), (68, 1), (81, 2)])
def test_points_are_those_of_dlib(tmp_path, n_points, tree_depth, device):
    path = tmp_path / "predictor.dat"
    mean_shape = train(path, n_points, tree_depth)
    rng = np.random.default_rng(1)
    images, boxes, _ = zip(*(draw_face(rng, mean_shape) for _ in range(60)), strict=True)
    reference = dlib.shape_predictor(str(path))
    expected = np.array(
        [
            [(part.x, part.y) for part in reference(image, dlib_rectangle(box)).parts()]
            for image, box in zip(images, boxes, strict=True)
        ]
    )

    predictor = ShapePredictor.load(path, device)
    batch, sizes = pad(images)
    points = predictor(batch, sizes, torch.from_numpy(np.stack(boxes))).cpu().numpy()

    assert points.shape == (60, n_points, 2)
    assert any((box < 0).any() for box in boxes), "no box reaches outside its image"
    assert np.array_equal(np.floor(points + 0.5), expected)
    # the trees moved the points: the mean shape alone would not agree
    corners = np.stack(boxes)[:, None]
    start = corners[..., :2] + predictor.initial_shape.cpu().numpy() * (corners[..., 2:] - 1 - corners[..., :2])
    assert (np.floor(start + 0.5) == expected).all(axis=2).mean() < 0.5


def test_a_face_does_not_depend_on_its_batch(tmp_path):
    path = tmp_path / "predictor.dat"
    mean_shape = train(path, 5, 3)
    rng = np.random.default_rng(2)
    images, boxes, _ = zip(*(draw_face(rng, mean_shape) for _ in range(7)), strict=True)
    predictor = ShapePredictor.load(path)
    batch, sizes = pad(images)
    rects = torch.from_numpy(np.stack(boxes))
    together = predictor(batch, sizes, rects)
    for row, image in enumerate(images):
        alone = predictor(*pad([image]), rects[row : row + 1])
        assert torch.equal(alone[0], together[row])
