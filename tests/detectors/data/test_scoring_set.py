"""How many crops come at a time when a detector scores."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from detectors.data.crop_window import CropWindow
from detectors.data.samples import Samples
from detectors.data.scoring_set import FaceCrops, ScoringSet
from helpers.tiny_store import make_store


class Clips(ScoringSet):
    """Five items of four crops; `make_loader` sends what `__getitem__` gives."""

    item_of_sample = np.repeat(np.arange(5), 4)
    crops_per_item = 4

    def __len__(self) -> int:
        return 5

    def __getitem__(self, index: int) -> dict:
        return {"image": torch.full((4, 3, 2, 2), index, dtype=torch.uint8)}


@pytest.mark.parametrize(
    ("n_crops", "sizes"),
    [(1, [1] * 5), (4, [1] * 5), (7, [1] * 5), (8, [2, 2, 1]), (11, [2, 2, 1]), (12, [3, 2]), (99, [5])],
)
def test_a_batch_holds_as_many_whole_items_as_the_crops_allow_and_one_at_least(n_crops, sizes):
    batches = list(Clips().batches(n_crops, workers=0, device="cpu", description=""))
    assert [len(batch) for batch in batches] == sizes
    assert torch.cat(batches)[:, 0, 0, 0, 0].tolist() == list(range(5))


def test_face_crops_are_items_of_one_crop(tmp_path):
    path, crops = make_store(tmp_path)
    samples = Samples.read([path])
    faces = FaceCrops(crops, samples, CropWindow(0.1, 32))
    assert faces.item_of_sample.tolist() == list(range(len(samples)))
    batches = list(faces.batches(7, workers=0, device="cpu", description=""))
    assert [len(batch) for batch in batches] == [7] * (len(samples) // 7) + [len(samples) % 7]
    assert batches[0].shape == (7, 3, 32, 32)
