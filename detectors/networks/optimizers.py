"""Optimisers and learning-rate schedules of the studies, by name."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from detectors.interface.settings import NetworkSettings
from detectors.networks.sam import Sam


def make_optimizer(parameters: Iterable[nn.Parameter], settings: NetworkSettings) -> torch.optim.Optimizer:
    """The optimiser that `settings.optimizer` names."""
    rates: dict[str, Any] = {"lr": settings.learning_rate, "weight_decay": settings.weight_decay}
    if settings.optimizer == "adam":
        return torch.optim.Adam(parameters, **rates)
    if settings.optimizer == "adamw":
        return torch.optim.AdamW(parameters, **rates)
    rates["momentum"] = settings.momentum
    if settings.optimizer == "sgd":
        return torch.optim.SGD(parameters, **rates)
    return Sam(parameters, torch.optim.SGD, radius=settings.sam_radius, **rates)


def learning_rate_factor(settings: NetworkSettings, epoch: int) -> float:
    """What the learning rate of an epoch, counted from 0, is multiplied by.

    The schedules `cosine` and `linear` would be 0 after the last epoch; the last one still learns.
    """
    if settings.schedule == "step":
        return settings.step_factor ** (epoch // settings.step_epochs)
    if settings.schedule == "cosine":
        return (1 + math.cos(math.pi * epoch / settings.epochs)) / 2
    if settings.schedule == "linear":
        constant = settings.constant_share * settings.epochs
        return min(1.0, (settings.epochs - epoch) / (settings.epochs - constant)) if epoch > constant else 1.0
    return 1.0
