"""Detectors of earlier settings, kept beside the present one: `python -m detectors.previous --help`.

Before a training replaces a detector, its files are kept in the folder `previous` of the seed. Settings that return
then find their detector there, and nothing is trained. Of each seed the last three are kept. They are links to the
same bytes where the file system has such links, so that keeping them takes no time.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import logging
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from preprocess.running.cli import run_command
from preprocess.store.atomic import atomic_path
from preprocess.store.checksum import file_sha256

log = logging.getLogger("detectors")

FOLDER = "previous"
N_KEPT = 3
_CHECKSUMS = "checksums.json"


def keep(files: Sequence[Path], made_from: dict) -> None:
    """Keep a detector that is about to be replaced, unless it was made from the same.

    Args:
        files: Of the detector: what `train_detector` writes, `summary.json` last; they lie in one folder.
        made_from: What the new one is made from, the facts that `summary.json` begins with.
    """
    summary = files[-1]
    if not all(path.is_file() for path in files) or _was_made_from(summary, made_from):
        return
    kept = summary.parent / FOLDER
    folder = kept / hashlib.sha256(summary.read_bytes()).hexdigest()[:12]
    if not folder.exists():
        half = kept / f".{folder.name}"
        shutil.rmtree(half, ignore_errors=True)
        half.mkdir(parents=True)
        for path in files:
            _link(path, half / path.name)
        checksums = {path.name: file_sha256(path) for path in files}
        (half / _CHECKSUMS).write_text(json.dumps(checksums, indent=2) + "\n")
        half.rename(folder)
    os.utime(folder)
    for old in sorted(_folders(kept), key=lambda path: path.stat().st_mtime_ns)[:-N_KEPT]:
        shutil.rmtree(old)


def take_back(files: Sequence[Path], made_from: dict) -> bool:
    """Put a kept detector that was made from the same in the place of the present one, which is kept in its turn.

    Args:
        files: As for `keep`.
        made_from: As for `keep`.

    Returns:
        Whether there was one.
    """
    for folder in _folders(files[0].parent / FOLDER):
        if not _was_made_from(folder / files[-1].name, made_from):
            continue
        checksums = json.loads((folder / _CHECKSUMS).read_text())
        if any(file_sha256(folder / path.name) != checksums[path.name] for path in files):
            log.warning("train: %s is not what was kept there, and is passed over", folder)
            continue
        keep(files, made_from)
        for path in files:
            with atomic_path(path) as temporary:
                shutil.copyfile(folder / path.name, temporary)
        log.info("train: these settings were trained before; the detector is taken back from %s", folder)
        return True
    return False


def _was_made_from(summary: Path, made_from: dict) -> bool:
    with contextlib.suppress(OSError, ValueError):
        found = json.loads(summary.read_text())
        return all(found.get(name) == value for name, value in json.loads(json.dumps(made_from)).items())
    return False


def _folders(kept: Path) -> list[Path]:
    """The kept detectors of a seed; one that is being kept has a hidden name."""
    if not kept.is_dir():
        return []
    return sorted(path for path in kept.iterdir() if (path / _CHECKSUMS).is_file() and not path.name.startswith("."))


def _link(path: Path, other: Path) -> None:
    try:
        os.link(path, other)
    except OSError:  # a file system without such links
        shutil.copyfile(path, other)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("experiments", nargs="*", help="names of experiments (default: all)")
    parser.add_argument("--results", type=Path, default=Path("results"), help="default: %(default)s")
    parser.add_argument("--remove", action="store_true", help="remove what is listed")
    args = parser.parse_args()
    n_bytes = 0
    for kept in sorted(args.results.glob(f"*/seed*/{FOLDER}")):
        if args.experiments and kept.parts[-3] not in args.experiments:
            continue
        for folder in _folders(kept):
            size = sum(path.stat().st_size for path in folder.iterdir())
            made_by = json.loads((folder / "summary.json").read_text())
            print(f"{folder}  {made_by['detector']}  {size / 1e6:,.1f} MB")
            n_bytes += size
            if args.remove:
                shutil.rmtree(folder)
    print(f"{'removed' if args.remove else 'kept'}: {n_bytes / 1e6:,.1f} MB")


if __name__ == "__main__":
    run_command(main)
