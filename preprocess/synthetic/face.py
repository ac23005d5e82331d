"""A talking head: pose and expression, drawing into a frame, and the truth about what was drawn."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from preprocess.synthetic import appearance, geometry
from preprocess.synthetic.background import sample_background
from preprocess.synthetic.identity import Identity, sample_identity


@dataclass(frozen=True)
class Pose:
    """Where a head is, how it is turned, what it does and how it is lit.

    Attributes:
        centre: (x, y) of the head's pivot in frame pixels, about the bridge of the nose.
        scale_px: Pixels per unit; a face is about two units wide and 2.4 high.
        yaw_deg, pitch_deg, roll_deg: Nose to the right, nose down, clockwise. Up to about 30, 20 and 30.
        mouth_open: 0 to 1.
        smile: -1 to 1.
        blink: 0 open to 1 closed.
        brow_raise: -1 to 1.
        gaze: -1 to 1, right and down.
        light: Direction to the light (right, down, towards the viewer), any length.
        ambient: Share of the light that comes from everywhere, 0 to 1.
        tint: Colour of the light, RGB factors.
    """

    centre: tuple[float, float]
    scale_px: float
    yaw_deg: float = 0.0
    pitch_deg: float = 0.0
    roll_deg: float = 0.0
    mouth_open: float = 0.0
    smile: float = 0.0
    blink: float = 0.0
    brow_raise: float = 0.0
    gaze: tuple[float, float] = (0.0, 0.0)
    light: tuple[float, float, float] = (-0.4, -0.6, 0.9)
    ambient: float = 0.5
    tint: tuple[float, float, float] = (1.0, 1.0, 1.0)


@dataclass(frozen=True)
class FaceTruth:
    """What was drawn.

    Attributes:
        landmarks: (81, 2) float32 points (x, y) in frame pixels, in dlib's order.
        box: (4,) float32 face box x0, y0, x1, y1 in frame pixels, as a face detector would give it; may reach
            outside the frame.
        visible: Share of the box that can be seen, 0 to 1: inside the frame, and nothing drawn over it.
    """

    landmarks: np.ndarray
    box: np.ndarray
    visible: float


def sample_tint(rng: np.random.Generator) -> tuple[float, float, float]:
    """Draw the colour of the light: a factor for red, green and blue."""
    red, green, blue = rng.uniform(0.94, 1.04, 3).tolist()
    return red, green, blue


def sample_pose(rng: np.random.Generator, height: int, width: int) -> Pose:
    """Draw a pose at random whose face lies inside a frame of (height, width)."""
    face_height = rng.uniform(0.32, 0.62) * min(height, width)
    scale = face_height / 2.3
    margin = (1.3 * scale, 1.45 * scale)
    azimuth, elevation = rng.uniform(-1.0, 1.0), rng.uniform(0.1, 0.9)
    return Pose(
        centre=(rng.uniform(margin[0], width - margin[0]), rng.uniform(margin[1], height - margin[1])),
        scale_px=scale,
        yaw_deg=float(np.clip(rng.normal(0, 11), -25, 25)),
        pitch_deg=float(np.clip(rng.normal(0, 6), -14, 14)),
        roll_deg=float(np.clip(rng.normal(0, 6), -16, 16)),
        mouth_open=max(0.0, rng.uniform(-0.5, 1.0)),
        smile=rng.uniform(-0.1, 1.0),
        blink=float(rng.random() < 0.06) * rng.uniform(0.5, 1.0),
        brow_raise=rng.uniform(-0.6, 1.0),
        gaze=(rng.uniform(-0.7, 0.7), rng.uniform(-0.4, 0.4)),
        light=(float(np.sin(azimuth)), float(-np.sin(elevation)), float(np.cos(azimuth))),
        ambient=rng.uniform(0.35, 0.55),
        tint=sample_tint(rng),
    )


def face_box(landmarks: np.ndarray) -> np.ndarray:
    """The box that a face detector gives for 81 landmarks: from the hairline to the chin, cheek to cheek.

    Args:
        landmarks: (81, 2) points.

    Returns:
        (4,) float32 x0, y0, x1, y1. The margin below the chin was fitted to MTCNN's boxes on rendered faces.
    """
    x0, y0 = landmarks[:68].min(axis=0)
    x1, y1 = landmarks[:68].max(axis=0)
    y0 = min(y0, landmarks[68:, 1].min())
    return np.array([x0, y0, x1, y1 + 0.03 * (y1 - y0)], np.float32)


def visible_share(box: np.ndarray, height: int, width: int) -> float:
    """Share of a box that lies inside a frame of (height, width)."""
    box = np.asarray(box, np.float64)
    inner = np.clip(box, 0, [width, height, width, height])
    area = (box[2] - box[0]) * (box[3] - box[1])
    return float(max(inner[2] - inner[0], 0) * max(inner[3] - inner[1], 0) / area)


def _expressed(rest: np.ndarray, pose: Pose) -> np.ndarray:
    """The resting landmarks with lids and lips moved by the expression, (81, 2) as (u, v)."""
    points = rest.copy()
    for eye in (geometry.LEFT_EYE, geometry.RIGHT_EYE):
        lids = points[eye]
        lids[1:3] += 0.95 * pose.blink * (lids[[5, 4]] - lids[1:3])
    mouth = points[geometry.MOUTH]
    sideways = np.abs(mouth[:, 0]) / np.abs(mouth[0, 0])
    lower = np.array([8, 9, 10, 17, 18, 19])
    mouth[:, 0] *= 1 + 0.12 * pose.smile - 0.12 * pose.mouth_open
    mouth[:, 1] -= 0.10 * pose.smile * sideways**2
    mouth[lower, 1] += 0.21 * pose.mouth_open
    mouth[[7, 11], 1] += 0.14 * pose.mouth_open
    mouth[13:16, 1] -= 0.02 * pose.mouth_open
    return points


def _movement(rest: np.ndarray, pose: Pose) -> np.ndarray:
    """How far the expression moves each texel down, in units: the jaw drops, the brows rise."""
    _, v = geometry.plane()
    rows = v[:, 0]
    s = np.clip((rows - rest[62, 1]) / 0.45, 0, 1)
    jaw = 0.09 * pose.mouth_open * s * s * (3 - 2 * s)
    brow = -0.07 * pose.brow_raise * np.exp(-(((rows - rest[19, 1]) / 0.17) ** 2) / 2)
    return np.ascontiguousarray(np.broadcast_to((jaw + brow).astype(np.float32)[:, None], geometry.TEXTURE_SIZE))


def _light(normal: np.ndarray, turn: np.ndarray, pose: Pose) -> np.ndarray:
    """Brightness of each texel, texture-sized float32 (height, width)."""
    light = np.asarray(pose.light) / np.linalg.norm(pose.light)
    towards = turn.T @ light
    halfway = turn.T @ (light + np.array([0, 0, 1]))
    halfway /= np.linalg.norm(halfway)
    diffuse = np.maximum(cv2.transform(normal, towards[None].astype(np.float32)), 0)
    gloss = np.maximum(cv2.transform(normal, halfway[None].astype(np.float32)), 0) ** 24
    shade = pose.ambient + (1.1 - pose.ambient) * diffuse + 0.10 * gloss
    height, width = geometry.TEXTURE_SIZE
    return cv2.resize(shade, (width, height), interpolation=cv2.INTER_LINEAR)


def _blend(frame: np.ndarray, rgb: np.ndarray, alpha: np.ndarray, window: tuple[int, int, int, int]) -> None:
    x0, y0, x1, y1 = window
    under = np.ascontiguousarray(frame[y0:y1, x0:x1])
    weight = alpha.astype(np.float32) * np.float32(1 / 255)
    frame[y0:y1, x0:x1] = cv2.blendLinear(rgb, under, weight, 1 - weight)


def _draw_body(frame: np.ndarray, identity: Identity, pose: Pose) -> None:
    rgb, alpha = appearance.paint_body(identity)
    tinted = np.array(pose.tint) * (pose.ambient + 0.75 * (1.1 - pose.ambient))
    height, width = frame.shape[:2]
    angle = np.radians(0.35 * pose.roll_deg)
    turn = pose.scale_px * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    nod = np.array([0.25 * np.sin(np.radians(pose.yaw_deg)), 0.2 * np.sin(np.radians(pose.pitch_deg))]) * pose.scale_px
    origin = np.array([appearance.BODY_U_RANGE[0], appearance.BODY_V_RANGE[0]]) - geometry.PIVOT[:2]
    matrix = np.column_stack([turn / appearance.BODY_DENSITY, turn @ origin + pose.centre + nod])
    corners = matrix @ np.array([[0, 0, 1], [rgb.shape[1], 0, 1], [0, rgb.shape[0], 1], [*rgb.shape[1::-1], 1]]).T
    low, high = np.floor(corners.min(axis=1)).astype(int), np.ceil(corners.max(axis=1)).astype(int)
    x0, y0 = np.clip(low, 0, [width, height]).tolist()
    x1, y1 = np.clip(high, 0, [width, height]).tolist()
    if x1 <= x0 or y1 <= y0:
        return
    matrix[:, 2] -= (x0, y0)
    size = (x1 - x0, y1 - y0)
    patch = cv2.warpAffine(rgb, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    weight = cv2.warpAffine(alpha, matrix, size, flags=cv2.INTER_LINEAR)
    patch = cv2.multiply(patch, (*tinted.tolist(), 1.0))  # type: ignore[call-overload]  # its types name no numbers
    _blend(frame, patch, weight, (x0, y0, x1, y1))


def draw_head(frame: np.ndarray, identity: Identity, pose: Pose) -> FaceTruth:
    """Draw a person's head into a frame, in place; arguments and result as for `draw_person`."""
    height, width = frame.shape[:2]
    head = appearance.paint_head(identity)
    turn = geometry.rotation(pose.yaw_deg, pose.pitch_deg, pose.roll_deg)
    centre = np.asarray(pose.centre, float)
    points = _expressed(head.rest, pose)
    movement = _movement(head.rest, pose)
    landmarks = geometry.project(points, head.z, movement, turn, pose.scale_px, centre).astype(np.float32)
    box = face_box(landmarks)
    truth = FaceTruth(landmarks, box, visible_share(box, height, width))

    reach = 2.1 * pose.scale_px
    x0, y0 = np.clip(np.floor(centre - reach), 0, [width, height]).astype(int).tolist()
    x1, y1 = np.clip(np.ceil(centre + reach), 0, [width, height]).astype(int).tolist()
    if x1 <= x0 or y1 <= y0:
        return truth
    texture = appearance.paint_features(head, identity, points, pose.blink, pose.gaze)
    shade = _light(head.normal, turn, pose)
    shade = cv2.merge([shade * np.float32(t) for t in pose.tint])
    texture = cv2.multiply(texture, shade, dtype=cv2.CV_8U)
    if pose.scale_px < 0.7 * geometry.DENSITY:
        # the texture is finer than the frame: without this its grain would shimmer
        texture = cv2.GaussianBlur(texture, (0, 0), 0.45 * geometry.DENSITY / pose.scale_px)
    window = (x0, y0, x1, y1)
    map_x, map_y = geometry.inverse_map(head.z, movement, turn, pose.scale_px, centre, window)
    rgb = cv2.remap(texture, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    alpha = cv2.remap(head.alpha, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
    _blend(frame, rgb, alpha, window)
    return truth


def draw_person(frame: np.ndarray, identity: Identity, pose: Pose) -> FaceTruth:
    """Draw head, neck and shoulders of a person into a frame, in place.

    Args:
        frame: (height, width, 3) uint8 RGB.
        identity: Who.
        pose: Where and how.

    Returns:
        Landmarks, box and visible share; also when the face lies outside the frame.
    """
    _draw_body(frame, identity, pose)
    return draw_head(frame, identity, pose)


def render_portrait(
    rng: np.random.Generator, height: int, width: int, identity: Identity | None = None
) -> tuple[np.ndarray, FaceTruth]:
    """One person in a random pose before a random background, seen by an imperfect camera.

    Args:
        rng: Decides everything: the same state gives the same picture.
        height, width: Size of the picture in pixels, at least 120 each.
        identity: The person; a random one when absent.

    Returns:
        The picture, (height, width, 3) uint8 RGB, and the truth about the face in it.
    """
    frame = sample_background(rng, height, width)
    identity = identity or sample_identity(rng)
    truth = draw_person(frame, identity, sample_pose(rng, height, width))
    frame = cv2.GaussianBlur(frame, (0, 0), rng.uniform(0.3, 0.9))
    noise = rng.normal(0, rng.uniform(1.0, 5.0), frame.shape)
    return np.clip(np.round(frame + noise), 0, 255).astype(np.uint8), truth
