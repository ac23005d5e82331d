"""What the tool that changes operators may change, and that it tells killed from survived."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import mutants

SOURCE = '''
"""A module, 1 + 1."""

LIMIT = 3


def price(n: int, rate: float = 0.5) -> float:
    """Of n things, 2 * 2."""
    if n < 0:
        raise ValueError(f"{n + 1} is less than {0}")
    print(n + 1)
    return max(n, LIMIT) * rate


def inner(values: list) -> list:
    return [value for value in values[1:] if value and not value == 7]


if __name__ == "__main__":
    price(1)
'''

MODULE = "def double(x):\n    return 2 * x\n\n\ndef is_large(x):\n    return x > 10\n"
TEST = """
import os
import subprocess

import pytest
from detectors.tiny import double, is_large

def test_double():
    assert double(3) == 6
    assert is_large(100) and not is_large(1)

def test_that_fails_whatever_is_changed():
    assert os.environ.get("PYTHONPATH") == "elsewhere"

def test_that_starts_snakemake():
    subprocess.run(["snakemake"], check=True)
"""


def test_changes_leave_alone_what_is_only_said():
    texts = [change.shown() for change, _ in mutants.changes(SOURCE, "a.py")]
    assert len(texts) == len(set(texts))
    joined = "\n".join(texts)
    for expected in (
        "LIMIT = [3 → 4]",
        "rate: float=[0.5 → 0.625]) -> float",
        "if n <[ → =] 0: pass",
        "if [n → not n] < 0: pass",
        "return [max → min](n, LIMIT) * rate",
        "return max(n, LIMIT) [* → /] rate",
        "value in values[[1 → 2]:] if value",
        "values[1:[ → -1]] if value",
        "if value [and (not value == 7) → or not value == 7]]",
        "[= → !]= 7)]",
    ):
        assert expected in joined, (expected, joined)
    for silent in ("__main__", "1 + 1", "2 * 2", "is less", "print", "price(1"):
        assert silent not in joined, silent


def test_every_change_is_a_module_that_differs_in_one_statement():
    plain = ast.unparse(ast.parse(SOURCE)).splitlines()
    for change, make in mutants.changes(SOURCE, "a.py"):
        lines = make().rstrip("\n").splitlines()
        different = [pair for pair in zip(plain, lines, strict=True) if pair[0] != pair[1]]
        assert len(different) == 1, change


def test_a_sample_is_even_over_modules_and_found_again_when_lines_move(tmp_path):
    for name in ("a", "b", "c"):
        (tmp_path / "detectors").mkdir(exist_ok=True)
        (tmp_path / f"detectors/{name}.py").write_text(SOURCE)
    sampled = mutants.sample(tmp_path, 1, 7, [])
    assert sampled == mutants.sample(tmp_path, 1, 7, [])
    assert sampled != mutants.sample(tmp_path, 2, 7, [])
    assert sorted(sum(change.module.endswith(f"{name}.py") for change in sampled) for name in "abc") == [2, 2, 3]
    mutants.write_results(tmp_path / "table.csv", dict.fromkeys(sampled, mutants.Result(mutants.KILLED)))
    assert mutants.read_changes(tmp_path / "table.csv") == sampled
    (tmp_path / "detectors/b.py").unlink()
    (tmp_path / "detectors/a.py").write_text("\n\n\n" + SOURCE)
    (tmp_path / "detectors/c.py").rename(tmp_path / "detectors/d.py")
    for change, found in zip(sampled, mutants.same_changes(tmp_path, sampled), strict=True):
        assert (found.before, found.after) == (change.before, change.after)
        assert found.line == change.line + 3 * (found.module == "detectors/a.py")


def test_tests_of_a_module_name_it_or_what_imports_it(tmp_path):
    for path, text in {
        "detectors/low.py": "X = 1",
        "detectors/high.py": "from detectors import low",
        "detectors/lone.py": "",
        "tests/detectors/test_high.py": "import detectors.high",
        "tests/detectors/test_other.py": "from detectors.high import a",
        "tests/detectors/test_command.py": "run('detectors.high')",
        "tests/preprocess/test_low.py": "import detectors.low",
    }.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    expected = [f"tests/detectors/test_{name}.py" for name in ("high", "command", "other")]
    assert mutants.tests_of(tmp_path, "detectors/high.py") == expected
    assert set(mutants.tests_of(tmp_path, "detectors/low.py")) == set(expected)
    assert mutants.tests_of(tmp_path, "detectors/lone.py") == ["tests/detectors"]


@pytest.fixture
def project(tmp_path) -> Path:
    for path, text in {
        "detectors/__init__.py": "",
        "detectors/tiny.py": MODULE,
        "tests/detectors/test_tiny.py": TEST,
        "benchmarks/mutants.py": Path(mutants.__file__).read_text(),
        "pyproject.toml": '[tool.pytest.ini_options]\npythonpath = ["."]\nmarkers = ["slow: s", "training: t"]\n',
    }.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    return tmp_path


def test_the_command_tells_killed_from_survived_in_a_copy(project):
    command = [sys.executable, project / "benchmarks/mutants.py", "--seed", "0", "--sample", "99", "--cold"]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, check=True, timeout=120)
    summary = done.stdout.partition("room")[2].splitlines()
    # killed: 2 → 3, 2 → 1, * → /, > → <=; survived: > → >=, 10 → 11, 10 → 9
    assert summary[1].split() == ["detectors", "4", "7"]
    assert "\n".join(summary).count("detectors/tiny.py:6 is_large") == 3
    assert "fails without any change, passed over: tests/detectors/test_tiny.py::test_that_fails" in done.stdout
    assert (project / "detectors/tiny.py").read_text() == MODULE
