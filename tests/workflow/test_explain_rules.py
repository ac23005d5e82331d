"""`snakemake explain` in the real workflow, and what its report then shows."""

from __future__ import annotations

import json
import re
import shutil

import pytest
import yaml
from PIL import Image

from helpers.small_run import SMALL_CONFIG, planned, snakemake

FIGURES = {
    "learning": "learning curves",
    "gradcam": "Grad-CAM",
    "locations": "location maps",
    "features": "features (t-SNE)",
}


def test_figures_are_planned_for_every_experiment_but_ensembles(tmp_path):
    config = SMALL_CONFIG["experiments"]["small"]
    experiments = {"one": config, "other": config, "both": {"ensemble": ["one", "other"], "test": ["ff"], "seeds": [0]}}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(SMALL_CONFIG | {"experiments": experiments}))
    drawn = {path for path in planned(tmp_path, "explain") if path.startswith("results/") and "/figures" in path}
    assert drawn == {
        f"results/{experiment}/figures{name}" for experiment in ("one", "other") for name in ("", "/learning")
    }


@pytest.mark.slow
def test_the_figures_of_a_finished_run_are_drawn_and_stand_in_the_report(finished, tmp_path):
    """Half a minute, once the run is there."""
    shutil.copytree(finished.raw, tmp_path / "raw")
    folder = shutil.copytree(finished.folder, tmp_path / "run")
    made = snakemake(folder, "explain", cores=2)
    assert "Training" not in made, "nothing is trained or predicted again"
    for name in FIGURES:
        with Image.open(folder / f"results/one/figures/{name}.png") as picture:
            assert min(picture.size) > 200, name
    page = tmp_path / "report.html"
    snakemake(folder, "explain", "--report", str(page), cores=2)
    begin = re.search(r"<script[^>]*>\s*var results = ", page.read_text()).end()
    entries = json.JSONDecoder().raw_decode(page.read_text(), begin)[0].values()
    shown = {entry["labels"]["what"]: re.sub(r"<[^>]+>", "", entry["caption"]) for entry in entries}
    for what in FIGURES.values():
        assert "one" in shown[what]
        assert len(shown[what]) > 100
        assert "{{" not in shown[what]
