"""What names in the config mean to one another: one function for each subject, each giving a line for every mistake."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from detectors.families import FAMILIES, LANDMARKS
from preprocess.datasets import LAYOUTS
from preprocess.running.mistakes import nearest
from preprocess.store.stages import NO_PREDICTOR
from workflow.config_model import SYNTHETIC_PREDICTOR, Config, Experiment

# Folders of results/ that hold what concerns several experiments.
RESULT_FOLDERS = ("figures", "studies", "tables")


def mistaken_names(config: Config) -> list[str]:
    """Every mistake of a config whose keys and values are right one by one."""
    subjects = (_groups, _studies, _experiments, _ensembles, _roles, _layouts, _predictors)
    return [mistake for subject in subjects for mistake in subject(config)]


def _groups(config: Config) -> Iterator[str]:
    for group, members in config.groups.items():
        if group in config.datasets:
            yield f"groups.{group}: a data set has this name too; give the group another one"
        for position, member in enumerate(members):
            if member not in config.datasets:
                yield f"groups.{group}.{position}: no data set {member!r}{nearest(member, sorted(config.datasets))}"


def _studies(config: Config) -> Iterator[str]:
    for study, block in config.studies.items():
        for position, entry in enumerate(block.experiments):
            if entry not in config.experiments:
                yield (
                    f"studies.{study}.experiments.{position}: no experiment "
                    f"{entry!r}{nearest(entry, sorted(config.experiments))}"
                )


def _experiments(config: Config) -> Iterator[str]:
    for name in config.experiments:
        if name in RESULT_FOLDERS:
            yield f"experiments.{name}: the folder results/{name}/ is another; give the experiment another name"


def _ensembles(config: Config) -> Iterator[str]:
    """What keeps scores from being averaged."""
    trained = sorted(name for name, experiment in config.experiments.items() if not experiment.ensemble)
    for name, experiment in config.experiments.items():
        for position, member in enumerate(experiment.ensemble or []):
            key = f"experiments.{name}.ensemble.{position}"
            if member not in config.experiments:
                yield f"{key}: no experiment {member!r}{nearest(member, trained)}"
                continue
            seeds = config.experiments[member].seeds
            absent = [seed for seed in experiment.seeds if seed not in seeds]
            if member not in trained:
                yield f"{key}: {member!r} is an ensemble itself; name the experiments that it averages"
            elif absent:
                yield (
                    f"experiments.{name}.seeds: found {absent[0]}, which {member!r} is not trained with (its seeds are "
                    f"{seeds}); scores are averaged seed by seed: add it to experiments.{member}.seeds, or remove it"
                )


def _roles(config: Config) -> Iterator[str]:
    """What keeps data sets from being trained on, or tested on."""
    for name, experiment in config.experiments.items():
        for role, entries in (("train", experiment.train or []), ("test", experiment.test)):
            for position, entry in enumerate(entries):
                key = f"experiments.{name}.{role}.{position}"
                if entry not in config.datasets and entry not in config.groups:
                    allowed = [*sorted(config.datasets), *config.groups]
                    yield f"{key}: no data set or group {entry!r}{nearest(entry, allowed)}"
                for dataset in config.members(entry):
                    if dataset in config.datasets:
                        yield from _role(config, key, role, dataset, experiment)


def _role(config: Config, key: str, role: str, name: str, experiment: Experiment) -> Iterator[str]:
    detector = experiment.detector
    reads = FAMILIES[detector].reads if detector else ()
    if role == "train" and config.predictor(name) == NO_PREDICTOR and LANDMARKS in reads:
        yield (
            f"{key}: data set {name!r} has no landmarks (landmarks.predictor is {NO_PREDICTOR!r}), which the detector "
            f"{detector!r} is trained with; name a predictor (README, 'Landmarks'), or another detector"
        )
    splits = config.datasets[name].index.splits
    if splits is not None and role not in splits:
        yield (
            f"{key}: data set {name!r} leaves its {role} split out: datasets.{name}.index.splits is {splits}; add "
            f"{role!r} to it, or name another data set"
        )


def _layouts(config: Config) -> Iterator[str]:
    for name, dataset in config.datasets.items():
        if "synthetic" in dataset.model_fields_set and not LAYOUTS[dataset.layout].rendered:
            rendered = [layout for layout, of in LAYOUTS.items() if of.rendered]
            yield (
                f"datasets.{name}.layout: found {dataset.layout!r} with a synthetic block; synthetic collections exist "
                f"for: {', '.join(rendered)}"
            )
        if "test_share" in dataset.index.model_fields_set and LAYOUTS[dataset.layout].official_splits:
            yield (
                f"datasets.{name}.index.test_share: the layout {dataset.layout!r} has official splits and no use for "
                "it; remove it"
            )


def _predictors(config: Config) -> Iterator[str]:
    for name, dataset in config.datasets.items():
        predictor, key = config.predictor(name), f"landmarks.predictor (data set {name})"
        if predictor == NO_PREDICTOR:
            continue
        if "{" in predictor or "}" in predictor:
            yield (
                f"{key}: found {predictor!r}; Snakemake takes braces in the path of an input for a wildcard: rename "
                "the file or its folder"
            )
        elif predictor != SYNTHETIC_PREDICTOR and not Path(predictor).is_file():
            yield (
                f"{key}: no file {predictor!r}; give the path of an 81-point shape predictor (README, 'Landmarks'), or "
                "remove the key to use the one of the synthetic collections"
            )
        elif predictor == SYNTHETIC_PREDICTOR and "synthetic" not in dataset.model_fields_set:
            yield (
                f"{key}: {predictor!r} is trained on drawn faces and is wrong on real ones; give the path of an "
                f"81-point shape predictor under datasets.{name}.landmarks.predictor (README, 'Landmarks'), or set it "
                "to 'none' to leave landmarks out"
            )
