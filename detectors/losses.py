"""Classification losses of the studies, on logits of real and fake."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def focal_loss(logits: Tensor, classes: Tensor, *, gamma: float, fake_weight: float) -> Tensor:
    """Focal loss (Lin et al., ICCV 2017, equation 5), the mean over a batch.

    Args:
        logits: (N, 2): real, fake.
        classes: (N,) int64: 0 real, 1 fake.
        gamma: How much less an easy face counts; 0 gives the weighted cross-entropy.
        fake_weight: Weight of fakes (the paper's alpha, 0.25); reals weigh one minus it.
    """
    log_probability = F.log_softmax(logits.float(), dim=1).gather(1, classes[:, None])[:, 0]
    weight = fake_weight * classes + (1 - fake_weight) * (1 - classes)
    return -(weight * (1 - log_probability.exp()) ** gamma * log_probability).mean()


def cross_entropy(logits: Tensor, classes: Tensor, *, fake_weight: float, label_smoothing: float) -> Tensor:
    """Cross-entropy of real and fake, the weighted mean over a batch.

    Args:
        logits: (N, 2): real, fake.
        classes: (N,) int64: 0 real, 1 fake.
        fake_weight: Weight of fakes; reals weigh one minus it, so that 0.5 weighs both alike.
        label_smoothing: Share of the target that is spread over both classes.
    """
    weight = torch.tensor([1 - fake_weight, fake_weight], device=logits.device)
    return F.cross_entropy(logits.float(), classes, weight=weight, label_smoothing=label_smoothing)
