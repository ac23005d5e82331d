"""Losses on vectors, by numbers worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from detectors.networks.losses import cross_entropy, focal_loss, pair_contrastive, pairs_of_batch, triplet_loss

# log odds of fake: 0.8, 0.3 and 0.5 are the probabilities of a fake, a real and a real
LOGITS = torch.log(torch.tensor([[0.2, 0.8], [0.7, 0.3], [0.5, 0.5]]))
CLASSES = torch.tensor([1, 0, 0])


@pytest.mark.parametrize("fake_weight", [0.25, 0.5, 0.8])
def test_cross_entropy_by_hand(fake_weight):
    """Reals weigh one minus what fakes weigh, and the weights are divided by their sum."""
    w, v = fake_weight, 1 - fake_weight
    expected = -(w * math.log(0.8) + v * math.log(0.7) + v * math.log(0.5)) / (w + 2 * v)
    loss = cross_entropy(LOGITS, CLASSES, fake_weight=fake_weight, label_smoothing=0.0)
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_label_smoothing_spreads_a_share_over_both_classes():
    # of 0.2 either class gets 0.1; all weights are alike
    targets = [(0.1, 0.9), (0.9, 0.1), (0.9, 0.1)]
    logs = [(math.log(0.2), math.log(0.8)), (math.log(0.7), math.log(0.3)), (math.log(0.5), math.log(0.5))]
    expected = -sum(t * p for target, log in zip(targets, logs, strict=True) for t, p in zip(target, log, strict=True))
    loss = cross_entropy(LOGITS, CLASSES, fake_weight=0.5, label_smoothing=0.2)
    assert loss.item() == pytest.approx(expected / 3, rel=1e-5)


def test_focal_loss_by_hand():
    """Lin et al., ICCV 2017, equation 5, with the paper's alpha of 0.25 for fakes and gamma of 2."""
    terms = [0.25 * 0.2**2 * math.log(0.8), 0.75 * 0.3**2 * math.log(0.7), 0.75 * 0.5**2 * math.log(0.5)]
    loss = focal_loss(LOGITS, CLASSES, gamma=2.0, fake_weight=0.25)
    assert loss.item() == pytest.approx(-sum(terms) / 3, rel=1e-5)


def test_pair_contrastive_by_hand():
    one = torch.tensor([[0.0, 0.0], [0.0, 0.0], [0.0, 0.0], [1.0, 1.0]])
    other = torch.tensor([[3.0, 4.0], [0.6, 0.8], [3.0, 4.0], [1.0, 1.0]])
    same = torch.tensor([True, False, False, False])
    # distances 5, 1, 5 and 0: half of 25; half of (2 - 1) squared; beyond the margin nothing; half of 2 squared
    expected = (12.5 + 0.5 + 0.0 + 2.0) / 4
    assert pair_contrastive(one, other, same, margin=2.0).item() == pytest.approx(expected, rel=1e-5)


def test_pair_contrastive_pulls_one_class_together_and_pushes_two_apart():
    one, other = torch.tensor([[0.0], [0.0]]), torch.tensor([[0.5], [0.5]], requires_grad=True)
    (gradient,) = torch.autograd.grad(pair_contrastive(one, other, torch.tensor([True, False]), margin=2.0), other)
    # of the mean of two pairs: the distance, and minus what it lacks
    assert gradient.flatten().tolist() == pytest.approx([0.25, -0.75])


def test_a_last_batch_of_one_has_no_pair_and_no_loss():
    vectors = torch.ones(1, 3, requires_grad=True)
    one, other, same = pairs_of_batch(torch.tensor([1]))
    loss = pair_contrastive(vectors[one], vectors[other], same, margin=2.0)
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(vectors.grad, torch.zeros(1, 3))


def test_a_batch_has_each_pair_of_different_rows_once():
    one, other, same = pairs_of_batch(torch.tensor([0, 1, 0]))
    assert list(zip(one.tolist(), other.tolist(), same.tolist(), strict=True)) == [
        (0, 1, False),
        (0, 2, True),
        (1, 2, False),
    ]


def test_triplet_loss_by_hand():
    vectors = torch.tensor([[0.0, 0.0], [3.0, 4.0], [0.0, 2.0]])
    classes = torch.tensor([0, 0, 1])
    # triplets (a, p, n): (0, 1, 2): 3 + 5 - 2 = 6; (1, 0, 2): 3 + 5 - sqrt(9 + 4)
    assert triplet_loss(vectors, classes, margin=3.0).item() == pytest.approx((6 + 8 - math.sqrt(13)) / 2, rel=1e-5)
    # far enough apart, nothing is left
    assert triplet_loss(torch.tensor([[0.0], [0.1], [10.0]]), classes, margin=3.0).item() == 0


def test_triplet_loss_has_a_gradient_where_vectors_coincide():
    vectors = torch.ones(4, 3, requires_grad=True)
    triplet_loss(vectors, torch.tensor([0, 0, 1, 1]), margin=3.0).backward()
    assert vectors.grad.isfinite().all()


@pytest.mark.parametrize("classes", [[0, 0, 0], [0, 1, 2]])
def test_without_a_triplet_there_is_no_loss_and_no_gradient(classes):
    vectors = torch.tensor([[0.0, 0.0], [3.0, 4.0], [0.0, 2.0]], requires_grad=True)
    loss = triplet_loss(vectors, torch.tensor(classes), margin=3.0)
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(vectors.grad, torch.zeros(3, 2))
