"""A config is read as it is; an empty one has no keys, and what is none is named."""

from __future__ import annotations

from preprocess.running.config_file import read_config


def test_a_config_is_what_the_file_says(tmp_path):
    (tmp_path / "c.yaml").write_text("frames: {n_frames: 3}\nexperiments:\n")
    assert read_config(tmp_path / "c.yaml") == {"frames": {"n_frames": 3}, "experiments": None}
    (tmp_path / "c.yaml").write_text("# nothing but this\n")
    assert read_config(tmp_path / "c.yaml") == {}
