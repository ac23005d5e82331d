"""Which of a training's checkpoints is read."""

from __future__ import annotations

import torch

from detectors.networks.checkpoints import finished_epochs, read_best, read_last


def test_the_best_epoch_is_read_and_the_last_one_where_none_could_be_called_best(tmp_path):
    torch.save({"history": [0, 1, 2]}, tmp_path / "last.ckpt")
    assert read_best(tmp_path) == {"history": [0, 1, 2]}
    torch.save({"history": [0, 1]}, tmp_path / "best.ckpt")
    assert read_best(tmp_path) == {"history": [0, 1]}
    assert read_last(tmp_path) == {"history": [0, 1, 2]}
    assert (finished_epochs(tmp_path / "best.ckpt"), finished_epochs(tmp_path / "last.ckpt")) == (2, 3)
