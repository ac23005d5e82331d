"""Landmarks on photographs of people, against dlib and against the points that come with the photographs.

The photographs are dlib's examples (`examples/faces` of its source, public domain): 43 faces with 68 points. They are
not part of this project; without them in `../shared/real/photos` these tests are skipped.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import cv2
import dlib
import numpy as np
import pytest
import torch

from preprocess.crops import CropsSettings, cut_crop
from preprocess.face.detector import FaceDetector
from preprocess.face.shape_predictor import ShapePredictor, grey_values
from preprocess.face.tracks import box_iou
from preprocess.landmarks import LandmarksSettings, detect_landmarks, load_predictor
from preprocess.running.cli import UserError
from preprocess.store.crop_file import CropReader, write_crops
from preprocess.store.origin import Origin

PHOTOS = Path(__file__).parents[4] / "shared/real/photos"
pytestmark = pytest.mark.skipif(not PHOTOS.is_dir(), reason=f"dlib's example photographs are not in {PHOTOS}")

LEFT_EYE, RIGHT_EYE = slice(36, 42), slice(42, 48)


@dataclass(frozen=True)
class Face:
    """An annotated face: name of the photograph, (4,) box x0, y0, x1, y1, (68, 2) points, both in pixels."""

    photo: str
    box: np.ndarray
    points: np.ndarray


def read_faces(name: str) -> list[Face]:
    faces = []
    for image in ElementTree.parse(PHOTOS / name).iterfind("images/image"):
        for box in image.iterfind("box"):
            left, top, width, height = (int(box.get(key)) for key in ("left", "top", "width", "height"))
            parts = sorted(box.iterfind("part"), key=lambda part: part.get("name"))
            points = np.array([(int(part.get("x")), int(part.get("y"))) for part in parts])
            faces.append(Face(image.get("file"), np.array([left, top, left + width, top + height]), points))
    return faces


@pytest.fixture(scope="module")
def photos():
    return {path.name: cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB) for path in PHOTOS.glob("*.jpg")}


@pytest.fixture(scope="module")
def training():
    return read_faces("training_with_face_landmarks.xml")


@pytest.fixture(scope="module")
def testing():
    return read_faces("testing_with_face_landmarks.xml")


def five(points: np.ndarray) -> np.ndarray:
    """The corners of the eyes and the foot of the nose, as dlib's predictor of 5 points has them."""
    return points[[45, 42, 36, 39, 33]]


def with_forehead(points: np.ndarray) -> np.ndarray:
    """81 points: 13 of the jaw, mirrored at the line from ear to ear at half their distance, stand for the forehead."""
    along = (points[16] - points[0]) / np.linalg.norm(points[16] - points[0])
    across = np.array([-along[1], along[0]])
    jaw = points[2:15]
    return np.concatenate([points, jaw - 1.5 * ((jaw - points[0]) @ across)[:, None] * across])


# kind -> points, levels, depth of trees; those of dlib's published predictors of 5 and 68 points and of the published
# one of 81 points, whose size tells them. All have 500 trees a level.
KINDS = {5: (five, 10, 4), 68: (lambda points: points, 15, 4), 81: (with_forehead, 10, 2)}


def detection(face: Face, points: np.ndarray) -> dlib.full_object_detection:
    parts = [dlib.point(int(x), int(y)) for x, y in np.floor(points + 0.5)]
    return dlib.full_object_detection(rectangle(face.box), parts)


def rectangle(box: np.ndarray) -> dlib.rectangle:
    x0, y0, x1, y1 = (int(value) for value in box)
    return dlib.rectangle(x0, y0, x1 - 1, y1 - 1)


@pytest.fixture(scope="module")
def trained(tmp_path_factory, photos, training) -> Callable[[int], Path]:
    """Number of points -> a predictor of full size, trained by dlib on the few faces of the training list."""
    folder = tmp_path_factory.mktemp("predictors")

    @functools.cache
    def train(n_points: int) -> Path:
        choose, levels, depth = KINDS[n_points]
        options = dlib.shape_predictor_training_options()
        options.cascade_depth, options.tree_depth, options.num_trees_per_cascade_level = levels, depth, 500
        options.oversampling_amount, options.num_test_splits, options.nu = 20, 10, 0.05
        options.random_seed, options.num_threads = "photos", 1
        faces = [[detection(face, choose(face.points))] for face in training]
        path = folder / f"{n_points}.dat"
        dlib.train_shape_predictor([photos[face.photo] for face in training], faces, options).save(str(path))
        return path

    return train


def dlib_points(predictor: dlib.shape_predictor, image: np.ndarray, box: np.ndarray) -> np.ndarray:
    return np.array([(part.x, part.y) for part in predictor(image, rectangle(box)).parts()])


def interocular(points: np.ndarray) -> float:
    return float(np.linalg.norm(points[LEFT_EYE].mean(axis=0) - points[RIGHT_EYE].mean(axis=0)))


def error(found: np.ndarray, face: Face) -> float:
    """Mean distance of 68 points from the given ones, as a share of the distance between the eyes."""
    return float(np.linalg.norm(found - face.points, axis=1).mean()) / interocular(face.points)


def predict(predictor: ShapePredictor, images: list[np.ndarray], boxes: list[np.ndarray]) -> np.ndarray:
    """Points of faces in photographs of any sizes, in one batch, rounded as dlib does."""
    sizes = torch.tensor([image.shape[:2] for image in images])
    batch = torch.full((len(images), *sizes.amax(dim=0).tolist()), 255, dtype=torch.uint8)
    for padded, image in zip(batch, images, strict=True):
        padded[: image.shape[0], : image.shape[1]] = torch.from_numpy(grey_values(image))
    return np.floor(predictor(batch, sizes, torch.from_numpy(np.stack(boxes))).numpy() + 0.5)


def test_there_are_43_annotated_faces(training, testing):
    assert len(training) + len(testing) == 43
    assert all(face.points.shape == (68, 2) for face in training + testing)


@pytest.mark.parametrize("n_points", KINDS)
def test_points_are_those_of_dlib_on_every_annotated_face(n_points, trained, photos, training, testing):
    reference, predictor = dlib.shape_predictor(str(trained(n_points))), ShapePredictor.load(trained(n_points))
    rng = np.random.default_rng(0)
    faces, boxes = [], []
    for face in training + testing:
        side = face.box[2] - face.box[0]
        # the box as it is, and others that are off, so that the trees have to move the points far
        for shift, scale in ((np.zeros(2), 1.0), *((rng.normal(0, 0.15, 2), rng.uniform(0.8, 1.3)) for _ in range(4))):
            corner = np.round(face.box[:2] + shift * side).astype(int)
            faces.append(face)
            boxes.append(np.concatenate([corner, corner + round(scale * side)]))
    expected = np.stack(
        [dlib_points(reference, photos[face.photo], box) for face, box in zip(faces, boxes, strict=True)]
    )
    found = np.zeros(expected.shape)
    order = rng.permutation(len(faces))
    for begin in range(0, len(order), 16):  # photographs of several sizes in every batch
        rows = order[begin : begin + 16]
        found[rows] = predict(predictor, [photos[faces[row].photo] for row in rows], [boxes[row] for row in rows])
    assert len(expected) == 5 * 43
    assert np.array_equal(found, expected)


def test_errors_are_those_of_dlib_from_boxes_as_given_and_from_the_whole_stage(trained, photos, testing, tmp_path):
    path = trained(68)
    images = [photos[face.photo] for face in testing]
    detections = [[detection(face, face.points)] for face in testing]
    stated = dlib.test_shape_predictor(
        images, detections, [[interocular(face.points)] for face in testing], dlib.shape_predictor(str(path))
    )
    found = predict(ShapePredictor.load(path), images, [face.box for face in testing])
    errors = [error(points, face) for points, face in zip(found, testing, strict=True)]
    assert np.mean(errors) == pytest.approx(stated, rel=1e-6)
    assert np.mean(errors) < 0.15, "18 faces to learn from give no more"

    in_frame = stage_points(path, photos, tmp_path)
    whole_stage, whole_dlib = [], []
    reference, detector = dlib.shape_predictor(str(path)), dlib.get_frontal_face_detector()
    for face in testing:
        squares = [(r.left(), r.top(), r.right() + 1, r.bottom() + 1) for r in detector(photos[face.photo], 1)]
        boxes, points = in_frame[face.photo]
        mine, theirs = box_iou(face.box, boxes)[0], box_iou(face.box, np.array(squares))[0]
        assert mine.max() > 0.3, f"{face.photo}: MTCNN finds no face at {face.box}"
        assert theirs.max() > 0.3, f"{face.photo}: dlib finds no face at {face.box}"
        whole_stage.append(error(points[int(mine.argmax())], face))
        whole_dlib.append(error(dlib_points(reference, photos[face.photo], squares[int(theirs.argmax())]), face))
    assert len(whole_stage) == 25
    # MTCNN's boxes, turned into dlib's squares, serve the predictor as well as the squares that it was trained on
    stage, reference_error = np.mean(whole_stage), np.mean(whole_dlib)
    print(f"mean error: boxes as given {np.mean(errors):.3f}, stage {stage:.3f}, dlib {reference_error:.3f}")
    assert stage < 1.1 * reference_error


def stage_points(predictor_path: Path, photos, folder: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """What the pipeline finds in each photograph: MTCNN's boxes (n, 4), and points (n, 68, 2) of their crops."""
    detector = FaceDetector(min_size_px=20, score_threshold=0.9, batch_size=1, device="cpu")
    predictor = ShapePredictor.load(predictor_path)
    found = {}
    for name, photo in photos.items():
        (faces,) = detector.detect([photo], photo.shape[:2])  # faces of 20 px are sought without shrinking it
        crops = []
        for index, (box, score) in enumerate(zip(faces.boxes, faces.scores, strict=True)):
            row = {"video_id": f"d/real/original/{name}", "frame_index": 0, "pts_seconds": 0.0, "track_id": index}
            row |= dict(zip(("x0", "y0", "x1", "y1"), box.tolist(), strict=True)) | {"score": float(score)}
            crops.append(cut_crop(photo, row, CropsSettings()))
        write_crops(folder / f"{name}.h5", crops, Origin("d", "crops", "{}", 1, "0000"))
        with CropReader(folder / f"{name}.h5") as reader:
            rows = detect_landmarks(reader, predictor, LandmarksSettings(), threads=1)
        found[name] = (faces.boxes, np.array([row["landmarks"] for row in rows]).reshape(len(rows), 68, 2))
    return found


@pytest.mark.parametrize("n_points", [5, 68])
def test_the_stage_needs_81_points(trained, n_points):
    with pytest.raises(UserError, match=f"places {n_points} points, 81 are needed.*forehead"):
        load_predictor(trained(n_points), "cpu")
