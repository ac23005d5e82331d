"""Celeb-DF v1 and v2: the same tree, with more videos in v2.

    Celeb-real/id<A>_<take>.mp4
    YouTube-real/<number>.mp4
    Celeb-synthesis/id<A>_id<B>_<take>.mp4     made from Celeb-real/id<A>_<take>.mp4
    List_of_testing_videos.txt                 `<1|0> <relative path>`: here 1 is real and 0 is fake

Training videos are all that are not on the list.
"""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

from preprocess.datasets.raw import (
    IndexSettings,
    RawVideo,
    checked_path,
    inside,
    keep_methods,
    list_files,
    refuse_settings,
)
from preprocess.running.cli import UserError
from preprocess.store.schemas import ORIGINAL, REAL

TEST_LIST = "List_of_testing_videos.txt"
LABEL_OF_FOLDER = {"Celeb-real": 0, "YouTube-real": 0, "Celeb-synthesis": 1}

_REAL_NAME = re.compile(r"(?P<target>id\d+)_\d+")
_FAKE_NAME = re.compile(r"(?P<target>id\d+)_(?P<source>id\d+)_(?P<take>\d+)")


def find_videos(root: Path, dataset: str, settings: IndexSettings) -> list[RawVideo]:
    """Every video of the tree, and every video that the test list names and the tree does not hold.

    Args:
        root: Folder with `Celeb-real`, `YouTube-real`, `Celeb-synthesis` and the test list.
        dataset: Name of the data set.
        settings: `methods` is heeded; the only one is `Celeb-synthesis`.

    Returns:
        One RawVideo per video.

    Raises:
        UserError: The tree or the list is absent, or the list contradicts the tree.
    """
    refuse_settings(dataset, "celebdf", settings, "label", "compressions")
    folders = [folder for folder in LABEL_OF_FOLDER if (root / folder).is_dir()]
    if not folders:
        raise UserError(f"dataset {dataset!r}: no videos in {root}; looked for {', '.join(LABEL_OF_FOLDER)}")
    test = _read_test_list(root)
    held = [f"{folder}/{name}" for folder in folders for name in list_files(root, folder)]
    paths = held + sorted(test - set(held))
    reals = {_video_id(dataset, path) for path in paths if _label(path) == 0}
    return keep_methods(dataset, [_raw_video(dataset, path, test, reals) for path in paths], settings.methods)


def _read_test_list(root: Path) -> set[str]:
    path = inside(root, TEST_LIST)
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, ValueError) as error:
        raise UserError(
            f"cannot read {path}: {error}. It comes with the collection and holds the test split"
        ) from error
    test = set()
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        where = f"{path}, line {number},"
        one_if_real, *entry = line.split(maxsplit=1)
        video = checked_path(root, "".join(entry).rstrip(), where)
        if one_if_real not in ("0", "1") or PurePosixPath(video).parts[0] not in LABEL_OF_FOLDER:
            raise UserError(
                f"{where} holds {line!r}; expected `1` (real) or `0` (fake) and a path in {', '.join(LABEL_OF_FOLDER)}"
            )
        if int(one_if_real) == _label(video):
            raise UserError(
                f"{where} holds {line!r}, but in this list 1 is real and 0 is fake; take the published list"
            )
        test.add(video)
    return test


def _label(path: str) -> int:
    return LABEL_OF_FOLDER[PurePosixPath(path).parts[0]]


def _video_id(dataset: str, path: str) -> str:
    method = "Celeb-synthesis" if _label(path) else REAL
    return f"{dataset}/{method}/{ORIGINAL}/{PurePosixPath(path).stem}"


def _raw_video(dataset: str, path: str, test: set[str], reals: set[str]) -> RawVideo:
    name = PurePosixPath(path).stem
    parts = (_FAKE_NAME if _label(path) else _REAL_NAME).fullmatch(name)
    source_id, group = None, name
    identities: tuple[str, ...] = ()
    if parts:
        identities = tuple(person for key, person in parts.groupdict().items() if key != "take")
        if _label(path):
            group = f"{parts['target']}_{parts['take']}"
            source_id = f"{dataset}/{REAL}/{ORIGINAL}/{group}"
    return RawVideo(
        video_id=_video_id(dataset, path),
        path=path,
        label=_label(path),
        method="Celeb-synthesis" if _label(path) else REAL,
        compression=ORIGINAL,
        split="test" if path in test else "train",
        source_group=group,
        source_id=source_id if source_id in reals else None,
        identities=identities,
        named_by=TEST_LIST,
    )
