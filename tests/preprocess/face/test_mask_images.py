"""Masks as images against masks that are known."""

import cv2
import numpy as np
import pytest

from helpers.forged_faces import forge, iou, portraits
from preprocess.face.mask_images import _inside, cut_mask, difference_mask, hull_mask, structural_difference

# the defaults of the stage
LIMITS = {"threshold": 0.07, "noise_factor": 1.25}


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


def test_difference_finds_the_manipulation_under_compression():
    for image, truth in portraits(4, (240, 260)):
        fake, mask = forge(image, truth)
        real, fake = (
            cv2.imdecode(cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 70])[1], cv2.IMREAD_COLOR)
            for picture in (image, fake)
        )
        assert iou(difference_mask(real, fake, truth.box, **LIMITS), mask) > 0.7
        # another compression alone is no manipulation
        again = cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 60])[1], cv2.IMREAD_COLOR)
        assert (difference_mask(real, again, truth.box, **LIMITS) > 0).sum() < 0.05 * (mask > 0).sum()


def test_a_mask_is_cut_at_the_crop_s_place_whatever_its_size():
    frame = np.zeros((40, 60), np.uint8)
    frame[10:20, 30:50] = 255
    crop_to_frame = np.array([[1.0, 0, 25], [0, 1, 5]])
    cut = cut_mask(frame, (40, 60), crop_to_frame, np.array([20, 35]))
    assert np.array_equal(cut, frame[5:25, 25:])
    half = frame[::2, ::2]
    assert iou(cut_mask(half, (40, 60), crop_to_frame, np.array([20, 35])), cut) == 1


@pytest.mark.parametrize(
    ("number", "area_px", "box"),
    [
        (0, 6466, (90, 24, 160, 120)),
        (1, 10630, (134, 33, 219, 163)),
        (2, 16693, (89, 17, 197, 175)),
        (3, 6946, (126, 49, 199, 144)),
    ],
)
def test_masks_from_differences_are_what_they_were(number, area_px, box):
    """Of fakes compressed harder than their reals: all over, the noise decides. Another JPEG library may round."""
    image, truth = portraits(4, (240, 260))[number]
    real, fake = (
        cv2.imdecode(cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], cv2.IMREAD_COLOR)
        for picture, quality in ((image, 90), (forge(image, truth)[0], 35))
    )
    mask = difference_mask(real, fake, truth.box, **LIMITS)
    assert (mask > 0).sum() == pytest.approx(area_px, rel=0.01)
    rows, columns = np.nonzero(mask)
    assert (columns.min(), rows.min(), columns.max(), rows.max()) == pytest.approx(box, abs=1)


def test_what_lies_just_outside_the_box_is_no_noise_and_what_lies_beyond_is():
    """A tenth of the box's sides is passed over; what changes further out raises the threshold for the face."""
    image, truth = portraits(3, (240, 260))[2]
    fake = forge(image, truth)[0]
    x1, width = round(float(truth.box[2])), float(truth.box[2] - truth.box[0])
    areas = {}
    for begin in (0.0, 0.15):
        changed, left = fake.copy(), x1 + 1 + round(begin * width)
        right = left + round(0.08 * width)
        changed[:, left:right] = 255 - changed[:, left:right]
        areas[begin] = (difference_mask(image, changed, truth.box, **LIMITS) > 0).sum()
    plain = (difference_mask(image, fake, truth.box, **LIMITS) > 0).sum()
    assert areas[0.0] == pytest.approx(plain, rel=0.05)
    assert areas[0.15] < 0.9 * areas[0.0]


def test_a_box_grows_by_a_share_of_its_own_sides_and_stays_in_the_picture():
    inside = _inside(np.array([40.0, 20.0, 80.0, 30.0]), 0.5, (60, 90))
    rows, columns = np.nonzero(inside)
    assert (rows.min(), rows.max() + 1, columns.min(), columns.max() + 1) == (15, 35, 20, 90)
    assert inside.sum() == (35 - 15) * (90 - 20)
