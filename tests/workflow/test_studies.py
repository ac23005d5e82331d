"""The studies' configs: right, planned whole, and each of their experiments trained and predicted, cut down."""

from __future__ import annotations

import copy
import json
import math
import re

import pyarrow.compute as pc
import pytest
import yaml
from snakemake.utils import update_config

from detectors.families import FAMILIES
from helpers.short_run import predict_on_cpu, train_on_cpu
from helpers.small_run import ROOT, start_snakemake
from preprocess.store.origin import read_origin
from preprocess.store.schemas import SAMPLES
from preprocess.store.tables import read_table, write_table
from workflow.config import check_config, experiment_settings, resolve_experiments

STUDIES = sorted((ROOT / "config/studies").glob("*.yaml"))
SHIPPED = yaml.safe_load((ROOT / "config.yaml").read_text())
FF, CELEBDF, DFDC = SHIPPED["datasets"]
# the roles of all studies, filled with the collections as shipped
GROUPS = {
    "ffpp": [FF],
    "celebdf": [CELEBDF],
    "dfdc": [DFDC],
    "mixed": [FF, CELEBDF],
    "test_sets": [FF, CELEBDF, DFDC],
    "dfdc_train": [DFDC],
    "dense_tests": [CELEBDF, DFDC],
    "dfdc_subset": [DFDC],
    "uadfv": [FF],
    "mixed_images": [FF],
}
# what makes an experiment of a GPU's days one of a CPU's seconds
CUT_DOWN = {
    "pretrained": False,
    "size": 96,
    "epochs": 2,
    "embedding_epochs": 1,
    "samples_per_epoch": 8,
    "val_samples": 8,
    "batch_size": 2,
    "n_frames": 3,
    "cpu_threads": 1,
}
N_PREDICTED = 12


def user_config() -> dict:
    """A user's config: the shipped one, with the roles."""
    return SHIPPED | {"groups": GROUPS}


def with_study(study) -> dict:
    """The study on top of the user's config, as Snakemake merges the two: key by key, at any depth."""
    config = copy.deepcopy(user_config())
    update_config(config, yaml.safe_load(study.read_text()))
    return config


def cut_down(config: dict, name: str) -> dict:
    """Settings of an experiment, as small as its detector lets them be."""
    settings = json.loads(experiment_settings(config, name))
    fields = FAMILIES[config["experiments"][name]["detector"]].settings.model_fields
    return settings | {key: value for key, value in CUT_DOWN.items() if key in fields}


def trained_experiments() -> list:
    return [
        pytest.param(study, name, id=f"{study.stem}-{name}")
        for study in STUDIES
        for name, experiment in yaml.safe_load(study.read_text())["experiments"].items()
        if "detector" in experiment
    ]


@pytest.mark.parametrize("study", STUDIES, ids=lambda path: path.stem)
def test_a_study_is_planned_whole(study, tmp_path):
    check_config(with_study(study))
    experiments = yaml.safe_load(study.read_text())["experiments"]
    # as docs/studies.md has it: the study on top of the user's config.yaml; of several --configfile the last counts
    options = ["--configfile", str(study), "--dry-run", "--printshellcmds"]
    targets = [f"results/{name}/eval.csv" for name in experiments]
    done = start_snakemake(tmp_path, *options, *targets, config=user_config())
    assert done.returncode == 0, done.stdout[-3000:]
    for name, experiment in experiments.items():
        trainings = re.findall(rf"python -m detectors\.train --experiment {re.escape(name)} ", done.stdout)
        assert len(trainings) == (len(experiment["seeds"]) if "detector" in experiment else 0), name


@pytest.mark.parametrize("study", STUDIES, ids=lambda path: path.stem)
def test_nothing_of_the_shipped_experiments_gets_into_a_study(study):
    config = with_study(study)
    experiments = yaml.safe_load(study.read_text())["experiments"]
    assert {name: config["experiments"][name] for name in experiments} == experiments


def test_every_study_is_on_its_page():
    page = (ROOT / "docs/studies.md").read_text()
    for study in STUDIES:
        assert f"config/studies/{study.name}" in page
        for name in yaml.safe_load(study.read_text())["studies"]:
            assert f"results/studies/{name}/" in page, name


def test_every_experiment_belongs_to_a_study():
    for study in STUDIES:
        config = yaml.safe_load(study.read_text())
        listed = {name for entry in config["studies"].values() for name in entry["experiments"]}
        assert listed == set(config["experiments"]), study.name


@pytest.mark.training
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("study", "name"), trained_experiments())
def test_every_experiment_trains_and_predicts(shipped_store, tmp_path, study, name):
    """Some eight seconds each on a quiet core: two epochs of a few crops at 96 px."""
    config = with_study(study)
    experiment = resolve_experiments(config)[name]
    samples = [shipped_store / "samples" / f"{dataset}.parquet" for dataset in experiment["train"]]
    options = {"experiment": name, "seed": experiment["seeds"][0]}
    summary = train_on_cpu(experiment["detector"], cut_down(config, name), samples, tmp_path, **options)
    assert all(math.isfinite(value) for value in summary["best"].values() if value is not None)
    samples = shipped_store / "samples" / f"{experiment['test'][-1]}.parquet"
    few = read_table(samples).filter(pc.field("split") == "test").slice(0, N_PREDICTED)
    write_table(tmp_path / samples.name, few, SAMPLES, read_origin(samples))
    predicted = predict_on_cpu(tmp_path, tmp_path / samples.name, data=shipped_store)
    assert predicted["sample_id"].tolist() == few["sample_id"].to_pylist()
    assert predicted["score"].between(0, 1).all()
