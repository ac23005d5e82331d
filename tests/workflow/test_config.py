import copy
import json

import pytest
import yaml

from detectors.families import FAMILIES
from preprocess.running.cli import UserError
from preprocess.running.settings import load_settings
from workflow.config import (
    SCHEMA_PATH,
    check_config,
    evaluate_settings,
    experiment_settings,
    read_schema,
    resolve,
    resolve_experiments,
)
from workflow.schemas.write_schema import current_schema, stage_settings

SHIPPED = yaml.safe_load((SCHEMA_PATH.parent.parent.parent / "config.yaml").read_text())


@pytest.fixture
def config():
    return copy.deepcopy(SHIPPED)


def mistakes(config) -> str:
    with pytest.raises(UserError) as caught:
        check_config(config)
    return str(caught.value)


def test_the_shipped_config_is_right():
    check_config(SHIPPED)


def test_the_schema_says_what_the_dataclasses_say():
    assert read_schema() == current_schema(), "run `make schema`"


def test_resolved_settings_are_what_each_stage_accepts(config):
    resolved = resolve(config)["ff_synthetic"]
    classes = stage_settings()
    for stage in ("index", "synthetic", "frames", "faces", "crops", "landmarks", "masks"):
        load_settings(classes[stage], resolved[stage])
    load_settings(classes["ucf"], experiment_settings(config, "ucf_multi"))
    load_settings(classes["evaluate"], evaluate_settings(config, "ucf_multi"))


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_explains_how_a_margin_is_written(family):
    settings = stage_settings()[family]
    assert load_settings(settings, {"margin": "30px"}).margin == "30px"
    with pytest.raises(UserError, match=r"margin: found '30 px'; .* pixels of the frame such as '30px'"):
        load_settings(settings, {"margin": "30 px"})


def test_a_study_names_experiments_of_the_config(config):
    config["studies"] = {"mine": {"experiments": ["ucf_multi"]}}
    check_config(config)
    config["studies"]["mine"]["experiments"] = ["ucf_mutli"]
    said = mistakes(config)
    assert "studies.mine.experiments.0: no experiment 'ucf_mutli'; did you mean 'ucf_multi'?" in said


def test_an_experiment_has_no_name_of_a_folder_of_results(config):
    config["experiments"]["studies"] = config["experiments"]["ucf_multi"]
    assert "experiments.studies: the folder results/studies/ is another" in mistakes(config)


def test_a_data_set_overrides_a_stage_for_itself_alone(config):
    config["datasets"]["ff_synthetic"]["frames"] = {"n_frames": 3}
    resolved = resolve(config)
    assert json.loads(resolved["ff_synthetic"]["frames"])["n_frames"] == 3
    assert json.loads(resolved["dfdc_synthetic"]["frames"])["n_frames"] == SHIPPED["frames"]["n_frames"]


def test_key_order_and_stated_defaults_change_nothing(config):
    other = copy.deepcopy(config)
    other["frames"] = dict(reversed(other["frames"].items())) | {"stride": 10}
    assert resolve(other) == resolve(config)


def change(config, path, value):
    *parents, last = path.split(".")
    for key in parents:
        config = config.setdefault(key, {}) if isinstance(config, dict) else config[int(key)]
    config[last] = value


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("datasets.ff_synthetic.n_shards", 0, ["datasets.ff_synthetic.n_shards", "found 0", "1"]),
        ("datasets.ff_synthetic.layout", "ffpp", ["datasets.ff_synthetic.layout", '"ffpp"', "faceforensics"]),
        ("datasets.ff synthetic", {}, ["ff synthetic", "letters"]),
        ("crops.margin", -0.5, ["crops.margin", "-0.5"]),
        ("crops.margin", "30 pixels", ["crops.margin", "30 pixels", "30px"]),
        ("frames.mode", "random", ["frames.mode", '"random"', "uniform, stride, clip"]),
        ("frames.nframes", 8, ["frames", "'nframes'", "did you mean 'n_frames'?"]),
        ("faces.min_size_px", "40", ["faces.min_size_px", '"40"', "integer"]),
        (
            "experiments.ucf_multi.train",
            ["ff_synthetc"],
            ["experiments.ucf_multi.train.0", "did you mean 'ff_synthetic'"],
        ),
        ("experiments.ucf_multi.test", [], ["experiments.ucf_multi.test", "at least one"]),
        ("experiments.ucf_multi.detector", "ufc", ["experiments.ucf_multi.detector", '"ufc"', "ucf"]),
        ("experiments.ucf_multi.settings.epoch", 3, ["'epoch'", "did you mean 'epochs'?"]),
        (
            "datasets.ff_synthetic.index.splits",
            ["train", "val"],
            ["experiments.ucf_multi.test.0", "datasets.ff_synthetic.index.splits is ['train', 'val']", "add 'test'"],
        ),
        ("experiments.ucf_multi.settings.dropout", 1.5, ["settings.dropout: found 1.5", "largest allowed value is 1"]),
        ("evaluate.threshold", 1.7, ["evaluate.threshold: found 1.7", "largest allowed value is 1"]),
        ("evaluate.threshold", "valid", ["evaluate.threshold", '"valid"', "`validation`"]),
        ("evaluate.missing_score", 3, ["evaluate.missing_score: found 3", "largest allowed value is 1"]),
        # what YAML makes of {threshold: 0,5}
        ("evaluate", {"threshold": 0, 5: None}, ["evaluate: found the key 5", "0.5"]),
        ("experiments.ucf_multi.settings.gpus", 3, ["experiments.ucf_multi.settings.batch_size: found 8", "3 GPUs"]),
        ("landmarks.predictor", "no/such.dat", ["landmarks.predictor", "no/such.dat", "81-point"]),
        ("datasets.ff_synthetic.layout", "videos", ["datasets.ff_synthetic.layout", "synthetic"]),
    ],
)
def test_a_mistake_names_key_value_and_way_out(config, path, value, said):
    change(config, path, value)
    message = mistakes(config)
    assert [text for text in said if text not in message] == [], message


def test_real_collections_need_a_predictor_of_their_own(config):
    config["datasets"]["mine"] = {"layout": "videos", "root": "videos", "n_shards": 1}
    assert "drawn faces" in mistakes(config)
    config["datasets"]["mine"]["landmarks"] = {"predictor": "none"}
    check_config(config)
    assert resolve(config)["mine"]["predictor_input"] == []


def test_all_mistakes_are_told_at_once(config):
    change(config, "frames.mode", "random")
    change(config, "datasets.ff_synthetic.n_shards", 0)
    assert len(mistakes(config).splitlines()) == 2


def test_a_group_stands_for_its_data_sets_each_once(config):
    config["groups"] = {"two": ["celebdf_synthetic", "dfdc_synthetic"]}
    config["experiments"]["ucf_multi"]["test"] = ["dfdc_synthetic", "two", "ff_synthetic"]
    check_config(config)
    experiment = resolve_experiments(config)["ucf_multi"]
    assert experiment["test"] == ["dfdc_synthetic", "celebdf_synthetic", "ff_synthetic"]
    assert experiment["train"] == config["experiments"]["ucf_multi"]["train"]
    config["groups"] = {"two": ["celebdf_synthetc"], "dfdc_synthetic": ["ff_synthetic"]}
    message = mistakes(config)
    assert "groups.two.0: no data set 'celebdf_synthetc'; did you mean 'celebdf_synthetic'?" in message
    assert "groups.dfdc_synthetic: a data set has this name too" in message


def test_an_experiment_may_be_evaluated_in_its_own_way(config):
    config["evaluate"] = {"n_bootstrap": 10, "threshold": 0.5}
    config["experiments"]["ucf_multi"]["evaluate"] = {"threshold": 0.6}
    check_config(config)
    settings = json.loads(evaluate_settings(config, "ucf_multi"))
    assert (settings["n_bootstrap"], settings["threshold"]) == (10, 0.6)
