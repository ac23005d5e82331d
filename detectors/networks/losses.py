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
    weight = torch.tensor([1 - fake_weight, fake_weight], dtype=torch.float32, device=logits.device)
    return F.cross_entropy(logits.float(), classes, weight=weight, label_smoothing=label_smoothing)


def pair_contrastive(one: Tensor, other: Tensor, same: Tensor, *, margin: float) -> Tensor:
    """Contrastive loss of pairs (Hadsell, Chopra and LeCun, CVPR 2006, equation 4), the mean over the pairs.

    Half the squared L2 distance for a pair of one class; for a pair of two, half the square of what the distance lacks
    of the margin. 0 without a pair.

    Args:
        one: (N, C) vectors.
        other: (N, C), the other of each pair.
        same: (N,) bool: whether both are of one class.
        margin: A distance.
    """
    distance = _distance(one, other)
    squares = torch.where(same, distance.square(), F.relu(margin - distance).square())
    return squares.sum() / max(1, len(squares)) / 2


def pairs_of_batch(classes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Every pair of different rows of a batch, once: rows of the one, rows of the other, and whether classes agree.

    Args:
        classes: (N,).

    Returns:
        Three tensors (N (N - 1) / 2,): int64, int64, bool.
    """
    one, other = torch.triu_indices(len(classes), len(classes), offset=1, device=classes.device)
    return one, other, classes[one] == classes[other]


def triplet_loss(vectors: Tensor, classes: Tensor, *, margin: float) -> Tensor:
    """Triplet hinge over L2 distances (Schroff et al., CVPR 2015, with distances instead of their squares).

    The mean of max(0, margin + |a - p| - |a - n|) over all triplets of the batch in which anchor a and p are two
    vectors of one class and n is of another; 0 when there is no such triplet.

    Args:
        vectors: (N, C).
        classes: (N,).
        margin: A distance.
    """
    distance = _distance(vectors[:, None], vectors[None])
    same = classes[:, None] == classes[None]
    positive = same & ~torch.eye(len(classes), dtype=torch.bool, device=classes.device)
    is_triplet = positive[:, :, None] & ~same[:, None, :]
    hinge = F.relu(margin + distance[:, :, None] - distance[:, None, :])
    return (hinge * is_triplet).sum() / is_triplet.sum().clamp(min=1)


def _distance(one: Tensor, other: Tensor) -> Tensor:
    # the square root has no gradient at 0, the distance of a vector from itself
    return ((one.float() - other.float()).square().sum(dim=-1) + 1e-12).sqrt()
