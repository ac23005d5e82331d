"""Check every file of the store and name what to make again: `python -m workflow.verify --help`.

Of each file that the config asks for and that has been made: its checksum (`preprocess.store.checksum`), that it can be
read, that it was made by the stage's version and with the settings that the config asks for, and that its rows belong
to those of the stage before it, from the index to the predictions. Nothing is changed. The exit code is 1 when
something is wrong.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
import zipfile
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq

from detectors import ensemble
from preprocess.running.cli import UserError, run_command
from preprocess.running.config_file import read_config
from preprocess.running.system_errors import brief
from preprocess.store import versions
from preprocess.store.checksum import file_sha256
from preprocess.store.origin import Origin, read_origin
from preprocess.store.schemas import PREDICTIONS
from preprocess.store.tables import read_table
from workflow.checks import (
    DAMAGED,
    DISAGREES,
    MISSING,
    STALE,
    Checked,
    DatasetStore,
    Finding,
    check_dataset,
    other_columns,
    other_rows,
    other_settings,
)
from workflow.config import check_config, experiment_settings, resolve, resolve_experiments
from workflow.scans import scan_rule

# Stages in the order in which they run; `list` stands for the shards' lists of the index.
_ORDER = ("index", "list", "frames", "faces", "crops", "landmarks", "masks", "samples", "train", "predict")


def check_experiment(config: dict, name: str, data: Path, results: Path, broken: Collection[str] = ()) -> Checked:
    """Check detectors and predictions of an experiment, as far as there are any.

    Args:
        config: Resolved by nothing: as it stands in the file.
        name: Of the experiment.
        data: Folder of the store.
        results: Folder of the results.
        broken: Files with which something is wrong, against which nothing is compared.
    """
    checked = Checked()
    experiment = resolve_experiments(config)[name]
    settings = json.loads(experiment_settings(config, name))
    for seed in experiment["seeds"]:
        folder = results / name / f"seed{seed}"
        detector, summary = folder / "detector.ckpt", folder / "summary.json"
        predictions = [folder / "predictions" / f"{dataset}.parquet" for dataset in experiment["test"]]
        made = [path for path in predictions if path.exists()]
        made_for = experiment | {"experiment": name, "seed": seed}
        if "ensemble" in experiment:
            made_for |= {"detector": ensemble.DETECTOR, "members": experiment["ensemble"]}
        elif detector.exists():
            _check_detector(detector, summary, settings, experiment, data, broken, checked)
        elif made:
            checked.find(detector, MISSING, f"is absent, though {made[0]} was made from it")
        for path in made:
            _check_predictions(path, made_for, data, broken, checked)
            if "ensemble" in experiment and checked.is_sound(path):
                members = [
                    results / member / f"seed{seed}" / "predictions" / path.name for member in experiment["ensemble"]
                ]
                _check_average(path, members, broken, checked)
    return checked


def _check_average(path: Path, members: list[Path], broken: Collection[str], checked: Checked) -> None:
    absent = [member for member in members if not member.exists()]
    if absent:
        checked.find(absent[0], MISSING, f"is absent, though {path} was made from it")
    elif not any(str(member) in broken for member in members):
        checked.compare(path, lambda: _compare_average(path, members))


def _compare_average(path: Path, members: list[Path]) -> str | None:
    expected = ensemble.average_scores([read_table(member, PREDICTIONS.names) for member in members])
    if expected["score"].equals(read_table(path, ["score"])["score"]):
        return None
    return f"its scores are not the mean of {', '.join(map(str, members))} as they are now"


def _check_detector(
    path: Path, summary: Path, settings: dict, experiment: dict, data: Path, broken: Collection[str], checked: Checked
) -> None:
    checked.n_files += 1
    try:
        with zipfile.ZipFile(path) as file:
            damaged = file.testzip()
    except (OSError, ValueError, zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
        checked.find(path, DAMAGED, f"cannot be read: {brief(error)}")
        return
    if damaged:
        checked.find(path, DAMAGED, f"the checksum of {damaged} in it does not fit")
        return
    try:
        made_by = json.loads(summary.read_text())
        found = {**made_by["settings"], "version": made_by["version"], "detector": made_by["detector"]}
        samples = made_by["samples"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        checked.find(path, DAMAGED, f"its {summary.name} cannot be read: {brief(error)}")
        return
    expected = settings | {"version": versions.TRAIN, "detector": experiment["detector"]}
    if message := other_settings(found, expected):
        checked.find(path, STALE, message)
    for dataset in experiment["train"]:
        table = data / "samples" / f"{dataset}.parquet"
        if table.exists() and str(table) not in broken and samples.get(table.name) != file_sha256(table):
            checked.find(path, STALE, f"was not trained on {table} as it is now")


def _check_predictions(path: Path, made_for: dict, data: Path, broken: Collection[str], checked: Checked) -> None:
    dataset = path.stem
    checked.check_file(path, Origin(dataset, "predict", "", versions.PREDICT))
    samples = data / "samples" / path.name
    if not checked.is_sound(path):
        return
    if message := other_columns(path, PREDICTIONS):
        checked.find(path, DISAGREES, message)
        return
    made_by = json.loads(read_origin(path).settings)
    names = [name for name in ("experiment", "seed", "detector", "train", "members") if name in made_for]
    found = {name: made_by.get(name) for name in names}
    expected = {name: made_for[name] for name in names} | {"train": sorted(made_for["train"])}
    if message := other_settings(found, expected):
        checked.find(path, STALE, message)
    elif not samples.exists():
        checked.find(samples, MISSING, f"is absent, though {path} was made from it")
    elif str(samples) not in broken:
        checked.compare(path, lambda: _compare_predictions(samples, path, made_by["split"]))


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


def rebuild_commands(findings: Iterable[Finding], data: Path, results: Path) -> list[str]:
    """The Snakemake commands that make everything again that is wrong, to be given one after the other.

    One for each stage, that asks for its broken files alone: in one plan with them, all that is made from them would
    run too, before it is known whether they come out as they were.
    """
    stages: dict[tuple[int, str], list[str]] = {}
    for file in sorted({finding.file for finding in findings}):
        stages.setdefault(_stage_of(Path(file), data, results), []).append(file)
    commands = []
    for (_, stage), files in sorted(stages.items()):
        if stage == "index":
            # a scan of the raw folder is asked for by name
            words = [scan_rule(Path(file).stem) for file in files]
        else:
            words = ["--forcerun", *files, "--", *files]
        commands.append(shlex.join(["snakemake", "--cores", "all", *words]))
    return commands


def _stage_of(file: Path, data: Path, results: Path) -> tuple[int, str]:
    """Place of a file's stage in the order in which they run, and its name."""
    if file.is_relative_to(results):
        stage = "predict" if file.parent.name == "predictions" else "train"
    else:
        folder, *rest = file.relative_to(data).parts
        stage = "list" if folder == "index" and len(rest) > 1 else folder
    return _ORDER.index(stage), stage


def verify_store(config: dict, data: Path, results: Path, only: Sequence[str] = (), workers: int = 1) -> Checked:
    """Check all that a config asks for and that has been made.

    Args:
        config: As in config.yaml.
        data: Folder of the store.
        results: Folder of the results.
        only: Names of the data sets to check, then without experiments; none: all.
        workers: Shards checked side by side.

    Raises:
        UserError: The config is wrong, or has no such data set.
    """
    check_config(config)
    resolved = resolve(config)
    for name in only:
        if name not in resolved:
            raise UserError(f"data set {name!r} is not in the config; it has: {', '.join(sorted(resolved))}")
    checked = Checked()
    for name in only or resolved:
        settings = resolved[name] | {"samples": "{}"}
        checked.add(check_dataset(DatasetStore(name, data, tuple(settings["shards"]), settings), workers))
    # ensembles last: what is wrong with their members is known then
    experiments = sorted(config.get("experiments", {}).items(), key=lambda entry: "ensemble" in entry[1])
    for name, _ in () if only else experiments:
        broken = {finding.file for finding in checked.findings}
        checked.add(check_experiment(config, name, data, results, broken))
    return checked


def describe(checked: Checked, commands: list[str]) -> str:
    """The report in words."""
    lines = [f"{finding.file}: {finding.problem}: {finding.message}" for finding in checked.findings]
    lines += checked.notes
    if checked.without_checksum:
        lines.append(
            f"{len(checked.without_checksum)} files hold no checksum, since they were written before there were any, "
            f"such as {checked.without_checksum[0]}: their bytes are not checked"
        )
    counts = Counter(finding.problem for finding in checked.findings)
    found = ", ".join(f"{count} {problem}" for problem, count in counts.items()) or "nothing wrong"
    lines.append(f"{checked.n_files} files checked: {found}")
    if commands:
        lines += ["To make what is wrong again, then ask for the result as always:"]
        lines += [f"  {command}" for command in commands]
    return "\n".join(lines)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("datasets", nargs="*", help="data sets to check, without experiments (default: everything)")
    parser.add_argument("--config", type=Path, default=Path("config.yaml"), help="default: %(default)s")
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder of the store (default: %(default)s)")
    parser.add_argument("--results", type=Path, default=Path("results"), help="default: %(default)s")
    parser.add_argument("--workers", type=int, default=min(8, os.cpu_count() or 1), help="default: %(default)s")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    args = parser.parse_args()
    checked = verify_store(read_config(args.config), args.data, args.results, args.datasets, args.workers)
    commands = rebuild_commands(checked.findings, args.data, args.results)
    if args.json:
        report = asdict(checked) | {"commands": commands}
        print(json.dumps(report, indent=2))
    else:
        print(describe(checked, commands))
    sys.exit(1 if checked.findings else 0)


if __name__ == "__main__":
    run_command(main)
