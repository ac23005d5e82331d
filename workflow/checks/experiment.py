"""Checks of an experiment's detectors and predictions."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Collection
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq

from detectors import ensemble
from preprocess.running.system_errors import brief
from preprocess.store import versions
from preprocess.store.checksum import file_sha256
from preprocess.store.origin import Origin, read_origin
from preprocess.store.schemas import PREDICTIONS
from preprocess.store.tables import read_table
from workflow.checks.files import check_content, check_file, other_settings
from workflow.checks.report import DAMAGED, DISAGREES, MISSING, STALE, CheckReport
from workflow.checks.rows import other_columns, other_rows
from workflow.config import experiment_settings, resolve_experiments


def check_experiment(config: dict, name: str, data: Path, results: Path, broken: Collection[str] = ()) -> CheckReport:
    """Check detectors and predictions of an experiment, as far as there are any.

    Args:
        config: As it stands in config.yaml, not resolved.
        name: Of the experiment.
        data: Folder of the store.
        results: Folder of the results.
        broken: Files with which something is wrong, against which nothing is compared.
    """
    report = CheckReport()
    experiment = resolve_experiments(config)[name]
    settings = json.loads(experiment_settings(config, name))
    for seed in experiment["seeds"]:
        folder = results / name / f"seed{seed}"
        detector = folder / "detector.ckpt"
        predictions = [folder / "predictions" / f"{dataset}.parquet" for dataset in experiment["test"]]
        made = [path for path in predictions if path.exists()]
        made_for = experiment | {"experiment": name, "seed": seed}
        if "ensemble" in experiment:
            made_for |= {"detector": ensemble.DETECTOR, "members": experiment["ensemble"]}
        elif detector.exists():
            _check_detector(detector, settings, experiment, data, broken, report)
        elif made:
            report.find(detector, MISSING, f"is absent, though {made[0]} was made from it")
        for path in made:
            _check_predictions(path, made_for, data, broken, report)
            if "ensemble" in experiment and report.is_sound(path):
                members = [
                    results / member / f"seed{seed}" / "predictions" / path.name for member in experiment["ensemble"]
                ]
                _check_average(path, members, broken, report)
    return report


def _check_average(path: Path, members: list[Path], broken: Collection[str], report: CheckReport) -> None:
    absent = [member for member in members if not member.exists()]
    if absent:
        report.find(absent[0], MISSING, f"is absent, though {path} was made from it")
    elif not any(str(member) in broken for member in members):
        check_content(path, report, _compare_average, path, members)


def _compare_average(path: Path, members: list[Path]) -> str | None:
    expected = ensemble.average_scores([read_table(member, PREDICTIONS.names) for member in members])
    if expected["score"].equals(read_table(path, ["score"])["score"]):
        return None
    return f"its scores are not the mean of {', '.join(map(str, members))} as they are now"


def _check_detector(
    path: Path, settings: dict, experiment: dict, data: Path, broken: Collection[str], report: CheckReport
) -> None:
    report.n_files += 1
    summary = path.with_name("summary.json")
    try:
        with zipfile.ZipFile(path) as file:
            damaged = file.testzip()
    except (OSError, ValueError, zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
        report.find(path, DAMAGED, f"cannot be read: {brief(error)}")
        return
    if damaged:
        report.find(path, DAMAGED, f"the checksum of {damaged} in it does not fit")
        return
    try:
        made_by = json.loads(summary.read_text())
        found = {**made_by["settings"], "version": made_by["version"], "detector": made_by["detector"]}
        samples = made_by["samples"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        report.find(path, DAMAGED, f"its {summary.name} cannot be read: {brief(error)}")
        return
    expected = settings | {"version": versions.TRAIN, "detector": experiment["detector"]}
    if message := other_settings(found, expected):
        report.find(path, STALE, message)
    for dataset in experiment["train"]:
        table = data / "samples" / f"{dataset}.parquet"
        if table.exists() and str(table) not in broken and samples.get(table.name) != file_sha256(table):
            report.find(path, STALE, f"was not trained on {table} as it is now")


def _check_predictions(path: Path, made_for: dict, data: Path, broken: Collection[str], report: CheckReport) -> None:
    dataset = path.stem
    check_file(path, Origin(dataset, "predict", "", versions.PREDICT), report)
    samples = data / "samples" / path.name
    if not report.is_sound(path):
        return
    if message := other_columns(path, PREDICTIONS):
        report.find(path, DISAGREES, message)
        return
    made_by = json.loads(read_origin(path).settings)
    names = [name for name in ("experiment", "seed", "detector", "train", "members") if name in made_for]
    found = {name: made_by.get(name) for name in names}
    expected = {name: made_for[name] for name in names} | {"train": sorted(made_for["train"])}
    if message := other_settings(found, expected):
        report.find(path, STALE, message)
    elif not samples.exists():
        report.find(samples, MISSING, f"is absent, though {path} was made from it")
    elif str(samples) not in broken:
        check_content(path, report, _compare_predictions, samples, path, made_by["split"])


def _compare_predictions(samples: Path, path: Path, split: str) -> str | None:
    names = [name for name in PREDICTIONS.names if name != "score"]
    wanted = None if split == "all" else pc.field("split") == split
    expected = pq.read_table(samples, columns=names, filters=wanted)
    found = read_table(path)
    if message := other_rows(expected, found.select(names), f"{samples} has of the split {split!r}"):
        return message
    scores = found["score"].to_numpy()
    n_odd = int((~((scores >= 0) & (scores <= 1))).sum())
    return f"{n_odd} scores are no probabilities" if n_odd else None
