"""The named manipulation methods of the collections: which manipulation, with which strengths.

`Deepfakes`, `Face2Face`, `FaceSwap` and `NeuralTextures` imitate what the methods of FaceForensics++ do (swap an
identity in the target's pose, transfer an expression, paste another video's face, synthesise the mouth). The
others are used in the Celeb-DF and DFDC trees, with other strengths and other traces.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from preprocess.synthetic.clip import Clip
from preprocess.synthetic.face import Pose, draw_head
from preprocess.synthetic.identity import Identity
from preprocess.synthetic.manipulations import (
    Forgery,
    Swap,
    resample_face,
    swap_face,
    synthesise_mouth,
    warp_face,
)

# Room around the landmarks in which a manipulation works, as a share of their extent.
_MARGIN = 0.2


@dataclass(frozen=True)
class Exchange:
    """What a manipulation has to work with, for one frame.

    Attributes:
        frame: (height, width, 3) uint8 RGB around the face.
        landmarks: (81, 2) points of the face in it.
        target: Person of the frame.
        pose: Pose of that person, for drawing into `frame`.
        donor: Person that gives a face or an expression.
        donor_pose: What the donor does at that moment in the donor's own clip.
        donor_background: (height, width, 3) uint8 RGB of the donor's clip.
        rng: Decides strengths; in the same state for all frames of a video.
    """

    frame: np.ndarray
    landmarks: np.ndarray
    target: Identity
    pose: Pose
    donor: Identity
    donor_pose: Pose
    donor_background: np.ndarray
    rng: np.random.Generator


def _swap_in_target_pose(face: Exchange, how: Swap) -> Forgery:
    """Swap in the donor's face, doing what the target does."""
    picture = face.frame.copy()
    truth = draw_head(picture, face.donor, face.pose)
    return swap_face(face.frame, face.landmarks, picture, truth.landmarks, how)


def _with_donor_expression(face: Exchange) -> tuple[np.ndarray, np.ndarray]:
    """The target's face with the donor's expression: a picture of the frame's size, and its landmarks."""
    theirs = face.donor_pose
    pose = dataclasses.replace(
        face.pose,
        mouth_open=theirs.mouth_open,
        smile=theirs.smile,
        brow_raise=theirs.brow_raise,
        blink=theirs.blink,
    )
    picture = face.frame.copy()
    return picture, draw_head(picture, face.target, pose).landmarks


def _deepfakes(face: Exchange) -> Forgery:
    resolution, fit = int(face.rng.integers(44, 60)), face.rng.uniform(0.6, 0.9)
    return _swap_in_target_pose(face, Swap(resolution_px=resolution, feather=0.05, colour_fit=fit))


def _face2face(face: Exchange) -> Forgery:
    resolution, fit = int(face.rng.integers(48, 64)), face.rng.uniform(0.3, 0.6)
    how = Swap(resolution_px=resolution, feather=0.04, colour_fit=fit, whole_face=False)
    return swap_face(face.frame, face.landmarks, *_with_donor_expression(face), how)


def _faceswap(face: Exchange) -> Forgery:
    picture = face.donor_background.copy()
    truth = draw_head(picture, face.donor, face.donor_pose)
    resolution, fit = int(face.rng.integers(64, 84)), face.rng.uniform(0.4, 0.8)
    how = Swap(resolution_px=resolution, feather=0.02, colour_fit=fit, whole_face=False)
    return swap_face(face.frame, face.landmarks, picture, truth.landmarks, how)


def _neural_textures(face: Exchange) -> Forgery:
    amplitude = face.rng.uniform(8, 13)
    return synthesise_mouth(face.frame, face.landmarks, *_with_donor_expression(face), amplitude)


def _celeb_synthesis(face: Exchange) -> Forgery:
    resolution, fit = int(face.rng.integers(56, 80)), face.rng.uniform(0.8, 1.0)
    return _swap_in_target_pose(face, Swap(resolution_px=resolution, feather=0.08, colour_fit=fit))


def _dfdc_autoencoder(face: Exchange) -> Forgery:
    resolution = int(face.rng.integers(32, 44))
    return _swap_in_target_pose(face, Swap(resolution_px=resolution, feather=0.12, colour_fit=1.0))


def _dfdc_sharp(face: Exchange) -> Forgery:
    how = Swap(resolution_px=300, feather=0.03, colour_fit=0.7, sharpen=face.rng.uniform(0.8, 1.5), whole_face=False)
    return _swap_in_target_pose(face, how)


def _dfdc_resample(face: Exchange) -> Forgery:
    return resample_face(face.frame, face.landmarks, resolution_px=int(face.rng.integers(28, 44)), feather=0.06)


def _dfdc_warp(face: Exchange) -> Forgery:
    swell = face.rng.uniform(0.14, 0.24) * (1 if face.rng.random() < 0.6 else -1)
    return warp_face(face.frame, face.landmarks, swell, 1 + face.rng.uniform(-0.09, 0.09, 3))


METHODS: dict[str, Callable[[Exchange], Forgery]] = {
    "Deepfakes": _deepfakes,
    "Face2Face": _face2face,
    "FaceSwap": _faceswap,
    "NeuralTextures": _neural_textures,
    "Celeb-synthesis": _celeb_synthesis,
    "dfdc-autoencoder": _dfdc_autoencoder,
    "dfdc-sharp": _dfdc_sharp,
    "dfdc-resample": _dfdc_resample,
    "dfdc-warp": _dfdc_warp,
}
DFDC_METHODS = ("dfdc-autoencoder", "dfdc-sharp", "dfdc-resample", "dfdc-warp")


def forge_frame(
    method: str, frame: np.ndarray, landmarks: np.ndarray, index: int, target: Clip, donor: Clip, seed: list[int]
) -> Forgery:
    """Manipulate the first person of a frame by a named method.

    Args:
        method: A key of `METHODS`.
        frame: (height, width, 3) uint8 RGB, as the camera saw it.
        landmarks: (81, 2) points of the first person in it.
        index: The frame's number in the target clip.
        target: The clip that the frame comes from.
        donor: The clip that gives the face or the expression.
        seed: Seed of the video's strengths; the same for all of its frames.

    Returns:
        The manipulated frame; unchanged, with an empty mask, when the face lies outside it.
    """
    height, width = frame.shape[:2]
    margin = _MARGIN * np.ptp(landmarks, axis=0)
    x0, y0 = np.clip(np.floor(landmarks.min(axis=0) - margin), 0, [width, height]).astype(int).tolist()
    x1, y1 = np.clip(np.ceil(landmarks.max(axis=0) + margin), 0, [width, height]).astype(int).tolist()
    mask = np.zeros((height, width), np.uint8)
    if x1 - x0 < 2 or y1 - y0 < 2:
        return Forgery(frame, mask, landmarks)
    origin = np.array([x0, y0], np.float32)
    person, giver = target.people[0], donor.people[0]
    pose = person.poses[index]
    face = Exchange(
        frame=np.ascontiguousarray(frame[y0:y1, x0:x1]),
        landmarks=landmarks - origin,
        target=person.identity,
        pose=dataclasses.replace(pose, centre=(pose.centre[0] - x0, pose.centre[1] - y0)),
        donor=giver.identity,
        donor_pose=giver.poses[index % donor.n_frames],
        donor_background=donor.backgrounds[0],
        rng=np.random.default_rng(seed),
    )
    forgery = METHODS[method](face)
    result = frame.copy()
    result[y0:y1, x0:x1] = forgery.frame
    mask[y0:y1, x0:x1] = forgery.mask
    return Forgery(result, mask, forgery.landmarks + origin)
