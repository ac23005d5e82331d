"""Checks of one file of the store: its bytes, who made it, and what a comparison says of its content."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa

from preprocess.running.cli import UserError
from preprocess.running.system_errors import brief
from preprocess.store import checksum
from preprocess.store.origin import Origin, read_origin
from workflow.checks.report import DAMAGED, DISAGREES, STALE, CheckReport
from workflow.config_model import STAGE_SETTINGS

# What reading a damaged file raises.
_READ_ERRORS = (UserError, OSError, KeyError, ValueError, TypeError, RuntimeError, IndexError, pa.ArrowException)


def check_file(path: Path, expected: Origin, report: CheckReport) -> None:
    """Check the checksum of a file, then its origin; settings of `expected` that are empty are not compared."""
    report.n_files += 1
    try:
        sound = checksum.verify(path)
        if sound is False:
            report.find(path, DAMAGED, "its checksum does not fit: its bytes are not those that were written")
            return
        if sound is None:
            report.without_checksum.append(str(path))
        found = read_origin(path)
    except _READ_ERRORS as error:
        report.find(path, DAMAGED, f"cannot be read: {brief(error)}")
        return
    if message := _other_origin(found, expected):
        report.find(path, STALE, message)


def check_content(path: Path, report: CheckReport, compare: Callable[..., str | None], *arguments: object) -> None:
    """Report that a file disagrees where a comparison says in what, or that it is damaged where that fails.

    Args:
        path: The file.
        report: Takes up what is found.
        compare: What is wrong with the file, in words, or None.
        arguments: Of `compare`.
    """
    try:
        message = compare(*arguments)
    except _READ_ERRORS as error:
        report.find(path, DAMAGED, f"cannot be read: {brief(error)}")
        return
    if message:
        report.find(path, DISAGREES, message)


def _other_origin(found: Origin, expected: Origin) -> str | None:
    """How a file differs from what the config asks for at its place."""
    place = f"shard {expected.shard} of {expected.dataset}" if expected.shard else expected.dataset
    if (found.dataset, found.stage, found.shard) != (expected.dataset, expected.stage, expected.shard):
        return (
            f"says that it is {found.stage} of {found.dataset} {found.shard}, "
            f"in the place of {expected.stage} of {place}"
        )
    if found.version != expected.version:
        return f"was made by version {found.version} of its stage, which is at {expected.version}"
    if not expected.settings:
        return None
    wanted = json.loads(expected.settings)
    usual = STAGE_SETTINGS[expected.stage].defaults() if expected.stage in STAGE_SETTINGS else {}
    # a setting that is newer than the file had its default then
    return other_settings({key: usual[key] for key in usual.keys() & wanted} | json.loads(found.settings), wanted)


def other_settings(found: dict, expected: dict) -> str | None:
    """The first setting in which two differ, in words."""
    for name in sorted(found.keys() | expected.keys()):
        if found.get(name) != expected.get(name):
            return f"was made with {name} {found.get(name)!r}, the config asks for {expected.get(name)!r}"
    return None
