"""Arithmetic on tensors that comes out the same whatever surrounds it, and that keeps no GPU waiting."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor


@contextlib.contextmanager
def full_precision() -> Iterator[None]:
    """Products of matrices in full float32, whatever autocast and `set_float32_matmul_precision` say."""
    precision = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with torch.autocast("cpu", enabled=False), torch.autocast("cuda", enabled=False):
            yield
    finally:
        torch.set_float32_matmul_precision(precision)


def constant(values: Sequence | np.ndarray, device: torch.device) -> Tensor:
    """Numbers as a float32 tensor, for which a GPU need not be waited for."""
    return torch.as_tensor(values, dtype=torch.float32).to(device, non_blocking=True)
