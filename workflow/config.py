"""Check `config.yaml` and resolve what each rule reads from it.

The models (`workflow.config_model`, and the settings that they hold) are the only place for names, types, limits and
defaults. None of them imports PyTorch, so that planning stays quick.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from detectors.evaluation.settings import EvaluateSettings, RobustnessSettings
from detectors.families import FAMILIES
from preprocess.running.cli import UserError
from preprocess.running.settings import Settings, mistakes, settings_json
from preprocess.settings.index import IndexSettings
from preprocess.settings.synthetic import SyntheticSettings
from preprocess.store.shards import shard_names
from preprocess.store.stages import MAX_LOST_SHARE, NO_PREDICTOR, STAGES
from workflow.config_model import STAGE_SETTINGS, Config
from workflow.config_names import mistaken_names


def check_config(config: dict) -> None:
    """Check a config: keys and values first, then what names mean.

    Raises:
        UserError: Every mistake on a line of its own, with the key, the value found and what is allowed.
    """
    told = mistakes(Config, config) + _mistaken_detectors(config) or mistaken_names(Config.model_validate(config))
    if told:
        raise UserError("config: " + "\n        ".join(dict.fromkeys(told)))


def _mistaken_detectors(config: dict) -> list[str]:
    """What is wrong with settings of detectors, where these are known."""
    told = []
    experiments = config.get("experiments") if isinstance(config, dict) else None
    for name, block in experiments.items() if isinstance(experiments, dict) else ():
        detector = block.get("detector") if isinstance(block, dict) else None
        if isinstance(detector, str) and detector in FAMILIES and isinstance(block.get("settings", {}), dict):
            place = f"experiments.{name}.settings"
            told += mistakes(FAMILIES[detector].settings, block.get("settings", {}), place)
    return told


def resolve(config: dict) -> dict[str, dict]:
    """What the rules need of each data set.

    Args:
        config: A config that `check_config` lets pass.

    Returns:
        For each data set: `layout`, `root`, `n_shards`, `shards` (names), `predictor`, `predictor_input` (a list
        of the file, if there is one), `max_lost_share`, `accept_smaller` (0: none) and, for `index`, `synthetic`
        and each stage of the store, the resolved settings as sorted JSON.
    """
    resolved = {}
    for name, dataset in config["datasets"].items():
        stages = {
            stage: dict(STAGE_SETTINGS[stage].model_validate(config.get(stage, {}) | dataset.get(stage, {})))
            for stage, of in STAGES.items()
            if of.for_all_datasets
        }
        predictor = stages["landmarks"].pop("predictor")
        resolved[name] = {
            "layout": dataset["layout"],
            "root": dataset["root"],
            "n_shards": dataset["n_shards"],
            "shards": shard_names(dataset["n_shards"]),
            "predictor": predictor,
            "predictor_input": [] if predictor == NO_PREDICTOR else [predictor],
            "max_lost_share": dataset.get("max_lost_share", config.get("max_lost_share", MAX_LOST_SHARE)),
            "accept_smaller": dataset.get("accept_smaller", 0),
            "index": settings_json(IndexSettings.defaults() | dataset.get("index", {})),
            "synthetic": settings_json(SyntheticSettings.defaults() | dataset.get("synthetic", {})),
            **{stage: settings_json(settings) for stage, settings in stages.items()},
        }
    return resolved


def resolve_experiments(config: dict) -> dict[str, dict]:
    """The experiments, the groups in their lists replaced by the data sets in them, each data set once.

    An ensemble gets a list `train`: what its members are trained on.

    Args:
        config: A config that `check_config` lets pass.
    """
    experiments = config.get("experiments", {})
    resolved = {}
    for name, experiment in experiments.items():
        blocks = [experiments[member] for member in experiment.get("ensemble", [name])]
        lists = {"train": [entry for block in blocks for entry in block["train"]], "test": experiment["test"]}
        resolved[name] = experiment | {role: _members(entries, config) for role, entries in lists.items()}
    return resolved


def _members(names: list[str], config: dict) -> list[str]:
    groups = config.get("groups", {})
    return list(dict.fromkeys(member for name in names for member in groups.get(name, [name])))


def experiment_settings(config: dict, experiment: str) -> str:
    """The resolved settings of an experiment's detector as sorted JSON; an ensemble has none."""
    block = config["experiments"][experiment]
    if "ensemble" in block:
        return settings_json({})
    return settings_json(FAMILIES[block["detector"]].settings.model_validate(block.get("settings", {})))


def evaluate_settings(config: dict, experiment: str) -> str:
    """The resolved settings of an experiment's evaluation as sorted JSON; its own come before those of all."""
    own = config["experiments"][experiment].get("evaluate", {})
    return settings_json(EvaluateSettings.defaults() | config.get("evaluate", {}) | own)


# Settings that a rule takes as JSON, by the rule's name and the parameter.
_RULE_SETTINGS: dict[str, type[Settings]] = {
    "make_synthetic": SyntheticSettings,
    "sample_frames": STAGE_SETTINGS["frames"],
    "track_faces": STAGE_SETTINGS["faces"],
    "crop_faces": STAGE_SETTINGS["crops"],
    "detect_landmarks": STAGE_SETTINGS["landmarks"],
    "make_masks": STAGE_SETTINGS["masks"],
    "evaluate_detector": EvaluateSettings,
    "measure_robustness": EvaluateSettings,
    "predict_distorted": RobustnessSettings,
}


def setting_defaults(rule: str, params: Mapping[str, Any]) -> dict[str, dict]:
    """What the settings among a rule's parameters are when nobody sets them, by parameter."""
    if "detector" in params:
        return {"settings": FAMILIES[params["detector"]].settings.defaults()}
    if "index" in params:
        return {"index": IndexSettings.defaults()}
    return {"settings": _RULE_SETTINGS[rule].defaults()} if rule in _RULE_SETTINGS else {}


def robustness_settings(config: dict) -> str:
    """The resolved settings of the robustness sweep as sorted JSON."""
    return settings_json(RobustnessSettings.defaults() | config.get("robustness", {}))
