"""Leave most of the training fakes out, where a collection holds many fakes to a real video."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from preprocess.datasets.raw import RawVideo
from preprocess.store.shards import stable_hash


def left_out_fakes(videos: Iterable[RawVideo], *, factor: int, seed: int) -> set[str]:
    """The fakes of the training split that a down-sampling by `factor` leaves out.

    Systematic sampling with a random start in every source group (Cochran 1977, chapter 8): a group's fakes are put
    in an order drawn by `seed`, and every `factor`-th is taken from a start that is drawn too. A group of n fakes so
    gives n / factor, rounded up or down by chance, and every fake is taken with the chance 1 / factor. A fake whose
    source nobody knows is a group of its own.

    Draws are hashes of names. What is taken of one group hence depends on no other group: videos added to a
    collection change nothing for those that were there, nor do files that are absent.

    Args:
        videos: Videos of one collection, in any order.
        factor: One fake of so many is taken; 1 takes all.
        seed: Another seed draws others.

    Returns:
        Their video ids.
    """
    groups = defaultdict(list)
    for video in videos:
        if video.label == 1 and video.split == "train":
            groups[video.source_group].append(video.video_id)
    left_out: set[str] = set()
    for group, fakes in groups.items():
        start = stable_hash(f"{seed} {group}") % factor
        drawn = sorted(fakes, key=lambda video_id: (stable_hash(f"{seed} {video_id}"), video_id))
        left_out.update(video_id for rank, video_id in enumerate(drawn) if (rank + start) % factor)
    return left_out
