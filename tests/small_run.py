"""The real workflow on small rendered collections, for tests that look at what it made."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).parent.parent

TINY_UCF = {
    "backbone": "test_resnet",
    "pretrained": False,
    "size": 64,
    "channels": 16,
    "epochs": 1,
    "samples_per_epoch": 32,
    "val_samples": 32,
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


def snakemake(folder: Path, *arguments: str, config: dict | None = None, cores: int = 4) -> str:
    """Run Snakemake in `folder` and return what it printed.

    Raises:
        AssertionError: It failed; the message holds its output.
    """
    config_file = folder / "config.yaml"
    if config is not None:
        folder.mkdir(parents=True, exist_ok=True)
        config_file.write_text(yaml.safe_dump(config))
    command = [
        *(sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--directory", str(folder)),
        *(
            "--cores",
            str(cores),
            "--configfile",
            str(config_file),
            "--workflow-profile",
            str(ROOT / "profiles/default"),
        ),
        *arguments,
    ]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=1700)
    printed = done.stdout + done.stderr
    assert done.returncode == 0, printed[-5000:]
    return printed
