"""A video as its collection publishes it, and the safe reading of a published tree.

Whatever a list or a metadata file names is checked before it becomes a path: nothing outside the data set's
root is ever opened, be it by `..`, by an absolute path or through a link. The root itself may be a link. A list that
names such a path, and a folder or a list that is such a link, stop the index; a video that is one becomes a row.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, NoReturn

from preprocess.running.cli import UserError
from preprocess.settings.index import IndexSettings
from preprocess.store.schemas import ORIGINAL
from preprocess.store.shards import stable_hash
from preprocess.video.outcomes import UNLABELLED

log = logging.getLogger("preprocess")

VIDEO_SUFFIXES = (
    *(".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi", ".gif"),
    *(".mpg", ".mpeg", ".wmv", ".flv", ".ts", ".3gp"),
)
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")


@dataclass(frozen=True)
class RawVideo:
    """One video (or image) of a collection; the fields are the columns of `schemas.INDEX` of the same names.

    Attributes:
        video_id: `<dataset>/<method or real>/<compression>/<name>`.
        path: Relative to the data set's root, with forward slashes. The file may be absent.
        label: 0 real, 1 fake, None when nothing says which.
        method: `real`, the manipulation's name, or None with an unknown label.
        compression: `original` in a collection that has only one.
        split: train, val, test, or None when the official lists put the video in none.
        source_group: A real video and every fake made from it share it.
        source_id: video_id of the real video whose frames the fake was made from; None when it is not indexed.
        identities: People in the video, background (target) person first.
        mask_path: Mask video, relative to the root.
        metadata: What else the collection says of the video, as JSON.
        kind: `video` or `image`.
        named_by: What names the video when the folder may not hold it, for the message.
    """

    video_id: str
    path: str
    label: int | None
    method: str | None
    compression: str
    split: str | None
    source_group: str
    source_id: str | None = None
    identities: tuple[str, ...] = ()
    mask_path: str | None = None
    metadata: str | None = None
    kind: str = "video"
    named_by: str = "the folder"


def select(dataset: str, what: str, found: Iterable[str], wanted: list | None) -> list[str]:
    """Those of `found` that are wanted, sorted; all of them when `wanted` is None.

    Raises:
        UserError: Something is wanted that was not found; the message lists what was.
    """
    found = sorted(set(found))
    if wanted is None:
        return found
    for name in wanted:
        if name not in found:
            raise UserError(
                f"dataset {dataset!r}: {what} {name!r} is asked for and not in the collection; "
                f"found: {', '.join(found) or 'none'}"
            )
    return [name for name in found if name in wanted]


def keep_methods(dataset: str, videos: list[RawVideo], wanted: list | None) -> list[RawVideo]:
    """Without the fakes of the methods that are not wanted.

    Raises:
        UserError: As `select`.
    """
    kept = select(dataset, "method", {video.method for video in videos if video.label == 1 and video.method}, wanted)
    return [video for video in videos if video.label != 1 or video.method in kept]


def refuse_settings(dataset: str, layout: str, settings: IndexSettings, *names: str) -> None:
    """Raise a UserError when a setting is given that the layout would not heed."""
    for name in names:
        if getattr(settings, name) is not None:
            raise UserError(
                f"dataset {dataset!r}: the setting {name!r} is {getattr(settings, name)!r}, "
                f"but the layout {layout!r} has no use for it; remove it"
            )


def list_files(root: Path, folder: str, suffixes: tuple[str, ...] = VIDEO_SUFFIXES) -> list[str]:
    """Names of the files right in a folder that are videos by their name, sorted.

    Hidden files (macOS leaves `._000.mp4` beside every `000.mp4`) are passed over; other files are counted in the log.

    Args:
        root: Root of the data set.
        folder: Relative to the root.
        suffixes: What a video's name ends in, in lower case.

    Raises:
        UserError: The folder is not readable, or is a link out of the root, or a name is not valid UTF-8.
    """
    names, ignored = [], []
    try:
        entries = list(os.scandir(inside(root, checked_path(root, folder, "the layout"))))
    except OSError as error:
        _unlistable(error)
    for entry in entries:
        if entry.name.startswith("."):
            continue
        if not entry.name.lower().endswith(suffixes):
            ignored += [entry.name] if entry.is_file() else []
            continue
        names.append(_utf8(folder, entry.name))
    _log_ignored(folder, ignored)
    return sorted(names)


def walk_files(root: Path, folder: str, suffixes: tuple[str, ...]) -> list[str]:
    """Paths, relative to the root, of the files at any depth that are videos by their name, sorted.

    As `list_files`; a folder named like a video is listed too, so that the index says what it is. A linked folder
    inside the root is not followed: its files are found where they lie.
    """
    paths, ignored = [], []
    for parent, folders, names in os.walk(inside(root, folder), onerror=_unlistable):
        folders[:] = [name for name in folders if not name.startswith(".")]
        relative = PurePosixPath(Path(parent).relative_to(root))
        for name in [*names, *folders]:
            if name in folders and os.path.islink(os.path.join(parent, name)):
                inside(root, str(relative / name))
                log.info("%s: the link is not followed; its files are taken from where they lie", relative / name)
        shown = [name for name in names if not name.startswith(".")]
        named = [name for name in [*shown, *folders] if name.lower().endswith(suffixes)]
        paths += [_utf8(parent, str(relative / name)) for name in named]
        ignored += [name for name in shown if not name.lower().endswith(suffixes)]
    _log_ignored(folder, ignored)
    return sorted(paths)


def checked_path(root: Path, entry: Any, named_by: str) -> str:
    """A path that a list or metadata file names, relative to the root, when it does not lead out of the root.

    Where links on the way lead is for `leads_out` to say.

    Raises:
        UserError: It names the root itself, is absolute or climbs with `..`; the message names what names it, and the
            entry.
    """
    if not isinstance(entry, str) or not entry.strip() or "\0" in entry:
        raise UserError(f"{named_by} names {entry!r} where a path inside {root} is expected")
    path = PurePosixPath(_utf8(named_by, entry))
    if not path.parts:
        raise UserError(f"{named_by} names {entry!r}, which is {root} itself, where a path inside it is expected")
    if path.is_absolute() or ".." in path.parts:
        raise UserError(f"{named_by} names {entry!r}, which leads out of {root}; only paths inside it are read")
    return str(path)


def leads_out(root: Path, path: str) -> str | None:
    """What to tell of a path whose links lead out of the root; None when it stays inside."""
    top, target = os.path.realpath(root), os.path.realpath(root / path)
    if os.path.commonpath([top, target]) == top:
        return None
    return f"{path} is a link to {target}, which lies outside {root}; put the file or folder itself there"


def inside(root: Path, path: str) -> Path:
    """The folder or metadata file at a path relative to the root.

    Raises:
        UserError: A link leads it out of the root.
    """
    if reason := leads_out(root, path):
        raise UserError(f"{reason}, or set `root` to where it lies")
    return root / path


def read_json(path: Path, kind: type, expected: str) -> Any:
    """Read a JSON file whose top is a `kind` (list or dict).

    Raises:
        UserError: It is not JSON, or its top is something else than `expected` says.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:  # RecursionError: brackets nested thousands deep
        raise UserError(f"cannot read {path}: {error}; expected JSON: {expected}") from error
    if not isinstance(value, kind):
        raise UserError(f"{path}: found a JSON {type(value).__name__}; expected {expected}")
    return value


def drawn_split(path: str, shares: tuple[float, float]) -> str:
    """The split of a file where nobody published one, by a hash of its relative path.

    A file's split never changes when files are added or removed; larger shares never move one into training.

    Args:
        path: Relative to the root.
        shares: Of val and of test; the rest is for training.
    """
    val, test = shares
    place = stable_hash(path)
    if place < test * 2**64:
        return "test"
    return "val" if place < (test + val) * 2**64 else "train"


def unlabelled(dataset: str, path: str, name: str, split: str | None, kind: str = "video") -> RawVideo:
    """The row of a file that lies in the collection while nothing says whether it is real or fake."""
    return RawVideo(
        video_id=f"{dataset}/{UNLABELLED}/{ORIGINAL}/{name}",
        path=path,
        label=None,
        method=None,
        compression=ORIGINAL,
        split=split,
        source_group=name,
        kind=kind,
    )


def _unlistable(error: OSError) -> NoReturn:
    raise UserError(f"cannot list the folder {error.filename}: {error.strerror}. Make it readable") from error


def _utf8(place: str, name: str) -> str:
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise UserError(f"{place} holds the name {name!r}, which is not valid UTF-8; rename the file") from error
    return name


def _log_ignored(folder: str, names: list[str]) -> None:
    if names:
        log.info("%s: passed over %d files of other kinds, such as %s", folder, len(names), min(names))
