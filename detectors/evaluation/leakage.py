"""Find test videos that share a file, a source or a person with the training set.

`python -m detectors.evaluation.leakage --help`.

A detector that has seen a test video, or another video of the same clip or person, is measured on what it remembers.
The indices of the data sets say enough, so this runs before a single frame is decoded. What a training may see is the
splits `train` and `val` of its data sets; what it is measured on is the split `test`.

Within a data set, videos are compared by content, source and people. Two data sets are compared by content (the same
bytes); and where both are laid out as the same published collection (two compressions of FaceForensics++, two versions
of Celeb-DF), also by path, source and people, since these names are the collection's own.
"""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

import pandas as pd

from detectors.figures.tables import write_csv
from preprocess.datasets import LAYOUTS
from preprocess.running.cli import UserError, run_command
from preprocess.store.shards import shard_names
from preprocess.store.tables import read_table
from preprocess.video.outcomes import OK

log = logging.getLogger("detectors.evaluation.leakage")

# what a test video may share with the training set, the gravest first
SHARED_AS = {"video": "a file", "source": "a source video", "identity": "a person"}
KINDS = tuple(SHARED_AS)

COLUMNS = ("dataset", "video_id", "kind", "shared", "train_video_id", "n_train_videos")

_INDEX_COLUMNS = ["video_id", "dataset", "path", "label", "split", "source_group", "identities", "checksum", "status"]
_EXAMPLE = {
    "video": "the same file as the training video {train_video_id}",
    "source": "source {shared}, also of the training video {train_video_id}",
    "identity": "person {shared}, also in the training video {train_video_id}",
}
_EXAMPLES = 3


def find_leaks(
    index: pd.DataFrame, layouts: Mapping[str, str], train: Collection[str], test: Collection[str]
) -> pd.DataFrame:
    """Every test video that shares something with the training set.

    Args:
        index: Rows of `schemas.INDEX` of all the data sets.
        layouts: Layout of every data set.
        train: Data sets that are trained on.
        test: Data sets that are tested on.

    Returns:
        `COLUMNS`, a row for each thing that a test video shares, by `dataset`, `video_id` and `shared`: `kind` is one
        of `KINDS`, `shared` the path, checksum, source or person, and `train_video_id` the first of the
        `n_train_videos` training videos that have it too. Of a video that shares its file, its source and people are
        not told as well, nor the people of one that shares its source.
    """
    usable = index[(index["status"] == OK) & index["label"].notna()]
    seen = usable[usable["dataset"].isin(train) & usable["split"].isin(["train", "val"])]
    tested = usable[usable["dataset"].isin(test) & (usable["split"] == "test")]
    tables = []
    for kind in KINDS:
        leaks = _shared(_keys(tested, kind, layouts), _keys(seen, kind, layouts)).assign(kind=kind)
        if kind == "video":
            # by path and by content
            leaks = leaks.drop_duplicates("video_id")
        tables.append(leaks)
        tested = tested[~tested["video_id"].isin(leaks["video_id"])]
    leaks = pd.concat(tables, ignore_index=True)
    return leaks.sort_values(["dataset", "video_id", "shared"], ignore_index=True)[list(COLUMNS)]


def _keys(videos: pd.DataFrame, kind: str, layouts: Mapping[str, str]) -> pd.DataFrame:
    """What videos could share, a row each: dataset, video_id, `within` (where the name holds) and `shared`."""
    layout = videos["dataset"].map(layouts)
    published = [name for name, of in LAYOUTS.items() if of.published]
    # names hold in every copy of a published collection, or in their own data set alone
    videos = videos.assign(within=layout.where(layout.isin(published), "data set " + videos["dataset"]))
    if kind == "video":
        # the same bytes are the same video, whatever their names
        by_content = videos.assign(within="", shared=videos["checksum"])
        videos = pd.concat([videos.assign(shared=videos["path"]), by_content])
    elif kind == "source":
        videos = videos.assign(shared=videos["source_group"])
    else:
        videos = videos.assign(shared=videos["identities"]).explode("shared")
    return videos.loc[videos["shared"].notna(), ["dataset", "video_id", "within", "shared"]]


def _shared(tested: pd.DataFrame, seen: pd.DataFrame) -> pd.DataFrame:
    """Rows of `tested` whose name in `within` is among those of `seen`, with the training videos that have it."""
    of_key = seen.groupby(["within", "shared"])["video_id"]
    trained = of_key.agg(train_video_id="min", n_train_videos="nunique").reset_index()
    return tested.merge(trained, on=["within", "shared"])


def check_leaks(leaks: pd.DataFrame, allowed: Iterable[str], experiment: str, full_list: Path) -> None:
    """Stop when test videos share something with the training set that the experiment does not allow.

    The table of the last check that passed, and the detectors trained since, stay as they are.

    Args:
        leaks: As `find_leaks` gives it.
        allowed: Those of `KINDS` that the experiment knows of.
        experiment: Its name, for the message.
        full_list: CSV file to write with all of them, when it stops.

    Raises:
        UserError: There are such videos; the message names some, and the way out.
    """
    allowed = set(allowed)
    counts = leaks.groupby("kind")["video_id"].nunique()
    for kind in sorted(allowed & set(counts.index), key=KINDS.index):
        log.warning(
            "experiment %s: %s %s with the training set, which allow_leakage says is known",
            *(experiment, _videos_share(counts[kind]), SHARED_AS[kind]),
        )
    refused = leaks[~leaks["kind"].isin(allowed)]
    if refused.empty:
        return
    write_csv(full_list, refused)
    told = []
    for kind in (kind for kind in KINDS if kind in set(refused["kind"])):
        of_kind = refused[refused["kind"] == kind]
        told.append(f"{_videos_share(counts[kind])} {SHARED_AS[kind]} with the training set, such as")
        # of each data set first
        examples = of_kind.iloc[of_kind.groupby("dataset").cumcount().argsort(kind="stable")].head(_EXAMPLES)
        for row in examples.to_dict("records"):
            others = f" and {row['n_train_videos'] - 1:,} more" if row["n_train_videos"] > 1 else ""
            told.append(f"  {row['video_id']}: {_EXAMPLE[kind].format(**row)}{others}")
    kinds = ", ".join(kind for kind in KINDS if kind in set(refused["kind"]) | allowed)
    raise UserError(
        "\n".join([f"experiment {experiment!r} would be tested on what it is trained on:", *told])
        + f"\nAll of them are listed in {full_list}. Train or test on other data sets (experiments.{experiment}), or "
        "take other videos of them (index.methods, index.splits). Where a published protocol has it so, say that you "
        f"know: experiments.{experiment}.allow_leakage: [{kinds}]; the evaluation then counts them as n_videos_leaked. "
        "Detectors that are trained stay as they are meanwhile, and allow_leakage makes no training run again"
    )


def _videos_share(count: int) -> str:
    return f"{count:,} test videos share" if count != 1 else "1 test video shares"


def read_leaked(path: Path) -> dict[str, int]:
    """How many test videos of each data set a `leakage.csv` names.

    Raises:
        UserError: It is absent or no such table.
    """
    try:
        return pd.read_csv(path, dtype=str).groupby("dataset")["video_id"].nunique().to_dict()
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"cannot read {path}: {error}; make it with python -m detectors.evaluation.leakage") from error


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experiment", required=True, help="name of the experiment")
    parser.add_argument("--index", required=True, type=Path, help="folder of lists, <data set>/<shard>.parquet")
    parser.add_argument(
        "--datasets", required=True, help='JSON by name: {"ffpp": {"layout": "faceforensics", "n_shards": 20}, …}'
    )
    parser.add_argument("--train", required=True, nargs="+", help="data sets that are trained on")
    parser.add_argument("--test", required=True, nargs="+", help="data sets that are tested on")
    parser.add_argument(
        "--allow", nargs="*", default=[], choices=KINDS, help="what test videos may share with the training set"
    )
    parser.add_argument("--output", required=True, type=Path, help="CSV file to write, with what was found and allowed")
    args = parser.parse_args()
    refused = args.output.with_suffix(".refused.csv")
    refused.unlink(missing_ok=True)  # of an earlier attempt
    datasets = json.loads(args.datasets)
    lists = [
        read_table(args.index / name / f"{shard}.parquet", _INDEX_COLUMNS).to_pandas()
        for name, dataset in datasets.items()
        for shard in shard_names(dataset["n_shards"])
    ]
    layouts = {name: dataset["layout"] for name, dataset in datasets.items()}
    # an empty list knows no types
    index = pd.concat([videos for videos in lists if len(videos)], ignore_index=True)
    leaks = find_leaks(index, layouts, args.train, args.test)
    check_leaks(leaks, args.allow, args.experiment, refused)
    write_csv(args.output, leaks)


if __name__ == "__main__":
    run_command(main)
