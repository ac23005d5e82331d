"""Check every file of the store and name what to make again: `python -m workflow.verify --help`.

Of each file that the config asks for and that has been made: its checksum (`preprocess.store.checksum`), that it can be
read, that it was made by the stage's version and with the settings that the config asks for, and that its rows belong
to those of the stage before it, from the index to the predictions; and what the next run would make again, and why.
Nothing is changed. The exit code is 1 when something is wrong.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path

from preprocess.running.cli import UserError, run_command
from preprocess.running.config_file import read_config
from preprocess.store.stages import STAGES
from workflow.checks.dataset import DatasetStore, check_dataset
from workflow.checks.experiment import check_experiment
from workflow.checks.report import OUTDATED, CheckReport, Finding
from workflow.config import check_config, resolve
from workflow.plan import Outdated, read_outdated
from workflow.scans import scan_rule

# What may be broken, in the order in which it is made; `lists` are those of the index, one a shard.
_ORDER = ("index", "lists", *(name for name in STAGES if name != "index"), "train", "predict")


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
        stage = "lists" if folder == "index" and len(rest) > 1 else folder
    return _ORDER.index(stage), stage


def verify_store(config: dict, data: Path, results: Path, only: Sequence[str] = (), workers: int = 1) -> CheckReport:
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
    report = CheckReport()
    for name in only or resolved:
        settings = resolved[name] | {"samples": "{}"}
        report.add(check_dataset(DatasetStore(name, data, tuple(settings["shards"]), settings), workers))
    # ensembles last: what is wrong with their members is known then
    experiments = sorted(config.get("experiments", {}).items(), key=lambda entry: "ensemble" in entry[1])
    for name, _ in () if only else experiments:
        broken = {finding.file for finding in report.findings}
        report.add(check_experiment(config, name, data, results, broken))
    return report


def add_outdated(report: CheckReport, outdated: Iterable[Outdated], only: Sequence[str] = ()) -> None:
    """Add what a run would make again.

    Args:
        report: Of `verify_store`; a job with whose files something else is wrong is not named again.
        outdated: Of `workflow.plan.read_outdated`.
        only: Names of the data sets whose files are meant; none: all.
    """
    known = {finding.file for finding in report.findings}
    for files, why in outdated:
        if known.isdisjoint(files) and (not only or _dataset_of(files[0]) in only):
            others = f" (with {len(files) - 1} files more)" if len(files) > 1 else ""
            report.find(Path(files[0]), OUTDATED, f"{why}; the next run makes it again{others}")


def _dataset_of(file: str) -> str | None:
    """Whose a file of the store is; None for a result."""
    folder, _, *rest = Path(file).parts
    return rest[0].split(".")[0] if folder == "data" and rest else None


def describe(report: CheckReport, commands: list[str]) -> str:
    """The report in words."""
    lines = [f"{finding.file}: {finding.problem}: {finding.message}" for finding in report.findings]
    lines += report.notes
    if report.without_checksum:
        lines.append(
            f"{len(report.without_checksum)} files hold no checksum, since they were written before there were any, "
            f"such as {report.without_checksum[0]}: their bytes are not checked"
        )
    counts = Counter(finding.problem for finding in report.findings)
    found = ", ".join(f"{count} {problem}" for problem, count in counts.items()) or "nothing wrong"
    lines.append(f"{report.n_files} files checked: {found}")
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
    config = read_config(args.config)
    report = verify_store(config, args.data, args.results, args.datasets, args.workers)
    if (args.data, args.results) == (Path("data"), Path("results")):
        add_outdated(report, read_outdated(config, Path()), args.datasets)
    else:
        report.notes.append("what the next run would make again is only told in the folder of `data` and `results`")
    to_make = [finding for finding in report.findings if finding.problem != OUTDATED]
    commands = rebuild_commands(to_make, args.data, args.results)
    if args.json:
        print(json.dumps(asdict(report) | {"commands": commands}, indent=2))
    else:
        print(describe(report, commands))
    sys.exit(1 if report.findings else 0)


if __name__ == "__main__":
    run_command(main)
