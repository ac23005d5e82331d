"""The demonstration as shipped, in this folder: minutes, or seconds after `make run`."""

import csv

import pytest

from helpers.small_run import ROOT, snakemake


@pytest.fixture(scope="module")
def rows():
    snakemake(ROOT, "results/ucf_multi/eval.csv", cores=12)
    with open(ROOT / "results/ucf_multi/eval.csv") as file:
        return {row["dataset"]: row for row in csv.DictReader(file) if row["seed"] == "0"}


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_ucf_learns_what_it_was_trained_on(rows):
    in_domain = {name: float(row["video_auc"]) for name, row in rows.items() if row["domain"] == "in"}
    assert set(in_domain) == {"ff_synthetic", "celebdf_synthetic"}
    assert min(in_domain.values()) >= 0.90


@pytest.mark.slow
def test_the_set_it_was_not_trained_on_has_an_honest_row(rows):
    row = rows["dfdc_synthetic"]
    assert row["domain"] == "out"
    assert float(row["video_auc_low"]) < float(row["video_auc"]) < 1
    assert int(row["n_videos_missing"]) >= 0
