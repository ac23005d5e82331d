"""UCF's augmentation: geometry when the crop is cut, then pixels. Everything comes from the generator given.

Each of the five is drawn on its own with probability 0.5: mirror; rotation by up to 10 degrees; Gaussian blur
with a kernel of 3 to 7 px in a face of 256 px, in proportion for other sizes; colour (one of brightness with
contrast, or hue with saturation and value); JPEG of quality 40 to 100.
"""

from __future__ import annotations

import cv2
import numpy as np

PROBABILITY = 0.5
MAX_ROTATION_DEGREES = 10.0
BLUR_KERNELS_PX = (3, 5, 7)  # of an image of BLUR_SIDE_PX
BLUR_SIDE_PX = 256
MAX_BRIGHTNESS = 0.1  # fraction of the value range
MAX_CONTRAST = 0.1  # fraction of the contrast
MAX_HUE_DEGREES = 20.0
MAX_SATURATION = 30  # of 255
MAX_VALUE = 20  # of 255
JPEG_QUALITY = (40, 100)


def draw_geometry(rng: np.random.Generator) -> tuple[float, bool]:
    """Rotation in degrees and whether to mirror, for `CropWindow.cut`: it can fill corners from the stored crop."""
    flip = bool(rng.random() < PROBABILITY)
    rotation = rng.uniform(-MAX_ROTATION_DEGREES, MAX_ROTATION_DEGREES) if rng.random() < PROBABILITY else 0.0
    return float(rotation), flip


def augment_pixels(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Blur, colour and compression of an RGB uint8 image `(height, width, 3)`."""
    if rng.random() < PROBABILITY:
        # 7 px would wipe out every trace in a face of 100 px
        kernel_px = rng.choice(BLUR_KERNELS_PX) * image.shape[0] / BLUR_SIDE_PX
        kernel = max(1, 2 * round((kernel_px - 1) / 2) + 1)
        image = cv2.GaussianBlur(image, (kernel, kernel), 0)
    if rng.random() < PROBABILITY:
        image = _brightness_contrast(image, rng) if rng.random() < 0.5 else _hue_saturation_value(image, rng)
    if rng.random() < PROBABILITY:
        image = _jpeg(image, int(rng.integers(JPEG_QUALITY[0], JPEG_QUALITY[1] + 1)))
    return image


def _brightness_contrast(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    contrast = 1 + rng.uniform(-MAX_CONTRAST, MAX_CONTRAST)
    brightness = 255 * rng.uniform(-MAX_BRIGHTNESS, MAX_BRIGHTNESS)
    levels = np.arange(256) * contrast + brightness
    return cv2.LUT(image, np.clip(np.round(levels), 0, 255).astype(np.uint8))


def _hue_saturation_value(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    # OpenCV's 8-bit hue counts in steps of two degrees, 0 to 179
    hue = rng.uniform(-MAX_HUE_DEGREES, MAX_HUE_DEGREES) / 2
    saturation, value = rng.uniform(-MAX_SATURATION, MAX_SATURATION), rng.uniform(-MAX_VALUE, MAX_VALUE)
    levels = np.arange(256)
    table = np.stack(
        [
            np.round(levels + hue) % 180,
            np.clip(np.round(levels + saturation), 0, 255),
            np.clip(np.round(levels + value), 0, 255),
        ],
        axis=-1,
    ).astype(np.uint8)
    hsv = cv2.LUT(cv2.cvtColor(image, cv2.COLOR_RGB2HSV), table[None])
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)


def _jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    # the channel order only matters to the encoder: chroma is subsampled, luma is not
    _, encoded = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])
    return cv2.cvtColor(cv2.imdecode(encoded, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
