"""What a config says of scoring is laid together as the workflow does, and what is not in it is told of."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from detectors.scoring.config import experiment_block, read_configs, stage_settings
from preprocess.running.cli import UserError


def test_an_experiment_of_a_study_is_not_scored_without_what_the_study_says_of_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    study = Path("config/studies/choices.yaml")
    study.parent.mkdir(parents=True)
    block = {"evaluate": {"threshold": 0.6}}
    study.write_text(yaml.safe_dump({"experiments": {"ours": block}}))
    config = Path("config.yaml")
    config.write_text(yaml.safe_dump({"experiments": {"mine": {}}}))
    with pytest.raises(
        UserError,
        match=r"'ours' is neither .* \(experiments there: mine\); config/studies/choices.yaml has it: "
        r"add --config config.yaml --config config/studies/choices.yaml$",
    ):
        experiment_block("ours", read_configs([config]), [config])
    assert experiment_block("ours", read_configs([config, study]), [config, study]) == block
    with pytest.raises(UserError, match=r"'yours' is neither .*; --config names another config$"):
        experiment_block("yours", read_configs([config, study]), [config, study])


def test_configs_are_laid_one_on_the_other(tmp_path):
    for name, config in (
        ("below", {"frames": {"n_frames": 3, "mode": "clip"}, "faces": None, "video_seconds": 5}),
        ("above", {"frames": {"n_frames": 4}, "faces": {"min_size_px": 20}}),
    ):
        (tmp_path / name).write_text(yaml.safe_dump(config))
    assert read_configs([tmp_path / "below", tmp_path / "above"]) == {
        "frames": {"n_frames": 4, "mode": "clip"},
        "faces": {"min_size_px": 20},
        "video_seconds": 5,
    }


def test_an_unknown_data_set_or_setting_is_named():
    with pytest.raises(UserError, match=r"--like: no data set 'x' in the config; allowed: d"):
        stage_settings({"datasets": {"d": {}}}, "x", {})
    with pytest.raises(UserError, match="unknown key 'n_frame'"):
        stage_settings({}, None, {"frames": {"n_frame": 3}})
