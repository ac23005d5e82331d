"""What a person looks like from the front: skin, hair, brows, eyes and mouth painted into textures.

The head's texture is painted once per person; eyes and mouth are painted into a copy for each frame, since
they move. All colours are RGB uint8, all shapes follow the landmarks. Conventions as in `geometry`.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import cv2
import numpy as np

from preprocess.synthetic import geometry
from preprocess.synthetic.geometry import DENSITY, TEXTURE_SIZE, texels
from preprocess.synthetic.identity import Colour, Identity, as_colour, resting_landmarks

# cv2 draws with fixed-point coordinates: 4 bits are sixteenths of a pixel
_SHIFT = 4

BODY_DENSITY = 40
BODY_U_RANGE = (-3.4, 3.4)
BODY_V_RANGE = (-1.9, 5.6)


@dataclass(frozen=True)
class Head:
    """A painted head at rest.

    Attributes:
        rest: (81, 2) resting landmarks as (u, v).
        rgb: (height, width, 3) uint8 texture without eyes and lips.
        alpha: (height, width) uint8, where the head is.
        z: (height, width) float32 height field in units.
        normal: (height / 2, width / 2, 3) float32 unit normals, at half the resolution.
    """

    rest: np.ndarray
    rgb: np.ndarray
    alpha: np.ndarray
    z: np.ndarray
    normal: np.ndarray


@functools.cache
def _catmull_rom(n: int, closed: bool, steps: int) -> np.ndarray:
    """Matrix (m, n) that turns n control points into a smooth curve through them."""
    t = np.arange(steps)[:, None] / steps
    weights = 0.5 * np.hstack([-t + 2 * t**2 - t**3, 2 - 5 * t**2 + 3 * t**3, t + 4 * t**2 - 3 * t**3, -(t**2) + t**3])
    segments = n if closed else n - 1
    matrix = np.zeros((segments * steps + (not closed), n))
    for i in range(segments):
        for k in range(4):
            j = (i + k - 1) % n if closed else np.clip(i + k - 1, 0, n - 1)
            matrix[i * steps : (i + 1) * steps, j] += weights[:, k]
    if not closed:
        matrix[-1, -1] = 1
    return matrix


def curve(points: np.ndarray, closed: bool = True, steps: int = 6) -> np.ndarray:
    """A smooth curve (Catmull-Rom) through (N, 2) points."""
    return _catmull_rom(len(points), closed, steps) @ points


def _fixed(points: np.ndarray) -> np.ndarray:
    return np.round(points * (1 << _SHIFT)).astype(np.int32)


def fill(image: np.ndarray, points: np.ndarray, colour: int | tuple[int, int, int]) -> None:
    """Fill a polygon of texel or pixel points (N, 2), with soft edges, in place."""
    cv2.fillPoly(image, [_fixed(points)], colour, cv2.LINE_AA, _SHIFT)


def stroke(image: np.ndarray, points: np.ndarray, colour: int | tuple[int, int, int], thickness: int = 1) -> None:
    """Draw an open line through texel points (N, 2), with soft edges, in place."""
    cv2.polylines(image, [_fixed(points)], False, colour, thickness, cv2.LINE_AA, _SHIFT)


def mix(image: np.ndarray, over: np.ndarray | tuple, weight: np.ndarray) -> np.ndarray:
    """`over` laid on `image` with a weight (height, width) of 0 to 1; returns uint8."""
    weight = weight[..., None].astype(np.float32)
    return np.clip(image + (np.asarray(over, np.float32) - image) * weight + 0.5, 0, 255).astype(np.uint8)


def _noise(rng: np.random.Generator, size: tuple[int, int], sigma: float) -> np.ndarray:
    """Smooth noise with standard deviation 1, (height, width) float32."""
    field: np.ndarray = rng.standard_normal(size, np.float32)
    if sigma:
        field = cv2.GaussianBlur(field, (0, 0), sigma)
    return field / field.std()


def _soft(points: np.ndarray, sigma: float, size: tuple[int, int] = TEXTURE_SIZE) -> np.ndarray:
    """A filled polygon of texel points with blurred edges, (height, width) float32 of 0 to 1."""
    mask = np.zeros(size, np.uint8)
    fill(mask, points, 255)
    return cv2.GaussianBlur(mask, (0, 0), sigma).astype(np.float32) / 255


def _blob(centre: np.ndarray | tuple[float, float], sigma_u: float, sigma_v: float) -> np.ndarray:
    u, v = geometry.plane()
    return np.exp(-(((u - centre[0]) / sigma_u) ** 2) / 2 - (((v - centre[1]) / sigma_v) ** 2) / 2)


def _shade_of(colour: Colour, factor: float) -> Colour:
    return as_colour(np.clip(c * factor, 0, 255) for c in colour)


def face_outline(rest: np.ndarray) -> np.ndarray:
    """The closed outline of the face, jaw and hairline, as (u, v) points."""
    hairline = rest[list(geometry.FOREHEAD_ORDER)]
    return curve(np.concatenate([rest[geometry.JAW], hairline[::-1]]))


def _cranium(identity: Identity, rest: np.ndarray) -> np.ndarray:
    """The outline of the hair above the ears as (u, v) points."""
    volume = {"short": 0.16, "long": 0.2, "bob": 0.24, "cropped": 0.07}[identity.hair_style]
    angles = np.radians(np.linspace(205, -25, 24))
    top = rest[71, 1] - volume - 0.12
    radius_u = np.abs(rest[0, 0]) + 0.5 * volume + 0.03
    return np.stack([np.cos(angles) * radius_u, -0.1 + np.sin(angles) * (top + 0.1)], axis=1)


@functools.lru_cache(maxsize=64)
def paint_head(identity: Identity) -> Head:
    """Paint a person's head at rest, without eyes and lips (they move: `paint_features`)."""
    rng = np.random.default_rng(identity.texture_seed)
    rest = resting_landmarks(identity)
    _, v = geometry.plane()
    skin = np.array(identity.skin, np.float32)
    z = geometry.relief(rest, identity.nose_height, identity.depth)

    # skin: blotches, pores, and the redder and darker parts of a face
    pattern = 0.025 * _noise(rng, TEXTURE_SIZE, 14) + 0.018 * _noise(rng, TEXTURE_SIZE, 3)
    pattern += (0.022 + 0.02 * identity.lines) * _noise(rng, TEXTURE_SIZE, 0.6)
    rgb = skin * (1 + pattern[..., None])
    red = _blob((-0.58, 0.62), 0.24, 0.2) + _blob((0.58, 0.62), 0.24, 0.2) + 0.8 * _blob(rest[30], 0.16, 0.14)
    rgb *= 1 - red[..., None] * np.array([0.0, 0.085, 0.075], np.float32)
    for eye in (geometry.LEFT_EYE, geometry.RIGHT_EYE):
        centre = rest[eye].mean(axis=0)
        socket = 0.75 * _blob(centre - np.array([0, 0.11]), 0.24, 0.09)
        socket += 0.5 * _blob(centre + np.array([0, 0.15]), 0.2, 0.06)
        rgb *= 1 - socket[..., None] * np.array([0.22, 0.26, 0.24], np.float32)
    if identity.stubble:
        beard = np.clip((v - 0.72) / 0.35, 0, 1) * (1 - _blob((0, 0.62), 0.34, 0.2))
        grain = np.clip(0.55 + 0.3 * _noise(rng, TEXTURE_SIZE, 0.5), 0, 1.2)
        rgb *= 1 - (identity.stubble * 0.42 * beard * grain)[..., None]
    for _ in range(int(60 * identity.freckles)):
        spot = (rng.normal(0, 0.5), rng.normal(0.5, 0.2))
        rgb *= 1 - 0.3 * _blob(spot, 0.018, 0.018)[..., None]
    rgb = np.clip(rgb, 0, 255).astype(np.uint8)

    rgb = _paint_nose(rgb, rest)
    rgb = _paint_lines(rgb, rest, identity.lines)
    rgb = _paint_brows(rgb, rest, identity, rng)

    face = np.zeros(TEXTURE_SIZE, np.uint8)
    fill(face, texels(face_outline(rest)), 255)
    rim = 1 - cv2.GaussianBlur(face, (0, 0), 9) / 255.0
    rgb = mix(rgb, rgb * (0.62, 0.52, 0.48), np.clip(rim * 1.1, 0, 0.6))
    alpha = face.copy()
    for side in (-1, 1):
        rgb = _paint_ear(rgb, alpha, face, rest, identity, side)
    rgb = _paint_hair(rgb, alpha, face, rest, identity, rng)
    small = geometry.normals(z, 1.15)[::2, ::2]
    return Head(rest, rgb, alpha, z, np.ascontiguousarray(small))


def _paint_nose(rgb: np.ndarray, rest: np.ndarray) -> np.ndarray:
    shadow = _soft(texels(rest[[31, 32, 33, 34, 35]] + (0, 0.045)), 4.0)
    rgb = mix(rgb, rgb * 0.45, np.clip(shadow * 2.0, 0, 0.55))
    for wing, inner, sign in ((31, 32, -1), (35, 34, 1)):
        side = np.array(
            [rest[wing] + (sign * 0.03, -0.12), rest[wing] + (sign * 0.055, -0.03), rest[wing] + (0, 0.035)]
        )
        line = np.zeros(TEXTURE_SIZE, np.uint8)
        stroke(line, texels(curve(side, closed=False)), 255, 2)
        rgb = mix(rgb, rgb * 0.55, cv2.GaussianBlur(line, (0, 0), 1.3) / 255.0)
        nostril = (rest[wing] + rest[inner]) / 2 + (0, -0.005)
        rgb = mix(rgb, rgb * 0.22, np.clip(1.15 * _blob(nostril, 0.05, 0.026), 0, 1))
    return mix(rgb, np.minimum(rgb * 1.2 + 8, 255), 0.5 * _blob(rest[30] - (0, 0.05), 0.05, 0.09))


def _paint_lines(rgb: np.ndarray, rest: np.ndarray, strength: float) -> np.ndarray:
    lines = np.zeros(TEXTURE_SIZE, np.uint8)
    for wing, corner, sign in ((31, 48, -1), (35, 54, 1)):
        fold = np.array(
            [rest[wing] + (sign * 0.06, -0.02), rest[wing] + (sign * 0.17, 0.14), rest[corner] + (sign * 0.1, 0)]
        )
        stroke(lines, texels(curve(fold, closed=False)), int(150 * strength) + 40, 2)
    for height in (0.72, 0.84):
        arc = np.array([(u, rest[71, 1] * height + 0.25 * u**2) for u in np.linspace(-0.45, 0.45, 7)])
        stroke(lines, texels(arc), int(70 * strength), 1)
    chin = np.array([(-0.16, rest[57, 1] + 0.10), (0, rest[57, 1] + 0.075), (0.16, rest[57, 1] + 0.10)])
    stroke(lines, texels(curve(chin, closed=False)), 110, 3)
    return mix(rgb, rgb * 0.62, cv2.GaussianBlur(lines, (0, 0), 1.6) / 255.0)


def _paint_brows(rgb: np.ndarray, rest: np.ndarray, identity: Identity, rng: np.random.Generator) -> np.ndarray:
    strands = np.zeros(TEXTURE_SIZE, np.uint8)
    colour = np.minimum(np.array(_shade_of(identity.hair, 0.6)), np.array(identity.skin) * 0.42)
    for brow, outer_first in ((slice(17, 22), True), (slice(22, 27), False)):
        line = curve(rest[brow], closed=False, steps=8)
        along = np.linspace(0, 1, len(line)) if outer_first else np.linspace(1, 0, len(line))
        half = identity.brow_thickness * (0.35 + 0.65 * np.clip(along * 1.6, 0, 1)) / 2
        band = np.concatenate(
            [line - np.column_stack([0 * half, half]), (line + np.column_stack([0 * half, half]))[::-1]]
        )
        fill(strands, texels(band), 165)
        outward = -1 if outer_first else 1
        for _ in range(70):
            k = rng.integers(len(line))
            root = line[k] + (0, rng.uniform(-0.8, 1.0) * half[k])
            tip = root + np.array([outward * rng.uniform(0.03, 0.09), rng.uniform(-0.045, 0.0)])
            stroke(strands, texels(np.array([root, tip])), int(rng.integers(150, 256)))
    return mix(rgb, colour, 0.92 * cv2.GaussianBlur(strands, (0, 0), 0.7) / 255.0)


def _paint_ear(
    rgb: np.ndarray, alpha: np.ndarray, face: np.ndarray, rest: np.ndarray, identity: Identity, side: int
) -> np.ndarray:
    edge = rest[1 if side < 0 else 15]
    shape = [(-0.02, -0.42), (0.09, -0.47), (0.17, -0.36), (0.15, -0.12), (0.10, 0.08), (0.03, 0.13), (-0.04, 0.0)]
    outline = texels(curve(edge + np.array(shape) * (side, 1)))
    ear = np.zeros(TEXTURE_SIZE, np.uint8)
    fill(ear, outline, 255)
    inner = _soft(
        texels(edge + np.array([(0.03, -0.33), (0.10, -0.34), (0.10, -0.12), (0.04, -0.06)]) * (side, 1)), 2.0
    )
    ear_only = np.minimum(ear, 255 - face)
    rgb = mix(rgb, np.array(_shade_of(identity.skin, 0.9)) * (1, 0.93, 0.93), ear_only / 255.0)
    rgb = mix(rgb, rgb * 0.6, inner * (ear_only / 255.0))
    np.maximum(alpha, ear, out=alpha)
    return rgb


def _paint_hair(
    rgb: np.ndarray,
    alpha: np.ndarray,
    face: np.ndarray,
    rest: np.ndarray,
    identity: Identity,
    rng: np.random.Generator,
) -> np.ndarray:
    u, v = geometry.plane()
    hair: np.ndarray = np.zeros(TEXTURE_SIZE, np.uint8)
    fill(hair, texels(curve(_cranium(identity, rest))), 255)
    # short hair ends above the ears; longer styles cover them and hang down to the jaw
    if identity.hair_style in ("short", "cropped"):
        hair[v > rest[0, 1] - 0.1 - 0.5 * (np.abs(u) - 0.95)] = 0
        hair = cv2.GaussianBlur(hair, (0, 0), 1.0)
    else:
        for side in (-1, 1):
            edge = np.abs(rest[0, 0])
            lock = [(edge - 0.08, -0.7), (edge + 0.10, -0.45), (edge + 0.22, 0.2), (edge + 0.24, 1.15)]
            lock += [(edge + 0.08, 1.3), (edge + 0.0, 0.7), (edge - 0.01, 0.2)]
            fill(hair, texels(curve(np.array(lock) * (side, 1))), 255)
    np.maximum(alpha, hair, out=alpha)
    # hair grows outside the face's outline, with an uneven edge
    ragged = np.clip(_noise(rng, TEXTURE_SIZE, 1.2) * 35, -70, 70)
    inside = cv2.GaussianBlur(face, (0, 0), 1.6).astype(np.float32)
    border = np.clip((150 + ragged - inside) * 4, 0, 255)
    border[v > rest[0, 1] + 0.25] = (255 - face)[v > rest[0, 1] + 0.25]
    hair = np.minimum(hair, border).astype(np.uint8)
    parting = np.array([rng.uniform(-0.4, 0.4), rest[71, 1] - 0.5])
    # strands fan out from the parting and hang straight below the temples
    down = np.minimum(v - parting[1], 0.75)
    angle = np.arctan2(down, u - parting[0])
    radius = np.hypot(down, u - parting[0])
    strand = _noise(rng, (1, 512), 0.8)[0]
    strand = strand[((angle / np.pi * 200 + 12 * np.sin(radius * 2.5)) % 512).astype(int)]
    gloss = 0.22 * np.exp(-(((radius - 0.75) / 0.22) ** 2))
    tone = 0.86 + 0.17 * strand + gloss + 0.05 * _noise(rng, TEXTURE_SIZE, 0.6)
    colour = np.clip(np.array(identity.hair, np.float32) * tone[..., None] + 6, 0, 255)
    shadow = cv2.GaussianBlur(hair, (0, 0), 6) * (face / 255.0) / 255.0
    rgb = mix(rgb, rgb * 0.6, np.clip(shadow, 0, 0.6))
    weight = hair / 255.0
    # its colour bleeds outwards, so that the soft edge of the head does not mix with skin
    around = v < rest[0, 1] - 0.25
    if identity.hair_style in ("long", "bob"):
        around |= np.abs(u) > np.abs(rest[0, 0]) * 0.97
    weight[around & (face == 0)] = 1
    return mix(rgb, colour, weight * (0.75 if identity.hair_style == "cropped" else 1.0))


def paint_features(
    head: Head, identity: Identity, points: np.ndarray, blink: float, gaze: tuple[float, float]
) -> np.ndarray:
    """A copy of the head's texture with eyes and mouth as the landmarks say.

    Args:
        head: The head at rest.
        identity: Its person.
        points: (81, 2) frontal landmarks (u, v) with the lids and lips where they are now.
        blink: 0 open, 1 closed.
        gaze: Where the eyes look, -1 to 1 to the right and down.

    Returns:
        (height, width, 3) uint8 texture.
    """
    rgb = head.rgb.copy()
    for eye in (geometry.LEFT_EYE, geometry.RIGHT_EYE):
        _paint_eye(rgb, identity, points[eye], head.rest[eye], blink, gaze)
    _paint_mouth(rgb, identity, points[geometry.MOUTH])
    return rgb


def _window(points: np.ndarray, margin: int) -> tuple[slice, slice, np.ndarray]:
    """A texture window around texel points, and its origin (x, y)."""
    (x0, y0), (x1, y1) = np.floor(points.min(axis=0)) - margin, np.ceil(points.max(axis=0)) + margin
    return slice(int(y0), int(y1)), slice(int(x0), int(x1)), np.array([x0, y0])


def _paint_eye(
    rgb: np.ndarray, identity: Identity, lids: np.ndarray, rest: np.ndarray, blink: float, gaze: tuple[float, float]
) -> None:
    rows, columns, origin = _window(texels(rest), 14)
    patch = rgb[rows, columns]
    outline = texels(curve(lids)) - origin
    opening = np.zeros(patch.shape[:2], np.uint8)
    fill(opening, outline, 255)
    eye = np.empty_like(patch)
    eye[:] = (232, 226, 220)
    corners = (rest[0] + rest[3]) / 2
    radius = 0.105 * identity.eye_size * DENSITY
    middle = texels(corners + np.array([gaze[0] * 0.09, 0.0 + gaze[1] * 0.04])) - origin
    centre, one = _fixed(middle), 1 << _SHIFT
    for size, colour in (
        (1.0, _shade_of(identity.iris, 0.45)),
        (0.84, identity.iris),
        (0.6, _shade_of(identity.iris, 1.25)),
        (0.45, (14, 12, 12)),
    ):
        cv2.circle(eye, centre.tolist(), int(radius * size * one), colour, -1, cv2.LINE_AA, _SHIFT)
    light = _fixed(middle + np.array([-0.3, -0.38]) * radius).tolist()
    cv2.circle(eye, light, int(0.19 * radius * one), (250, 250, 250), -1, cv2.LINE_AA, _SHIFT)
    # the upper lid's shadow on the eyeball
    upper = texels(curve(lids[:4], closed=False)) - origin
    lower = texels(curve(lids[[3, 4, 5, 0]], closed=False)) - origin
    lash = np.zeros(patch.shape[:2], np.uint8)
    stroke(lash, upper, 255, 2)
    eye = mix(eye, eye * 0.5, cv2.GaussianBlur(lash, (0, 0), 2.0) / 255.0)
    patch[:] = mix(patch, eye, opening / 255.0)
    crease = np.zeros(patch.shape[:2], np.uint8)
    lift = 0.055 * (1 - 0.4 * blink)
    stroke(crease, texels(curve(rest[:4] - (0, lift), closed=False)) - origin, 150, 1)
    stroke(crease, lower, 110, 1)
    patch[:] = mix(patch, patch * 0.5, cv2.GaussianBlur(crease, (0, 0), 0.8) / 255.0)
    patch[:] = mix(patch, (32, 22, 20), 0.85 * cv2.GaussianBlur(lash, (0, 0), 0.6) / 255.0)


def _paint_mouth(rgb: np.ndarray, identity: Identity, lips: np.ndarray) -> None:
    rows, columns, origin = _window(texels(lips), 8)
    patch = rgb[rows, columns]
    outer = texels(curve(lips[:12])) - origin
    inner = texels(curve(lips[12:20], steps=4)) - origin
    shape = np.zeros(patch.shape[:2], np.uint8)
    fill(shape, outer, 255)
    colour = np.empty_like(patch)
    colour[:] = identity.lips
    upper = np.concatenate([lips[:7], lips[12:17][::-1]])
    fill(colour, texels(upper) - origin, _shade_of(identity.lips, 0.82))
    shine = texels((lips[[9]] + lips[[18]]) / 2)[0] - origin
    glow = np.zeros(patch.shape[:2], np.uint8)
    cv2.ellipse(glow, tuple(int(c) for c in shine), (int(0.13 * DENSITY), 2), 0, 0, 360, 130, -1, cv2.LINE_AA)
    colour = mix(colour, (255, 236, 232), 0.5 * cv2.GaussianBlur(glow, (0, 0), 1.6) / 255.0)
    hole = np.zeros(patch.shape[:2], np.uint8)
    fill(hole, inner, 255)
    stroke(hole, texels(curve(lips[12:17], closed=False)) - origin, 255, 1)
    inside = np.empty_like(patch)
    inside[:] = (62, 22, 26)
    gape = lips[18, 1] - lips[14, 1]
    if gape > 0.05:
        edge = lips[12:17]
        depth = min(0.085, 0.6 * gape) * np.array([0.1, 0.8, 1, 0.8, 0.1])
        teeth = np.concatenate([edge - np.array([0, 0.02]), (edge + depth[:, None] * np.array([0, 1]))[::-1]])
        fill(inside, texels(teeth) - origin, (222, 214, 202))
        tongue = lips[18] + np.array([0, 0.03])
        centre = tuple(int(c) for c in texels(tongue) - origin)
        cv2.ellipse(
            inside, centre, (int(0.17 * DENSITY), int(0.07 * DENSITY)), 0, 0, 360, (150, 70, 74), -1, cv2.LINE_AA
        )
    colour = mix(colour, inside, hole / 255.0)
    patch[:] = mix(patch, colour, cv2.GaussianBlur(shape, (0, 0), 0.6) / 255.0)


@functools.lru_cache(maxsize=64)
def paint_body(identity: Identity) -> tuple[np.ndarray, np.ndarray]:
    """Neck, shoulders and the hair that hangs behind them.

    Returns:
        rgb (height, width, 3) uint8 and alpha (height, width) uint8 over `BODY_U_RANGE` x `BODY_V_RANGE` with
        `BODY_DENSITY` texels per unit.
    """
    rng = np.random.default_rng(identity.texture_seed + 1)
    size = (
        int((BODY_V_RANGE[1] - BODY_V_RANGE[0]) * BODY_DENSITY),
        int((BODY_U_RANGE[1] - BODY_U_RANGE[0]) * BODY_DENSITY),
    )
    rest = resting_landmarks(identity)
    jaw, chin = abs(rest[3, 0]), rest[8, 1]
    rgb = np.empty((*size, 3), np.uint8)
    rgb[:] = identity.shirt
    alpha = np.zeros(size, np.uint8)

    def at(points: list[tuple[float, float]]) -> np.ndarray:
        both = points + [(-u, v) for u, v in points[::-1]]
        return (curve(np.array(both)) - (BODY_U_RANGE[0], BODY_V_RANGE[0])) * BODY_DENSITY

    def lay(points: np.ndarray, colour: np.ndarray) -> None:
        mask = np.zeros(size, np.uint8)
        fill(mask, points, 255)
        rgb[:] = mix(rgb, colour, mask / 255.0)
        np.maximum(alpha, mask, out=alpha)

    strand = 0.75 + 0.13 * cv2.GaussianBlur(_noise(rng, size, 0.7), (1, 31), 0)[..., None] * 3
    if identity.hair_style in ("long", "bob"):
        end = chin + (1.1 if identity.hair_style == "long" else 0.0)
        edge = abs(rest[0, 0])
        back = at(
            [(0.3, -1.2), (edge, -0.7), (edge + 0.24, 0.2), (edge + 0.3, end - 0.4), (edge + 0.1, end), (0.3, end)]
        )
        lay(back, np.clip(np.array(identity.hair) * strand * 0.8, 0, 255))
    down = ((np.arange(size[0]) / BODY_DENSITY + BODY_V_RANGE[0]) - chin)[:, None, None]
    neck = at(
        [(jaw * 0.72, 0.9), (jaw * 0.70, chin + 0.2), (jaw * 0.8, chin + 0.45), (1.2, chin + 0.75), (0.3, chin + 1.2)]
    )
    shade = 0.55 + 0.38 * np.clip(down / 0.7, 0, 1)
    lay(neck, np.clip(np.array(identity.skin) * shade * (1 + 0.02 * _noise(rng, size, 0.7)[..., None]), 0, 255))
    collar = [(0.0, chin + 0.85), (0.45, chin + 0.72), (jaw * 0.82, chin + 0.42), (1.35, chin + 0.72)]
    collar += [(2.2, chin + 1.0), (2.75, chin + 1.7), (2.95, 5.8), (0.4, 5.9)]
    across = 1 - 0.22 * np.abs(np.linspace(-1, 1, size[1]))[:, None] ** 1.5
    folds = 1 + 0.07 * _noise(rng, size, 9)[..., None] + 0.04 * _noise(rng, size, 0.7)[..., None]
    lay(at(collar), np.clip(np.array(identity.shirt) * folds * across, 0, 255))
    return rgb, alpha
