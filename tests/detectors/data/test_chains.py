"""The published chains, step by step: each reaches the range that docs/detectors.md gives, and goes no further.

Order, probabilities and dropout of `default` are those of table 2.2 and section 2.3 of the study of backbones (İlkin
Hüseynli, Yıldız Technical University, 2021); `ucf` is that of UCF's code as DeepfakeBench has it; ranges that neither
gives are the project's, as docs/detectors.md says.
"""

from __future__ import annotations

import colorsys

import cv2
import numpy as np
import pytest

from detectors.data import augmentation
from detectors.data.augmentation import CHAINS, jpeg

N_DRAWS = 3000
UCF_BLUR, UCF_COLOUR, UCF_JPEG = range(3)
DEFAULT_JPEG, NOISE, SHARPNESS, _, DEFAULT_COLOUR, _, DEFAULT_PLACE = range(7)


def draws(name: str, place: int, image: np.ndarray, n_draws: int = N_DRAWS) -> list[np.ndarray]:
    """What one step of a chain makes of an image, whatever its probability."""
    change = CHAINS[name].pixels[place].change
    return [change(image, np.random.default_rng(seed)) for seed in range(n_draws)]


def noise_image(side: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)


# two greys that no change of the chains cuts off, and reds of which hue, saturation and value can be told exactly
PROBE = np.array([[[80, 80, 80], [120, 120, 120], [255, 127, 127], [200, 100, 100]]], np.uint8)


def hue_degrees(pixel: np.ndarray) -> float:
    degrees = 360 * colorsys.rgb_to_hsv(*(pixel / 255.0))[0]
    return degrees - 360 if degrees > 180 else degrees


def is_coloured(drawn: np.ndarray) -> bool:
    """Whether hue, saturation and value were changed: brightness and contrast leave red a red."""
    return drawn[0, 3, 1] != drawn[0, 3, 2] or len(set(drawn[0, 0].tolist())) > 1


@pytest.mark.parametrize(
    ("name", "place", "brightness", "contrast"),
    [("ucf", UCF_COLOUR, 0.1, 0.1), ("default", DEFAULT_COLOUR, 0.2, 0.2), ("dfdc_subset", 0, 0.1, 0.1)],
)
def test_brightness_and_contrast_keep_to_their_range(name, place, brightness, contrast):
    drawn = np.array([picture[0, :2, 0] for picture in draws(name, place, PROBE) if not is_coloured(picture)], float)
    # saturation and value may change alone, and then the step between two greys of one shift is 40 still
    factors = (drawn[:, 1] - drawn[:, 0]) / 40
    shifts = (drawn[:, 0] - 80 * factors) / 255
    assert (factors.min(), factors.max()) == pytest.approx((1 - contrast, 1 + contrast), abs=0.0126)
    assert (shifts.min(), shifts.max()) == pytest.approx((-brightness, brightness), abs=0.013)


@pytest.mark.parametrize(("name", "place"), [("ucf", UCF_COLOUR), ("default", DEFAULT_COLOUR)])
def test_hue_saturation_and_value_keep_to_their_range(name, place):
    """Hue by 20 degrees, saturation and value by 30 and 20 of 256 levels, in half of the draws."""
    drawn = [picture for picture in draws(name, place, PROBE) if is_coloured(picture)]
    assert len(drawn) / N_DRAWS == pytest.approx(0.5, abs=0.05)
    hues = [hue_degrees(picture[0, 3]) for picture in drawn]
    assert (min(hues), max(hues)) == pytest.approx((-20, 20), abs=0.9)
    # value is the largest channel; saturation, at full value, 255 less the smallest
    values = [int(picture[0, 3].max()) - 200 for picture in drawn]
    assert (min(values), max(values)) == (-20, 20)
    saturations = [127 - int(picture[0, 2].min()) for picture in drawn if picture[0, 2].max() == 255]
    assert (min(saturations), max(saturations)) == (-30, 30)


@pytest.mark.parametrize(
    ("name", "place", "lowest", "highest"),
    [("ucf", UCF_JPEG, 40, 100), ("default", DEFAULT_JPEG, 60, 100), ("jpeg_quality", 1, 10, 50)],
)
def test_compression_takes_every_quality_of_its_range(name, place, lowest, highest):
    image = noise_image(24)
    expected = {jpeg(image, quality).tobytes() for quality in range(lowest, highest + 1)}
    assert {picture.tobytes() for picture in draws(name, place, image, 1000)} == expected


def test_ucf_blurs_by_3_to_7_px_at_256_px():
    image = noise_image(256)
    expected = {cv2.GaussianBlur(image, (kernel, kernel), 0).tobytes() for kernel in (3, 5, 7)}
    assert {picture.tobytes() for picture in draws("ucf", UCF_BLUR, image, 60)} == expected
    # a picture of half the side is blurred by half as much: 2, 3 and 4 px are 1, 3 and 3
    small = noise_image(128)
    expected = {small.tobytes(), cv2.GaussianBlur(small, (3, 3), 0).tobytes()}
    assert {picture.tobytes() for picture in draws("ucf", UCF_BLUR, small, 60)} <= expected


def test_default_blurs_by_3_or_5_px_at_224_px_or_sharpens():
    image = np.full((224, 224, 3), 100, np.uint8)
    image[112, 112] = 150
    blurred = {cv2.GaussianBlur(image, (kernel, kernel), 0).tobytes() for kernel in (3, 5)}
    found = draws("default", SHARPNESS, image, 600)
    assert {picture.tobytes() for picture in found if picture[112, 112, 0] < 150} == blurred
    # the blurred spot is 112.5: sharpened by an amount, it is 150 and 37.5 times the amount
    amounts = [(picture[112, 112, 0] - 150) / 37.5 for picture in found if picture[112, 112, 0] >= 150]
    assert (min(amounts), max(amounts)) == pytest.approx((0.2, 1.0), abs=0.02)
    assert len(amounts) / len(found) == pytest.approx(0.5, abs=0.1)


def test_default_noise_has_a_deviation_of_3_to_7():
    grey = np.full((100, 100, 3), 128, np.uint8)
    deviations = [picture.std() for picture in draws("default", NOISE, grey, 400)]
    assert (min(deviations), max(deviations)) == pytest.approx((3, 7), abs=0.1)


def test_default_moves_by_a_tenth_scales_by_a_fifth_and_turns_by_10_degrees(monkeypatch):
    matrices = []
    monkeypatch.setattr(augmentation.cv2, "warpAffine", lambda image, matrix, *_, **__: matrices.append(matrix))
    draws("default", DEFAULT_PLACE, np.zeros((41, 81, 3), np.uint8))
    matrices = np.array(matrices)
    scales = np.hypot(matrices[:, 0, 0], matrices[:, 0, 1])
    degrees = np.degrees(np.arctan2(matrices[:, 0, 1], matrices[:, 0, 0]))
    # where the middle pixel goes, as shares of width and height
    shifts = (matrices @ [40, 20, 1] - (40, 20)) / (81, 41)
    for found, limit in ((scales - 1, 0.2), (degrees, 10), (shifts[:, 0], 0.1), (shifts[:, 1], 0.1)):
        assert (found.min(), found.max()) == pytest.approx((-limit, limit), rel=0.01)


@pytest.mark.parametrize(
    ("name", "degrees", "scale", "shift"), [("ucf", 10, 0, 0), ("dfdc_subset", 10, 0.1, 0.05), ("default", 0, 0, 0)]
)
def test_windows_are_moved_within_their_range(name, degrees, scale, shift):
    found = [CHAINS[name].draw_geometry(np.random.default_rng(seed)) for seed in range(2 * N_DRAWS)]
    for values, limit in (
        ([window.rotation_degrees for window in found], degrees),
        ([window.scale - 1 for window in found], scale),
        ([window.shift[0] for window in found], shift),
        ([window.shift[1] for window in found], shift),
    ):
        assert (min(values), max(values)) == pytest.approx((-limit, limit), rel=0.01, abs=1e-9)


@pytest.mark.parametrize(
    ("name", "geometry", "pixels"),
    [
        ("none", [], []),
        ("ucf", [0.5, 0.5], [0.5, 0.5, 0.5]),
        ("default", [], [0.5, 0.1, 0.5, 0.5, 0.5, 0.2, 0.5]),
        ("default_dropout", [], [0.5, 0.1, 0.5, 0.5, 0.5, 0.2, 0.5, 0.5]),
        ("default_gridmask", [], [0.5, 0.1, 0.5, 0.5, 0.5, 0.2, 0.5, 0.5]),
        ("dfdc_subset", [0.5, 0.5], [0.5]),
        ("jpeg_quality", [0.5, 0.5], [0.5, 0.5]),
    ],
)
def test_steps_happen_with_the_published_probabilities(name, geometry, pixels):
    assert [step.probability for step in CHAINS[name].geometry] == geometry
    assert [step.probability for step in CHAINS[name].pixels] == pixels
