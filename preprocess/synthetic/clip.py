"""A clip: people who talk and move before a background, filmed by an imperfect camera.

A clip is a plain description; everything random about it was drawn beforehand, so that any frame can be
rendered at any time, in any process, with the same pixels.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace

import cv2
import numpy as np

from preprocess.synthetic.background import sample_background
from preprocess.synthetic.face import FaceTruth, Pose, draw_person, sample_tint
from preprocess.synthetic.identity import Identity, sample_identity

KINDS = ("one", "two", "leaving", "none", "crossing", "cut", "hidden")

# The truth's height of a face box in units of the face's plane
_BOX_UNITS = 2.75
_SLACK_PX = 64


@dataclass(frozen=True)
class Person:
    """A person in a clip.

    Attributes:
        identity: Who.
        poses: Pose in each frame of the clip.
        scene: Number of the scene that the person is in.
        layer: Of two people, the one with the higher layer stands nearer to the camera.
    """

    identity: Identity
    poses: tuple[Pose, ...]
    scene: int = 0
    layer: int = 0


@dataclass(frozen=True)
class Camera:
    """What the camera does to a frame.

    Attributes:
        blur_px: Sigma of the lens blur.
        noise: Sigma of the sensor noise, in grey levels.
        seed: Seed of the noise.
    """

    blur_px: float
    noise: float
    seed: int


@dataclass(frozen=True)
class Clip:
    """A clip to be rendered.

    Attributes:
        people: The persons; the number in this tuple is the track id of the truth.
        backgrounds: (height, width, 3) uint8 RGB, one for each scene.
        camera: Blur and noise.
        n_frames: Number of frames.
        fps: Frames per second.
        cuts: First frame of each scene but the first.
        hidden: Frames in which a sheet of paper hides the face of the first person.
    """

    people: tuple[Person, ...]
    backgrounds: tuple[np.ndarray, ...]
    camera: Camera
    n_frames: int
    fps: float
    cuts: tuple[int, ...] = ()
    hidden: range = range(0)

    def scene(self, index: int) -> int:
        """Number of the scene that a frame belongs to."""
        return sum(index >= cut for cut in self.cuts)


def _wave(rng: np.random.Generator, seconds: np.ndarray, amplitude: float, hertz: tuple[float, float]) -> np.ndarray:
    """A slow random movement: two sine waves whose frequencies lie in a range."""
    total = np.zeros_like(seconds)
    for share in (0.7, 0.3):
        total += share * np.sin(2 * np.pi * (rng.uniform(*hertz) * seconds + rng.uniform()))
    return amplitude * total


def _blinks(rng: np.random.Generator, seconds: np.ndarray) -> np.ndarray:
    """Closing of the lids: a blink of 0.2 s every 1.5 to 4 s."""
    blink, at = np.zeros_like(seconds), rng.uniform(0.2, 2.0)
    while at < seconds[-1]:
        blink = np.maximum(blink, np.clip(1.3 - np.abs(seconds - at) / 0.1, 0, 1))
        at += rng.uniform(1.5, 4.0)
    return blink


def _sample_poses(
    rng: np.random.Generator, n_frames: int, fps: float, size: tuple[int, int], place: tuple[float, float], leaves: bool
) -> tuple[Pose, ...]:
    """Poses of a person who talks; `place` is the share of the width that belongs to the person."""
    height, width = size
    seconds = np.arange(n_frames) / fps
    room = (place[1] - place[0]) * width
    face_px = rng.uniform(95, 160)
    mean_scale = min(face_px, 0.52 * height, 0.75 * room) / _BOX_UNITS
    scale = mean_scale * (1 + _wave(rng, seconds, 0.07, (0.1, 0.4)))
    reach = 1.35 * scale.max()
    low, high = place[0] * width + reach, place[1] * width - reach
    x = (rng.uniform(low, high) if low < high else (low + high) / 2) + _wave(rng, seconds, 0.15 * scale[0], (0.1, 0.4))
    # hair needs 1.95 units above the pivot, the chin 1.35 below it
    y = rng.uniform(0.45, 0.55) * height + _wave(rng, seconds, 0.08 * scale[0], (0.1, 0.5))
    y = np.clip(y, 1.9 * scale, height - 1.5 * scale)
    if leaves:
        side = 1 if rng.random() < 0.5 else -1
        way = (width + 3.4 * reach) / 2 + side * (width / 2 - x[0])
        x = x + side * way * np.clip((np.arange(n_frames) / n_frames - 0.3) / 0.5, 0, 1) ** 1.5
    yaw = np.clip(rng.normal(0, 8), -14, 14) + _wave(rng, seconds, rng.uniform(4, 11), (0.15, 0.5))
    pitch = rng.normal(0, 3) + _wave(rng, seconds, 4, (0.2, 0.7))
    roll = rng.normal(0, 3) + _wave(rng, seconds, 4, (0.1, 0.4))
    talk = np.clip(_wave(rng, seconds, 1.0, (1.5, 3.5)) * 0.8 + _wave(rng, seconds, 0.5, (0.2, 0.6)), 0, 1)
    smile = np.clip(rng.uniform(0, 0.6) + _wave(rng, seconds, 0.4, (0.1, 0.4)), -0.2, 1)
    brows = np.clip(_wave(rng, seconds, 0.8, (0.2, 0.8)), -0.6, 1)
    gaze_x, gaze_y = _wave(rng, seconds, 0.5, (0.2, 0.6)), _wave(rng, seconds, 0.25, (0.2, 0.6))
    blink = _blinks(rng, seconds)
    azimuth = rng.uniform(-0.9, 0.9) + _wave(rng, seconds, 0.25, (0.05, 0.3))
    elevation, ambient = rng.uniform(0.1, 0.9), rng.uniform(0.35, 0.55)
    tint = sample_tint(rng)
    return tuple(
        Pose(
            centre=(float(x[i]), float(y[i])),
            scale_px=float(scale[i]),
            yaw_deg=float(yaw[i]),
            pitch_deg=float(pitch[i]),
            roll_deg=float(roll[i]),
            mouth_open=float(talk[i]),
            smile=float(smile[i]),
            blink=float(blink[i]),
            brow_raise=float(brows[i]),
            gaze=(float(gaze_x[i]), float(gaze_y[i])),
            light=(float(np.sin(azimuth[i])), float(-np.sin(elevation)), float(np.cos(azimuth[i]))),
            ambient=ambient,
            tint=tint,
        )
        for i in range(n_frames)
    )


def _walk_across(poses: tuple[Pose, ...], width: int) -> tuple[Pose, ...]:
    """The poses of someone who walks, at an even pace, to the place that mirrors the first one."""
    way = width - 2 * poses[0].centre[0]
    shares = np.clip((np.linspace(0, 1, len(poses)) - 0.1) / 0.8, 0, 1).tolist()
    return tuple(
        replace(pose, centre=(pose.centre[0] + share * way, pose.centre[1]))
        for pose, share in zip(poses, shares, strict=True)
    )


def _farther(poses: tuple[Pose, ...], than: tuple[Pose, ...]) -> tuple[Pose, ...]:
    """The poses at nine tenths of the size of somebody nearer, if they are larger."""
    factor = min(1.0, 0.9 * than[0].scale_px / poses[0].scale_px)
    return tuple(replace(pose, scale_px=factor * pose.scale_px) for pose in poses)


def _in_the_place_of(poses: tuple[Pose, ...], other: tuple[Pose, ...]) -> tuple[Pose, ...]:
    """The poses, with head and shoulders where another person has them."""
    return tuple(
        replace(pose, centre=place.centre, scale_px=place.scale_px) for pose, place in zip(poses, other, strict=True)
    )


def sample_clip(
    rng: np.random.Generator, identity: Identity, kind: str, n_frames: int, fps: float, size: tuple[int, int]
) -> Clip:
    """Draw a clip at random.

    Args:
        rng: Decides everything.
        identity: The first person.
        kind: `one` person, `two` people, one person `leaving` the picture, or `none` at all; and what is hard to
            track: two people `crossing`, the first in front of the second; a `cut` to another room, where somebody
            else is in the first person's place; one person whose face is `hidden` for an eighth of the clip.
        n_frames: Number of frames.
        fps: Frames per second.
        size: (height, width) in pixels, both even.
    """
    backgrounds = [sample_background(rng, *size)]
    camera = Camera(blur_px=rng.uniform(0.3, 0.7), noise=rng.uniform(2.5, 5.5), seed=int(rng.integers(1 << 31)))
    whole = (0.0, 1.0)
    places = {"two": [(0.0, 0.5), (0.5, 1.0)], "crossing": [(0.0, 0.36), (0.64, 1.0)], "cut": [whole] * 2, "none": []}
    people = []
    for number, place in enumerate(places.get(kind, [whole])):
        who = identity if number == 0 else sample_identity(rng)
        people.append(Person(who, _sample_poses(rng, n_frames, fps, size, place, kind == "leaving")))
    cuts: tuple[int, ...] = ()
    hidden = range(0)
    if kind == "crossing":
        front, behind = (replace(person, poses=_walk_across(person.poses, size[1])) for person in people)
        people = [replace(front, layer=1), replace(behind, poses=_farther(behind.poses, front.poses))]
    elif kind == "cut":
        cuts = (int(rng.integers(round(0.4 * n_frames), round(0.6 * n_frames) + 1)),)
        backgrounds.append(sample_background(rng, *size))
        people[1] = replace(people[1], poses=_in_the_place_of(people[1].poses, people[0].poses), scene=1)
    elif kind == "hidden":
        length = max(1, n_frames // 8)
        begin = int(rng.integers(n_frames // 4, 3 * n_frames // 4 - length + 1))
        hidden = range(begin, begin + length)
    return Clip(tuple(people), tuple(backgrounds), camera, n_frames, fps, cuts, hidden)


def render_frame(clip: Clip, index: int) -> tuple[np.ndarray, dict[int, FaceTruth]]:
    """Render a frame as the camera sees it.

    Returns:
        (height, width, 3) uint8 RGB, and the truth of each person of the frame's scene by the person's number;
        `visible` also tells of what others and things hide.
    """
    scene = clip.scene(index)
    frame = clip.backgrounds[scene].copy()
    present = [number for number, person in enumerate(clip.people) if person.scene == scene]
    truths, drawn = {}, {}
    for number in sorted(present, key=lambda number: clip.people[number].layer):
        person = clip.people[number]
        truths[number] = draw_person(frame, person.identity, person.poses[index])
        drawn[number] = frame.copy()
    if index in clip.hidden:
        _hold_sheet(frame, truths[0].box)
    truths = {
        number: replace(truth, visible=truth.visible * _unchanged_share(truth.box, drawn[number], frame))
        for number, truth in sorted(truths.items())
    }
    return film(frame, clip.camera, index), truths


def _hold_sheet(frame: np.ndarray, box: np.ndarray) -> None:
    """Draw a sheet of paper, larger than a face box by a tenth on each side, into a frame, in place."""
    x0, y0, x1, y1 = _pixels_of(box + np.array([-0.1, -0.1, 0.1, 0.1]) * np.tile(box[2:] - box[:2], 2), frame)
    rows = np.linspace(225, 195, y1 - y0)
    frame[y0:y1, x0:x1] = np.round(rows)[:, None, None]


def _unchanged_share(box: np.ndarray, before: np.ndarray, after: np.ndarray) -> float:
    """Share of the pixels of a face box, inside the frame, that nothing was drawn over."""
    x0, y0, x1, y1 = _pixels_of(box, after)
    same = (before[y0:y1, x0:x1] == after[y0:y1, x0:x1]).all(axis=2)
    return float(same.mean()) if same.size else 1.0


def _pixels_of(box: np.ndarray, frame: np.ndarray) -> list[int]:
    """The whole pixels x0, y0, x1, y1 of a frame that a box touches."""
    limits = np.tile(frame.shape[1::-1], 2)
    return np.clip(np.concatenate([np.floor(box[:2]), np.ceil(box[2:])]), 0, limits).astype(int).tolist()


@functools.lru_cache(maxsize=2)
def _grain(seed: int, noise: float, height: int, width: int) -> np.ndarray:
    """A field of sensor noise, `_SLACK_PX` larger than a frame, (height, width, 3) float32."""
    rng = np.random.default_rng(seed)
    height, width = height + _SLACK_PX, width + _SLACK_PX
    grain = rng.standard_normal((height, width, 1), np.float32)
    # the three colours share most of their noise, as after a camera's own processing
    tone = rng.standard_normal((height // 2, width // 2, 3), np.float32)
    return np.float32(noise) * (grain + 0.5 * cv2.resize(tone, (width, height), interpolation=cv2.INTER_LINEAR))


def film(frame: np.ndarray, camera: Camera, index: int) -> np.ndarray:
    """Blur and noise of the camera: each frame sees another window of one large field of noise."""
    frame = cv2.GaussianBlur(frame, (0, 0), camera.blur_px)
    height, width = frame.shape[:2]
    x, y = np.random.default_rng([camera.seed, index]).integers(0, _SLACK_PX, 2)
    grain = _grain(camera.seed, camera.noise, height, width)[y : y + height, x : x + width]
    return cv2.add(frame, grain, dtype=cv2.CV_8U)
