"""Images of noise, batches of a training set, and steps of a detector on one batch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.utils.data import Dataset

from detectors.data.loader import make_loader


def random_images(n: int = 4, size: int = 64, seed: int = 0) -> torch.Tensor:
    """(n, 3, size, size) uint8, evenly distributed from 0 to 255."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (n, 3, size, size), dtype=torch.uint8, generator=generator)


def checked_batch(dataset: Dataset, items: Sequence[tuple[int, int]]) -> dict[str, torch.Tensor]:
    """The batch of some (epoch, index), which must be the same item by item and from any number of workers."""
    batch = dataset.__getitems__(items)
    for position, item in enumerate(items):
        for name, value in dataset[item].items():
            assert torch.equal(torch.as_tensor(value), batch[name][position]), name
    for workers in (0, 1):
        loaded = next(iter(make_loader(dataset, batch_size=len(items), workers=workers, sampler=items)))
        assert loaded.keys() == batch.keys()
        assert all(torch.equal(loaded[name], batch[name]) for name in batch)
    return batch


def learn(
    detector: nn.Module, optimizer: torch.optim.Optimizer, batch: dict, n_steps: int = 1
) -> dict[str, torch.Tensor]:
    """Take steps on one batch; returns the losses of the last one."""
    for _ in range(n_steps):
        optimizer.zero_grad()
        losses = detector.losses(batch)
        losses["total"].backward()
        optimizer.step()
    return losses


def untaught(module: nn.Module) -> list[str]:
    """Names of the parameters that the last step gave no gradient, or none but zeros, or one that is no number."""
    return [name for name, value in module.named_parameters() if value.grad is None or not value.grad.abs().sum() > 0]
