"""What a collection holds: its videos, its lists and metadata files, in the published tree of each data set.

A plan is made before anything is rendered and depends on the settings only. The trees, and how labels and
splits are written down in them, follow the data sets' owners: FaceForensics++ (Rössler et al., 2019), Celeb-DF v2
(Li et al., 2020) and the DeepFake Detection Challenge (Dolhansky et al., 2020).
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from preprocess.running.cli import UserError
from preprocess.settings.synthetic import SyntheticSettings
from preprocess.synthetic.methods import DFDC_METHODS

_CRF = {"c23": 23, "c40": 40}
# what is hard to track, and whether fakes are made of it: a manipulation would paint over what hides a face
_SCENES = {"crossing": True, "cut": True, "hidden": False}


@dataclass(frozen=True)
class ClipPlan:
    """A real clip, rendered or only pretended.

    Attributes:
        name: Unique in the collection; seeds everything random about the clip.
        person: Name of the first person; the same name is the same face.
        kind: One of `clip.KINDS`.
    """

    name: str
    person: str
    kind: str = "one"


@dataclass(frozen=True)
class VideoPlan:
    """A video file.

    Attributes:
        path: Relative to the root of the tree.
        clip: What is filmed.
        method: Manipulation (`methods.METHODS`); None for a real video.
        donor: The clip that gives the face of a fake.
        mask_path: Where a mask video is written; None for none.
        crf: Constant rate factor of x264.
        augmentation: Name of what was done to the whole picture afterwards (`AUGMENTATION_NAMES`).
        truncated: `` for a whole file; `tail`: half of the bytes, index lost; `short`: half of the bytes, index kept.
    """

    path: str
    clip: ClipPlan
    method: str | None = None
    donor: ClipPlan | None = None
    mask_path: str | None = None
    crf: int = 23
    augmentation: str = ""
    truncated: str = ""


@dataclass
class CollectionPlan:
    """All videos of a collection, and its text files as path -> content."""

    videos: list[VideoPlan] = field(default_factory=list)
    texts: dict[str, str] = field(default_factory=dict)


def _as_donor(clip: ClipPlan) -> ClipPlan:
    """The clip with its first person in the picture: also who is never seen in a clip can lend a face."""
    return replace(clip, kind="one") if clip.kind == "none" else clip


def _scene_clips(settings: SyntheticSettings) -> list[ClipPlan]:
    """The clips that are hard to track; no other clip depends on them."""
    return [
        ClipPlan(f"{kind} {number}", f"{kind} person {number}", kind)
        for number in range(settings.n_scenes)
        for kind in _SCENES
    ]


def seed_of(*parts: object) -> list[int]:
    """A seed for numpy from numbers and names."""
    return [part if isinstance(part, int) else zlib.crc32(str(part).encode()) for part in parts]


def plan_collection(layout: str, settings: SyntheticSettings) -> CollectionPlan:
    """Plan a collection.

    Args:
        layout: `faceforensics`, `celebdf` or `dfdc`.
        settings: Sizes.

    Raises:
        UserError: An unknown layout, or a number of sources that it cannot have.
    """
    if layout not in LAYOUTS:
        raise UserError(f"layout {layout!r} is unknown; synthetic collections exist for: {', '.join(LAYOUTS)}")
    return LAYOUTS[layout](settings)


def _even(number: float) -> int:
    return max(2, 2 * round(number / 2))


def _plan_faceforensics(settings: SyntheticSettings) -> CollectionPlan:
    n = settings.n_sources
    if n % 2 or n < 6:
        raise UserError(f"n_sources is {n}; FaceForensics++ needs an even number of at least 6, its ids come in pairs")
    ids = [f"{number:03d}" for number in range(n)]
    n_test, n_val = _even(0.3 * n), _even(0.1 * n)
    bounds = {"train": (0, n - n_val - n_test), "val": (n - n_val - n_test, n - n_test), "test": (n - n_test, n)}
    kinds = {"000": "two", "001": "leaving", "002": "none"} if settings.extras else {}
    clips = {name: ClipPlan(name, name, kinds.get(name, "one")) for name in ids}
    crf, plan = _CRF[settings.compression], CollectionPlan()
    for name in ids:
        path = f"original_sequences/youtube/{settings.compression}/videos/{name}.mp4"
        plan.videos.append(VideoPlan(path, clips[name], crf=crf))
    for split, (begin, end) in bounds.items():
        pairs = [[ids[i], ids[i + 1]] for i in range(begin, end, 2)]
        plan.texts[f"{split}.json"] = json.dumps(pairs, indent=2) + "\n"
        for target, source in [way for a, b in pairs for way in ((a, b), (b, a))]:
            for method in settings.methods:
                folder = f"manipulated_sequences/{method}"
                broken = settings.extras and method == settings.methods[0] and target == "003"
                plan.videos.append(
                    VideoPlan(
                        f"{folder}/{settings.compression}/videos/{target}_{source}.mp4",
                        clips[target],
                        method,
                        _as_donor(clips[source]),
                        f"{folder}/masks/videos/{target}_{source}.mp4",
                        crf,
                        truncated="tail" if broken else "",
                    )
                )
    return plan


def _plan_celebdf(settings: SyntheticSettings) -> CollectionPlan:
    rng = np.random.default_rng(seed_of(settings.seed, "celebdf", "plan"))
    plan, n = CollectionPlan(), settings.n_sources
    n_people = max(4, n // 2)
    n_test_people = max(2, round(0.3 * n_people))
    test_people = range(n_people - n_test_people, n_people)
    takes = [(number % n_people, number // n_people) for number in range(n)]
    clips = {take: ClipPlan(f"id{take[0]}_{take[1]:04d}", f"id{take[0]}") for take in takes}
    if settings.extras:
        clips[0, 0] = ClipPlan("id0_0000", "id0", "leaving")
    tests = []
    for take, clip in clips.items():
        path = f"Celeb-real/{clip.name}.mp4"
        plan.videos.append(VideoPlan(path, clip, crf=20))
        is_test = take[0] in test_people
        if is_test:
            tests.append((1, path))
        # donors come from the same side of the split
        others = [person for person in range(n_people) if (person in test_people) == is_test and person != take[0]]
        chosen = rng.permutation(others)[: settings.fakes_per_source]
        for donor in sorted(chosen.tolist()):
            path = f"Celeb-synthesis/id{take[0]}_id{donor}_{take[1]:04d}.mp4"
            plan.videos.append(VideoPlan(path, clip, "Celeb-synthesis", clips[donor, 0], crf=20))
            if is_test:
                tests.append((0, path))
    n_youtube = max(4, n // 2)
    kinds = {0: "none", 1: "two"} if settings.extras else {}
    for number in range(n_youtube):
        path = f"YouTube-real/{number:05d}.mp4"
        clip = ClipPlan(f"youtube {number:05d}", f"youtube {number}", kinds.get(number, "one"))
        broken = settings.extras and number == 2
        plan.videos.append(VideoPlan(path, clip, crf=20, truncated="short" if broken else ""))
        if number >= max(3, round(0.6 * n_youtube)):
            tests.append((1, path))
    for number, clip in enumerate(_scene_clips(settings), start=n_youtube):
        plan.videos.append(VideoPlan(f"YouTube-real/{number:05d}.mp4", clip, crf=20))
    plan.texts["List_of_testing_videos.txt"] = "".join(f"{label} {path}\n" for label, path in tests)
    return plan


def _plan_dfdc(settings: SyntheticSettings) -> CollectionPlan:
    rng = np.random.default_rng(seed_of(settings.seed, "dfdc", "plan"))
    plan, n = CollectionPlan(), settings.n_sources
    n_train = n - max(2, round(0.4 * n))
    names: set[str] = set()

    def new_name() -> str:
        while (name := "".join(chr(97 + c) for c in rng.integers(0, 26, 10)) + ".mp4") in names:
            pass
        names.add(name)
        return name

    kinds = {0: "two", 1: "leaving", 2: "none"} if settings.extras else {}
    clips = [ClipPlan(f"source {i}", f"actor {i}", kinds.get(i, "one")) for i in range(n)]
    parts: list[dict[str, dict]] = [{}, {}]
    labels, augmented = [], {}

    def add_fakes(i: int, write: Callable[[str, str, ClipPlan], None]) -> None:
        side = range(n_train) if i < n_train else range(n_train, n)
        donors = [j for j in side if j != i and clips[j].kind != "none"]
        for k in range(settings.fakes_per_source if clips[i].kind != "none" else 0):
            method = DFDC_METHODS[(i * settings.fakes_per_source + k) % len(DFDC_METHODS)]
            write(new_name(), method, clips[int(rng.choice(donors))])

    for i in range(n_train):
        part = i % 2
        metadata, folder = parts[part], f"dfdc_train_part_{part}"
        original = new_name()
        original_lost = settings.extras and i == 4
        if not original_lost:
            plan.videos.append(VideoPlan(f"{folder}/{original}", clips[i]))
            metadata[original] = {"label": "REAL", "split": "train"}
            if i % 3 == 0:
                metadata[original]["original"] = None

        def write_fake(
            name: str,
            method: str,
            donor: ClipPlan,
            i: int = i,
            original: str = original,
            metadata: dict[str, dict] = metadata,
            folder: str = folder,
        ) -> None:
            broken = settings.extras and i == 3 and not any(video.truncated for video in plan.videos)
            video = VideoPlan(f"{folder}/{name}", clips[i], method, donor, truncated="short" if broken else "")
            plan.videos.append(video)
            metadata[name] = {"label": "FAKE", "split": "train", "original": original}

        add_fakes(i, write_fake)
    for i in range(n_train, n):

        def write_test(name: str, method: str | None, donor: ClipPlan | None, i: int = i) -> None:
            kind = AUGMENTATION_NAMES[rng.integers(len(AUGMENTATION_NAMES))] if rng.random() < 0.5 else ""
            plan.videos.append(VideoPlan(f"test/{name}", clips[i], method, donor, augmentation=kind))
            labels.append((name, int(method is not None)))
            details = {"augmenter": kind} if kind else {}
            augmented[name] = {"is_fake": int(method is not None), "augmentations": details}

        write_test(new_name(), None, None)
        add_fakes(i, write_test)
    if settings.extras:
        parts[0][new_name()] = {"label": "REAL", "split": "train"}  # listed, but the file is absent
        unlisted = ClipPlan("unlisted", "actor unlisted")
        plan.videos.append(VideoPlan(f"dfdc_train_part_1/{new_name()}", unlisted))
    for number, clip in enumerate(_scene_clips(settings)):
        part, original = number % 2, new_name()
        parts[part][original] = {"label": "REAL", "split": "train"}
        plan.videos.append(VideoPlan(f"dfdc_train_part_{part}/{original}", clip))
        if _SCENES[clip.kind]:
            fake, method = new_name(), DFDC_METHODS[number % len(DFDC_METHODS)]
            parts[part][fake] = {"label": "FAKE", "split": "train", "original": original}
            donor = _as_donor(clips[number % n_train])
            plan.videos.append(VideoPlan(f"dfdc_train_part_{part}/{fake}", clip, method, donor))
    for part, metadata in enumerate(parts):
        plan.texts[f"dfdc_train_part_{part}/metadata.json"] = json.dumps(metadata, sort_keys=True)
    rows = "".join(f"{name},{label}\n" for name, label in sorted(labels))
    plan.texts["test/labels.csv"] = "filename,label\n" + rows
    plan.texts["test/metadata.json"] = json.dumps(augmented, sort_keys=True)
    return plan


AUGMENTATION_NAMES = ("blur", "noise", "darken", "grayscale")

LAYOUTS = {"faceforensics": _plan_faceforensics, "celebdf": _plan_celebdf, "dfdc": _plan_dfdc}
