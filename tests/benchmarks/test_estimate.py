"""The calculation on paper in docs/scale.md is what the script prints."""

from __future__ import annotations

import subprocess
import sys

from helpers.small_run import ROOT


def estimate(*options: str) -> str:
    command = [sys.executable, str(ROOT / "benchmarks/estimate.py"), *options]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def cells(printed: str, first: str) -> list[str]:
    """The cells of the line that begins with one."""
    (line,) = [line for line in printed.splitlines() if line.startswith(f"| {first} |")]
    return line.strip("| ").split(" | ")


def test_the_page_on_scale_holds_what_the_script_prints():
    page = (ROOT / "docs/scale.md").read_text()
    for table in estimate().split("\n\n"):
        assert table.strip() in page


def test_what_binds_follows_from_the_numbers_that_the_user_gives():
    assert cells(estimate(), "one workstation, 16 cores")[-1] == "CPU cores"
    assert cells(estimate("--disk-mb-s", "100"), "one workstation, 16 cores")[-1] == "the disk"
    # a quarter of the cores, four times the time
    assert cells(estimate("--cores", "4"), "one workstation, 4 cores")[1] == "17.1 h"
    assert cells(estimate(), "one workstation, 16 cores")[1] == "4.3 h"
    # without real videos' boxes every fake is searched
    assert cells(estimate("--inherited-share", "0"), "faces") == ["faces", "44.2 CPU-hours"]
