"""The real workflow on small rendered collections, for tests that look at what it made."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from helpers.fork_server import run_python
from helpers.job_server import forking_python

ROOT = Path(__file__).parents[2]

TINY_UCF = {
    "backbone": "test_resnet",
    "pretrained": False,
    "size": 64,
    "channels": 16,
    "epochs": 1,
    "samples_per_epoch": 32,
    "val_samples": 32,
    # two take longer with tensors so small
    "cpu_threads": 1,
}

SMALL_CONFIG = {
    "datasets": {
        name: {
            "layout": layout,
            "root": f"data/raw/{name}",
            "n_shards": 2,
            "synthetic": {"n_sources": 10, "n_frames": 16, "fakes_per_source": 1},
        }
        for name, layout in (("ff", "faceforensics"), ("celebdf", "celebdf"), ("dfdc", "dfdc"))
    },
    "frames": {"n_frames": 6},
    "experiments": {
        "one": {"detector": "ucf", "train": ["celebdf"], "test": ["celebdf"], "seeds": [3], "settings": TINY_UCF},
        "small": {
            "detector": "ucf",
            "train": ["ff", "celebdf"],
            "test": ["ff", "dfdc"],
            "seeds": [0, 1],
            "settings": TINY_UCF,
        },
    },
}


# What an ordinary call asks for; `FINISHED` is all that the shared run has made.
RESULTS = ("results/small/eval.csv", "results/one/eval.csv")
FINISHED = (*RESULTS, *(f"data/samples/{dataset}.parquet" for dataset in SMALL_CONFIG["datasets"]))


def snakemake_command(folder: Path, *arguments: str, cores: int = 2, code: Path = ROOT) -> list[str]:
    """The command that runs Snakemake in `folder` on its config.yaml, with the Snakefile of `code`."""
    return [
        *(sys.executable, "-m", "snakemake", "--snakefile", str(code / "Snakefile"), "--directory", str(folder)),
        *("--cores", str(cores), "--configfile", str(folder / "config.yaml")),
        *("--workflow-profile", str(code / "profiles/default"), *arguments),
    ]


def start_snakemake(
    folder: Path,
    *arguments: str,
    config: dict | None = None,
    cores: int = 4,
    code: Path = ROOT,
    python: str | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run Snakemake in `folder`, with the Snakefile of `code`; what it printed is all in `stdout`.

    Snakemake itself is a fork of `fork_server`; so are its jobs, by `forking_python`, unless another Python is given.
    """
    if config is not None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.yaml").write_text(yaml.safe_dump(config))
    command = snakemake_command(folder, *arguments, cores=cores, code=code)
    return run_python(command, cwd=folder, merge=True, executable=python or forking_python())


def snakemake(folder: Path, *arguments: str, **options: Any) -> str:
    """Run Snakemake in `folder`, with the options of `start_snakemake`, and return what it printed.

    Raises:
        AssertionError: It failed; the message holds its output.
    """
    done = start_snakemake(folder, *arguments, **options)
    assert done.returncode == 0, done.stdout[-5000:]
    return done.stdout


def planned(folder: Path, *arguments: str, code: Path = ROOT) -> set[str]:
    """What a call would make, by a dry run: of each job the file, or the folder, after `--output`.

    Raises:
        AssertionError: Snakemake failed, or plans nothing and does not say so.
    """
    printed = snakemake(folder, "--dry-run", "--printshellcmds", *arguments, code=code)
    outputs = set(re.findall(r"python -m .* --(?:output|manifest) (\S+)", printed))
    assert outputs or "Nothing to be done" in printed, printed[-5000:]
    return outputs
