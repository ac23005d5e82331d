"""Check `config.yaml` and resolve what each rule reads from it.

The schema (`workflow/schemas/config.schema.yaml`) checks names, types and ranges; `check_config` adds what a
schema cannot say. The schema's part on the stages is written from their dataclasses, so that the Snakefile
knows every default without importing PyTorch.
"""

from __future__ import annotations

import copy
import difflib
import functools
import json
from collections.abc import Iterator
from pathlib import Path

import jsonschema
import yaml

from detectors.families import FAMILIES, LANDMARKS
from detectors.interface.combinations import mistaken_combinations
from preprocess.running.cli import UserError
from preprocess.running.settings import settings_json
from preprocess.store.shards import shard_names
from preprocess.store.stages import MAX_LOST_SHARE, NO_PREDICTOR, STAGES

SCHEMA_PATH = Path(__file__).parent / "schemas" / "config.schema.yaml"

# Their settings stand at the top of the config, and a data set may override them.
_STAGES = [name for name, stage in STAGES.items() if stage.for_all_datasets]

# The predictor that the workflow itself trains, for the synthetic collections only.
SYNTHETIC_PREDICTOR = "data/predictor/synthetic_81.dat"

# Folders of results/ that hold what concerns several experiments.
RESULT_FOLDERS = ("figures", "studies", "tables")


def read_schema() -> dict:
    """The schema of `config.yaml`."""
    return copy.deepcopy(_parsed_schema())


@functools.cache
def _parsed_schema() -> dict:
    # parsing takes 0.1 s, and planning asks for the schema several times
    return yaml.safe_load(SCHEMA_PATH.read_text())


def check_config(config: dict) -> None:
    """Check a config against the schema, then what names mean.

    Raises:
        UserError: Every mistake on a line of its own, with the key, the value found and what is allowed.
    """
    mistakes = _schema_mistakes(config) or _semantic_mistakes(config)
    if mistakes:
        raise UserError("config: " + "\n        ".join(mistakes))


def resolve(config: dict) -> dict[str, dict]:
    """What the rules need of each data set.

    Returns:
        For each data set: `layout`, `root`, `n_shards`, `shards` (names), `predictor`, `predictor_input` (a list
        of the file, if there is one), `max_lost_share` and, for `index`, `synthetic` and each stage of the store, the
        resolved settings as sorted JSON.
    """
    schema = read_schema()
    resolved = {}
    for name, dataset in config["datasets"].items():
        stages = {stage: _defaults(schema, stage) | config.get(stage, {}) | dataset.get(stage, {}) for stage in _STAGES}
        predictor = stages["landmarks"].pop("predictor")
        resolved[name] = {
            "layout": dataset["layout"],
            "root": dataset["root"],
            "n_shards": dataset["n_shards"],
            "shards": shard_names(dataset["n_shards"]),
            "predictor": predictor,
            "predictor_input": [] if predictor == NO_PREDICTOR else [predictor],
            "max_lost_share": dataset.get("max_lost_share", config.get("max_lost_share", MAX_LOST_SHARE)),
            "index": settings_json(_defaults(schema, "index") | dataset.get("index", {})),
            "synthetic": settings_json(_defaults(schema, "synthetic") | dataset.get("synthetic", {})),
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
    return settings_json(_defaults(read_schema(), block["detector"]) | block.get("settings", {}))


def evaluate_settings(config: dict, experiment: str) -> str:
    """The resolved settings of an experiment's evaluation as sorted JSON; its own come before those of all."""
    own = config["experiments"][experiment].get("evaluate", {})
    return settings_json(_defaults(read_schema(), "evaluate") | config.get("evaluate", {}) | own)


def robustness_settings(config: dict) -> str:
    """The resolved settings of the robustness sweep as sorted JSON."""
    return settings_json(_defaults(read_schema(), "robustness") | config.get("robustness", {}))


def _defaults(schema: dict, name: str) -> dict:
    return {key: entry["default"] for key, entry in schema["$defs"][name]["properties"].items()}


def _schema_mistakes(config: dict) -> list[str]:
    # YAML reads {threshold: 0,5} as two keys, the second a number, which a schema cannot look at
    if numbers := list(_other_keys(config)):
        return [
            f"{path}: found the key {key!r}, which is no text; quote a name, write decimals as 0.5"
            for path, key in numbers
        ]
    validator = jsonschema.Draft202012Validator(read_schema())
    errors = sorted(validator.iter_errors(config), key=lambda error: [str(part) for part in error.absolute_path])
    return [_describe(error) for error in errors]


def _other_keys(block: object, path: str = "(top)") -> Iterator[tuple[str, object]]:
    """Keys that are no text, with the block that they stand in."""
    for key, value in block.items() if isinstance(block, dict) else ():
        if not isinstance(key, str):
            yield path, key
        yield from _other_keys(value, str(key) if path == "(top)" else f"{path}.{key}")


def _describe(error: jsonschema.ValidationError) -> str:
    key = ".".join(str(part) for part in error.absolute_path) or "(top)"
    found = json.dumps(error.instance, ensure_ascii=False, default=str)
    if error.validator == "additionalProperties":
        allowed = sorted(error.schema.get("properties", {}))
        unknown = sorted(set(error.instance) - set(allowed))
        return "; ".join(f"{key}: unknown key {name!r}{_nearest(name, allowed)}" for name in unknown)
    if error.validator == "required":
        return f"{key}: {error.message}"
    if error.validator == "enum":
        return f"{key}: found {found}; allowed: {', '.join(map(str, error.validator_value))}"
    if error.validator == "minimum":
        return f"{key}: found {found}; the smallest allowed value is {error.validator_value}"
    if error.validator == "maximum":
        return f"{key}: found {found}; the largest allowed value is {error.validator_value}"
    if error.validator == "type":
        types = error.validator_value if isinstance(error.validator_value, list) else [error.validator_value]
        return f"{key}: found {found}; expected {' or '.join(types)}"
    return f"{key}: found {found}; {error.schema.get('description', error.message)}"


def _nearest(name: str, allowed: list[str]) -> str:
    close = difflib.get_close_matches(name, allowed, 1)
    hint = f"; did you mean {close[0]!r}?" if close else ";"
    return f"{hint} allowed: {', '.join(allowed) or 'none'}"


def _semantic_mistakes(config: dict) -> list[str]:
    datasets = config["datasets"]
    mistakes = []
    groups = config.get("groups", {})
    predictors = {name: dataset["predictor"] for name, dataset in resolve(config).items()}
    for group, members in groups.items():
        if group in datasets:
            mistakes.append(f"groups.{group}: a data set has this name too; give the group another one")
        mistakes += [
            f"groups.{group}.{position}: no data set {member!r}{_nearest(member, sorted(datasets))}"
            for position, member in enumerate(members)
            if member not in datasets
        ]
    experiments = config.get("experiments", {})
    for study, block in config.get("studies", {}).items():
        mistakes += [
            f"studies.{study}.experiments.{position}: no experiment {entry!r}{_nearest(entry, sorted(experiments))}"
            for position, entry in enumerate(block["experiments"])
            if entry not in experiments
        ]
    for name, experiment in experiments.items():
        if name in RESULT_FOLDERS:
            mistakes.append(
                f"experiments.{name}: the folder results/{name}/ is another; give the experiment another name"
            )
        if "ensemble" in experiment:
            mistakes += _ensemble_mistakes(name, experiment, experiments)
        else:
            settings = json.loads(experiment_settings(config, name))
            mistakes += [f"experiments.{name}.settings.{mistake}" for mistake in mistaken_combinations(settings)]
        for role in ("test",) if "ensemble" in experiment else ("train", "test"):
            for position, entry in enumerate(experiment[role]):
                key = f"experiments.{name}.{role}.{position}"
                if entry not in datasets and entry not in groups:
                    mistakes.append(
                        f"{key}: no data set or group {entry!r}{_nearest(entry, [*sorted(datasets), *groups])}"
                    )
                for dataset in _members([entry], config):
                    if dataset in datasets:
                        mistakes += _role_mistakes(
                            key, role, dataset, datasets[dataset], experiment.get("detector", ""), predictors[dataset]
                        )
    for name, dataset in datasets.items():
        if "synthetic" in dataset and dataset["layout"] not in ("faceforensics", "celebdf", "dfdc"):
            mistakes.append(
                f"datasets.{name}.layout: found {dataset['layout']!r} with a synthetic block; "
                "synthetic collections exist for: faceforensics, celebdf, dfdc"
            )
    for name, dataset in resolve(config).items():
        predictor = dataset["predictor"]
        if predictor == NO_PREDICTOR:
            continue
        if "{" in predictor or "}" in predictor:
            mistakes.append(
                f"landmarks.predictor (data set {name}): found {predictor!r}; Snakemake takes braces in the path of an "
                "input for a wildcard: rename the file or its folder"
            )
        elif predictor != SYNTHETIC_PREDICTOR and not Path(predictor).is_file():
            mistakes.append(
                f"landmarks.predictor (data set {name}): no file {predictor!r}; give the path of an 81-point "
                "shape predictor (README, 'Landmarks'), or remove the key to use the one of the synthetic collections"
            )
        elif predictor == SYNTHETIC_PREDICTOR and "synthetic" not in datasets[name]:
            mistakes.append(
                f"landmarks.predictor (data set {name}): {predictor!r} is trained on drawn faces and is wrong on real "
                f"ones; give the path of an 81-point shape predictor under datasets.{name}.landmarks.predictor "
                "(README, 'Landmarks'), or set it to 'none' to leave landmarks out"
            )
    return mistakes


def _ensemble_mistakes(name: str, ensemble: dict, experiments: dict[str, dict]) -> list[str]:
    """What keeps an ensemble from being averaged."""
    mistakes = [
        f"experiments.{name}.{key}: found with `ensemble`, which averages the scores of others and trains nothing; "
        f"remove `{key}` or `ensemble`"
        for key in ("detector", "train", "settings")
        if key in ensemble
    ]
    trained = sorted(entry for entry, block in experiments.items() if "ensemble" not in block)
    for position, member in enumerate(ensemble["ensemble"]):
        key = f"experiments.{name}.ensemble.{position}"
        if member not in experiments:
            mistakes.append(f"{key}: no experiment {member!r}{_nearest(member, trained)}")
        elif member not in trained:
            mistakes.append(f"{key}: {member!r} is an ensemble itself; name the experiments that it averages")
        elif absent := [seed for seed in ensemble["seeds"] if seed not in experiments[member]["seeds"]]:
            mistakes.append(
                f"experiments.{name}.seeds: found {absent[0]}, which {member!r} is not trained with (its seeds are "
                f"{experiments[member]['seeds']}); scores are averaged seed by seed: add it to "
                f"experiments.{member}.seeds, or remove it"
            )
    return mistakes


def _role_mistakes(key: str, role: str, name: str, dataset: dict, detector: str, predictor: str) -> list[str]:
    """What keeps a data set from being trained on, or tested on, by an experiment."""
    mistakes = []
    if role == "train" and predictor == NO_PREDICTOR and LANDMARKS in FAMILIES[detector].reads:
        mistakes.append(
            f"{key}: data set {name!r} has no landmarks (landmarks.predictor is {NO_PREDICTOR!r}), which the detector "
            f"{detector!r} is trained with; name a predictor (README, 'Landmarks'), or another detector"
        )
    splits = dataset.get("index", {}).get("splits")
    if splits is not None and role not in splits:
        mistakes.append(
            f"{key}: data set {name!r} leaves its {role} split out: datasets.{name}.index.splits is {splits}; add "
            f"{role!r} to it, or name another data set"
        )
    return mistakes
