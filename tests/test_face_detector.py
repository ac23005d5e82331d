import numpy as np
import pytest

from preprocess.face_detector import FaceDetector
from preprocess.synthetic import render_portrait
from preprocess.tracks import box_iou


def face_detector(min_size_px=40):
    return FaceDetector(min_size_px=min_size_px, score_threshold=0.9, batch_size=32, device="cpu")


@pytest.fixture(scope="module")
def portrait():
    return render_portrait(np.random.default_rng(3), 270, 360)


def test_boxes_come_in_pixels_of_the_frame_at_any_search_scale(portrait):
    image, truth = portrait
    for min_size_px in (20, 40, 60):
        detector = face_detector(min_size_px=min_size_px)
        (found,) = detector.detect([detector.shrink(image)], image.shape[:2])
        assert len(found.boxes) == 1
        assert box_iou(found.boxes, truth.box[None])[0, 0] >= 0.6
        assert found.scores[0] >= 0.99
        x0, y0, x1, y1 = found.boxes[0]
        assert ((found.points[0] > (x0, y0)) & (found.points[0] < (x1, y1))).all()


def test_small_faces_are_not_kept(portrait):
    image, truth = portrait
    side = int(min(truth.box[2] - truth.box[0], truth.box[3] - truth.box[1]))
    detector = face_detector(min_size_px=2 * side)
    assert len(detector.detect([detector.shrink(image)], image.shape[:2])[0].boxes) == 0


def test_a_frame_smaller_than_any_face_holds_none():
    detector = face_detector()
    (found,) = detector.detect([np.zeros((1, 1, 3), np.uint8)], (1, 1))
    assert found.boxes.shape == (0, 4)
