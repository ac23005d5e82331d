"""Detectors of earlier settings: kept, taken back, and bounded in number."""

from __future__ import annotations

import json
import os

import pytest

from detectors import previous
from detectors.previous import N_KEPT, keep, take_back
from helpers.programs import run_program

NAMES = ("detector.ckpt", "validation.parquet", "summary.json")


@pytest.fixture
def files(tmp_path):
    """Paths of a detector's files."""
    folder = tmp_path / "results/e/seed0"
    folder.mkdir(parents=True)
    return [folder / name for name in NAMES]


def made(settings):
    return {"detector": "ucf", "settings": settings}


def train(files, settings):
    """What a training does with the files, with contents that tell the settings."""
    if take_back(files, made(settings)):
        return "taken back"
    keep(files, made(settings))
    for path in files[:-1]:
        path.unlink(missing_ok=True)  # a new file: the kept one is a link to the bytes of the old
        path.write_text(f"{path.name} of {settings}")
    files[-1].unlink(missing_ok=True)
    files[-1].write_text(json.dumps(made(settings) | {"seconds": 1}))
    return "trained"


def kept(files):
    return sorted(path.name for path in (files[0].parent / "previous").iterdir())


def test_settings_that_return_find_their_detector_and_so_do_those_that_they_replace(files):
    assert train(files, {"rate": 1}) == "trained"
    before = [path.read_bytes() for path in files]
    assert train(files, {"rate": 2}) == "trained"
    assert train(files, {"rate": 1}) == "taken back"
    assert [path.read_bytes() for path in files] == before
    assert train(files, {"rate": 2}) == "taken back"
    assert files[0].read_text() == "detector.ckpt of {'rate': 2}"
    assert train(files, {"rate": 2.5}) == "trained"


def test_a_file_that_is_taken_back_is_new_and_the_kept_one_stays(files):
    train(files, {"rate": 1})
    os.utime(files[0], (1, 1))
    train(files, {"rate": 2})
    train(files, {"rate": 1})
    assert files[0].stat().st_mtime > 1e9
    assert len(kept(files)) == 2


def test_a_training_of_the_same_settings_keeps_nothing(files):
    train(files, {"rate": 1})
    keep(files, made({"rate": 1}))
    assert not (files[0].parent / "previous").exists()


def test_half_a_detector_is_not_kept(files):
    train(files, {"rate": 1})
    files[1].unlink()
    keep(files, made({"rate": 2}))
    assert not (files[0].parent / "previous").exists()


def test_a_kept_file_that_was_spoilt_is_passed_over_and_told(files, caplog):
    train(files, {"rate": 1})
    train(files, {"rate": 2})
    (folder,) = (files[0].parent / "previous").iterdir()
    (folder / "detector.ckpt").write_text("spoilt")
    assert train(files, {"rate": 1}) == "trained"
    assert f"{folder} is not what was kept there" in caplog.text


def test_the_last_ones_are_kept(files):
    for rate in range(N_KEPT + 3):
        train(files, {"rate": rate})
        for number, folder in enumerate(sorted((files[0].parent / "previous").glob("*"))):
            assert number < N_KEPT, folder
    rates = {
        json.loads((files[0].parent / "previous" / name / "summary.json").read_text())["settings"]["rate"]
        for name in kept(files)
    }
    assert rates == {N_KEPT - 1, N_KEPT, N_KEPT + 1}


def test_a_file_system_without_links_gets_copies(files, monkeypatch):
    def refuse(*_):
        raise OSError("no links")

    monkeypatch.setattr(os, "link", refuse)
    train(files, {"rate": 1})
    train(files, {"rate": 2})
    assert train(files, {"rate": 1}) == "taken back"


def test_the_command_lists_and_removes(files, capsys):
    results = files[0].parents[2]
    for rate in (1, 2):
        train(files, {"rate": rate})
    run_program(previous.main, "--results", results, "other")
    assert capsys.readouterr().out == "kept: 0.0 MB\n"
    run_program(previous.main, "--results", results)
    assert "e/seed0/previous/" in capsys.readouterr().out
    assert kept(files)
    run_program(previous.main, "--results", results, "e", "--remove")
    assert "removed: 0.0 MB" in capsys.readouterr().out
    assert kept(files) == []
