"""The conda environments and the container hold what the stages import, in the versions of pyproject.toml."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from helpers.small_run import ROOT

OURS = ("preprocess", "detectors", "workflow")
FAMILIES, REGISTRY = "detectors.families", "detectors.families.registry"
# the package of PyPI that a module comes from, where the names differ
PYPI_NAMES = {
    "PIL": "pillow",
    "cv2": "opencv-python-headless",
    "dlib": "dlib-bin",
    "sklearn": "scikit-learn",
    "yaml": "pyyaml",
}
# what conda-forge calls a package of PyPI, where the names differ
CONDA_NAMES = {
    "torch": "pytorch",
    "opencv-python-headless": "opencv",
    "dlib-bin": "dlib",
    "matplotlib": "matplotlib-base",
    "huggingface-hub": "huggingface_hub",
}
# written in one shell line with the environment that they run in
RULE = re.compile(r"conda:\s*\"\.\./\.\./envs/(\w+)\.yaml\".*?python -m ([\w.]+)", re.DOTALL)


def modules_of_environments() -> dict[str, set[str]]:
    """Modules that rules run, by environment."""
    found: dict[str, set[str]] = {}
    for path in (ROOT / "workflow/rules").glob("*.smk"):
        for environment, module in RULE.findall(path.read_text()):
            found.setdefault(environment, set()).add(module)
    return found


@cache
def source_of(module: str) -> Path | None:
    """The file of one of our modules, or None."""
    path = ROOT / module.replace(".", "/")
    for candidate in (path.with_suffix(".py"), path / "__init__.py"):
        if candidate.is_file():
            return candidate
    return None


def named_in_text(module: str) -> set[str]:
    """Full names that a module imports, wherever in its text; of `from a import b` both a and a.b."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source_of(module).read_text())):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} imports relatively"
            names.add(node.module)
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
        # of a registry, which imports by name
        elif isinstance(node, ast.Constant) and re.fullmatch(rf"({'|'.join(OURS)})[\w.]*", str(node.value)):
            names.update({node.value} if source_of(node.value) else ())
    return names


def imports_of(module: str) -> set[str]:
    """As `named_in_text`; the table of the families imports none of them, the registry that reads it does."""
    if module == FAMILIES:
        return set()
    return named_in_text(module) | (named_in_text(FAMILIES) if module == REGISTRY else set())


def third_party(modules: set[str]) -> set[str]:
    """Top-level names from elsewhere that running these modules can import."""
    reached, found = set(), set()
    waiting = set(modules) | {f"{module}.__main__" for module in modules}
    while waiting:
        module = waiting.pop()
        # importing a.b.c runs a and a.b too
        waiting.update({module.rpartition(".")[0]} - reached - {""})
        reached.add(module)
        if source_of(module) is None:
            continue
        for name in imports_of(module):
            top = name.partition(".")[0]
            if top in OURS:
                waiting.update({name} - reached)
            elif top not in sys.stdlib_module_names:
                found.add(top)
    return found


def distribution(module: str) -> str:
    """The package of PyPI that holds a module."""
    return PYPI_NAMES.get(module, module.replace("_", "-"))


@cache
def requirements() -> dict[str, SpecifierSet]:
    """Versions of the packages that the project needs, by name."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needed = {requirement.name: requirement.specifier for requirement in map(Requirement, project["dependencies"])}
    return needed | {"python": SpecifierSet(project["requires-python"])}


def named_in(environment: str) -> dict[str, SpecifierSet]:
    """Versions that an environment file names, by the package's name in conda, or in PyPI under `pip:`."""
    named = {}
    for line in yaml.safe_load((ROOT / f"envs/{environment}.yaml").read_text())["dependencies"]:
        for entry in line["pip"] if isinstance(line, dict) else [line]:
            requirement = Requirement(entry)
            named[requirement.name] = requirement.specifier
    return named


ENVIRONMENTS = modules_of_environments()


def test_every_rule_that_runs_a_stage_has_an_environment():
    text = "".join(path.read_text() for path in (ROOT / "workflow/rules").glob("*.smk"))
    assert sum(map(len, ENVIRONMENTS.values())) == len(set(re.findall(r"\"python -m ([\w.]+)", text)))
    assert set(ENVIRONMENTS) == {path.stem for path in (ROOT / "envs").glob("*.yaml")}


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_environment_names_every_package_that_its_stages_import(environment):
    names = {distribution(module) for module in third_party(ENVIRONMENTS[environment])}
    named = named_in(environment)
    assert "numpy" in names
    assert {name for name in names if CONDA_NAMES.get(name, name) not in named and name not in named} == set()


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_versions_are_those_of_the_project(environment):
    of_pypi = {conda: pypi for pypi, conda in CONDA_NAMES.items()}
    for name, versions in named_in(environment).items():
        if name == "pip":
            continue
        expected = requirements()[of_pypi.get(name, name)]
        if name == "python":
            # the newest that conda-forge has all of these packages for may lag behind
            assert set(expected) <= set(versions)
        else:
            assert versions == expected, name


def test_project_requires_every_package_that_it_imports():
    modules = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for folder in OURS
        for path in (ROOT / folder).rglob("*.py")
    }
    names = {distribution(module) for module in third_party(modules)}
    assert names - set(requirements()) - {"snakemake"} == set()
    assert "snakemake" in requirements()


def test_container_installs_what_the_project_requires(tmp_path):
    recipes = [(ROOT / "envs" / name).read_text() for name in ("Dockerfile", "apptainer.def")]
    image = re.compile(r"^from:? (python:[\d.]+-slim)$", re.IGNORECASE | re.MULTILINE)
    # one recipe for two builders: same base, same step
    assert len({image.search(recipe)[1] for recipe in recipes}) == 1
    assert all(re.search(r"sh /opt/pipeline/install.sh$", recipe, re.MULTILINE) for recipe in recipes)
    for name in ("pyproject.toml", "envs/install.sh"):
        assert all(name in recipe for recipe in recipes)
        shutil.copy(ROOT / name, tmp_path)
    # with `echo` for pip, only the list of what would be installed is made
    subprocess.run(["sh", tmp_path / "install.sh"], env=os.environ | {"PIP": "echo"}, check=True)
    installed = {Requirement(line).name for line in (tmp_path / "requirements.txt").read_text().splitlines()}
    assert installed >= set(requirements()) - {"python"}
    assert {"snakemake-executor-plugin-slurm", "snakemake-executor-plugin-cluster-generic"} <= installed


# Stand-ins for programs that fetch from the network what they install: what Snakemake makes of our files is the real
# thing. Their Python writes its own name into the file that it is to make.
PYTHON = """#!/bin/sh
while [ "$1" != --output ]; do shift; done
echo "$0" >"$2"
"""
CONDA = """#!/bin/sh
case "$*" in
  'info --json') echo '{"conda_prefix": "@FOLDER@", "platform": "linux-64"}' ;;
  --version) echo 'conda 25.1.0' ;;
  'config --get channel_priority --json') echo '{"get": {"channel_priority": "strict"}}' ;;
  'env create '*)
    while [ "$1" != --prefix ] && [ "${1%%=*}" != --prefix ]; do shift; done
    prefix=${1#--prefix=}; [ "$prefix" != --prefix ] || prefix=$2
    mkdir -p "$prefix/bin" && cp '@FOLDER@/python' "$prefix/bin/python" ;;
esac
"""
ACTIVATE = 'export PATH="$1/bin:$PATH"\n'
# runs the command where it is, as if the image had nothing but its Python
APPTAINER = """#!/bin/sh
[ "$1" != --version ] || { echo 'apptainer version 1.3.4'; exit; }
while [ "${1##*/}" != image.sif ]; do shift; done
PATH="${1%/*}/image/bin:$PATH"; shift; exec "$@"
"""


@pytest.fixture
def programs(tmp_path):
    """Folder of a conda and an apptainer, which stands first in PATH."""
    folder = tmp_path / "programs"
    for name, text in {
        "python": PYTHON,
        "bin/conda": CONDA,
        "bin/activate": ACTIVATE,
        "bin/apptainer": APPTAINER,
        "image/bin/python": PYTHON,
        "image.sif": "",
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text.replace("@FOLDER@", str(folder)))
        (folder / name).chmod(0o755)
    return folder


def python_of_a_job(folder: Path, programs: Path, method: str, *config: str) -> str:
    """The Python that a stage runs with when jobs have environments of their own."""
    output = "data/predictor/synthetic_81.dat"
    done = subprocess.run(
        [
            *(sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--cores", "1", output),
            *("--directory", str(folder), "--configfile", str(ROOT / "config.yaml")),
            *("--workflow-profile", str(ROOT / "profiles/default")),
            *("--software-deployment-method", method, *config),
        ],
        cwd=folder,
        env=os.environ | {"PATH": f"{programs / 'bin'}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-5000:]
    return (folder / output).read_text().strip()


def test_conda_jobs_run_in_the_environment_of_their_rule(tmp_path, programs):
    python = Path(python_of_a_job(tmp_path, programs, "conda"))
    assert python.is_relative_to(tmp_path / ".snakemake/conda")
    environment = python.parents[1].with_suffix(".yaml")
    assert environment.read_bytes() == (ROOT / "envs/preprocess.yaml").read_bytes()


def test_container_jobs_run_in_the_image_of_the_config(tmp_path, programs):
    image = ("--config", f"container={programs / 'image.sif'}")
    assert python_of_a_job(tmp_path, programs, "apptainer", *image) == str(programs / "image/bin/python")
