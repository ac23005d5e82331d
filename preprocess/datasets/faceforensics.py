"""FaceForensics++ with FaceShifter, and DeepFakeDetection (DFD) with its actors, as the download script lays them out.

    original_sequences/youtube/<compression>/videos/<id>.mp4
    original_sequences/actors/<compression>/videos/<actor>__<scene>.mp4
    manipulated_sequences/<method>/<compression>/videos/<target>_<source>.mp4
    manipulated_sequences/DeepFakeDetection/<compression>/videos/<target>_<source>__<scene>__<8 characters>.mp4
    manipulated_sequences/<method>/masks/videos/<same name as the fake>.mp4
    train.json, val.json, test.json     pairs of ids, at the root or in splits/; DFD has none and is all test

Frames of a fake come from the real video of its target, frame for frame. Video names repeat in every method's folder.
A fake takes part in a split when both its ids do; if they do not, its split is null: it would leak one of
them across the split, so neither training nor evaluation reads it, and the ledger counts it.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from preprocess.datasets.raw import (
    IndexSettings,
    RawVideo,
    inside,
    leads_out,
    list_files,
    log,
    read_json,
    refuse_settings,
    select,
)
from preprocess.running.cli import UserError
from preprocess.store.schemas import REAL, SPLITS

COMPRESSIONS = ("raw", "c23", "c40")
DFD = "DeepFakeDetection"

_ID = re.compile(r"(?P<target>[0-9A-Za-z]+)")
_ACTOR_NAME = re.compile(r"(?P<target>\d+)__(?P<scene>.+)")
_FAKE_NAME = re.compile(r"(?P<target>[0-9A-Za-z]+)_(?P<source>[0-9A-Za-z]+)")
_DFD_NAME = re.compile(r"(?P<target>\d+)_(?P<source>\d+)__(?P<scene>.+)__[0-9A-Za-z]{8}")


class _File(NamedTuple):
    name: str  # without suffix
    path: str  # relative to the root
    named_by: str


def find_videos(root: Path, dataset: str, settings: IndexSettings) -> list[RawVideo]:
    """Every video of the tree, and every video that the official splits name and the tree does not hold.

    With `methods` set, the real videos are those that these methods start from: `actors` for DeepFakeDetection,
    `youtube` for all others; `methods: []` takes all real videos and no fakes.

    Args:
        root: Folder with `original_sequences` and `manipulated_sequences`.
        dataset: Name of the data set.
        settings: `compressions` and `methods` are heeded.

    Returns:
        One RawVideo per video.

    Raises:
        UserError: The split lists are absent or contradict themselves, or a method or compression is not there.
    """
    refuse_settings(dataset, "faceforensics", settings, "label")
    originals = _compressions(root, "original_sequences")
    manipulated = _compressions(root, "manipulated_sequences")
    if not originals and not manipulated:
        raise UserError(
            f"dataset {dataset!r}: no videos in {root}; looked for original_sequences/youtube/c23/videos, "
            "manipulated_sequences/Deepfakes/c23/videos and so on"
        )
    methods = select(dataset, "method", manipulated, settings.methods)
    sources = {_source_collection(method) for method in methods} if settings.methods else set(originals)
    folders = {f"original_sequences/{name}": found for name, found in originals.items() if name in sources}
    folders |= {f"manipulated_sequences/{name}": manipulated[name] for name in methods}
    chosen = {
        folder: select(dataset, f"compression (of {folder})", found, settings.compressions)
        for folder, found in folders.items()
    }
    without_split = {"original_sequences/actors", f"manipulated_sequences/{DFD}"}
    split_of, pairs = _read_splits(root, dataset) if set(folders) - without_split else ({}, [])

    videos = []
    for collection in sorted(sources & set(originals)):
        expected = list(split_of) if collection == "youtube" else []
        for compression in chosen[f"original_sequences/{collection}"]:
            folder = f"original_sequences/{collection}/{compression}/videos"
            for file in _files(root, folder, expected):
                videos.append(_real(dataset, collection, compression, file, split_of))
    reals = {video.video_id for video in videos}
    for method in methods:
        expected = [] if method == DFD else [f"{a}_{b}" for pair in pairs for a, b in (pair, pair[::-1])]
        mask_paths = _mask_paths(root, f"manipulated_sequences/{method}/masks/videos")
        for compression in chosen[f"manipulated_sequences/{method}"]:
            folder = f"manipulated_sequences/{method}/{compression}/videos"
            for file in _files(root, folder, expected):
                videos.append(_fake(dataset, method, compression, file, split_of, reals, mask_paths.get(file.name)))
    lacking = sorted(sources - set(originals))
    if lacking:
        log.warning("dataset %s: %s has no videos of %s, which %s start from", dataset, root, lacking, methods)
    outside = sum(video.split is None for video in videos)
    if outside:
        log.warning("dataset %s: %d videos are in no official split and will not be used", dataset, outside)
    return videos


def _compressions(root: Path, top: str) -> dict[str, list[str]]:
    """Collection or method -> the compressions that it holds."""
    found = {}
    for folder in sorted((root / top).glob("*")):
        held = [compression for compression in COMPRESSIONS if (folder / compression / "videos").is_dir()]
        if held:
            found[folder.name] = held
    return found


def _source_collection(method: str) -> str:
    return "actors" if method == DFD else "youtube"


def _read_splits(root: Path, dataset: str) -> tuple[dict[str, str], list[tuple[str, str]]]:
    """Id -> split, and every pair of the official lists."""
    folder = next((folder for folder in (root, root / "splits") if (folder / "test.json").is_file()), root)
    split_of: dict[str, str] = {}
    pairs = []
    for split in SPLITS:
        path = inside(root, str((folder / f"{split}.json").relative_to(root)))
        if not path.is_file():
            raise UserError(
                f"dataset {dataset!r}: the split list {split}.json is neither in {root} nor in {root / 'splits'}; "
                "get train.json, val.json and test.json from the collection's repository (dataset/splits)"
            )
        for pair in read_json(path, list, 'a list of pairs of ids, [["071", "054"], ...]'):
            if not (isinstance(pair, list) and len(pair) == 2 and all(_is_id(name) for name in pair)):
                raise UserError(f'{path}: found the entry {pair!r}; expected a pair of ids such as ["071", "054"]')
            for name in pair:
                if split_of.setdefault(name, split) != split:
                    raise UserError(
                        f"{path}: id {name!r} is also in {split_of[name]}.json; a video may be in one split only"
                    )
            pairs.append((pair[0], pair[1]))
    return split_of, pairs


def _is_id(name: object) -> bool:
    return isinstance(name, str) and _ID.fullmatch(name) is not None


def _files(root: Path, folder: str, expected: list[str]) -> list[_File]:
    """Every video that a folder holds or the splits expect in it."""
    found = [_File(Path(name).stem, f"{folder}/{name}", "the folder") for name in list_files(root, folder)]
    held = {file.name for file in found}
    absent = [name for name in dict.fromkeys(expected) if name not in held]
    return found + [_File(name, f"{folder}/{name}.mp4", "the split lists") for name in absent]


def _mask_paths(root: Path, folder: str) -> dict[str, str]:
    """Name of a fake → path of its mask video, without those that lie outside the root."""
    paths = {}
    for name in list_files(root, folder) if (root / folder).is_dir() else []:
        path = f"{folder}/{name}"
        if reason := leads_out(root, path):
            log.warning("%s: the mask is not used: %s", folder, reason)
        else:
            paths[Path(name).stem] = path
    return paths


def _real(dataset: str, collection: str, compression: str, file: _File, split_of: dict[str, str]) -> RawVideo:
    parts = (_ACTOR_NAME if collection == "actors" else _ID).fullmatch(file.name)
    return RawVideo(
        video_id=f"{dataset}/{REAL}/{compression}/{file.name}",
        path=file.path,
        label=0,
        method=REAL,
        compression=compression,
        split="test" if collection == "actors" else split_of.get(file.name),
        source_group=file.name,
        identities=(parts["target"],) if parts else (),
        named_by=file.named_by,
    )


def _fake(
    dataset: str,
    method: str,
    compression: str,
    file: _File,
    split_of: dict[str, str],
    reals: set[str],
    mask_path: str | None,
) -> RawVideo:
    parts = (_DFD_NAME if method == DFD else _FAKE_NAME).fullmatch(file.name)
    background = file.name
    identities: tuple[str, ...] = ()
    split = None
    if parts:
        identities = (parts["target"], parts["source"])
        background = f"{parts['target']}__{parts['scene']}" if method == DFD else parts["target"]
        splits = {split_of.get(identity) for identity in identities}
        split = splits.pop() if len(splits) == 1 else None
    source_id = f"{dataset}/{REAL}/{compression}/{background}"
    return RawVideo(
        video_id=f"{dataset}/{method}/{compression}/{file.name}",
        path=file.path,
        label=1,
        method=method,
        compression=compression,
        split="test" if method == DFD else split,
        source_group=background,
        source_id=source_id if source_id in reals else None,
        identities=identities,
        mask_path=mask_path,
        named_by=file.named_by,
    )
