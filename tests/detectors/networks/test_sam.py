"""SAM: its two steps by hand, the weights between steps, schedules, resuming, and training under Lightning."""

from __future__ import annotations

import copy
import math

import lightning as L
import pytest
import torch
from torch import nn

from detectors.networks.sam import Sam


def closure_of(optimizer, loss_of, passes=None):
    def closure():
        optimizer.zero_grad()
        loss = loss_of()
        loss.backward()
        if passes is not None:
            passes.append(loss.item())
        return loss

    return closure


def test_two_steps_on_a_quadratic_by_hand():
    # L(w) = (w0^2 + 4 w1^2) / 2 has the gradient (w0, 4 w1)
    w = nn.Parameter(torch.tensor([3.0, 1.0]))
    optimizer = Sam([w], radius=0.5, lr=0.1, momentum=0.9)
    losses = []
    closure = closure_of(optimizer, lambda: (w[0] ** 2 + 4 * w[1] ** 2) / 2, losses)

    # g = (3, 4), its norm 5: climbs by (0.3, 0.4) to (3.3, 1.4), whose gradient is (3.3, 5.6)
    assert optimizer.step(closure).item() == pytest.approx(6.5)
    assert losses == pytest.approx([6.5, (3.3**2 + 4 * 1.4**2) / 2])
    assert w.tolist() == pytest.approx([3 - 0.33, 1 - 0.56])

    # g = (2.67, 1.76); momentum 0.9 keeps (3.3, 5.6)
    norm = math.hypot(2.67, 1.76)
    climbed = (2.67 + 0.5 * 2.67 / norm, 0.44 + 0.5 * 1.76 / norm)
    buffer = (0.9 * 3.3 + climbed[0], 0.9 * 5.6 + 4 * climbed[1])
    optimizer.step(closure)
    assert w.tolist() == pytest.approx([2.67 - 0.1 * buffer[0], 0.44 - 0.1 * buffer[1]], rel=1e-5)


def test_the_norm_is_that_of_all_parameters_together():
    a, b = nn.Parameter(torch.tensor([3.0])), nn.Parameter(torch.tensor([[4.0]]))
    seen = []
    optimizer = Sam([{"params": [a]}, {"params": [b], "lr": 0.0}], radius=1.0, lr=1.0)

    def loss_of():
        seen.append((a.item(), b.item()))
        return (a.sum() ** 2 + b.sum() ** 2) / 2

    optimizer.step(closure_of(optimizer, loss_of))
    assert seen[1] == pytest.approx((3.6, 4.8))
    # the base steps from where the climb began, each group at its own rate
    assert (a.item(), b.item()) == pytest.approx((3 - 3.6, 4.0))


def test_radius_0_is_the_base_optimizer_to_the_last_bit():
    torch.manual_seed(0)
    one = nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 1))
    two = copy.deepcopy(one)
    inputs = torch.randn(6, 5)
    sam, sgd = Sam(one.parameters(), radius=0.0, lr=0.1, momentum=0.9), torch.optim.SGD(two.parameters(), 0.1, 0.9)
    for _ in range(3):
        sam.step(closure_of(sam, lambda: one(inputs).square().mean()))
        sgd.step(closure_of(sgd, lambda: two(inputs).square().mean()))
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))


def test_parameters_without_gradient_stay_and_no_gradient_is_no_error():
    used, unused = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))
    optimizer = Sam([used, unused], lr=0.1)
    optimizer.step(closure_of(optimizer, lambda: used.square().sum()))
    assert unused.tolist() == [1, 1]
    assert used.tolist() != [1, 1]
    # where the gradient is 0 there is nowhere to climb
    optimizer.step(closure_of(optimizer, lambda: 0 * used.sum()))
    assert used.isfinite().all()


def test_a_failing_second_pass_leaves_the_weights_where_they_were():
    w = nn.Parameter(torch.tensor([0.1, 0.2, 0.3]))
    before = w.detach().clone()
    optimizer = Sam([w], radius=0.7, lr=0.1)

    def loss_of():
        if optimizer.climbed:
            raise RuntimeError("out of memory")
        return w.square().sum()

    with pytest.raises(RuntimeError, match="out of memory"):
        optimizer.step(closure_of(optimizer, loss_of))
    assert torch.equal(w, before)
    assert not optimizer.climbed


def test_schedules_act_on_the_base():
    w = nn.Parameter(torch.tensor(1.0))
    optimizer = Sam([w], radius=0.0, lr=0.5)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.1)
    moves = []
    for _ in range(3):
        before = w.item()
        optimizer.step(closure_of(optimizer, lambda: 1 * w))
        moves.append(before - w.item())
        schedule.step()
    assert moves == pytest.approx([0.5, 0.05, 0.005], rel=1e-4)


@pytest.mark.parametrize(("base", "options"), [(torch.optim.SGD, {"momentum": 0.9}), (torch.optim.AdamW, {})])
def test_a_resumed_training_is_the_undisturbed_one(tmp_path, base, options):
    torch.manual_seed(0)
    inputs = torch.randn(8, 5)

    def make():
        torch.manual_seed(1)
        model = nn.Linear(5, 3)
        return model, Sam(model.parameters(), base, radius=0.1, lr=0.1, **options)

    def run(model, optimizer, steps):
        for _ in range(steps):
            optimizer.step(closure_of(optimizer, lambda: model(inputs).square().mean()))

    whole = make()
    run(*whole, 6)
    first = make()
    run(*first, 3)
    torch.save({"model": first[0].state_dict(), "optimizer": first[1].state_dict()}, tmp_path / "state.ckpt")
    resumed = make()
    state = torch.load(tmp_path / "state.ckpt", weights_only=True)
    resumed[0].load_state_dict(state["model"])
    resumed[1].load_state_dict(state["optimizer"])
    run(*resumed, 3)
    assert torch.equal(resumed[0].weight, whole[0].weight)


class Regression(L.LightningModule):
    """A linear map, trained by SAM; notes the loss of every pass."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 1)
        self.losses = []

    def training_step(self, batch, index):
        loss = (self.layer(batch[0]) - batch[1]).float().square().mean()
        self.losses.append((self.optimizers().optimizer.climbed, loss.item()))
        return loss

    def configure_optimizers(self):
        optimizer = Sam(self.parameters(), radius=0.2, lr=0.05, momentum=0.9)
        return [optimizer], [torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.5, total_iters=3)]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("precision", "tolerance"), [("32-true", 1e-6), ("bf16-mixed", 2e-2)])
def test_it_trains_under_lightning_as_by_hand(precision, tolerance):
    torch.manual_seed(0)
    inputs = torch.randn(12, 4)
    targets = inputs @ torch.tensor([[1.0], [-2.0], [0.5], [0.0]])
    module = Regression()
    by_hand = copy.deepcopy(module.layer)
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(inputs, targets), batch_size=4)
    trainer = L.Trainer(
        max_epochs=3,
        accelerator="cpu",
        precision=precision,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, loader)
    optimizer = Sam(by_hand.parameters(), radius=0.2, lr=0.05, momentum=0.9)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.5, total_iters=3)
    for _ in range(3):
        for batch, target in loader:
            optimizer.step(closure_of(optimizer, lambda x=batch, y=target: (by_hand(x) - y).square().mean()))
        schedule.step()
    assert trainer.global_step == 9
    assert [climbed for climbed, _ in module.losses] == [False, True] * 9
    assert torch.allclose(module.layer.weight, by_hand.weight, atol=tolerance)
    # the second pass stands higher on the slope
    assert all(second > first for (_, first), (_, second) in zip(module.losses[::2], module.losses[1::2], strict=True))
