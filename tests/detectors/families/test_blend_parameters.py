"""What SBI draws for a blend has the ranges of Shiohara and Yamasaki, CVPR 2022, and of the authors' code."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from detectors.families.sbi.face_mask import MASK_PX
from detectors.families.sbi.parameters import draw_parameters, half_kernel, stack_parameters

N_DRAWS = 3000
HSV_SHIFT = 10.0


@pytest.fixture(scope="module")
def drawn():
    return stack_parameters([draw_parameters(np.random.default_rng([1, seed]), HSV_SHIFT) for seed in range(N_DRAWS)])


def reaches(values, low: float, high: float) -> None:
    """The values fill a range, to a hundredth of it, and do not leave it."""
    values = np.asarray(values, float)
    assert (values.min(), values.max()) == pytest.approx((low, high), abs=0.01 * (high - low))
    assert low - 1e-6 <= values.min() <= values.max() <= high + 1e-6


def share(chosen) -> float:
    return float(np.asarray(chosen, float).mean())


def test_one_of_the_two_changes_a_little(drawn):
    """Red, green and blue by 20 in three of ten, hue, saturation, value, brightness and contrast (0.1) always."""
    rgb, hsv = drawn.colours.rgb.numpy(), drawn.colours.hsv.numpy()
    changed = (rgb != 0).any(axis=1)
    assert share(changed) == pytest.approx(0.3, abs=0.04)
    for channel in range(3):
        reaches(rgb[changed, channel], -20, 20)
        reaches(hsv[:, channel], -HSV_SHIFT, HSV_SHIFT)
    reaches(drawn.colours.contrast, 0.9, 1.1)
    reaches(drawn.colours.brightness, -25.5, 25.5)
    assert (hsv != 0).all()
    assert share(drawn.source_changes) == pytest.approx(0.5, abs=0.05)


def test_it_is_reduced_or_sharpened(drawn):
    """One of the two; by 2 or 4, or by a share of 0.2 to 0.5 of the sharpening kernel."""
    assert share([factor is None for factor in drawn.reduction]) == pytest.approx(0.5, abs=0.05)
    assert share([factor == 2 for factor in drawn.reduction]) == pytest.approx(0.25, abs=0.05)
    assert set(drawn.reduction) == {None, 2, 4}
    reaches(drawn.sharpening, 0.2, 0.5)


def test_source_and_mask_are_moved(drawn):
    """By 3 % of the width and 1.5 % of the height, at a scale of 0.95 to 1 / 0.95."""
    reaches(drawn.translation[:, 0], -0.03, 0.03)
    reaches(drawn.translation[:, 1], -0.015, 0.015)
    reaches(drawn.scale, 0.95, 1 / 0.95)


def test_the_mask_has_a_size_and_a_ratio(drawn):
    """192 to 256 px a side; 1/4, 1/2, 3/4 and three times 1."""
    assert MASK_PX == 256
    for axis in range(2):
        assert (int(drawn.mask_size[:, axis].min()), int(drawn.mask_size[:, axis].max())) == (192, 256)
    for ratio, expected in ((0.25, 1 / 6), (0.5, 1 / 6), (0.75, 1 / 6), (1.0, 1 / 2)):
        assert share(drawn.ratio == ratio) == pytest.approx(expected, abs=0.04)
    noise = drawn.elastic_noise.numpy()
    assert noise.shape[1:] == (2, 128, 128)
    assert (noise.min(), noise.max()) == (-127, 127)


def test_the_mask_is_blurred_twice(drawn):
    """Odd kernels of 5 to 25 px; the first of the deviation that it holds, the second of 5 to 45 px."""
    first, second = drawn.blur_kernels.numpy().transpose(1, 0, 2)
    for kernels in (first, second):
        widths = 2 * (kernels > 0).sum(axis=1) - 1
        assert set(widths.tolist()) == set(range(5, 27, 2))
        assert 2 * kernels.sum(axis=1) - kernels[:, 0] == pytest.approx(np.ones(N_DRAWS), abs=1e-5)
    for kernel in first[:200]:
        width = 2 * int((kernel > 0).sum()) - 1
        # OpenCV's own for a deviation that is not given
        expected = cv2.getGaussianKernel(width, 0.3 * ((width - 1) / 2 - 1) + 0.8)[width // 2 :, 0]
        assert kernel[: len(expected)] == pytest.approx(expected, abs=1e-6)
    sigmas = [1 / np.sqrt(2 * np.log(kernel[0] / kernel[1])) for kernel in second]
    assert (min(sigmas), max(sigmas)) == pytest.approx((5, 45), rel=0.02)


def test_a_kernel_is_opencvs():
    expected = cv2.getGaussianKernel(15, 6.0)[7:, 0]
    assert half_kernel(6.0, 7) == pytest.approx([*expected, *[0] * 5], abs=1e-6)


def test_both_are_changed_alike_at_the_end(drawn):
    """Each of the three changes in three of ten, brightness and contrast by 0.3; JPEG of 40 to 100 in half."""
    final = drawn.final_colours
    for values in (final.rgb, final.hsv):
        assert share((values != 0).any(dim=1)) == pytest.approx(0.3, abs=0.04)
    changed = final.contrast != 1
    assert share(changed) == pytest.approx(0.3, abs=0.04)
    assert bool(((final.brightness != 0) == changed).all())
    reaches(final.contrast[changed], 0.7, 1.3)
    reaches(final.brightness[changed], -76.5, 76.5)
    reaches(final.rgb[(final.rgb != 0).any(dim=1)][:, 0], -20, 20)
    qualities = [quality for quality in drawn.jpeg_quality if quality is not None]
    assert len(qualities) / N_DRAWS == pytest.approx(0.5, abs=0.05)
    assert set(qualities) == set(range(40, 101))
