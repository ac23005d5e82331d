from __future__ import annotations

import cv2
import numpy as np
import pytest

from detectors.data.crop_window import CropWindow, Geometry
from preprocess.running.cli import UserError

# a stored crop of 100 x 120 px whose pixels are those of the frame
BOX = np.array([40, 30, 70, 80], np.float32)  # 30 px wide, 50 px high
SAME = np.eye(2, 3)


@pytest.fixture
def image():
    """Smooth noise, (100, 120, 3) uint8, nowhere black."""
    noise = np.random.default_rng(0).integers(40, 256, (100, 120, 3), np.uint8)
    return cv2.GaussianBlur(noise, (0, 0), 1.5)


def test_a_padded_window_is_the_box_with_its_margins_and_black_beside_it(image):
    cut = CropWindow(margin="10px", size=70, shape="pad").cut(image, BOX, SAME)
    # 50 x 70 px with the margins: no resampling at all
    assert np.array_equal(cut[:, 10:60], image[20:90, 30:80])
    assert not cut[:, :10].any()
    assert not cut[:, 60:].any()


def test_a_window_that_reaches_beyond_the_stored_crop_is_black_there(image):
    """At every edge: what the crop holds lies where it belongs."""
    window = CropWindow(margin=0, size=60)
    for x, y in ((-20, 5), (-20, -10), (30, -10), (85, 30), (85, 65), (30, 65), (-20, 65), (85, -10)):
        cut = window.cut(image, np.array([x, y, x + 60, y + 60]), SAME)
        frame = np.zeros((300, 300, 3), np.uint8)
        frame[100:200, 100:220] = image
        assert np.array_equal(cut, frame[100 + y : 160 + y, 100 + x : 160 + x]), (x, y)


def test_a_padded_low_face_has_its_bars_above_and_below(image):
    cut = CropWindow(margin=0, size=50, shape="pad").cut(image, np.array([40, 30, 90, 60]), SAME)
    assert np.array_equal(cut[10:40], image[30:60, 40:90])
    assert not cut[:10].any()
    assert not cut[40:].any()


def test_a_padded_window_keeps_the_proportions_of_the_face(image):
    cut = CropWindow(margin="10px", size=35, shape="pad").cut(image, BOX, SAME)
    expected = cv2.resize(image[20:90, 30:80], (25, 35), interpolation=cv2.INTER_AREA)
    assert np.abs(cut[:, 5:30].astype(int) - expected).max() <= 1
    assert not cut[:, :5].any()
    assert not cut[:, 30:].any()


def test_a_stretched_window_fills_the_square_from_a_box_of_any_proportion(image):
    cut = CropWindow(margin=0.1, size=60, shape="stretch").cut(image, BOX, SAME)
    # margins of a tenth of 30 and of 50 px: 36 px wide, 60 px high
    expected = cv2.resize(image[25:85, 37:73], (60, 60), interpolation=cv2.INTER_LINEAR)
    assert np.abs(cut.astype(int) - expected).max() <= 1


def test_a_stretched_window_averages_over_the_side_that_shrinks():
    image = np.zeros((100, 120, 3), np.uint8)
    image[::2] = 200  # rows that only their mean stands for
    cut = CropWindow(margin=0, size=25, shape="stretch").cut(image, np.array([50, 20, 60, 70]), SAME)
    assert np.all(np.abs(cut.astype(int) - 100) <= 1)


def test_a_margin_in_pixels_is_of_the_frame_also_where_the_stored_crop_was_reduced(image):
    half = np.array([[2, 0, 0.5], [0, 2, 0.5]])  # the crop shows 240 x 200 px of the frame
    cut = CropWindow(margin="20px", size=70).cut(image, 2 * BOX, half)
    # the square around 50 px of the crop, with 10 px on each side
    assert np.array_equal(cut, image[20:90, 20:90])


def test_a_square_window_takes_its_margin_from_the_longer_side(image):
    assert np.array_equal(CropWindow(margin=0.2, size=70).cut(image, BOX, SAME), image[20:90, 20:90])


@pytest.mark.parametrize("margin", ["30 px", "wide", "-1", ""])
def test_a_margin_that_is_none_is_refused(image, margin):
    with pytest.raises(UserError, match=r"margin: found .* expected a fraction"):
        CropWindow(margin=margin, size=32).cut(image, BOX, SAME)


def test_a_shifted_window_shows_the_face_elsewhere_and_fills_from_the_stored_crop(image):
    window = CropWindow(margin=0, size=50)
    # the face moves by 10 px to the right and 5 px up, so the window moves the other way
    moved = window.cut(image, BOX, SAME, geometry=Geometry(shift=(0.2, -0.1)))
    assert np.array_equal(moved, image[35:85, 20:70])


def test_a_scaled_window_shows_more_or_less_of_the_stored_crop(image):
    window = CropWindow(margin=0, size=50)
    wider = window.cut(image, BOX, SAME, geometry=Geometry(scale=50 / 80))
    expected = cv2.resize(image[15:95, 15:95], (50, 50), interpolation=cv2.INTER_AREA)
    assert np.abs(wider.astype(int) - expected).max() <= 1
    closer = window.cut(image, BOX, SAME, geometry=Geometry(scale=2))
    expected = cv2.resize(image[43:68, 43:68], (50, 50), interpolation=cv2.INTER_LINEAR)
    # the centre lies between two pixels, and the window takes whole ones
    shifts = [expected, cv2.resize(image[42:67, 42:67], (50, 50)), cv2.resize(image[42:67, 43:68], (50, 50))]
    assert min(np.abs(closer.astype(int) - shift).max() for shift in shifts) <= 1


@pytest.mark.parametrize("shape", ["square", "pad", "stretch"])
def test_a_moved_window_is_what_an_affine_map_of_the_picture_gives(image, shape):
    """Rotation, scale and shift against OpenCV's map of the same name, on what the window shows unmoved."""
    large = CropWindow(margin=0.3, size=200, shape=shape)
    geometry = Geometry(rotation_degrees=8, scale=1.15, shift=(0.05, -0.08))
    box = np.array([35, 25, 75, 75], np.float32)
    plain = cv2.copyMakeBorder(image, 60, 60, 60, 60, cv2.BORDER_REFLECT)
    frame = np.array([[1, 0, -60], [0, 1, -60]], np.float64)
    straight, moved = (large.cut(plain, box, frame, geometry=how) for how in (Geometry(), geometry))
    if shape == "pad":  # the bars stay where they are
        n_bar = (200 - round(200 * 40 / 50)) // 2
        straight, moved = straight[:, n_bar : 200 - n_bar], moved[:, n_bar : 200 - n_bar]
    if shape == "stretch":  # a turn of the face is no turn of the stretched picture: back to its proportions
        straight, moved = cv2.resize(straight, (160, 200)), cv2.resize(moved, (160, 200))
    height, width = straight.shape[:2]
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), 8, 1.15)
    matrix[:, 2] += np.array(geometry.shift) * (width, height)
    expected = cv2.warpAffine(straight, matrix, (width, height))
    inner = (slice(height // 4, 3 * height // 4), slice(width // 4, 3 * width // 4))
    difference = np.abs(moved[inner].astype(int) - expected[inner])
    # whole pixels of the stored crop are up to 1.5 px here and the picture is smooth
    assert difference.mean() < 6
    unmoved = np.abs(straight[inner].astype(int) - expected[inner])
    assert difference.mean() < 0.4 * unmoved.mean()


def test_a_flip_comes_last(image):
    window = CropWindow(margin=0.1, size=48)
    moved = Geometry(rotation_degrees=7, shift=(0.1, 0), scale=0.9)
    flipped = Geometry(rotation_degrees=7, shift=(0.1, 0), scale=0.9, flip=True)
    straight = window.cut(image, BOX, SAME, geometry=moved)
    assert np.array_equal(window.cut(image, BOX, SAME, geometry=flipped), straight[:, ::-1])


@pytest.mark.parametrize("shape", ["square", "pad", "stretch"])
@pytest.mark.parametrize(
    "geometry",
    [
        Geometry(),
        Geometry(flip=True),
        Geometry(rotation_degrees=25.0),
        Geometry(rotation_degrees=-10.0, scale=1.2, shift=(0.1, -0.05), flip=True),
    ],
)
def test_points_go_where_the_pixels_go_and_masks_are_cut_alike(shape, geometry):
    in_crop = np.array([[52.0, 47.0], [60.0, 62.0]])
    half = np.array([[2, 0, 30], [0, 2, 10]], np.float64)  # the crop is at half the size of the frame
    in_frame = in_crop * 2 + (30, 10)
    box = (2 * BOX + (30, 10, 30, 10)).astype(np.float32)
    window = CropWindow(margin=0.3, size=97, shape=shape)
    points = window.points(in_frame, box, half, geometry=geometry)
    for (x, y), expected in zip(in_crop.astype(int), points, strict=True):
        mask = np.zeros((100, 120), np.uint8)
        cv2.circle(mask, (int(x), int(y)), 3, 255, -1)
        cut = window.cut(mask, box, half, geometry=geometry).astype(float)
        assert cut.shape == (97, 97)
        rows, columns = np.indices(cut.shape)
        centre = np.array([(cut * columns).sum(), (cut * rows).sum()]) / cut.sum()
        assert np.abs(centre - expected).max() < 0.15
        coloured = window.cut(np.dstack([mask] * 3), box, half, geometry=geometry)
        assert np.array_equal(coloured[..., 1], cut)
