import copy
import functools
import json
import re
import subprocess
import sys

import jsonschema
import pytest
import yaml

from detectors.evaluation.settings import EvaluateSettings, RobustnessSettings
from detectors.families import FAMILIES
from helpers.small_run import ROOT
from preprocess.running.cli import UserError
from preprocess.running.settings import load_settings
from preprocess.settings.index import IndexSettings
from preprocess.settings.landmarks import LandmarksSettings
from preprocess.settings.synthetic import SyntheticSettings
from workflow.config import (
    check_config,
    evaluate_settings,
    experiment_settings,
    resolve,
    resolve_experiments,
    robustness_settings,
)
from workflow.config_model import STAGE_SETTINGS
from workflow.schemas.write_schema import PAGE, SCHEMA, config_schema, settings_page

SHIPPED = yaml.safe_load((ROOT / "config.yaml").read_text())
# the predictor of the landmarks is a file to the stage
SETTINGS = {**STAGE_SETTINGS, "landmarks": LandmarksSettings, "index": IndexSettings, "synthetic": SyntheticSettings}


@pytest.fixture
def config():
    return copy.deepcopy(SHIPPED)


def mistakes(config) -> str:
    with pytest.raises(UserError) as caught:
        check_config(config)
    return str(caught.value)


def test_the_shipped_config_is_right():
    check_config(SHIPPED)


def test_the_schema_and_the_page_say_what_the_models_say():
    assert yaml.safe_load(SCHEMA.read_text()) == config_schema(), "run `make schema`"
    assert PAGE.read_text() == settings_page(), "run `make schema`"


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (None, None),
        ("datasets.ff_synthetic.layout", "ffpp"),
        ("datasets.ff synthetic", {"layout": "dfdc", "root": "raw", "n_shards": 1}),
        ("frames.nframes", 8),
        ("crops.margin", -0.5),
        ("experiments.ucf_multi.settings.epoch", 3),
        ("experiments.ucf_multi.settings.epochs", 0),
        ("experiments.ucf_multi.seeds", [0, 0]),
        ("experiments.ucf_multi.train", []),
    ],
)
def test_editors_and_planning_refuse_the_same(config, path, value):
    validator = jsonschema.Draft202012Validator(yaml.safe_load(SCHEMA.read_text()))
    if path is None:
        check_config(config)
        assert validator.is_valid(config)
        return
    change(config, path, value)
    assert not validator.is_valid(config)
    mistakes(config)


def test_what_the_schema_refers_to_is_there():
    schema = config_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    references = set(re.findall(r'"#/([^"]+)"', json.dumps(schema)))
    for reference in references:
        functools.reduce(lambda node, key: node[key], reference.split("/"), schema)
    assert "$defs/NetworkSettings/properties/epochs" in references


def test_planning_knows_every_setting_without_the_heavy_packages():
    heavy = ("torch", "timm", "lightning", "cv2", "numpy", "pandas", "pyarrow", "av", "h5py", "yaml", "jsonschema")
    code = "import sys, workflow.config; print([name for name in sys.argv[1:] if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code, *heavy], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_settings_that_rules_get_are_those_of_the_snapshot():
    """Another text makes the rules run again in every store: what changes here belongs into CHANGELOG.md."""
    experiments = {name: {"detector": name, "test": [], "seeds": [0]} for name in FAMILIES}
    resolved = resolve(SHIPPED)["ff_synthetic"]
    now = {stage: resolved[stage] for stage in ("index", "synthetic", *STAGE_SETTINGS)}
    now |= {"evaluate": evaluate_settings(SHIPPED, "ucf_multi"), "robustness": robustness_settings(SHIPPED)}
    now |= {"ucf_multi": experiment_settings(SHIPPED, "ucf_multi")}
    now |= {f"detector {name}": experiment_settings({"experiments": experiments}, name) for name in FAMILIES}
    snapshot = (ROOT / "tests/workflow/resolved_settings.txt").read_text().splitlines()
    assert now == dict(line.split(": ", 1) for line in snapshot)


def test_whole_numbers_stay_whole_in_what_rules_get(config):
    config["crops"]["margin"] = 1
    config["experiments"]["ucf_multi"]["settings"]["learning_rate"] = 1
    check_config(config)
    assert '"margin": 1,' in resolve(config)["ff_synthetic"]["crops"]
    assert '"learning_rate": 1,' in experiment_settings(config, "ucf_multi")


def test_resolved_settings_are_what_each_stage_accepts(config):
    resolved = resolve(config)["ff_synthetic"]
    for stage, settings in SETTINGS.items():
        load_settings(settings, resolved[stage])
    load_settings(FAMILIES["ucf"].settings, experiment_settings(config, "ucf_multi"))
    load_settings(EvaluateSettings, evaluate_settings(config, "ucf_multi"))
    load_settings(RobustnessSettings, robustness_settings(config))


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_explains_how_a_margin_is_written(family):
    settings = FAMILIES[family].settings
    assert load_settings(settings, {"margin": "30px"}).margin == "30px"
    with pytest.raises(UserError, match=r'margin: found "30 px"; .* pixels of the frame'):
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
        (
            "datasets.ff_synthetic.index.test_share",
            0.5,
            ["datasets.ff_synthetic.index.test_share", "'faceforensics' has official splits"],
        ),
        ("datasets.ff_synthetic.index.test_share", [0.9, 0.2], ["datasets.ff_synthetic.index.test_share", "1 at most"]),
        ("datasets.ff_synthetic.synthetic.n_sources", 9, ["synthetic.n_sources: found 9", "extras to false"]),
        ("datasets", {}, ["datasets: found {}", "collections, by a name"]),
        (
            "datasets.ff_synthetic",
            {"root": "x"},
            ["datasets.ff_synthetic: 'layout' is missing", "'n_shards' is missing"],
        ),
        ("experiments.ucf_multi.detector", None, ["experiments.ucf_multi.detector: found null; allowed: ucf,"]),
        ("experiments.ucf_multi.seeds", [0, 0], ["experiments.ucf_multi.seeds: found [0, 0]", "each named once"]),
        ("frames", None, ["frames: found null", "mapping"]),
        ("video_seconds", 0, ["video_seconds: found 0", "smallest allowed value is 1"]),
        ("max_lost_share", 1.1, ["max_lost_share: found 1.1", "largest allowed value is 1"]),
        ("container", "", ["container: found", "docker://"]),
        ("robustness.strengths", [6], ["robustness.strengths.0: found 6", "1, 2, 3, 4, 5"]),
        ("robustness.distortions", [], ["robustness.distortions: found []"]),
        ("studie", {}, ["(top): unknown key 'studie'", "did you mean 'studies'?"]),
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
    change(config, "experiments.ucf_multi.settings.epochs", 0)
    assert len(mistakes(config).splitlines()) == 3


def test_all_names_that_lead_nowhere_are_told_at_once(config):
    config["groups"] = {"some": ["dfdc"]}
    config["studies"] = {"mine": {"experiments": ["ucf"]}}
    change(config, "experiments.ucf_multi.test", ["dfdc"])
    change(config, "landmarks.predictor", "no/such.dat")
    assert len(mistakes(config).splitlines()) == 3 + len(SHIPPED["datasets"])


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
