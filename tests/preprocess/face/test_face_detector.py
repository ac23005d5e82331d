import importlib
from pathlib import Path

import numpy as np
import pytest
import torch
from facenet_pytorch import MTCNN
from facenet_pytorch.models.mtcnn import PNet

from preprocess.face.detector import FaceDetector
from preprocess.face.mtcnn import Detections, FrameBatch, _ProposalNet
from preprocess.face.tracks import box_iou
from preprocess.synthetic import render_portrait

ROOT = Path(__file__).parents[3]
PHOTOS = ROOT.parent / "shared/real/photos"
BACKGROUND = 120


def face_detector(min_size_px=40, batch_size=32, full_search_every=4):
    return FaceDetector(
        min_size_px=min_size_px,
        score_threshold=0.9,
        batch_size=batch_size,
        device="cpu",
        full_search_every=full_search_every,
    )


def as_bytes(found):
    return [(faces.boxes.tobytes(), faces.scores.tobytes(), faces.points.tobytes()) for faces in found]


@pytest.fixture(scope="module")
def portrait():
    return render_portrait(np.random.default_rng(3), 270, 360)


@pytest.fixture(scope="module")
def clip(portrait):
    """14 frames with a person who stays, from frame 5 on with another who walks: frames, whole boxes of both."""
    image, truth = portrait
    x0, y0, x1, y1 = truth.box.round().astype(int)
    head = image[y0 - 20 : y1 + 20, x0 - 20 : x1 + 20]
    frames, second = [], []
    for number in range(14):
        frame = np.full((240, 640, 3), BACKGROUND, np.uint8)
        frame[20 : 20 + head.shape[0], 20 : 20 + head.shape[1]] = head
        x = 200 + 25 * (number - 5)
        if number >= 5:
            frame[40 : 40 + head.shape[0], x : x + head.shape[1]] = head
        frames.append(frame)
        second.append([x + 20, 60, x + 20 + x1 - x0, 60 + y1 - y0])
    return frames, np.array([40, 40, 40 + x1 - x0, 40 + y1 - y0]), np.array(second)


def search(frames, **settings):
    detector = face_detector(**settings)
    return detector.detect([detector.shrink(frame) for frame in frames], frames[0].shape[:2])


def test_boxes_come_in_pixels_of_the_frame_at_any_search_scale(portrait):
    image, truth = portrait
    for min_size_px in (15, 20, 40, 60):
        (found,) = search([image], min_size_px=min_size_px)
        assert len(found.boxes) == 1
        assert box_iou(found.boxes, truth.box[None])[0, 0] >= 0.6
        assert found.scores[0] >= 0.99
        x0, y0, x1, y1 = found.boxes[0]
        assert ((found.points[0] > (x0, y0)) & (found.points[0] < (x1, y1))).all()
        left_eye, right_eye, nose, left_mouth, right_mouth = found.points[0]
        assert left_eye[0] < nose[0] < right_eye[0]
        assert left_mouth[0] < right_mouth[0]
        assert max(left_eye[1], right_eye[1]) < nose[1] < min(left_mouth[1], right_mouth[1])


def test_small_faces_are_not_kept(portrait):
    image, truth = portrait
    side = int(min(truth.box[2] - truth.box[0], truth.box[3] - truth.box[1]))
    (found,) = search([image], min_size_px=2 * side)
    assert len(found.boxes) == 0


@pytest.mark.parametrize("size", [(1, 1), (40, 40), (3, 4000)])
def test_frames_of_any_size_are_searched(size):
    frames = [np.full((*size, 3), BACKGROUND, np.uint8)] * 6
    assert [found.boxes.shape for found in search(frames)] == [(0, 4)] * 6


def test_no_frames_hold_no_faces():
    assert face_detector().detect([], (270, 360)) == []


def test_frames_of_another_size_than_the_search_size_are_refused(portrait):
    with pytest.raises(ValueError, match=r"\(270, 360, 3\).*\(135, 180, 3\)"):
        face_detector().detect([portrait[0]], (270, 360))


def test_full_search_every_no_frame_is_refused():
    with pytest.raises(ValueError, match="full_search_every is 0"):
        face_detector(full_search_every=0)


def test_shrink_gives_the_search_size():
    detector = face_detector(min_size_px=70)
    height, width = detector.search_size(721, 405)
    assert (height, width) == (206, 116)
    assert detector.shrink(np.zeros((721, 405, 3), np.uint8)).shape == (height, width, 3)


def test_every_found_face_is_one_that_facenet_finds():
    # its boxes and scores are of crops cut elsewhere by a pixel, at a search size where faces have 20 to 60
    facenet = MTCNN(keep_all=True, min_face_size=20, select_largest=False)
    for seed in range(6):
        image, _ = render_portrait(np.random.default_rng(seed), 360, 480)
        detector = face_detector()
        shrunken = detector.shrink(image)
        (found,) = detector.detect([shrunken], image.shape[:2])
        boxes, scores, points = facenet.detect(shrunken, landmarks=True)
        assert len(found.boxes) == len(boxes) == 1
        assert box_iou(found.boxes, boxes.astype(float) * 2)[0, 0] >= 0.8
        assert found.scores[0] >= scores[0] - 0.01
        side = (boxes[0, 2] - boxes[0, 0]) * 2
        assert np.abs(found.points[0] - points[0].astype(float) * 2).max() <= 0.15 * side


def test_faces_of_a_frame_do_not_depend_on_the_other_frames_of_a_full_search(clip):
    frames, _, _ = clip
    together = as_bytes(search(frames, full_search_every=1))
    assert together == as_bytes(search(frames, full_search_every=1, batch_size=3))
    assert together[::-1] == as_bytes(search(frames[::-1], full_search_every=1))


def test_equal_frames_give_equal_bytes(clip):
    frames, _, _ = clip
    assert as_bytes(search(frames)) == as_bytes(search(frames))


@pytest.mark.parametrize("full_search_every", [1, 2, 4, 13])
def test_a_face_that_comes_between_full_searches_is_followed_back_and_on(clip, full_search_every):
    frames, first, second = clip
    found = search(frames, full_search_every=full_search_every)
    for number, faces in enumerate(found):
        present = [first, second[number]] if number >= 5 else [first]
        assert len(faces.boxes) == len(present)
        assert box_iou(present, faces.boxes).max(axis=1).min() >= 0.6
        assert (np.diff(faces.scores) <= 0).all()


def test_near_search_finds_the_boxes_of_a_full_search(clip):
    frames, _, _ = clip
    for full, near in zip(search(frames, full_search_every=1), search(frames, full_search_every=4), strict=True):
        overlap = box_iou(full.boxes, near.boxes)
        assert overlap.max(axis=1).min() >= 0.8
        assert np.abs(full.scores - near.scores[overlap.argmax(axis=1)]).max() <= 0.05


def test_a_frame_that_lost_a_face_is_searched_in_full(clip):
    frames, first, _ = clip
    # for two frames between full searches the person is elsewhere: beyond any window
    jumping = [frames[0], np.roll(frames[0], 400, axis=1), np.roll(frames[0], 400, axis=1), frames[0]]
    found = search(jumping, full_search_every=3)
    assert [len(faces.boxes) for faces in found] == [1] * 4
    assert box_iou([first + np.array([400, 0, 400, 0])], found[1].boxes)[0, 0] >= 0.6


def test_the_proposal_network_in_one_pass_is_that_of_the_weights():
    images = torch.from_numpy(np.random.default_rng(0).uniform(-1, 1, (2, 3, 36, 50)).astype(np.float32))
    with torch.inference_mode():
        offsets, probabilities = PNet().eval()(images)
        answers = _ProposalNet()(images)
    assert answers.shape == (2, 5, *probabilities.shape[2:])
    torch.testing.assert_close(answers[:, 0].sigmoid(), probabilities[:, 1], atol=1e-5, rtol=0)
    torch.testing.assert_close(answers[:, 1:], offsets, atol=1e-5, rtol=0)


def test_crops_hold_the_pixels_of_their_boxes():
    # brightness is the place
    ramp = np.tile(np.arange(200, dtype=np.uint8)[None, None, :, None], (2, 200, 1, 3))
    ramp[1] = 0
    batch = FrameBatch(ramp, torch.device("cpu"))
    boxes = torch.tensor([[20.0, 20, 44, 44], [20, 20, 32, 32], [10, 10, 190, 190], [-24, 0, 24, 48], [20, 20, 44, 44]])
    crops = batch.crops(torch.tensor([0, 0, 0, 0, 1]), boxes, 24) * 128 + 127.5
    for crop, (x0, _, x1, _) in zip(crops[:3], boxes[:3].tolist(), strict=True):
        expected = x0 + (torch.arange(24) + 0.5) * (x1 - x0) / 24 - 0.5
        torch.testing.assert_close(crop, expected.expand(3, 24, 24), atol=1.0, rtol=0)
    assert (crops[3, :, :, :11] == 127.5).all()  # left of the frame
    assert (crops[4] == 0).all()


def test_boxes_that_share_most_of_their_area_are_one_face():
    boxes = torch.tensor([[0.0, 0, 10, 10], [2, 0, 12, 10], [4, 0, 14, 10], [4, 3, 7, 6], [0, 0, 10, 10]])
    scores = torch.tensor([0.8, 0.9, 0.7, 0.95, 0.6])
    frames = torch.tensor([0, 0, 0, 0, 1])
    kept = Detections(frames, boxes, scores, torch.zeros(5, 5, 2)).distinct()
    # the small box within the others beats all three of them; another frame's is no rival
    assert kept.scores.tolist() == pytest.approx([0.95, 0.6])
    kept = Detections(frames[:3], boxes[:3], scores[:3], torch.zeros(3, 5, 2)).distinct()
    assert kept.scores.tolist() == pytest.approx([0.9])
    # a box that only a beaten box beats stays
    chain = torch.tensor([[0.0, 0, 10, 10], [2, 0, 12, 10], [4, 0, 14, 10]])
    kept = Detections(frames[:3], chain, torch.tensor([0.9, 0.8, 0.7]), torch.zeros(3, 5, 2)).distinct()
    assert kept.scores.tolist() == pytest.approx([0.9, 0.7])


@pytest.mark.skipif(not PHOTOS.is_dir(), reason=f"dlib's example photographs are not in {PHOTOS}")
def test_annotated_faces_of_photographs_are_found_and_dogs_are_not(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    face_detection = importlib.import_module("face_detection")
    found, errors, missed, others = face_detection.match_photos(PHOTOS, face_detector(20, full_search_every=1))
    assert (found, missed) == (43, [])
    assert np.median(errors) <= 0.09
    assert "dogs.jpg" not in others


def test_boxes_scores_and_points_are_what_they_were(clip):
    """Of one clip, whichever frames are searched whole, to a tenth of a pixel: other hardware rounds otherwise.

    The file holds what `search` gave when the tests above compared it with facenet.
    """
    frames, _, _ = clip
    expected = np.load(Path(__file__).with_name("faces_of_a_clip.npz"))
    for every in (1, 4):
        found = search(frames, full_search_every=every)
        assert [len(faces.boxes) for faces in found] == expected[f"counts {every}"].tolist()
        for name, tolerance in (("boxes", 0.1), ("scores", 0.002), ("points", 0.1)):
            values = np.concatenate([getattr(faces, name) for faces in found])
            np.testing.assert_allclose(values, expected[f"{name} {every}"], rtol=0, atol=tolerance)
