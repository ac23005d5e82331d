"""All that an experiment's figures depend on, and the figures, in one file: `record.json`."""

from __future__ import annotations

import json
import platform
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from pathlib import Path

import pandas as pd

from detectors.evaluation.settings import EvaluateSettings
from preprocess.running.cli import UserError
from preprocess.store import versions
from preprocess.store.atomic import atomic_path
from preprocess.store.checksum import file_sha256
from preprocess.store.origin import read_origin
from preprocess.store.stages import SHARD_STAGES
from preprocess.store.tables import read_table

# What decides a number somewhere on the way from a video to the evaluation.
_LIBRARIES = (
    *("torch", "torchvision", "lightning", "timm", "facenet-pytorch", "opencv-python-headless", "av"),
    *("numpy", "scipy", "scikit-learn", "pandas", "pyarrow", "h5py"),
)


def write_record(
    path: str | Path,
    *,
    experiment: str,
    evaluate_settings: EvaluateSettings,
    ledgers: Iterable[Path],
    summaries: Sequence[Path],
    table: pd.DataFrame,
) -> None:
    """Write the record of an experiment.

    It holds, of every data set, the settings and version that each stage's files say they were made with, the number
    of shards that its videos lie in, and the fingerprint of its ledger, which tells of every video; `trainings`, what
    each training wrote of itself (settings, fingerprints of the samples, libraries, device, counts, the best epoch);
    the settings of the evaluation; and `evaluation`, the rows of `eval.csv`. Nothing in it changes when the same is
    made again on the same machine: how long trainings took stands in their own summaries.

    Args:
        path: JSON file to write.
        experiment: Its name.
        evaluate_settings: Settings of the evaluation.
        ledgers: Of its data sets, `<data>/samples/<dataset>.ledger.parquet`; the stages' files lie beside.
        summaries: `summary.json` of every training.
        table: The evaluation.

    Raises:
        UserError: A summary or a ledger cannot be read.
    """
    record = {
        "experiment": experiment,
        "datasets": {path.name.removesuffix(".ledger.parquet"): _dataset(path) for path in sorted(ledgers)},
        "trainings": [_read(path) for path in summaries],
        "evaluate": dict(evaluate_settings),
        "evaluation": json.loads(table.to_json(orient="records", double_precision=15)),
        "stage_versions": {name: value for name, value in vars(versions).items() if name.isupper()},
        "libraries": {name: version(name) for name in _LIBRARIES},
        "python": platform.python_version(),
    }
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n")


def _dataset(ledger: Path) -> dict:
    dataset, data = ledger.name.removesuffix(".ledger.parquet"), ledger.parent.parent
    facts: dict = {"ledger_sha256": file_sha256(ledger)}
    # files of other shards may lie about, of another n_shards
    shards = sorted(set(read_table(ledger, ["shard"])["shard"].to_pylist()))
    for name, stage in SHARD_STAGES.items():
        files = [file for shard in shards if (file := data / stage.shard_file(dataset, shard)).exists()]
        if files:
            # all shards of a data set are made with the same settings
            origin = read_origin(files[0])
            facts[name] = {
                "version": origin.version,
                "settings": json.loads(origin.settings),
                "n_shards": len(shards),
            }
    return facts


def _read(path: Path) -> dict:
    try:
        summary = json.loads(path.read_text())
        del summary["training_seconds"]
        summary["best"].pop("seconds", None)
        return summary
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"cannot read {path}: {error}; train again") from error
