"""What a run would make again of what is there: asked of the workflow itself, so that nobody says otherwise.

`workflow.status` and `workflow.verify` begin with it. Snakemake plans everything that the config asks for, and what
lies in the folder beside, and writes down which files are outdated, and why (`workflow.snakemake_planning`).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from preprocess.running.cli import UserError
from workflow.config import resolve, resolve_experiments

SNAKEFILE = Path(__file__).parents[1] / "Snakefile"
# Where a plan leaves what it found outdated, as JSON.
OUTDATED_VARIABLE = "OUTDATED_FILES_TO"
# Results that nobody has to ask for; they are looked at where they are there.
_EXTRAS = ("robustness.csv", "perturbations.csv", "figures/learning.png", "figures/gradcam.png")
_COMPARISONS = ("cross_eval.csv", "compare.csv", "summary.csv")


class Outdated(NamedTuple):
    """What one job would make again, although it is there, or was: its files, and why, in a few words."""

    files: list[str]
    why: str


def read_outdated(config: dict, folder: Path) -> list[Outdated]:
    """What a run would make again.

    Args:
        config: A config that `check_config` lets pass.
        folder: Of `data` and `results`, as on the command line of Snakemake (`--directory`).

    Raises:
        UserError: There can be no plan; Snakemake says why.
    """
    with tempfile.TemporaryDirectory() as temporary:
        told, given = Path(temporary, "outdated.json"), Path(temporary, "config.json")
        given.write_text(json.dumps(config))
        command = [
            *(sys.executable, "-m", "snakemake", "--snakefile", str(SNAKEFILE), "--directory", str(folder)),
            *("--dry-run", "--quiet", "all", "--nolock", "--cores", "1", "--configfile", str(given)),
            *("--", *_targets(config, folder)),
        ]
        environment = os.environ | {OUTDATED_VARIABLE: str(told)}
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
        if done.returncode or not told.exists():
            raise UserError(f"what is outdated cannot be told, since there is no plan:\n{done.stderr.strip()}")
        return [Outdated(**job) for job in json.loads(told.read_text())]


def older_extras(config: dict, folder: Path) -> list[Outdated]:
    """Of the results that nobody has to ask for, such as figures that explain a detector, those that show an older one.

    The arguments and errors are those of `read_outdated`.
    """
    extras = set(_extras(config, folder))
    if not extras:
        return []
    return [job for job in read_outdated(config, folder) if not extras.isdisjoint(job.files)]


def _targets(config: dict, folder: Path) -> list[str]:
    """All that the config asks for, and what is there of that which it only allows."""
    targets = [f"data/samples/{name}.parquet" for name in resolve(config)]
    targets += [f"results/{name}/eval.csv" for name in resolve_experiments(config)]
    return targets + _extras(config, folder)


def _extras(config: dict, folder: Path) -> list[str]:
    extras = [f"results/{name}/{extra}" for name in resolve_experiments(config) for extra in _EXTRAS]
    studies = ["results", *(f"results/studies/{name}" for name in config.get("studies", {}))]
    extras += [f"{study}/{table}" for study in studies for table in _COMPARISONS]
    return [path for path in extras if (folder / path).exists()]
