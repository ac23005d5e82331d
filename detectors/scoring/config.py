"""What a config says of scoring: the settings with which faces are found, and the block of the experiment."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from detectors.scoring.loose_files import StageSettings
from preprocess.crops import CropsSettings
from preprocess.faces import FacesSettings
from preprocess.frames import FramesSettings
from preprocess.running.cli import UserError
from preprocess.running.config_file import read_config
from preprocess.running.settings import Settings, load_settings

# where the project keeps experiments that are not in config.yaml
STUDIES = Path("config/studies")


def read_configs(paths: Sequence[Path]) -> dict:
    """Configs one on top of the other, as Snakemake reads what stands after `--configfile`.

    Raises:
        UserError: One is absent, or is not YAML.
    """
    config: dict = {}
    for path in paths:
        config = _laid_over(config, read_config(path))
    return config


def experiment_block(name: str, config: dict, paths: Sequence[Path]) -> dict:
    """What a config says of an experiment: its evaluation's threshold and aggregation stand nowhere else.

    Args:
        name: Of the experiment.
        config: The config.
        paths: The files that it was read from.

    Raises:
        UserError: Experiment not in the config; names the shipped study that defines it.
    """
    experiments = config.get("experiments") or {}
    if name in experiments:
        return experiments[name]
    studies = [path for path in sorted(STUDIES.glob("*.yaml")) if name in (read_config(path).get("experiments") or {})]
    way_out = "".join(f" --config {path}" for path in [*paths, *studies[:1]])
    hint = f"{studies[0]} has it: add{way_out}" if studies else "--config names another config"
    raise UserError(
        f"{name!r} is neither a checkpoint nor an experiment of {', '.join(map(str, paths))} (experiments there: "
        f"{', '.join(sorted(experiments)) or 'none'}); {hint}"
    )


def _laid_over(below: dict, above: dict) -> dict:
    both = {
        key: _laid_over(below[key], value)
        for key, value in above.items()
        if isinstance(value, dict) and isinstance(below.get(key), dict)
    }
    return below | above | both


def stage_settings(config: dict, dataset: str | None, changes: dict[str, dict]) -> StageSettings:
    """The settings with which faces are found.

    Args:
        config: A config, whose stages stand at its top; empty for the defaults.
        dataset: Data set of the config whose own settings come before those; None for none.
        changes: By stage, settings that come before both.

    Raises:
        UserError: A name or a value that is not allowed.
    """
    own: dict = {}
    if dataset is not None:
        datasets = config.get("datasets", {})
        if dataset not in datasets:
            raise UserError(f"--like: no data set {dataset!r} in the config; allowed: {', '.join(datasets) or 'none'}")
        own = datasets[dataset]
    classes: dict[str, type[Settings]] = {"frames": FramesSettings, "faces": FacesSettings, "crops": CropsSettings}
    resolved: dict[str, Any] = {
        stage: load_settings(cls, config.get(stage, {}) | own.get(stage, {}) | changes.get(stage, {}))
        for stage, cls in classes.items()
    }
    return StageSettings(**resolved)
