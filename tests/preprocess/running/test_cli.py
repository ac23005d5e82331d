import json
import logging
import subprocess
import sys
from dataclasses import dataclass

import pytest

from helpers.small_run import ROOT
from preprocess.frames import FramesSettings
from preprocess.running import cli
from preprocess.running.cli import UserError, progress, run_command
from preprocess.running.settings import load_settings, other_default, settings_json

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
    return subprocess.run([sys.executable, "-m", *arguments], cwd=ROOT, capture_output=True, text=True)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_stage_explains_itself(command):
    done = run(command, "--help")
    assert done.returncode == 0
    assert "usage:" in done.stdout
    assert f"python -m {command}" in done.stdout or "--output" in done.stdout


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ("{", "not valid JSON"),
        ("[1]", "JSON object"),
        ('{"n_frame": 1}', "unknown setting 'n_frame'; allowed: mode, n_frames, stride"),
        ('{"n_frames": 0}', "smallest allowed value is 1"),
        ('{"n_frames": true}', "expected int, found True"),
        ('{"mode": "all"}', "allowed: 'uniform', 'stride', 'clip'"),
    ],
)
def test_a_wrong_setting_is_explained(settings, said):
    with pytest.raises(UserError) as caught:
        load_settings(FramesSettings, settings)
    assert said in str(caught.value)


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


def test_settings_round_trip_sorted():
    text = settings_json(FramesSettings(n_frames=3))
    assert list(json.loads(text)) == sorted(json.loads(text))
    assert load_settings(FramesSettings, text) == FramesSettings(n_frames=3)


@dataclass(frozen=True)
class ClipSettings(FramesSettings):
    """Frames with defaults of their own."""

    mode: str = other_default(FramesSettings, "mode", "clip")
    n_frames: int = other_default(FramesSettings, "n_frames", 8, "Frames of a clip.")


def test_another_default_keeps_what_a_setting_says_and_allows():
    assert load_settings(ClipSettings, "{}") == ClipSettings(mode="clip", n_frames=8, stride=10)
    of_parent, of_clip = FramesSettings.__dataclass_fields__, ClipSettings.__dataclass_fields__
    assert of_clip["mode"].metadata == of_parent["mode"].metadata
    assert of_clip["n_frames"].metadata == of_parent["n_frames"].metadata | {"doc": "Frames of a clip."}
    assert of_parent["n_frames"].metadata["doc"] != "Frames of a clip."
    for wrong in ({"mode": "all"}, {"n_frames": 0}):
        with pytest.raises(UserError):
            load_settings(ClipSettings, wrong)


def test_a_log_gets_plain_lines_every_so_often(monkeypatch, caplog):
    monkeypatch.setattr(cli, "LOG_INTERVAL_SECONDS", 0.0)
    with caplog.at_level(logging.INFO):
        assert list(progress(iter("abc"), total=3, description="read letters", unit="letter")) == ["a", "b", "c"]
    assert len(caplog.messages) == 4
    assert caplog.messages[0].startswith("read letters: 1 of 3 letters")
    assert "letter/s" in caplog.messages[-1]
