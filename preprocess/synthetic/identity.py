"""Who a rendered person is: proportions, colours and hair, and the resting landmarks that follow from them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from preprocess.synthetic import geometry

Colour = tuple[int, int, int]


def as_colour(values: Iterable[float]) -> Colour:
    """Three numbers, cut off to whole ones."""
    red, green, blue = (int(value) for value in values)
    return red, green, blue


_SKIN = [(236, 192, 170), (224, 172, 146), (210, 154, 126), (188, 132, 104), (158, 106, 82), (126, 82, 64)]
_HAIR = [(38, 28, 24), (66, 44, 30), (104, 70, 42), (134, 96, 56), (168, 132, 84), (112, 50, 32), (118, 114, 112)]
_IRIS = [(84, 56, 34), (62, 42, 30), (96, 116, 140), (80, 112, 84), (112, 92, 52)]
HAIR_STYLES = ("short", "long", "bob", "cropped")


@dataclass(frozen=True)
class Identity:
    """A person. Proportions are factors on the average face (1.0) unless their name says otherwise.

    Attributes:
        face_width, face_length, forehead_height: Outline of the face.
        jaw_width: Width at the height of the mouth.
        eye_distance, eye_size, eye_tilt: Eyes; the tilt is in units (outer corners up).
        brow_height, brow_thickness: Brows; the height is in units above the average.
        nose_width, nose_length, nose_height: Nose; the height is in units towards the viewer.
        mouth_width, lip_thickness: Mouth.
        depth: How strongly the face curves backwards.
        skin, hair, iris, lips, shirt: Colours, RGB.
        hair_style: One of `HAIR_STYLES`.
        stubble, freckles, lines: Strength of beard shadow, freckles and wrinkles, 0 to 1.
        texture_seed: Seed of everything random on the skin and in the hair.
    """

    face_width: float
    face_length: float
    forehead_height: float
    jaw_width: float
    eye_distance: float
    eye_size: float
    eye_tilt: float
    brow_height: float
    brow_thickness: float
    nose_width: float
    nose_length: float
    nose_height: float
    mouth_width: float
    lip_thickness: float
    depth: float
    skin: Colour
    hair: Colour
    iris: Colour
    lips: Colour
    shirt: Colour
    hair_style: str
    stubble: float
    freckles: float
    lines: float
    texture_seed: int


def sample_identity(rng: np.random.Generator) -> Identity:
    """Draw a person at random."""

    def colour(palette: list[Colour], spread: float) -> Colour:
        base = np.array(palette[rng.integers(len(palette))]) + rng.normal(0, spread) + rng.normal(0, spread / 2, 3)
        return as_colour(np.clip(base, 12, 250))

    skin = colour(_SKIN, 5)
    tint = rng.uniform(0.2, 0.5)
    lips = as_colour((1 - tint) * np.array(skin) * (0.86, 0.68, 0.68) + tint * np.array((165, 62, 72)))
    style = HAIR_STYLES[rng.integers(len(HAIR_STYLES))]
    return Identity(
        face_width=rng.uniform(0.92, 1.07),
        face_length=rng.uniform(0.94, 1.10),
        forehead_height=rng.uniform(0.94, 1.08),
        jaw_width=rng.uniform(0.94, 1.10),
        eye_distance=rng.uniform(0.93, 1.08),
        eye_size=rng.uniform(1.0, 1.25),
        eye_tilt=rng.uniform(-0.03, 0.035),
        brow_height=rng.uniform(-0.06, 0.03),
        brow_thickness=rng.uniform(0.05, 0.1),
        nose_width=rng.uniform(0.85, 1.25),
        nose_length=rng.uniform(0.88, 1.03),
        nose_height=rng.uniform(0.20, 0.31),
        mouth_width=rng.uniform(0.88, 1.15),
        lip_thickness=rng.uniform(0.8, 1.35),
        depth=rng.uniform(0.75, 0.9),
        skin=skin,
        hair=colour(_HAIR, 6),
        iris=colour(_IRIS, 6),
        lips=lips,
        shirt=colour([(60, 70, 96), (120, 44, 44), (210, 206, 200), (44, 84, 70), (70, 66, 64), (170, 140, 90)], 15),
        hair_style=style,
        stubble=rng.uniform(0.2, 0.8) if style in ("short", "cropped") and rng.random() < 0.5 else 0.0,
        freckles=rng.uniform(0.2, 0.8) if rng.random() < 0.3 else 0.0,
        lines=rng.uniform(0.1, 0.9),
        texture_seed=int(rng.integers(1 << 31)),
    )


def resting_landmarks(identity: Identity) -> np.ndarray:
    """The person's 81 points, mouth closed and eyes open, (81, 2) float64 as frontal (u, v) (see `geometry`)."""
    points = geometry.template()
    for eye in (geometry.LEFT_EYE, geometry.RIGHT_EYE):
        centre = points[eye].mean(axis=0)
        shape = (points[eye] - centre) * identity.eye_size
        shape[:, 1] -= np.sign(centre[0]) * shape[:, 0] / 0.18 * identity.eye_tilt
        points[eye] = centre * (identity.eye_distance, 1) + shape
    points[geometry.BROWS, 1] -= identity.brow_height
    points[31:36, 0] *= identity.nose_width
    points[28:36, 1] *= identity.nose_length
    mouth = points[geometry.MOUTH]
    mouth[:, 0] *= identity.mouth_width
    outer = mouth[:12, 1]
    outer[:] = 1.09 + (outer - 1.09) * identity.lip_thickness
    below = np.clip(points[:, 1], 0, None)
    # the jaw's own factor grows from the ear to the mouth and fades at the chin
    jaw = points[geometry.JAW]
    jaw[:, 0] *= 1 + (identity.jaw_width - 1) * np.clip(jaw[:, 1] / 1.05, 0, 1)
    points[68:, 1] *= identity.forehead_height
    points[:, 0] *= identity.face_width
    points[:, 1] += (identity.face_length - 1) * below
    return points
