"""Planning at the size of the published collections, by the real Snakemake."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "planning.py"
N_VIDEOS = 140_114
N_SHARDS = 414 + 32 + 22


def test_140000_videos_are_planned_with_five_jobs_a_shard_and_little_memory(tmp_path):
    command = [sys.executable, str(SCRIPT), str(tmp_path), "--counts", str(N_VIDEOS), "--done-up-to", "0"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (plan,) = json.loads((tmp_path / "planning.json").read_text())
    # three data sets: scan, lists, samples and predictions; the experiment: leakage, training and evaluation
    assert plan["n_jobs"] == 5 * N_SHARDS + 3 * 4 + 3
    assert plan["peak_mb"] < 500
    # the goal is 15 s of wall time; walking through all shards for every job once took several times that
    assert plan["cpu_seconds"] < 30
