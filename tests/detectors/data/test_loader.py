"""How the items of an epoch are shared among processes, and where the memory of a batch lies."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from detectors.data import loader
from detectors.data.loader import EpochSampler, SequenceSampler, default_workers, new_images


def of_processes(sampler_of, n_processes: int, monkeypatch) -> list[list]:
    """The items that each of several processes gets."""
    found = []
    for rank in range(n_processes):
        monkeypatch.setattr(loader, "process_rank", lambda rank=rank: (rank, n_processes))
        sampler = sampler_of()
        found.append(list(sampler))
        assert len(found[-1]) == len(sampler)
    return found


@pytest.mark.parametrize(("n_processes", "n_each"), [(1, 11), (2, 5), (3, 3), (4, 2)])
def test_processes_share_an_epoch_and_none_has_more_than_another(n_processes, n_each, monkeypatch):
    found = of_processes(lambda: EpochSampler(11, None, seed=0), n_processes, monkeypatch)
    assert [len(items) for items in found] == [n_each] * n_processes
    indices = [index for items in found for _, index in items]
    assert len(set(indices)) == len(indices), "no item twice"
    # together they read the order that one process would read, in turns
    (alone,) = of_processes(lambda: EpochSampler(11, None, seed=0), 1, monkeypatch)
    assert [item for turn in zip(*found, strict=True) for item in turn] == alone[: n_processes * n_each]


def test_an_epoch_is_drawn_before_it_is_shared(monkeypatch):
    found = of_processes(lambda: EpochSampler(50, 20, seed=0), 3, monkeypatch)
    assert [len(items) for items in found] == [6, 6, 6]


@pytest.mark.parametrize(("n_processes", "n_each"), [(1, 7), (2, 4), (3, 3), (4, 2)])
def test_processes_that_score_together_leave_out_nothing(n_processes, n_each, monkeypatch):
    found = of_processes(lambda: SequenceSampler(7), n_processes, monkeypatch)
    assert found[0][:2] == [0, n_processes]
    assert [len(items) for items in found] == [n_each] * n_processes
    assert {item for items in found for item in items} == set(range(7))
    # a score of each item comes back in order, without those that came once more
    assert SequenceSampler(7).joined(torch.tensor(found)).tolist() == list(range(7))


def test_alone_a_process_has_the_rank_0_of_1():
    assert loader.process_rank() == (0, 1)


def test_images_are_shared_memory_in_a_worker_alone(monkeypatch):
    assert not new_images(2, 4).is_shared()
    monkeypatch.setattr(loader, "get_worker_info", lambda: "a worker")
    images = new_images(2, 4)
    assert images.is_shared()
    assert images.shape == (2, 3, 4, 4)
    assert images.dtype == torch.uint8
    assert images.is_contiguous()


def test_processes_read_crops_for_a_gpu_alone():
    assert default_workers(8, "cpu") == 0
    assert default_workers(8, "cuda:0") == 8


def test_the_order_of_an_epoch_is_that_of_its_number_and_seed():
    def order(seed, epoch):
        sampler = EpochSampler(30, None, seed)
        sampler.set_epoch(epoch)
        return [index for _, index in sampler]

    assert order(0, 0) == order(0, 0)
    assert len({tuple(order(seed, epoch)) for seed in (0, 1) for epoch in (0, 1)}) == 4
    assert sorted(order(0, 3)) == np.arange(30).tolist()


def test_what_a_seed_draws_stays_what_it_was():
    """Trainings of a seed are repeated by it: another order would be another result."""
    sampler = EpochSampler(10, None, seed=0)
    sampler.set_epoch(2)
    assert list(sampler) == [(2, index) for index in (9, 7, 5, 1, 3, 8, 2, 6, 0, 4)]
