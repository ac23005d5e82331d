"""Command line: `python -m preprocess.synthetic --layout dfdc --root … --truth … --manifest …`."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import cv2

from preprocess.running.cli import run_command
from preprocess.running.settings import load_settings
from preprocess.settings.synthetic import SyntheticSettings
from preprocess.store.atomic import atomic_path
from preprocess.synthetic.collection import make_collection
from preprocess.synthetic.trees import LAYOUTS


def main() -> None:
    """Make a collection and write its manifest last."""
    parser = argparse.ArgumentParser(
        prog="python -m preprocess.synthetic",
        description="Render talking heads into the published tree of a data set, with ground truth beside it.",
    )
    parser.add_argument("--layout", required=True, help=f"tree to make: {', '.join(LAYOUTS)}")
    parser.add_argument("--root", required=True, type=Path, help="folder of the tree; an earlier result is replaced")
    parser.add_argument("--truth", required=True, type=Path, help="folder of truth.parquet and masks.h5")
    parser.add_argument("--manifest", required=True, type=Path, help="JSON file: path -> sha256 and bytes")
    parser.add_argument("--settings", default="", help="settings as JSON")
    parser.add_argument("--threads", type=int, default=1, help="number of processes")
    args = parser.parse_args()
    cv2.setNumThreads(1)  # the processes are the threads
    settings = load_settings(SyntheticSettings, args.settings)
    manifest = make_collection(args.layout, args.root, args.truth, settings, args.threads)
    with atomic_path(args.manifest) as temporary:
        temporary.write_text(json.dumps(manifest, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    run_command(main)
