"""How far a data folder has come, and what is left: `python -m workflow.status`.

It also works while a run is going on. What counts as done, `workflow.state` says; what exactly would run, and why,
`snakemake --dry-run` tells.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

from preprocess.running.cli import run_command
from preprocess.running.config_file import read_config
from preprocess.running.text_columns import align_columns
from preprocess.store.schemas import describe_statuses
from preprocess.store.stages import STAGES
from workflow.config import check_config
from workflow.plan import read_outdated
from workflow.state import DatasetStatus, ExperimentStatus, StageStatus, read_status

_STAGE_COLUMNS = ("stage", "done", "of", "outdated", "left", "videos ok", "lost", "videos left", "size")
_EXPERIMENT_COLUMNS = ("experiment", "trained", "of", "predicted", "of", "evaluated", "next")


def format_status(datasets: list[DatasetStatus], experiments: list[ExperimentStatus]) -> str:
    """The state as tables for a person."""
    parts = [_format_dataset(dataset) for dataset in datasets]
    if experiments:
        rows = [_EXPERIMENT_COLUMNS, *map(_experiment_row, experiments)]
        parts.append("\n".join(align_columns(rows, right_columns=range(1, 5))))
    return "\n\n".join(parts)


def _format_dataset(dataset: DatasetStatus) -> str:
    videos = "not indexed yet" if dataset.n_videos is None else _count(dataset.n_videos, "video")
    n_bytes = _readable_size(sum(stage.n_bytes for stage in dataset.stages))
    lines = [f"{dataset.name}: {videos}, {_count(dataset.n_shards, 'shard')}, {n_bytes} made from {dataset.root}"]
    rows = [_STAGE_COLUMNS, *map(_stage_row, dataset.stages)]
    lines += [f"  {line}" for line in align_columns(rows, right_columns=range(1, len(_STAGE_COLUMNS)))]
    for stage in dataset.stages[:-1]:
        if stage.lost:
            lines.append(f"  lost in {stage.stage}: {describe_statuses(stage.lost)}")
        if stage.left_out:
            lines.append(f"  left out by settings: {stage.left_out:,}")
    return "\n".join(lines)


def _stage_row(stage: StageStatus) -> tuple[str, ...]:
    begun = stage.n_done + stage.n_outdated > 0
    return (
        stage.stage,
        f"{stage.n_done:,}",
        f"{stage.n_files:,}",
        f"{stage.n_outdated:,}" if stage.n_outdated else "—",
        f"{stage.n_files - stage.n_done:,}",
        f"{stage.videos_ok:,}" if begun and stage.videos_ok is not None else "—",
        f"{sum(stage.lost.values()):,}" if begun and STAGES[stage.stage].loses_videos else "—",
        "?" if stage.videos_left is None else f"{stage.videos_left:,}",
        _readable_size(stage.n_bytes) if begun else "—",
    )


def _experiment_row(experiment: ExperimentStatus) -> tuple[str, ...]:
    return (
        experiment.name,
        f"{experiment.n_trained}",
        f"{experiment.n_seeds}",
        f"{experiment.n_predicted}",
        f"{experiment.n_predictions}",
        "yes" if experiment.evaluated else "no",
        experiment.left[0] if experiment.left else "—",
    )


def _count(number: int, word: str) -> str:
    return f"{number:,} {word}" + "s" * (number != 1)


def _readable_size(n_bytes: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if n_bytes < 999.5:
            return f"{n_bytes:.0f} B" if unit == "B" else f"{n_bytes:.3g} {unit}"
        n_bytes /= 1000
    return f"{n_bytes:,.3g} TB" if n_bytes < 1000 else f"{n_bytes:,.0f} TB"


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, default=Path("config.yaml"), help="config file (default: %(default)s)")
    parser.add_argument(
        "--resolved-config", help="the config itself as JSON, instead of a file; the workflow's `status` gives it so"
    )
    parser.add_argument("--folder", type=Path, default=Path(), help="folder of data/ and results/ (default: this one)")
    parser.add_argument("--json", action="store_true", help="print JSON, for other programs")
    args = parser.parse_args()
    config = json.loads(args.resolved_config) if args.resolved_config else read_config(args.config)
    check_config(config)
    outdated = {file for job in read_outdated(config, args.folder) for file in job.files}
    datasets, experiments = read_status(config, args.folder, outdated)
    if args.json:
        state = {"datasets": list(map(asdict, datasets)), "experiments": list(map(asdict, experiments))}
        json.dump(state, sys.stdout, indent=2)
        print()
    else:
        print(format_status(datasets, experiments))


if __name__ == "__main__":
    run_command(main)
