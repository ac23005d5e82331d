"""Any folder of videos, at any depth: one label for all of them, or sub-folders `real/` and `fake/` (as UADFV)."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from preprocess.datasets.raw import (
    VIDEO_SUFFIXES,
    IndexSettings,
    RawVideo,
    drawn_split,
    keep_methods,
    refuse_settings,
    unlabelled,
    walk_files,
)
from preprocess.running.cli import UserError
from preprocess.store.schemas import ORIGINAL, REAL

FOLDERS = ("real", "fake")


def find_videos(root: Path, dataset: str, settings: IndexSettings) -> list[RawVideo]:
    """Every file at any depth that is a video by its name; shares of them are held out.

    Nothing says how the fakes were made, so their method is the data set's name, and each video is its own source
    group. A file outside `real/` and `fake/`, when `label` is not set, is an `unlabelled` row.

    Args:
        root: Folder of the videos.
        dataset: Name of the data set.
        settings: `label`, `test_share` and `methods` are heeded.

    Returns:
        One RawVideo per video.

    Raises:
        UserError: No videos, or no way to tell their label.
    """
    return find_files(root, dataset, settings, "videos", "video", VIDEO_SUFFIXES)


def find_files(
    root: Path, dataset: str, settings: IndexSettings, layout: str, kind: str, suffixes: tuple[str, ...]
) -> list[RawVideo]:
    """What the layouts `videos` and `images` share; `find_videos` explains it."""
    refuse_settings(dataset, layout, settings, "compressions")
    if dataset == REAL:
        raise UserError(f"dataset {dataset!r}: the name stands for real videos; give the data set another name")
    paths = walk_files(root, ".", suffixes)
    if not paths:
        raise UserError(f"dataset {dataset!r}: no {kind} at any depth of {root}; looked for {' '.join(suffixes)}")
    folders = [folder for folder in FOLDERS if (root / folder).is_dir()]
    if settings.label is None and not folders:
        raise UserError(
            f"dataset {dataset!r}: nothing says which files of {root} are fake; set `label: real` or `label: fake` "
            "for the whole set, or sort them into folders real/ and fake/"
        )
    if settings.label is not None and len(folders) == 2:
        raise UserError(
            f"dataset {dataset!r}: `label: {settings.label}` would label all of {root}, which has folders real/ and "
            "fake/; remove `label`, or set `root` to one of the two"
        )
    videos = [_raw_video(dataset, path, kind, settings) for path in paths]
    return keep_methods(dataset, videos, settings.methods)


def _raw_video(dataset: str, path: str, kind: str, settings: IndexSettings) -> RawVideo:
    word = settings.label or PurePosixPath(path).parts[0]
    split = drawn_split(path, settings.val_and_test_share)
    if word not in FOLDERS:
        return unlabelled(dataset, path, path, split, kind)
    method = REAL if word == "real" else dataset
    return RawVideo(
        video_id=f"{dataset}/{method}/{ORIGINAL}/{path}",
        path=path,
        label=FOLDERS.index(word),
        method=method,
        compression=ORIGINAL,
        split=split,
        source_group=path,
        kind=kind,
    )
