"""Compare a new index with the last one: a collection that lost much, or all of a kind, is first asked about.

A disc that is not mounted, a folder moved away or a wrong root look like a smaller collection. Everything made of the
videos that vanished would be made again without them, so the last index stays until someone says that it is right.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa

from preprocess.running.cli import UserError, log
from preprocess.running.settings import load_settings
from preprocess.settings.index import IndexSettings
from preprocess.store.origin import read_origin
from preprocess.store.tables import read_table
from preprocess.video.outcomes import OK, UNUSED

# Key of an index's metadata with the layout that the collection was read as.
LAYOUT_KEY = "layout"

_COLUMNS = ["video_id", "path", "label", "method", "split", "status"]
_LABELS = {0: "real", 1: "fake"}
_EXAMPLES = 3
_GROUPS = 12


def read_last_index(path: Path, dataset: str, layout: str, settings: IndexSettings) -> list[dict]:
    """The usable videos of the last index of a data set, as far as a new one can be compared with it.

    Args:
        path: Where it lies, if there is one.
        dataset: Name of the data set.
        layout: Layout that the new index reads the collection as.
        settings: Settings of the new index.

    Returns:
        `video_id`, `path`, `label`, `method`, `split` and `status` of each video that was `ok`. Empty without an index,
        with one that cannot be read, of which a warning tells, and with one of another layout or other settings, which
        may take fewer videos on purpose. An index of before layouts were written down counts as one of this layout.
    """
    if not path.exists():
        return []
    try:
        table, origin = read_table(path), read_origin(path)
        last_settings = load_settings(IndexSettings, origin.settings)
        rows = table.select(_COLUMNS).to_pylist()
    except (UserError, KeyError, ValueError, pa.ArrowException) as error:
        log.warning("%s: the last index cannot be read, so nothing tells whether videos were lost: %s", path, error)
        return []
    last_layout = (table.schema.metadata or {}).get(LAYOUT_KEY.encode(), layout.encode()).decode()
    if (origin.dataset, last_layout, last_settings) != (dataset, layout, settings):
        return []
    return [row for row in rows if row["status"] == OK]


def check_shrunk(
    dataset: str, root: Path, last: list[dict], rows: list[dict], *, max_lost_share: float, accept_smaller: int = 0
) -> None:
    """Stop where a collection lost more than may be of what it held when it was last indexed.

    That is more than a share of its usable videos, or all of a label, of a method, or of a label in a split. A video
    replaced by another of the same id is not lost, nor is one that a setting leaves out.

    Args:
        dataset: Name of the data set.
        root: Its raw folder.
        last: Usable videos of the last index, as `read_last_index` gives them.
        rows: Rows of `schemas.INDEX` of the new index.
        max_lost_share: Share of the usable videos that may be lost.
        accept_smaller: Number of usable videos that the collection may have shrunk to; 0: none is accepted.

    Raises:
        UserError: It lost more. The message says what vanished and how to accept it.
    """
    there = [row for row in rows if row["status"] in (OK, UNUSED)]
    present = {row["video_id"] for row in there}
    lost = [row for row in last if row["video_id"] not in present]
    reasons = []
    if len(lost) > max_lost_share * len(last):
        reasons.append(f"more videos are lost than max_lost_share ({max_lost_share:g}) allows")
    reasons += _vanished_kinds(last, there)
    if not reasons:
        return
    n_usable = sum(row["status"] == OK for row in rows)
    told = [
        f"data set {dataset!r} shrank: {len(lost):,} of the {len(last):,} usable videos of its last index are lost "
        f"({len(lost) / len(last):.1%}), {n_usable:,} can be used now; {'; '.join(reasons)}"
    ]
    if 0 < accept_smaller <= n_usable:
        log.warning("%s, which accept_smaller (%d) says is right", told[0], accept_smaller)
        return
    told += _lost_by_group(last, lost)
    found = {row["video_id"]: row for row in rows}
    for row in lost[:_EXAMPLES]:
        now = found.get(row["video_id"])
        told.append(f"  {row['video_id']}: " + (f"{now['status']} ({now['message']})" if now else "no longer found"))
    told += _missing_folders(root, lost)
    raise UserError(
        "\n".join(told)
        + f"\nNothing was written, and what was made of the last index stays. Is the disc mounted, is the root "
        f"({str(root)!r}) right? Then mend it and run the same command again. If the collection is meant to be "
        f"smaller, say so with datasets.{dataset}.accept_smaller: {n_usable} in config.yaml, which accepts that many "
        "usable videos or more, and run the same command again; the key itself makes nothing run again"
    )


def _vanished_kinds(last: Iterable[dict], there: Iterable[dict]) -> list[str]:
    """What no video is left of: a label, else a method of that label, or that label in one split."""
    there = list(there)
    labels = {row["label"] for row in there}
    methods = {row["method"] for row in there}
    splits = {(row["split"], row["label"]) for row in there}
    vanished: dict[str, None] = {}
    for row in last:
        label = _LABELS[row["label"]]
        if row["label"] not in labels:
            vanished[f"no {label} video is left"] = None
            continue
        if row["method"] not in methods:
            vanished[f"no video of the method {row['method']} is left"] = None
        # a video of no split is never used
        if row["split"] is not None and (row["split"], row["label"]) not in splits:
            vanished[f"no {label} video of the split {row['split']} is left"] = None
    return list(vanished)


def _lost_by_group(last: list[dict], lost: list[dict]) -> list[str]:
    """A line for each method and split that lost videos, the largest losses first."""

    def group(row: dict) -> str:
        return f"{row['method']}, {row['split'] or 'no split'}"

    before, gone = Counter(map(group, last)), Counter(map(group, lost))
    lines = [f"  {name}: {count:,} of {before[name]:,} lost" for name, count in gone.most_common(_GROUPS)]
    if len(gone) > _GROUPS:
        lines.append(f"  and {len(gone) - _GROUPS:,} more methods and splits")
    return lines


def _missing_folders(root: Path, lost: list[dict]) -> list[str]:
    """A line for each folder that is gone, or holds nothing, and that lost videos lay in; those with most first."""
    folders = Counter(os.path.dirname(row["path"]) for row in lost)
    told: Counter[str] = Counter()
    for folder, count in folders.items():
        path = root / folder
        gone = [parent for parent in (path, *path.parents) if parent.is_relative_to(root) and not os.path.isdir(parent)]
        if gone:
            told[f"  the folder {gone[-1]} is gone"] += count  # the highest
        elif _is_empty(path):
            told[f"  the folder {path} is empty"] += count
    return [f"{line}: {count:,} videos lay in it" for line, count in told.most_common(_EXAMPLES)]


def _is_empty(folder: Path) -> bool:
    try:
        return not any(folder.iterdir())
    except OSError:  # closed, of which the rows tell
        return False
