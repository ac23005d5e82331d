"""Rendered pictures are those of the collections that results were published with: colours, places and truth.

The bytes may differ between builds of OpenCV, so pictures are compared by the means of blocks. When pictures change on
purpose, the references are written anew by

    python tests/preprocess/synthetic/test_pictures.py
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from preprocess.synthetic import SyntheticSettings
from preprocess.synthetic.clip import KINDS, Clip, render_frame, sample_clip
from preprocess.synthetic.face import render_portrait
from preprocess.synthetic.identity import sample_identity
from preprocess.synthetic.methods import METHODS, forge_frame

REFERENCES = Path(__file__).with_name("pictures.npz")
SIZE = (180, 240)
BLOCK_PX = 12
N_PORTRAITS = 12
N_FRAMES = 16


def block_means(picture: np.ndarray) -> np.ndarray:
    """Mean of every block of 12 x 12 pixels, (15, 20, channels) float32."""
    height, width = SIZE
    blocks = picture.reshape(height // BLOCK_PX, BLOCK_PX, width // BLOCK_PX, BLOCK_PX, -1)
    return blocks.mean(axis=(1, 3)).astype(np.float32)


def portrait(seed: int) -> dict[str, np.ndarray]:
    picture, truth = render_portrait(np.random.default_rng(seed), *SIZE)
    return {"picture": block_means(picture), "landmarks": truth.landmarks, "box": truth.box}


def clip_of(kind: str, n_frames: int = N_FRAMES) -> Clip:
    rng = np.random.default_rng([7, KINDS.index(kind)])
    return sample_clip(rng, sample_identity(rng), kind, n_frames, 25.0, SIZE)


def clip_frames(kind: str) -> dict[str, np.ndarray]:
    """First, middle and last frame of a clip, and the truth of every frame."""
    clip = clip_of(kind)
    frames = [render_frame(clip, index) for index in range(N_FRAMES)]
    truths = [
        (index, number, *truth.box, truth.visible)
        for index, (_, of) in enumerate(frames)
        for number, truth in of.items()
    ]
    pictures = [block_means(frames[index][0]) for index in (0, N_FRAMES // 2, N_FRAMES - 1)]
    poses = [
        [*pose.gaze, pose.blink, pose.mouth_open, pose.smile, *pose.light]
        for person in clip.people
        for pose in person.poses
    ]
    return {
        "pictures": np.array(pictures),
        "truths": np.array(truths, np.float32).reshape(-1, 7),
        "poses": np.array(poses, np.float32),
        "scenes": np.array([[clip.scene(index), index in clip.hidden] for index in range(N_FRAMES)]),
    }


def forgery(method: str) -> dict[str, np.ndarray]:
    target, donor = clip_of("one"), clip_of("leaving")
    frame, truths = render_frame(target, 3)
    # noise would hide small traces
    forged = forge_frame(method, frame, truths[0].landmarks, 3, target, donor, [5, list(METHODS).index(method)])
    difference = np.abs(forged.frame.astype(int) - frame)
    return {
        "difference": block_means(difference),
        "picture": block_means(forged.frame),
        "mask": block_means(forged.mask),
        "landmarks": forged.landmarks,
    }


SCENES = {
    **{f"portrait {seed}": lambda seed=seed: portrait(seed) for seed in range(N_PORTRAITS)},
    **{f"clip {kind}": lambda kind=kind: clip_frames(kind) for kind in KINDS},
    **{f"forgery {method}": lambda method=method: forgery(method) for method in METHODS},
}


@pytest.mark.parametrize("scene", SCENES)
def test_a_picture_is_what_it_was(scene):
    with np.load(REFERENCES) as references:
        for name, found in SCENES[scene]().items():
            expected = references[f"{scene}/{name}"]
            # grey levels, and pixels of places: less than anybody sees, more than another rounding makes
            limit = 0.5 if name in ("picture", "pictures", "difference") else 2.0 if name == "mask" else 0.02
            np.testing.assert_allclose(found, expected, rtol=0, atol=limit, err_msg=name)


def test_a_portrait_is_of_the_size_that_is_asked_for():
    picture, _ = render_portrait(np.random.default_rng(0), 120, 160)
    assert picture.shape == (120, 160, 3)


def test_the_collection_is_as_large_as_the_documentation_says():
    """docs and the shipped results are of these."""
    settings = SyntheticSettings()
    assert (settings.seed, settings.n_sources, settings.fakes_per_source, settings.n_frames) == (0, 32, 2, 24)
    assert (settings.height, settings.width, settings.fps, settings.compression) == (360, 480, 25.0, "c23")
    assert settings.n_scenes == 1
    assert settings.extras


if __name__ == "__main__":
    made = {f"{scene}/{name}": values for scene, make in SCENES.items() for name, values in make().items()}
    halves = {name: np.round(values, 1).astype(np.float16) for name, values in made.items() if values.ndim > 2}
    np.savez_compressed(REFERENCES, **{name: values.astype(np.float32) for name, values in made.items()} | halves)
