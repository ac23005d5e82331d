"""The shape of a rendered face: 81 landmarks on a relief, turned, projected and inverted.

A head is a height field `z(u, v)` over the frontal plane of the face. A frontal point is moved by the
expression, turned by yaw, pitch and roll about a pivot inside the head and projected by weak perspective:

    (x, y) = centre + scale * (R (u, v + dv(u, v), z(u, v)) - pivot)[:2]

Landmarks go through this formula; pixels go through its inverse, found by fixed-point iteration. So what is
drawn and what is written down as truth agree.

Frontal plane: the unit is half the width of an average face, u grows to the right of the picture, v grows
downwards, the eyes are at v = 0, z points to the viewer. Textures cover `U_RANGE` x `V_RANGE` with `DENSITY`
texels per unit.

The 81 points: 0-67 as in iBUG 300-W (Sagonas et al., 2013; dlib's 68), 68-80 on the hairline, whose order from
the left to the right of the picture is `FOREHEAD_ORDER`.
"""

from __future__ import annotations

import functools

import cv2
import numpy as np

DENSITY = 72
U_RANGE = (-1.5, 1.5)
V_RANGE = (-1.8, 2.1)
TEXTURE_SIZE = (int((V_RANGE[1] - V_RANGE[0]) * DENSITY), int((U_RANGE[1] - U_RANGE[0]) * DENSITY))
PIVOT = np.array([0.0, 0.45, -0.75])

FOREHEAD_ORDER = (77, 75, 76, 68, 69, 70, 71, 80, 72, 73, 79, 74, 78)

_JAW = [(-1.0, 0.0), (-0.985, 0.27), (-0.95, 0.54), (-0.89, 0.80), (-0.78, 1.05), (-0.62, 1.27), (-0.43, 1.45)]
_JAW += [(-0.21, 1.57), (0.0, 1.61)]
_BROW = [(-0.83, -0.28), (-0.69, -0.39), (-0.51, -0.43), (-0.33, -0.40), (-0.18, -0.33)]
_NOSE = [(0.0, -0.02), (0.0, 0.20), (0.0, 0.41), (0.0, 0.60)]
_NOSE += [(-0.21, 0.72), (-0.11, 0.77), (0.0, 0.80), (0.11, 0.77), (0.21, 0.72)]
_EYE = [(-0.65, 0.01), (-0.54, -0.09), (-0.40, -0.095), (-0.27, 0.03), (-0.39, 0.08), (-0.53, 0.08)]
_LIPS = [(-0.38, 1.09), (-0.24, 1.015), (-0.09, 0.97), (0.0, 0.99), (0.09, 0.97), (0.24, 1.015), (0.38, 1.09)]
_LIPS += [(0.25, 1.18), (0.11, 1.235), (0.0, 1.245), (-0.11, 1.235), (-0.25, 1.18)]
_LIPS += [(-0.31, 1.09), (-0.11, 1.075), (0.0, 1.08), (0.11, 1.075), (0.31, 1.09), (0.11, 1.10), (0.0, 1.105)]
_LIPS += [(-0.11, 1.10)]

JAW = slice(0, 17)
BROWS = slice(17, 27)
LEFT_EYE = slice(36, 42)
RIGHT_EYE = slice(42, 48)
MOUTH = slice(48, 68)


def template() -> np.ndarray:
    """The 81 points of the average face at rest, (81, 2) float64 as (u, v)."""

    def mirrored(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
        return [(-u, v) for u, v in points]

    # iBUG numbers the eye at the right of the picture from its inner corner
    right_eye = [mirrored(_EYE)[i] for i in (3, 2, 1, 0, 5, 4)]
    points = _JAW + mirrored(_JAW[:-1])[::-1] + _BROW + mirrored(_BROW)[::-1] + _NOSE + _EYE + right_eye + _LIPS
    angles = np.radians(np.linspace(167, 13, 13))
    arc = np.stack([np.cos(angles) * 1.0, 0.02 - np.sin(angles) ** 0.85 * 1.08], axis=1)
    forehead = np.empty((13, 2))
    forehead[np.array(FOREHEAD_ORDER) - 68] = arc
    return np.concatenate([np.array(points), forehead])


@functools.cache
def plane() -> tuple[np.ndarray, np.ndarray]:
    """The u and v of every texel's centre, two (height, width) float32 arrays."""
    height, width = TEXTURE_SIZE
    u = (np.arange(width) / DENSITY + U_RANGE[0]).astype(np.float32)
    v = (np.arange(height) / DENSITY + V_RANGE[0]).astype(np.float32)
    return np.broadcast_to(u, TEXTURE_SIZE), np.broadcast_to(v[:, None], TEXTURE_SIZE)


def texels(points: np.ndarray) -> np.ndarray:
    """Frontal (u, v) to texture (x, y), pixel centres at whole numbers; any leading shape, float32."""
    return ((points - np.array([U_RANGE[0], V_RANGE[0]])) * DENSITY).astype(np.float32)


def sample(table: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Read a texture-sized table at frontal points (N, 2) by linear interpolation; (N,) or (N, channels)."""
    xy = texels(points)
    return cv2.remap(table, xy[:, :1], xy[:, 1:], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)[:, 0]


def relief(rest: np.ndarray, nose_height: float, depth: float) -> np.ndarray:
    """The height field of a head with the resting landmarks `rest` (81, 2): z in units, texture-sized float32.

    Slopes stay below about 1.4, so that turning the head by 30 degrees hides no part of the surface.
    """
    u, v = plane()

    def bump(centre: np.ndarray | tuple[float, float], sigma_u: float, sigma_v: float) -> np.ndarray:
        return np.exp(-(((u - centre[0]) / sigma_u) ** 2) / 2 - (((v - centre[1]) / sigma_v) ** 2) / 2)

    z = -depth * (np.sqrt(1 + (u / 0.75) ** 2) - 1) - 0.45 * (np.sqrt(1 + ((v - 0.3) / 1.1) ** 2) - 1)
    top, tip = rest[27, 1], rest[30, 1]
    # the ridge rises towards the tip and falls quickly below it
    rise = np.clip((v - top + 0.15) / (tip - top + 0.15), 0, 1) ** 1.3
    fall = 1 / (1 + np.exp((v - tip - 0.08) / 0.045))
    z = z + nose_height * rise * fall * np.exp(-((u / (0.13 + 0.05 * rise)) ** 2) / 2)
    for side in (31, 35):
        z = z + 0.08 * bump(rest[side], 0.08, 0.07)
    for eye in (LEFT_EYE, RIGHT_EYE):
        centre = rest[eye].mean(axis=0)
        z = z - 0.10 * bump(centre, 0.22, 0.13) + 0.05 * bump(centre, 0.16, 0.09)
        z = z + 0.07 * bump((centre[0] * 1.2, centre[1] + 0.52), 0.25, 0.2)
    z = z + 0.05 * bump(rest[19], 0.26, 0.10) + 0.05 * bump(rest[24], 0.26, 0.10)
    z = z + 0.07 * bump(rest[51], 0.24, 0.05) + 0.08 * bump(rest[57], 0.2, 0.06)
    z = z + 0.10 * bump(rest[8] - np.array([0, 0.12]), 0.22, 0.14)
    return z.astype(np.float32)


def normals(z: np.ndarray, strength: float = 1.0) -> np.ndarray:
    """Unit normals of a height field, (height, width, 3) float32; `strength` exaggerates the relief."""
    dv, du = np.gradient(z * DENSITY * strength)
    n = np.stack([-du, -dv, np.ones_like(z)], axis=2)
    return (n / np.linalg.norm(n, axis=2, keepdims=True)).astype(np.float32)


def rotation(yaw_deg: float, pitch_deg: float, roll_deg: float) -> np.ndarray:
    """Rotation of a head, (3, 3): yaw moves the nose to the right, pitch moves it down, roll turns it clockwise."""
    (sy, sp, sr), (cy, cp, cr) = (f(np.radians([yaw_deg, pitch_deg, roll_deg])) for f in (np.sin, np.cos))
    about_v = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_u = np.array([[1, 0, 0], [0, cp, sp], [0, -sp, cp]])
    about_z = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
    return about_z @ about_u @ about_v


def project(
    points: np.ndarray, z: np.ndarray, dv: np.ndarray, turn: np.ndarray, scale_px: float, centre: np.ndarray
) -> np.ndarray:
    """Frame position of frontal points.

    Args:
        points: (N, 2) as (u, v).
        z: Height field, texture-sized.
        dv: Downward movement by the expression, texture-sized, in units.
        turn: (3, 3) rotation.
        scale_px: Pixels per unit.
        centre: (2,) frame position (x, y) of the pivot.

    Returns:
        (N, 2) float64 points (x, y) in frame pixels.
    """
    solid = np.column_stack([points[:, 0], points[:, 1] + sample(dv, points), sample(z, points)]) - PIVOT
    return centre + scale_px * (solid @ turn.T)[:, :2]


def inverse_map(
    z: np.ndarray,
    dv: np.ndarray,
    turn: np.ndarray,
    scale_px: float,
    centre: np.ndarray,
    window: tuple[int, int, int, int],
) -> tuple[np.ndarray, np.ndarray]:
    """Where in the texture each frame pixel of a window comes from: the inverse of `project`.

    With `A = R[:2, :2]` and `b = R[:2, 2]`, the plane point of a pixel solves
    `(u, v) = A^-1 ((x, y) - centre) / scale + pivot - A^-1 b (z - pivot_z) - (0, dv)`, where z and dv depend on
    (u, v) again. The map is smooth, so it is solved on every second pixel and enlarged.

    Args:
        z, dv, turn, scale_px, centre: As in `project`.
        window: (x0, y0, x1, y1) in frame pixels, x1 and y1 exclusive.

    Returns:
        x and y maps for `cv2.remap`, two float32 arrays of the window's size, in texels.
    """
    x0, y0, x1, y1 = window
    flat = np.linalg.inv(turn[:2, :2])
    height, width = (y1 - y0 + 1) // 2, (x1 - x0 + 1) // 2
    x = (2 * np.arange(width) + x0 + 0.5 - centre[0]) / scale_px
    y = ((2 * np.arange(height) + y0 + 0.5 - centre[1]) / scale_px)[:, None]
    lean = flat @ turn[:2, 2]
    base = PIVOT[:2] + lean * PIVOT[2] - np.array([U_RANGE[0], V_RANGE[0]])
    target_x = ((flat[0, 0] * x + flat[0, 1] * y + base[0]) * DENSITY).astype(np.float32)
    target_y = ((flat[1, 0] * x + flat[1, 1] * y + base[1]) * DENSITY).astype(np.float32)
    table = cv2.merge([z * np.float32(lean[0] * DENSITY), (z * np.float32(lean[1]) + dv) * np.float32(DENSITY)])
    map_x, map_y = target_x, target_y
    for _ in range(14):
        shift = cv2.remap(table, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        map_x, map_y = target_x - shift[:, :, 0], target_y - shift[:, :, 1]
    size = (2 * width, 2 * height)
    map_x, map_y = (cv2.resize(m, size, interpolation=cv2.INTER_LINEAR) for m in (map_x, map_y))
    return map_x[: y1 - y0, : x1 - x0], map_y[: y1 - y0, : x1 - x0]
