"""The rooms: each knows only those under it, no module imports in a circle, and each says what lives there."""

from __future__ import annotations

import ast
import importlib.util
import re
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from helpers.small_run import ROOT

PACKAGES = ("preprocess", "detectors", "workflow")

# From the ground up. Which rooms each may import; a package's own name stands for the modules at its top.
ALLOWED = {
    "preprocess.video": (),
    "preprocess.running": ("preprocess.video",),
    "preprocess.store": ("preprocess.running", "preprocess.video"),
    "preprocess.face": ("preprocess.running", "preprocess.video"),
    "preprocess.settings": ("preprocess.face", "preprocess.running"),
    "preprocess.synthetic": ("preprocess.store", "preprocess.settings", "preprocess.running"),
    "preprocess.datasets": ("preprocess.store", "preprocess.settings", "preprocess.running", "preprocess.video"),
    "preprocess": (
        *("preprocess.datasets", "preprocess.synthetic", "preprocess.settings", "preprocess.face"),
        *("preprocess.store", "preprocess.running", "preprocess.video"),
    ),
    "detectors.data": ("preprocess.face", "preprocess.store", "preprocess.running"),
    "detectors.interface": ("detectors.data", "preprocess.settings", "preprocess.store", "preprocess.running"),
    "detectors.measures": ("preprocess.store", "preprocess.running", "preprocess.video"),
    "detectors.figures": (
        *("detectors.measures", "detectors.interface", "detectors.data"),
        *("preprocess.store", "preprocess.running"),
    ),
    "detectors.networks": (
        *("detectors.figures", "detectors.measures", "detectors.interface", "detectors.data"),
        *("preprocess.store", "preprocess.running"),
    ),
    "detectors.families": (
        *("detectors.networks", "detectors.measures", "detectors.interface", "detectors.data"),
        *("preprocess.settings", "preprocess.face", "preprocess.store", "preprocess.running"),
    ),
    "detectors.evaluation": (
        *("detectors.families", "detectors.figures", "detectors.measures", "detectors.interface", "detectors.data"),
        *("preprocess.datasets", "preprocess.store", "preprocess.running", "preprocess.video"),
    ),
    "detectors.scoring": (
        *("detectors.families", "detectors.networks", "detectors.figures", "detectors.measures"),
        *("detectors.interface", "detectors.data", "preprocess"),
        *("preprocess.datasets", "preprocess.store", "preprocess.running", "preprocess.video"),
    ),
    "detectors": (
        *("detectors.scoring", "detectors.evaluation", "detectors.families", "detectors.figures"),
        *("detectors.measures", "detectors.interface", "detectors.data"),
        *("preprocess", "preprocess.store", "preprocess.running"),
    ),
    "workflow": (
        *("detectors", "detectors.evaluation", "detectors.families", "detectors.interface"),
        *("preprocess", "preprocess.datasets", "preprocess.settings"),
        *("preprocess.store", "preprocess.running", "preprocess.video"),
    ),
}

# What people run: the only modules at the top of the two packages.
COMMANDS = {
    "preprocess": {
        *("index", "frames", "faces", "crops", "landmarks", "masks", "samples"),
        *("preview", "export_crops", "train_predictor"),
    },
    "detectors": {"train", "predict", "ensemble", "evaluate", "explain", "previous", "retrieve", "score"},
}


def modules() -> dict[str, Path]:
    """Every module of the three packages by name; a package is its `__init__`."""
    return {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
    }


def imports(found: dict[str, Path]) -> dict[str, set[str]]:
    """The modules of the three packages that each imports, wherever in its text it does so."""
    graph: dict[str, set[str]] = {}
    for name, path in found.items():
        graph[name] = set()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.level == 0:
                for alias in node.names:
                    whole = f"{node.module}.{alias.name}"
                    graph[name].add(whole if whole in found else node.module)
            elif isinstance(node, ast.ImportFrom):
                pytest.fail(f"{path}: line {node.lineno}: import by the whole name")
            elif isinstance(node, ast.Import):
                graph[name].update(alias.name for alias in node.names)
        graph[name] = {target for target in graph[name] if target in found and target != name}
    return graph


def room(module: str) -> str:
    """The room in which a module lies."""
    first_two = ".".join(module.split(".")[:2])
    return first_two if first_two in ALLOWED else module.split(".")[0]


def test_a_room_imports_only_what_it_may():
    arrows: dict[tuple[str, str], str] = {}
    for module, targets in imports(modules()).items():
        for target in targets:
            if room(target) != room(module):
                arrows[room(module), room(target)] = f"{module} imports {target}"
    forbidden = [said for (source, target), said in arrows.items() if target not in ALLOWED[source]]
    assert not forbidden, "arrows that the table of this test does not allow: " + "; ".join(forbidden)


def test_allowed_arrows_lead_down():
    below: set[str] = set()
    for name, targets in ALLOWED.items():
        assert set(targets) <= below, f"{name} may import {sorted(set(targets) - below)}, which lies above it"
        below.add(name)


def test_no_module_imports_in_a_circle():
    try:
        TopologicalSorter(imports(modules())).prepare()
    except CycleError as error:
        pytest.fail("modules that import each other: " + " -> ".join(error.args[1]))


def test_every_folder_is_a_room_of_the_table():
    folders = {
        f"{package}.{path.name}"
        for package in ("preprocess", "detectors")
        for path in (ROOT / package).iterdir()
        if any(path.glob("*.py"))
    }
    assert folders == {name for name in ALLOWED if "." in name}


@pytest.mark.parametrize("package", COMMANDS)
def test_at_the_top_stands_what_people_run(package):
    assert {path.stem for path in (ROOT / package).glob("*.py")} - {"__init__"} == COMMANDS[package]


@pytest.mark.parametrize("name", ALLOWED)
def test_a_room_says_what_lives_there_and_what_it_may_import(name):
    doc = ast.get_docstring(ast.parse((ROOT / name.replace(".", "/") / "__init__.py").read_text()))
    purpose, found, allowed = doc.partition("May import: ")
    assert purpose, f"{name} does not say what lives there"
    assert found, f"the docstring of {name} does not end in 'May import: ...'"
    assert set(re.findall(r"`(\w+)`", allowed)) == {target.rpartition(".")[2] for target in ALLOWED[name]}


@pytest.mark.parametrize(
    "file", ["Snakefile", *sorted(str(p.relative_to(ROOT)) for p in (ROOT / "workflow/rules").glob("*.smk"))]
)
def test_snakemakes_own_workflow_is_not_hidden(file):
    lines = [line.strip() for line in (ROOT / file).read_text().splitlines()]
    assert not [line for line in lines if line.startswith("import workflow")]


def test_the_package_workflow_is_ours():
    assert Path(importlib.util.find_spec("workflow").origin) == ROOT / "workflow/__init__.py"
