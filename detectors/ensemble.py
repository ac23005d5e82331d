"""Average the scores of several experiments, sample by sample: `python -m detectors.ensemble --help`.

Nothing is trained. What is averaged are predictions of one data set, or what the trainings say of their validation
samples; then only samples that all members validated on have an average, since a member that was trained on one knows
it too well for a threshold.
"""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from detectors.measures.aggregation import common_aggregation
from preprocess.running.cli import UserError, run_command
from preprocess.running.settings import settings_json
from preprocess.store import versions
from preprocess.store.origin import Origin, read_origin
from preprocess.store.schemas import DISTORTED_PREDICTIONS, PREDICTIONS
from preprocess.store.tables import read_table, write_table

log = logging.getLogger("detectors")

# stands where predictions of a detector name its family
DETECTOR = "ensemble"

VALIDATE, ROBUSTNESS = "validate", "robustness"


def average_scores(tables: Sequence[pa.Table]) -> pa.Table:
    """The samples that all tables have, in the order of the first one, with the mean of their scores.

    Args:
        tables: `schemas.PREDICTIONS`, at least one; a sample is in a table at most once. Or of
            `schemas.DISTORTED_PREDICTIONS`, where it is in a table once for every distortion and strength.
    """
    ids = [_sample_ids(table) for table in tables]
    shared = set(ids[0].tolist()).intersection(*(of_table.tolist() for of_table in ids[1:]))
    first = np.array([row for row, name in enumerate(ids[0]) if name in shared], np.int64)
    wanted = ids[0][first]
    total = np.zeros(len(first))
    for of_table, table in zip(ids, tables, strict=True):
        row_of = {name: row for row, name in enumerate(of_table)}
        rows = np.array([row_of[name] for name in wanted], np.int64)
        total += table["score"].to_numpy().astype(np.float64)[rows]
    samples = tables[0].take(pa.array(first))
    scores = pa.array(total / len(tables), pa.float32())
    return samples.set_column(samples.schema.get_field_index("score"), "score", scores)


def _sample_ids(table: pa.Table) -> np.ndarray:
    """(N,) what tells the rows of a table apart."""
    ids = table["sample_id"].to_numpy(zero_copy_only=False)
    if "distortion" not in table.column_names:
        return ids
    ways = (table["distortion"].to_pylist(), table["strength"].to_pylist())
    return np.array([f"{name} {strength} {of_row}" for name, strength, of_row in zip(*ways, ids, strict=True)], object)


def make_ensemble(experiment: str, members: Sequence[Path], output: Path) -> pa.Table:
    """Average what the members say of the same split with the same seed, and write it as they did.

    The file's origin is that of predictions, without thresholds and with `members`, the names of the experiments. A
    video's score comes from its samples' as the members have it, or, where they do not agree, as their mean.

    Args:
        experiment: Name of the ensemble.
        members: Predictions of one data set, as they are or distorted, or `validation.parquet` of each member.
        output: Parquet file to write.

    Returns:
        The table.

    Raises:
        UserError: The files cannot be averaged: of different seeds, data sets, splits or samples.
    """
    origins = [read_origin(path) for path in members]
    made_by = [json.loads(origin.settings) for origin in origins]
    for path, origin, made in zip(members, origins, made_by, strict=True):
        for what, found, first in (
            ("stage", origin.stage, origins[0].stage),
            ("seed", made["seed"], made_by[0]["seed"]),
            ("split", made["split"], made_by[0]["split"]),
            *([("data set", origin.dataset, origins[0].dataset)] if origin.stage != VALIDATE else []),
        ):
            if found != first:
                raise UserError(
                    f"{path} is of {what} {found!r}, {members[0]} of {first!r}; average what belongs together"
                )
    stage = origins[0].stage
    schema, version = PREDICTIONS, versions.PREDICT
    if stage == ROBUSTNESS:
        schema, version = DISTORTED_PREDICTIONS, versions.ROBUSTNESS
    tables = [read_table(path, schema.names) for path in members]
    table = average_scores(tables)
    names = ", ".join(made["experiment"] for made in made_by)
    for path, of_member in zip(members, tables, strict=True):
        if stage != VALIDATE and len(of_member) != len(table):
            raise UserError(
                f"{path} scores {len(of_member)} samples, of which only {len(table)} are in all of the members "
                f"({names}); predictions are of different dates: predict again"
            )
    if stage == VALIDATE and not len(table):
        log.warning(
            "the members (%s) have no validation sample in common: there is no threshold from validation data. Train "
            "them on the same data sets, or set `threshold` to a number",
            names,
        )
    settings = {
        "experiment": experiment,
        "seed": made_by[0]["seed"],
        "detector": DETECTOR,
        "members": [made["experiment"] for made in made_by],
        "train": sorted({dataset for made in made_by for dataset in made["train"]}),
        "aggregation": common_aggregation(made["aggregation"] for made in made_by),
        "split": made_by[0]["split"],
    }
    dataset = origins[0].dataset if stage != VALIDATE else "+".join(settings["train"])
    write_table(output, table, schema, Origin(dataset, stage, settings_json(settings), version))
    log.info("%s: %d samples, the mean of %s", experiment, len(table), names)
    return table


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experiment", required=True, help="name of the ensemble")
    parser.add_argument("--members", required=True, nargs="+", type=Path, help="the same file of every member")
    parser.add_argument("--output", required=True, type=Path, help="Parquet file to write")
    args = parser.parse_args()
    make_ensemble(args.experiment, args.members, args.output)


if __name__ == "__main__":
    run_command(main)
