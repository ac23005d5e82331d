"""Ensembles: averages by hand, what the config may say, and the workflow from members to `eval.csv`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import yaml

from detectors.ensemble import average_scores, make_ensemble
from helpers import finished_run
from helpers.small_run import SMALL_CONFIG, planned, snakemake, start_snakemake
from helpers.tiny_predictions import write_predictions
from preprocess.running.cli import UserError
from preprocess.store.origin import read_origin
from preprocess.store.schemas import PREDICTIONS
from preprocess.store.tables import read_rows, write_table
from workflow.config import check_config, resolve_experiments
from workflow.state import read_status
from workflow.verify import verify_store


def predictions(scores: dict[str, float]) -> pa.Table:
    """A table of samples, by name, with their scores."""
    rows = [
        dict.fromkeys(PREDICTIONS.names) | {"sample_id": name, "video_id": name[:1], "label": 1, "score": score}
        for name, score in scores.items()
    ]
    return pa.Table.from_pylist(rows, schema=PREDICTIONS)


def write(path: Path, scores: dict[str, float], *, dataset="d", stage="predict", **made_by) -> Path:
    values = {"experiment": path.stem, "detector": "ucf"} | made_by
    write_predictions(path, predictions(scores), dataset=dataset, stage=stage, **values)
    return path


# --- averages ---------------------------------------------------------------------------------------------------


def test_scores_are_averaged_sample_by_sample_whatever_their_order():
    average = average_scores(
        [
            predictions({"a": 0.25, "b": 0.5, "c": 1}),
            predictions({"c": 0.5, "a": 0.75, "b": 0}),
            predictions({"b": 1, "a": 0.5, "c": 0}),
        ]
    )
    assert average["sample_id"].to_pylist() == ["a", "b", "c"]
    assert average["score"].to_pylist() == [0.5, 0.5, 0.5]
    assert average.schema.equals(PREDICTIONS)


def test_only_shared_samples_have_an_average():
    average = average_scores([predictions({"a": 0.25, "b": 0.5}), predictions({"b": 0.75, "c": 0.1})])
    assert dict(zip(average["sample_id"].to_pylist(), average["score"].to_pylist(), strict=True)) == {"b": 0.625}
    assert len(average_scores([predictions({"a": 1}), predictions({"b": 1})])) == 0


def test_the_file_says_what_it_is_the_mean_of(tmp_path):
    members = [
        write(tmp_path / "one.parquet", {"a": 0.25}, seed=3, train=["x", "d"]),
        write(tmp_path / "two.parquet", {"a": 0.75}, seed=3, train=["d", "b"], detector="sbi", aggregation="confident"),
    ]
    make_ensemble("both", members, tmp_path / "out.parquet")
    assert [row["score"] for row in read_rows(tmp_path / "out.parquet")] == [0.5]
    origin = read_origin(tmp_path / "out.parquet")
    assert (origin.dataset, origin.stage) == ("d", "predict")
    assert json.loads(origin.settings) == {
        "experiment": "both",
        "seed": 3,
        "detector": "ensemble",
        "members": ["one", "two"],
        "train": ["b", "d", "x"],
        # the members do not agree on another
        "aggregation": "mean",
        "split": "test",
    }
    make_ensemble("both", [members[1], members[1]], tmp_path / "out.parquet")
    assert json.loads(read_origin(tmp_path / "out.parquet").settings)["aggregation"] == "confident"


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"seed": 4}, "is of seed 4.* of 0"),
        ({"split": "val"}, "is of split 'val'"),
        ({"dataset": "e"}, "is of data set 'e'"),
        ({"stage": "validate"}, "is of stage 'validate'"),
    ],
)
def test_only_what_belongs_together_is_averaged(tmp_path, other, message):
    members = [write(tmp_path / "one.parquet", {"a": 0.5}), write(tmp_path / "two.parquet", {"a": 0.5}, **other)]
    with pytest.raises(UserError, match=message):
        make_ensemble("both", members, tmp_path / "out.parquet")


def test_predictions_of_other_samples_are_refused_and_validations_share_what_they_can(tmp_path, caplog):
    scores = {"one": {"a": 0.5, "b": 0.5}, "two": {"b": 0.5}, "three": {"c": 0.5}}
    members = {name: write(tmp_path / f"{name}.parquet", values) for name, values in scores.items()}
    with pytest.raises(UserError, match=r"one.parquet scores 2 samples, of which only 1 .*predict again"):
        make_ensemble("both", [members["one"], members["two"]], tmp_path / "out.parquet")
    for name, values in scores.items():
        # trained on different data sets
        write(members[name], values, stage="validate", dataset=name, split="val")
    assert len(make_ensemble("both", [members["one"], members["two"]], tmp_path / "out.parquet")) == 1
    assert "no validation sample in common" not in caplog.text
    assert len(make_ensemble("both", [members["one"], members["three"]], tmp_path / "out.parquet")) == 0
    assert "(one, three) have no validation sample in common" in caplog.text


# --- config -----------------------------------------------------------------------------------------------------

ENSEMBLE = {"ensemble": ["one", "small"], "test": ["ff"], "seeds": [0]}


def with_ensemble(**changes) -> dict:
    """The small config with an ensemble of its two experiments; a change of None leaves a key out."""
    config = json.loads(json.dumps(SMALL_CONFIG))
    config["experiments"]["one"]["seeds"] = [0, 3]
    block = {key: value for key, value in (ENSEMBLE | changes).items() if value is not None}
    config["experiments"]["both"] = block
    return config


def test_an_ensemble_is_trained_on_what_its_members_are():
    config = with_ensemble()
    check_config(config)
    assert resolve_experiments(config)["both"]["train"] == ["celebdf", "ff"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ensemble": ["one", "smal"]}, r"both.ensemble.1: no experiment 'smal'; did you mean 'small'\?"),
        ({"ensemble": ["one", "both"]}, "both.ensemble.1: 'both' is an ensemble itself"),
        ({"ensemble": ["one"]}, r"both.ensemble: found \[\"one\"\]; at least two"),
        ({"ensemble": ["one", "one"]}, "each named once"),
        ({"seeds": [0, 3]}, r"both.seeds: found 3, which 'small' is not trained with \(its seeds are \[0, 1\]\)"),
        ({"detector": "ucf"}, "both.detector: found with `ensemble`"),
        ({"train": ["ff"]}, "both.train: found with `ensemble`"),
        ({"settings": {}}, "both.settings: found with `ensemble`"),
        ({"test": None}, "both: 'test' is missing"),
        ({"test": ["fff"]}, "both.test.0: no data set or group 'fff'"),
        ({"ensemble": None}, "both.detector: missing"),
    ],
)
def test_a_mistaken_ensemble_is_named(changes, message):
    with pytest.raises(UserError, match=message):
        check_config(with_ensemble(**changes))


# --- workflow ---------------------------------------------------------------------------------------------------


def test_members_are_trained_and_predict_what_the_ensemble_is_tested_on(tmp_path):
    """Two plans, 5 s each on a busy core."""
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(with_ensemble(test=["dfdc"])))
    plan = {path for path in planned(tmp_path, "results/both/eval.csv") if path.startswith("results/")}
    members = {f"results/{name}/seed0/" for name in ("one", "small")}
    assert plan == {
        *(f"{folder}detector.ckpt" for folder in members),
        # that `one` is not tested on
        *(f"{folder}predictions/dfdc.parquet" for folder in members),
        *(f"results/{name}/leakage.csv" for name in ("one", "small", "both")),
        "results/both/seed0/predictions/dfdc.parquet",
        "results/both/seed0/validation.parquet",
        "results/both/eval.csv",
    }
    refused = start_snakemake(tmp_path, "--dry-run", "results/both/seed0/detector.ckpt")
    assert refused.returncode != 0
    assert "MissingRuleException" in refused.stdout


MEMBERS = ("one", "blocks")


@pytest.fixture(scope="module")
def averaged(finished, tmp_path_factory):
    """A copy of the small run with a second member and their ensemble, done."""
    folder = tmp_path_factory.mktemp("averaged")
    shutil.copytree(finished.raw, folder / "raw")
    shutil.copytree(finished.folder, folder / "run")
    blocks = {"detector": "dct", "train": ["c"], "test": ["c"], "seeds": [0], "settings": {"size": 64}}
    both = {"ensemble": list(MEMBERS), "test": ["c"], "seeds": [0]}
    experiments = finished_run.CONFIG["experiments"] | {"blocks": blocks, "both": both}
    finished_run.write_config(folder / "run", folder / "raw", experiments=experiments)
    snakemake(folder / "run", "results/both/eval.csv", cores=2)
    return folder / "run"


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_workflow_averages_its_members(averaged):
    """After the shared run, a training without a network and seven short jobs: half a minute on two quiet cores."""
    tables = {
        name: pd.DataFrame(read_rows(averaged / "results" / name / "seed0/predictions/c.parquet"))
        for name in (*MEMBERS, "both")
    }
    mean = (tables["one"]["score"] + tables["blocks"]["score"]) / 2
    assert len(mean)
    assert np.allclose(tables["both"]["score"], mean, atol=1e-6)
    assert (tables["one"]["score"] - tables["blocks"]["score"]).abs().max() > 0.01
    table = pd.read_csv(averaged / "results/both/eval.csv")
    assert table["experiment"].unique().tolist() == ["both"]
    assert table["domain"].tolist() == ["in", "in"]
    assert table["video_threshold"].notna().all()
    assert not (averaged / "results/both/seed0/detector.ckpt").exists()


@pytest.mark.slow
def test_status_and_verify_know_the_ensemble(averaged):
    config = yaml.safe_load((averaged / "config.yaml").read_text())
    status = {of.name: of for of in read_status(config, averaged, ())[1]}["both"]
    assert (status.n_seeds, status.n_predictions, status.n_predicted, status.evaluated) == (0, 1, 1, True)
    assert verify_store(config, averaged / "data", averaged / "results").findings == []
    # a member that says something else now
    path = averaged / "results/blocks/seed0/predictions/c.parquet"
    kept = path.read_bytes()
    rows, origin = read_rows(path), read_origin(path)
    write_table(path, [row | {"score": 0.0} for row in rows], PREDICTIONS, origin)
    (finding,) = verify_store(config, averaged / "data", averaged / "results").findings
    assert finding.file.endswith("results/both/seed0/predictions/c.parquet")
    assert "are not the mean of" in finding.message
    path.unlink()
    (finding,) = verify_store(config, averaged / "data", averaged / "results").findings
    assert finding.file == str(path)
    path.write_bytes(kept)
    config["experiments"]["both"]["ensemble"] = ["blocks", "one"]  # in another order
    assert any(
        "members" in finding.message
        for finding in verify_store(config, averaged / "data", averaged / "results").findings
    )
