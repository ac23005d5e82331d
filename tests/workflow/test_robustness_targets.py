"""The targets of docs/robustness.md through the workflow, on a rendered DFDC whose test videos are perturbed."""

from __future__ import annotations

import copy
import json

import pandas as pd
import pytest
import yaml

from helpers.small_run import SMALL_CONFIG, planned, snakemake
from preprocess.store.tables import read_rows

TARGETS = ("results/e/robustness.csv", "results/e/perturbations.csv")

CONFIG = {
    "datasets": {"dfdc": SMALL_CONFIG["datasets"]["dfdc"]},
    "frames": {"n_frames": 4},
    "experiments": {"e": SMALL_CONFIG["experiments"]["one"] | {"train": ["dfdc"], "test": ["dfdc"]}},
    "robustness": {"distortions": ["contrast", "video_compression"], "strengths": [2, 5], "max_samples": 24},
}


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_sweep_and_the_errors_by_perturbation_are_targets_of_the_workflow(tmp_path):
    """About 2 minutes of processor time, 12 minutes of the clock on a machine that is busy otherwise."""
    snakemake(tmp_path, *TARGETS, config=CONFIG)
    results = tmp_path / "results/e"
    sweep = pd.read_csv(results / "robustness.csv")
    assert set(zip(sweep["distortion"], sweep["strength"], strict=True)) == {
        ("none", 0),
        *((name, strength) for name in ("contrast", "video_compression") for strength in (2, 5)),
    }
    assert set(sweep["n_faces"]) <= set(range(1, 25))
    assert (tmp_path / "results/e/seed3/robustness/dfdc.parquet").is_file()

    # the rendered collection has done to its test videos what its metadata say
    index = read_rows(tmp_path / "data/index/dfdc.parquet")
    told = [json.loads(row["metadata"])["augmentations"] for row in index if row["split"] == "test" and row["metadata"]]
    names = [entry["augmenter"] for entry in told if entry]
    assert names
    errors = pd.read_csv(results / "perturbations.csv")
    errors = errors[(errors["seed"] == "mean") & (errors["kind"] == "augmenter")]
    assert set(errors["perturbation"]) == {"none", *names}
    counts = errors.groupby("perturbation")["n_videos"].sum()
    assert all(counts[name] == names.count(name) for name in set(names))

    for name in ("robustness", "perturbations"):
        for path in (f"figures/{name}.png", f"figures/{name}.svg", f"tables/{name}.html"):
            assert (results / path).is_file()

    assert planned(tmp_path, *TARGETS) == set()
    stronger = copy.deepcopy(CONFIG) | {"robustness": CONFIG["robustness"] | {"strengths": [2, 3, 5]}}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(stronger))
    assert planned(tmp_path, *TARGETS) == {"results/e/seed3/robustness/dfdc.parquet", "results/e/robustness.csv"}
