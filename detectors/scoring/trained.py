"""Which trained detectors score files, and the aggregation and threshold that are theirs."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from detectors.interface.detector import Detector
from detectors.measures.aggregation import common_aggregation
from detectors.measures.runs import DETECTOR, read_thresholds
from preprocess.running.cli import UserError

log = logging.getLogger("detectors")


@dataclass(frozen=True)
class TrainedSeed:
    """What one seed of an experiment left.

    Attributes:
        checkpoints: Its detector, or those of the members of an ensemble.
        validation: What it says of its validation samples; need not be there.
    """

    checkpoints: tuple[Path, ...]
    validation: Path


@dataclass(frozen=True)
class Trained:
    """A trained detector, ready to score.

    Attributes:
        path: Its checkpoint.
        detector: In evaluation mode.
        facts: What else the checkpoint says (`registry.load_detector`).
    """

    path: Path
    detector: Detector
    facts: dict


@dataclass(frozen=True)
class Decision:
    """What makes a score of a video of those of its face crops, and a verdict of its score.

    Attributes:
        aggregation: One of `AGGREGATIONS`.
        threshold: A video score at or above it is fake; NaN for no verdicts.
    """

    aggregation: str
    threshold: float = math.nan


def find_seeds(
    name: str, results: Path, seed: int | None = None, *, all_seeds: bool = False, members: Sequence[str] = ()
) -> list[TrainedSeed]:
    """The trained detectors that are meant.

    Args:
        name: A checkpoint, or an experiment with trained seeds.
        results: Folder of the experiments.
        seed: One of the experiment's; None is the smallest.
        all_seeds: Every seed.
        members: The experiments that an ensemble averages, each with the same seed.

    Raises:
        UserError: There is nothing of the name, or no such seed.
    """
    if Path(name).is_file():
        if seed is not None or all_seeds:
            raise UserError(f"{name} is one checkpoint: leave --seed and --all-seeds out, or name an experiment")
        return [TrainedSeed((Path(name),), Path(name).with_name("validation.parquet"))]
    of_members = [_seeds_of(member, results) for member in members or [name]]
    found = sorted(set(of_members[0]).intersection(*of_members[1:]))
    if not found:
        raise UserError(f"the members of {name!r} ({', '.join(members)}) have no trained seed in common: train them")
    if seed is not None and seed not in found:
        raise UserError(f"experiment {name!r} has no trained seed {seed}; trained are: {', '.join(map(str, found))}")
    wanted = found if all_seeds else [found[0] if seed is None else seed]
    return [
        TrainedSeed(
            tuple(of_member[number] for of_member in of_members), results / name / f"seed{number}/validation.parquet"
        )
        for number in wanted
    ]


def _seeds_of(name: str, results: Path) -> dict[int, Path]:
    """The checkpoints of an experiment by seed."""
    found = {int(path.parent.name[4:]): path for path in (results / name).glob("seed[0-9]*/detector.ckpt")}
    if not found:
        there = sorted({path.parent.parent.name for path in results.glob("*/seed[0-9]*/detector.ckpt")})
        raise UserError(
            f"{name!r} is neither a checkpoint nor an experiment that has been trained in {results}; trained are: "
            f"{', '.join(there) or 'none'}"
        )
    return found


def resolve_decision(
    seeds: Sequence[TrainedSeed], trained: Sequence[Trained], aggregation: str, threshold: float | None
) -> Decision:
    """The aggregation and the threshold that are asked for, or those of the detectors themselves.

    Args:
        seeds: Where the detectors are from.
        trained: The detectors.
        aggregation: One of `AGGREGATIONS`, or `detector` for their own.
        threshold: In [0, 1], or None for the one that validation data give.
    """
    if aggregation == DETECTOR:
        aggregation = own_aggregation(trained)
    if threshold is None:
        threshold = choose_threshold(seeds, trained, aggregation)
    return Decision(aggregation, threshold)


def own_aggregation(trained: Sequence[Trained]) -> str:
    """The detectors' own aggregation, or the mean where they do not agree."""
    return common_aggregation(one.detector.aggregation for one in trained)


def choose_threshold(seeds: Sequence[TrainedSeed], trained: Sequence[Trained], aggregation: str) -> float:
    """The video threshold at the equal error rate on validation data, as an evaluation chooses it.

    Args:
        seeds: Of several, the mean of their thresholds is taken.
        trained: Their detectors.
        aggregation: One of `AGGREGATIONS`.

    Returns:
        NaN where there is none, which the log tells.
    """
    thresholds = []
    for of_seed in seeds:
        (*_, facts) = (one.facts for one in trained if one.path in of_seed.checkpoints)
        if of_seed.validation.is_file():
            threshold = read_thresholds(of_seed.validation, aggregation)[2]["video"]
        elif len(of_seed.checkpoints) == 1 and aggregation == own_aggregation(trained):
            threshold = facts["thresholds"]["video"]
        else:
            threshold = None
            log.warning("there is no %s, from which a threshold is chosen: make it, or give one", of_seed.validation)
        thresholds.append(math.nan if threshold is None else threshold)
    return float(np.mean(thresholds))
