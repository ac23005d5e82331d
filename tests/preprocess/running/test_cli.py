import logging
import sys

import pytest

from helpers.fork_server import run_python
from helpers.small_run import ROOT
from preprocess.running import cli
from preprocess.running.cli import progress, run_command

COMMANDS = (
    *("preprocess.index", "preprocess.frames", "preprocess.faces", "preprocess.crops", "preprocess.landmarks"),
    *(
        "preprocess.masks",
        "preprocess.samples",
        "preprocess.preview",
        "preprocess.export_crops",
        "preprocess.synthetic",
    ),
    *(
        "preprocess.train_predictor",
        "detectors.train",
        "detectors.predict",
        "detectors.evaluate",
        "detectors.evaluation.leakage",
        "detectors.evaluation.compare",
        "detectors.evaluation.cross_evaluation",
        "detectors.evaluation.summarise",
    ),
    *("detectors.score", "detectors.explain", "detectors.figures.learning_curves"),
)


def run(*arguments):
    return run_python([sys.executable, "-m", *arguments], cwd=ROOT, imported=("lightning", "torchvision"))


@pytest.mark.parametrize("command", COMMANDS)
def test_every_stage_explains_itself(command):
    done = run(command, "--help")
    assert done.returncode == 0
    assert "usage:" in done.stdout
    assert f"python -m {command}" in done.stdout or "--output" in done.stdout


def test_a_mistake_is_one_line_without_traceback(tmp_path):
    arguments = ("--list", str(tmp_path / "no.parquet"), "--root", ".", "--output", str(tmp_path / "out"))
    done = run("preprocess.frames", *arguments)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert "no.parquet" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_bug_keeps_its_traceback():
    def main():
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run_command(main)


def test_a_log_gets_plain_lines_every_so_often(monkeypatch, caplog):
    monkeypatch.setattr(cli, "LOG_INTERVAL_SECONDS", 0.0)
    with caplog.at_level(logging.INFO):
        assert list(progress(iter("abc"), total=3, description="read letters", unit="letter")) == ["a", "b", "c"]
    assert len(caplog.messages) == 4
    assert caplog.messages[0].startswith("read letters: 1 of 3 letters")
    assert "letter/s" in caplog.messages[-1]
