"""Rooms behind the rendered people: a wall, some furniture out of focus, and grain."""

from __future__ import annotations

import cv2
import numpy as np


def sample_background(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Draw a background at random, (height, width, 3) uint8 RGB."""
    wall = rng.uniform(60, 215) * rng.uniform(0.85, 1.1, 3)
    x, y = np.meshgrid(np.linspace(-1, 1, width), np.linspace(-1, 1, height))
    slope = rng.uniform(-0.25, 0.25, 2)
    image = wall * (1 + slope[0] * x + slope[1] * y)[..., None]
    for _ in range(rng.integers(3, 9)):
        size = rng.uniform(0.1, 0.5, 2) * (width, height)
        corner = rng.uniform(-0.1, 0.95, 2) * (width, height)
        colour = np.clip(wall * rng.uniform(0.45, 1.35) + rng.normal(0, 18, 3), 10, 245)
        low, high = np.round(corner).astype(int).tolist(), np.round(corner + size).astype(int).tolist()
        cv2.rectangle(image, low, high, colour.tolist(), -1)
    image = cv2.GaussianBlur(image, (0, 0), rng.uniform(1.5, 5.0))
    grain = cv2.GaussianBlur(rng.standard_normal((height, width)), (0, 0), 1.0)
    image += rng.uniform(2, 8) * grain[..., None]
    return np.clip(image, 0, 255).astype(np.uint8)
