"""DeepFake Detection Challenge: the full set, its test set, and the preview; whichever of them lie at the root.

    dfdc_train_part_<n>/{*.mp4, metadata.json}   {"x.mp4": {"label": "FAKE", "split": "train", "original": "y.mp4"}}
    test/{*.mp4, labels.csv, metadata.json}      `filename,label` with 1 = fake; augmentations per video
    dataset.json                                 the preview: {"method_A/x.mp4": {"label": "fake", "set": "train"}}

Labels are per video: of two people in a fake, usually one is manipulated. The full set does not say which method
made a fake; its method is `DFDC`. A file without metadata becomes an `unlabelled` row.
"""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path, PurePosixPath
from typing import Any

from preprocess.datasets.raw import (
    VIDEO_SUFFIXES,
    IndexSettings,
    RawVideo,
    checked_path,
    inside,
    keep_methods,
    list_files,
    read_json,
    refuse_settings,
    unlabelled,
    walk_files,
)
from preprocess.running.cli import UserError
from preprocess.store.schemas import ORIGINAL, REAL, SPLITS

METHOD = "DFDC"
PREVIEW = "dataset.json"

# What a perturbation is: a change of the whole picture (or the sound), or something laid over it.
AUGMENTER, DISTRACTOR, OTHER = "augmenter", "distractor", "other"
# Dolhansky et al., The DeepFake Detection Challenge Dataset, 2020; with the spellings that are in use.
_WORDS = {
    AUGMENTER: (
        *("blur", "brightness", "contrast", "flip", "hflip", "vflip", "horizontal_flip", "vertical_flip", "noise"),
        *("frame_rate", "framerate", "fps", "grey", "gray", "greyscale", "grayscale", "no_audio", "remove_audio"),
        *("quality", "encoding_quality", "resolution", "rotation", "rotate"),
    ),
    DISTRACTOR: (
        *("dog_filter", "dog", "dots", "faces", "face", "flower_filter", "flower", "images", "image"),
        *("shapes", "shape", "text"),
    ),
}

_PART = re.compile(r"dfdc_train_part_(\d+)")


def find_videos(root: Path, dataset: str, settings: IndexSettings) -> list[RawVideo]:
    """Every video of the tree, and every video that its metadata name and the tree does not hold.

    A name is the path without its suffix, `dfdc_train_part_0/abcdefghij`.

    Args:
        root: Folder with `dfdc_train_part_<n>` folders, with `test`, or with the preview's `dataset.json`.
        dataset: Name of the data set.
        settings: `methods` is heeded: `DFDC`, or the preview's `method_A` and `method_B`.

    Returns:
        One RawVideo per video.

    Raises:
        UserError: Nothing of the layout is there, or metadata are absent, broken or contradict themselves.
    """
    refuse_settings(dataset, "dfdc", settings, "label", "compressions")
    parts = sorted((path.name for path in root.glob("dfdc_train_part_*") if _PART.fullmatch(path.name)), key=_number)
    videos = []
    if parts:
        videos += _train_videos(root, dataset, parts)
    if (root / "test" / "labels.csv").is_file():
        videos += _test_videos(root, dataset)
    elif (root / "test").is_dir() and not (root / PREVIEW).is_file():
        raise UserError(f"dataset {dataset!r}: {root / 'test'} has no labels.csv; it comes with the test set")
    if (root / PREVIEW).is_file():
        videos += _preview_videos(root, dataset)
    if not videos:
        raise UserError(
            f"dataset {dataset!r}: no videos in {root}; looked for dfdc_train_part_<n>/metadata.json, test/labels.csv "
            f"and, for the preview, {PREVIEW}"
        )
    return keep_methods(dataset, videos, settings.methods)


def _number(part: str) -> int:
    return int(_PART.sub(r"\1", part))


def _train_videos(root: Path, dataset: str, parts: list[str]) -> list[RawVideo]:
    entries: dict[str, dict] = {}
    for part in parts:
        listing = inside(root, f"{part}/metadata.json")
        if not listing.is_file():
            raise UserError(f"dataset {dataset!r}: {listing} is absent; without it no video of {part} has a label")
        for name, entry in read_json(listing, dict, '{"x.mp4": {"label": "FAKE", ...}, ...}').items():
            name = checked_path(root / part, name, str(listing))
            entries[f"{part}/{name}"] = _checked_entry(listing, name, entry, "label", "split")
    part_of = {PurePosixPath(path).name: PurePosixPath(path).parts[0] for path in entries}

    videos = []
    for path, entry in entries.items():
        part = PurePosixPath(path).parts[0]
        label = _label(entry["label"])
        source = None
        if label and entry.get("original") is not None:
            original = checked_path(
                root / part, entry["original"], f"{root / part / 'metadata.json'}, {path}, original"
            )
            source = f"{part}/{original}"
            if source not in entries:
                source = f"{part_of.get(original, part)}/{original}"
        rest = {key: value for key, value in entry.items() if key not in ("label", "split", "original")}
        source_is_real = source in entries and _label(entries[source]["label"]) == 0
        videos.append(
            _raw_video(
                dataset,
                path,
                method=METHOD if label else REAL,
                split=entry.get("split") or "train",
                source=source,
                source_known=source_is_real,
                metadata=rest,
                named_by=f"{part}/metadata.json",
            )
        )
    held = (f"{part}/{name}" for part in parts for name in list_files(root, part))
    return videos + [unlabelled(dataset, path, _name(path), "train") for path in held if path not in entries]


def _test_videos(root: Path, dataset: str) -> list[RawVideo]:
    details = {}
    if (root / "test" / "metadata.json").is_file():
        details = read_json(inside(root, "test/metadata.json"), dict, '{"x.mp4": {"is_fake": 1, ...}, ...}')
    path = inside(root, "test/labels.csv")
    videos = []
    listed: dict[str, str] = {}
    for line, row in _read_labels(path):
        where = f"{path}, line {line},"
        name = checked_path(root / "test", row["filename"], where)
        if row["label"] not in ("0", "1") or listed.get(name, row["label"]) != row["label"]:
            raise UserError(f"{where} gives {name!r} the label {row['label']!r}; expected 0 (real) or 1 (fake), once")
        detail = details.get(name, {})
        if not isinstance(detail, dict) or detail.get("is_fake", int(row["label"])) != int(row["label"]):
            raise UserError(f"{where} gives {name!r} the label {row['label']}; test/metadata.json has {detail!r}")
        if name in listed:
            continue
        listed[name] = row["label"]
        videos.append(
            _raw_video(
                dataset,
                f"test/{name}",
                method=METHOD if row["label"] == "1" else REAL,
                split="test",
                metadata={key: value for key, value in detail.items() if key != "is_fake"},
                named_by="test/labels.csv",
            )
        )
    unlisted = [f"test/{name}" for name in list_files(root, "test") if name not in listed]
    return videos + [unlabelled(dataset, path, _name(path), "test") for path in unlisted]


def _read_labels(path: Path) -> list[tuple[int, dict]]:
    """Line number and columns of each row of labels.csv."""
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            header = reader.fieldnames or ()
            rows = [(reader.line_num, row) for row in reader]
    except (OSError, ValueError, csv.Error) as error:
        raise UserError(f"cannot read {path}: {error}; expected CSV with the header filename,label") from error
    if not {"filename", "label"} <= set(header):
        raise UserError(f"{path}: found the header {','.join(header)!r}; expected filename,label")
    return rows


def _preview_videos(root: Path, dataset: str) -> list[RawVideo]:
    entries = read_json(inside(root, PREVIEW), dict, '{"method_A/x.mp4": {"label": "fake", "set": "train"}, ...}')
    videos = []
    for key, entry in entries.items():
        path = checked_path(root, key, str(root / PREVIEW))
        folder = PurePosixPath(path).parts[0]
        _checked_entry(root / PREVIEW, key, entry, "label", "set")
        videos.append(
            _raw_video(
                dataset,
                path,
                method=folder if _label(entry["label"]) else REAL,
                split=entry.get("set") or "train",
                metadata={name: value for name, value in entry.items() if name not in ("label", "set")},
                named_by=PREVIEW,
            )
        )
    listed = {video.path for video in videos}
    folders = sorted({PurePosixPath(path).parts[0] for path in listed})
    held = (path for folder in folders if (root / folder).is_dir() for path in walk_files(root, folder, VIDEO_SUFFIXES))
    return videos + [unlabelled(dataset, path, _name(path), None) for path in held if path not in listed]


def _checked_entry(path: Path, name: str, entry: Any, label_key: str, split_key: str) -> dict:
    if not isinstance(entry, dict) or _label(entry.get(label_key)) is None:
        raise UserError(f"{path}: {name!r} holds {entry!r}; expected a label, REAL or FAKE")
    if entry.get(split_key) not in (None, *SPLITS):
        raise UserError(
            f"{path}: {name!r} holds the {split_key} {entry[split_key]!r}; allowed: {', '.join(SPLITS)}, or none"
        )
    return entry


def _label(word: Any) -> int | None:
    return {"REAL": 0, "FAKE": 1}.get(str(word).upper())


def _name(path: str) -> str:
    return str(PurePosixPath(path).with_suffix(""))


def _raw_video(
    dataset: str,
    path: str,
    *,
    method: str,
    split: str,
    metadata: dict,
    named_by: str,
    source: str | None = None,
    source_known: bool = False,
) -> RawVideo:
    return RawVideo(
        video_id=f"{dataset}/{method}/{ORIGINAL}/{_name(path)}",
        path=path,
        label=0 if method == REAL else 1,
        method=method,
        compression=ORIGINAL,
        split=split,
        source_group=_name(source or path),
        source_id=f"{dataset}/{REAL}/{ORIGINAL}/{_name(source)}" if source and source_known else None,
        metadata=json.dumps(metadata, sort_keys=True) if metadata else None,
        named_by=named_by,
    )


def perturbations(metadata: str | None) -> list[tuple[str, str]]:
    """What was done to a video after it was made, as its metadata tell.

    The entry `augmentations` (or `augmenters` and `distractors`) may be a name, a list of names, or a mapping from a
    name to its parameters, or from a kind to any of these. Names are told apart by kind, by a prefix such as
    `distractor_dots`, or else by being known.

    Args:
        metadata: The column of the same name of the index.

    Returns:
        Kind and name of each, sorted and once: `augmenter`, `distractor`, or `other` for a name of unknown kind. Names
        are in lower case with `_` between words.
    """
    if metadata is None:
        return []
    details = json.loads(metadata)
    stated = {key: value for key, value in details.items() if _word(key) in _KINDS or _word(key) == "augmentations"}
    return sorted(set(_perturbations(stated, None)))


_KINDS = {f"{kind}{plural}": kind for kind in (AUGMENTER, DISTRACTOR) for plural in ("", "s")}


def _word(text: Any) -> str:
    return "_".join(re.split(r"[\s_-]+", str(text).strip().lower()))


def _perturbations(stated: Any, kind: str | None) -> list[tuple[str, str]]:
    if isinstance(stated, dict):
        found = []
        for key, value in stated.items():
            if _word(key) in _KINDS:
                found += _perturbations(value, _KINDS[_word(key)])
            elif _word(key) == "augmentations":
                found += _perturbations(value, kind)
            elif value is not None and value is not False:  # else its name says what was not done
                found += _perturbations(key, kind)
        return found
    if isinstance(stated, list):
        return [one for item in stated for one in _perturbations(item, kind)]
    word = _word(stated)
    if stated in (None, "") or word == "none":
        return []
    prefix, _, rest = word.partition("_")
    if rest and prefix in _KINDS:
        return [(_KINDS[prefix], rest)]
    return [(kind or next((kind for kind, words in _WORDS.items() if word in words), OTHER), word)]
