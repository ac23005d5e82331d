"""Making a collection: render, manipulate, encode, and write down the truth beside the tree."""

from __future__ import annotations

import contextlib
import hashlib
import multiprocessing
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa

from preprocess.running.cli import UserError, progress
from preprocess.running.settings import settings_json
from preprocess.running.workers import end_with_parent
from preprocess.settings.synthetic import SyntheticSettings
from preprocess.store import versions
from preprocess.store.hdf5 import create_h5
from preprocess.store.image_codecs import encode_png
from preprocess.store.origin import Origin
from preprocess.store.schemas import POINTS_81
from preprocess.store.tables import write_table
from preprocess.synthetic.clip import Clip, render_frame, sample_clip
from preprocess.synthetic.encode import cut_in_half, write_video
from preprocess.synthetic.identity import sample_identity
from preprocess.synthetic.methods import forge_frame
from preprocess.synthetic.trees import ClipPlan, VideoPlan, plan_collection, seed_of

# Stands in the root of a tree that this command made, and may remove.
MARKER = ".synthetic"

# One row per person in a frame's scene; also frames of a truncated file that no decoder will give.
TRUTH = pa.schema(
    [
        ("path", pa.string()),  # relative to the root
        ("video", pa.string()),  # file name without its ending
        ("frame_index", pa.int32()),
        ("scene", pa.int32()),  # a cut begins the next one
        ("track_id", pa.int32()),  # number of the person in the clip
        ("x0", pa.float32()),
        ("y0", pa.float32()),
        ("x1", pa.float32()),
        ("y1", pa.float32()),
        ("landmarks", POINTS_81),  # x0 y0 x1 y1 … in pixels of the frame
        ("visible", pa.float32()),  # share of the box that can be seen: inside the frame, nothing before it
        ("manipulated", pa.bool_()),
    ]
)


def _make_clip(layout: str, plan: ClipPlan, settings: SyntheticSettings) -> Clip:
    """The clip of a plan; the same plan gives the same clip in every process."""
    identity = sample_identity(np.random.default_rng(seed_of(settings.seed, layout, "person", plan.person)))
    rng = np.random.default_rng(seed_of(settings.seed, layout, "clip", plan.name))
    factor = rng.choice([1.0, 0.75, 2 / 3])
    size = tuple(2 * round(length * factor / 2) for length in (settings.height, settings.width))
    fps = settings.fps * rng.choice([1.0, 0.8, 0.6])
    return sample_clip(rng, identity, plan.kind, settings.n_frames, float(fps), size)


def _augment(frame: np.ndarray, name: str, seed: list[int]) -> np.ndarray:
    """Change the whole picture as the named augmentation says (see `trees.AUGMENTATION_NAMES`)."""
    if name == "blur":
        return cv2.GaussianBlur(frame, (0, 0), 1.2)
    if name == "noise":
        noise = np.random.default_rng(seed).standard_normal(frame.shape, np.float32) * 6
        return cv2.add(frame, noise, dtype=cv2.CV_8U)
    if name == "darken":
        return cv2.convertScaleAbs(frame, alpha=0.65)
    if name == "grayscale":
        return cv2.cvtColor(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    return frame


def _make_video(
    video: VideoPlan, frames: list[tuple], clip: Clip, layout: str, root: Path, settings: SyntheticSettings
) -> tuple[list[dict], list[bytes]]:
    """Write a video and its mask video; return its truth rows, and one PNG mask per frame if it is fake."""
    donor = _make_clip(layout, video.donor, settings) if video.donor else None
    seed = seed_of(settings.seed, layout, "video", video.path)
    rows, masks = [], []

    def picture(index: int) -> np.ndarray:
        frame, truths = frames[index]
        landmarks = {person: truth.landmarks for person, truth in truths.items()}
        mask = np.zeros(frame.shape[:2], np.uint8)
        if video.method and 0 in truths:
            assert donor is not None, "a fake has a donor"
            forgery = forge_frame(video.method, frame, landmarks[0], index, clip, donor, seed)
            frame, mask, landmarks[0] = forgery.frame, forgery.mask, forgery.landmarks
        if video.method:
            masks.append(mask)
        for person, truth in truths.items():
            rows.append(
                {
                    "path": video.path,
                    "video": Path(video.path).stem,
                    "frame_index": index,
                    "scene": clip.scene(index),
                    "track_id": person,
                    **dict(zip(("x0", "y0", "x1", "y1"), truth.box.tolist(), strict=True)),
                    "landmarks": landmarks[person].astype(np.float32).reshape(-1).tolist(),
                    "visible": truth.visible,
                    "manipulated": person == 0 and bool(mask.any()),
                }
            )
        return _augment(frame, video.augmentation, [*seed, index])

    path = root / video.path
    index_first = video.truncated == "short"
    write_video(path, map(picture, range(len(frames))), clip.fps, video.crf, index_first=index_first)
    if video.truncated:
        cut_in_half(path)
    if video.mask_path:
        write_video(root / video.mask_path, iter(masks), clip.fps, 10)
    return rows, [encode_png(mask) for mask in masks]


def _make_group(
    group: list[VideoPlan], layout: str, root: Path, settings: SyntheticSettings
) -> list[tuple[VideoPlan, list[dict], list[bytes]]]:
    """Render a clip once and write all videos that are made from it."""
    clip = _make_clip(layout, group[0].clip, settings)
    frames = [render_frame(clip, index) for index in range(clip.n_frames)]
    return [(video, *_make_video(video, frames, clip, layout, root, settings)) for video in group]


def _clear(root: Path) -> None:
    """Remove what an earlier run of this command left in the root; nothing else may be there."""
    if root.exists() and any(root.iterdir()):
        if not (root / MARKER).is_file():
            raise UserError(
                f"{root} is not empty and was not made by this command (it holds no file {MARKER}); "
                "give another --root, or remove the folder yourself"
            )
        for path in root.iterdir():
            if path.name == MARKER:  # it stays: killed in between, this command must know the folder as its own
                continue
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
    root.mkdir(parents=True, exist_ok=True)
    (root / MARKER).write_text("Made by `python -m preprocess.synthetic`, which removes and remakes this folder.\n")


def _groups(videos: list[VideoPlan]) -> Iterator[list[VideoPlan]]:
    by_clip: dict[ClipPlan, list[VideoPlan]] = {}
    for video in videos:
        by_clip.setdefault(video.clip, []).append(video)
    yield from by_clip.values()


def _entry(path: Path) -> dict:
    content = path.read_bytes()
    return {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


@contextlib.contextmanager
def _mapper(threads: int) -> Iterator[Callable]:
    """`map` in this process for one thread, else over so many processes."""
    if threads == 1:
        yield map
        return
    # not forked: a fork inherits the locks of OpenCV's and PyTorch's threads, and waits for them for ever
    with ProcessPoolExecutor(threads, multiprocessing.get_context("spawn"), _start_worker) as pool:
        yield pool.map


def _start_worker() -> None:
    end_with_parent()
    cv2.setNumThreads(1)


def make_collection(layout: str, root: Path, truth: Path, settings: SyntheticSettings, threads: int) -> dict:
    """Make a synthetic collection in the published tree of a data set, and its ground truth beside it.

    The truth folder holds `truth.parquet` (columns `TRUTH`: boxes and landmarks in frame pixels) and `masks.h5`:
    group `masks` (a blob of grey PNGs of the frame's size, 255 where it was manipulated) with the columns `path`
    and `frame_index`, one item per frame of every fake, in the order of the paths.

    Args:
        layout: `faceforensics`, `celebdf` or `dfdc`.
        root: Folder of the tree; removed first if an earlier run made it.
        truth: Folder of the ground truth; must not lie inside `root`.
        settings: Sizes and seed.
        threads: Number of processes. The bytes do not depend on it.

    Returns:
        The manifest: layout, version, settings, and `files`: relative path -> bytes and sha256.

    Raises:
        UserError: Unknown layout or method, unfit sizes, a root that something else made, a truth inside the root.
    """
    root, truth = Path(root), Path(truth)
    plan = plan_collection(layout, settings)
    if truth.resolve().is_relative_to(root.resolve()):
        raise UserError(f"the truth folder {truth} lies inside the tree {root}; give another --truth")
    _clear(root)
    for path, text in plan.texts.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    groups = list(_groups(plan.videos))
    make = partial(_make_group, layout=layout, root=root, settings=settings)
    with _mapper(threads) as run:
        done = progress(run(make, groups), total=len(groups), description=f"make {layout}", unit="clip")
        results = sorted((result for group in done for result in group), key=lambda result: result[0].path)

    origin = Origin(layout, "synthetic", settings_json(settings), versions.SYNTHETIC)
    write_table(truth / "truth.parquet", [row for _, rows, _ in results for row in rows], TRUTH, origin)
    with create_h5(truth / "masks.h5", origin) as file:
        blob = file.create_blobs("masks")
        keys = [(video.path, index) for video, _, masks in results for index in range(len(masks))]
        for _, _, masks in results:
            for mask in masks:
                blob.append(mask)
        blob.close()
        file["masks/path"] = np.array([path for path, _ in keys], dtype=object)
        file["masks/frame_index"] = np.array([index for _, index in keys], np.int32)
    files = sorted(path for path in root.rglob("*") if path.is_file() and path.name != MARKER)
    return {
        "layout": layout,
        "version": versions.SYNTHETIC,
        "settings": dict(settings),
        "files": {path.relative_to(root).as_posix(): _entry(path) for path in files},
    }
