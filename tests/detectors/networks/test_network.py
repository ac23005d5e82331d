"""How networks are trained: schedules by hand, optimisers by name, what is refused, options that change no result."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
import torch

from detectors.data.samples import Samples, TextColumn
from detectors.families.classifier import Classifier, ClassifierSettings
from detectors.interface.detector import Training
from detectors.interface.settings import NetworkSettings, Optimizer
from detectors.networks.lightning_module import validation_metrics
from detectors.networks.optimizers import learning_rate_factor, make_optimizer
from detectors.networks.sam import Sam
from helpers.short_run import last_checkpoint, train_on_cpu, weights_of
from helpers.tiny_store import make_store
from preprocess.running.cli import UserError

SMALL = {
    "backbone": "test_resnet",
    "pretrained": False,
    "backbone_stride": 8,
    "size": 32,
    "epochs": 2,
    "batch_size": 6,
    "augmentation": "none",
    # what sam goes with as well
    "precision": "32-true",
}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return make_store(tmp_path_factory.mktemp("store"))


def train(store, folder, **settings):
    train_on_cpu("classifier", SMALL | settings, [store.samples], folder)
    return weights_of(folder)


@pytest.mark.parametrize(
    ("settings", "factors"),
    [
        ({"schedule": "constant"}, [1, 1, 1, 1]),
        ({"schedule": "step", "step_epochs": 2, "step_factor": 0.5}, [1, 1, 0.5, 0.5]),
        ({"schedule": "cosine"}, [1, (1 + 0.5**0.5) / 2, 0.5, (1 - 0.5**0.5) / 2]),
        ({"schedule": "linear", "constant_share": 0.5}, [1, 1, 1, 0.5]),
        ({"schedule": "linear", "constant_share": 0.0}, [1, 0.75, 0.5, 0.25]),
        ({"schedule": "linear", "constant_share": 1.0}, [1, 1, 1, 1]),
    ],
)
def test_learning_rates_of_four_epochs_by_hand(settings, factors):
    options = NetworkSettings(epochs=4, **settings)
    assert [learning_rate_factor(options, epoch) for epoch in range(4)] == pytest.approx(factors)


def test_a_linear_schedule_falls_by_equal_steps_from_where_it_begins():
    options = NetworkSettings(epochs=20, schedule="linear", constant_share=0.25)
    factors = [learning_rate_factor(options, epoch) for epoch in range(20)]
    assert factors == pytest.approx([1.0] * 5 + [1 - step / 15 for step in range(15)])


@pytest.mark.parametrize(
    ("name", "kind"), [("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW), ("sgd", torch.optim.SGD), ("sam", Sam)]
)
def test_an_optimiser_has_the_settings(name, kind):
    settings = NetworkSettings(
        optimizer=name, precision="32-true", learning_rate=0.5, weight_decay=0.25, momentum=0.75, sam_radius=0.125
    )
    optimizer = make_optimizer([torch.nn.Parameter(torch.ones(2))], settings)
    assert type(optimizer) is kind
    (group,) = optimizer.param_groups
    assert (group["lr"], group["weight_decay"]) == (0.5, 0.25)
    if name in ("sgd", "sam"):
        assert group["momentum"] == 0.75
    if name == "sam":
        assert group["radius"] == 0.125


@pytest.mark.parametrize("optimizer", get_args(Optimizer))
def test_every_optimiser_moves_the_weights(store, tmp_path, optimizer):
    common = {"optimizer": optimizer, "epochs": 1, "learning_rate": 1e-2}
    begin = train(store, tmp_path / "still", **common | {"learning_rate": 0.0, "weight_decay": 0.0})[
        "network.last.weight"
    ]
    moved = train(store, tmp_path / "moved", **common)["network.last.weight"]
    assert not torch.equal(begin, moved)


def test_the_schedule_acts_on_sam(store, tmp_path):
    options = {"optimizer": "sam", "learning_rate": 1e-2, "schedule": "step", "step_epochs": 1, "weight_decay": 0.0}
    train(store, tmp_path, **options, step_factor=0.0)
    # the second epoch has the learning rate 0
    both = last_checkpoint(tmp_path)
    one = train(store, tmp_path / "one", **options, epochs=1)
    assert len(both["history"]) == 2
    assert torch.equal(one["network.last.weight"], both["state_dict"]["detector.network.last.weight"])


def test_settings_that_do_not_go_together_are_refused(store, tmp_path):
    with pytest.raises(UserError, match=r"accumulate_batches: found 2 with the optimizer 'sam'"):
        train(store, tmp_path, optimizer="sam", accumulate_batches=2)


def test_an_epoch_of_fewer_crops_than_a_pair_has_is_one_pair(store, tmp_path):
    settings = SMALL | {"channels": 8, "epochs": 1, "samples_per_epoch": 1}
    train_on_cpu("ucf", settings, [store.samples], tmp_path)
    assert last_checkpoint(tmp_path)["global_step"] == 1


class TwoStages(Classifier):
    """Learns its last layer only in the first epoch, and only the rest in the second."""

    def start_epoch(self, epoch: int) -> None:
        for parameter in self.network.body.parameters():
            parameter.requires_grad = epoch == 1
        for parameter in self.network.last.parameters():
            parameter.requires_grad = epoch == 0


def test_start_epoch_decides_what_learns(store, tmp_path):
    samples = Samples.read([store.samples])
    rows = np.flatnonzero(samples.split.equals("train"))
    settings = ClassifierSettings(**SMALL | {"val_share": 0})
    torch.manual_seed(0)
    detector = TwoStages(settings, ["real", "swap"])
    states = []

    def record(epoch: int, parent=TwoStages.start_epoch) -> None:
        states.append({name: value.clone() for name, value in detector.named_parameters()})
        parent(detector, epoch)

    detector.start_epoch = record
    training = Training(samples[rows], samples[rows[:0]], store.data, tmp_path, 0, "cpu", 0)
    detector.fit(training)
    states.append(dict(detector.named_parameters()))
    for name, first in states[0].items():
        of_last = name.startswith("network.last")
        assert torch.equal(first, states[1][name]) is not of_last, name
        assert torch.equal(states[1][name], states[2][name]) is of_last, name


def test_the_history_holds_the_mean_losses_of_an_epoch(store, tmp_path):
    samples = Samples.read([store.samples])
    rows, val_rows = (np.flatnonzero(samples.split.equals(split)) for split in ("train", "val"))
    detector, of_batches = Classifier(ClassifierSettings(**SMALL), ["real", "swap"]), []

    def recorded(batch: dict) -> dict:
        losses = Classifier.losses(detector, batch)
        of_batches.append(float(losses["total"].detach()))
        return losses

    detector.losses = recorded
    fitted = detector.fit(Training(samples[rows], samples[val_rows], store.data, tmp_path / "logs", 0, "cpu", 0))
    history = last_checkpoint(tmp_path)["history"]
    assert [row["epoch"] for row in history] == [0, 1]
    for row, of_epoch in zip(history, np.split(np.array(of_batches), 2), strict=True):
        assert len(of_epoch) == 3
        assert row["train/total"] == pytest.approx(of_epoch.mean(), rel=1e-5)
    assert fitted.best == history[int(fitted.best["epoch"])]
    assert fitted.seconds == pytest.approx(sum(row["seconds"] for row in history))


def test_the_best_epoch_is_that_of_the_video_auc_and_of_the_frame_auc_among_equals():
    zeros = np.zeros(6, np.int32)
    text = TextColumn(("x",), zeros)
    fields = dict.fromkeys(Samples.__dataclass_fields__, text) | dict.fromkeys(("crop_row", "track_id"), zeros)
    fields |= {"frame_index": np.arange(6, dtype=np.int32), "label": np.array([0, 0, 0, 1, 1, 1], np.int8)}
    fields["video_id"] = TextColumn(("r", "s", "f", "g"), np.array([0, 0, 1, 2, 2, 3], np.int32))
    # reals .1 .5 and .4, fakes .3 .9 and .6: of nine pairs of frames two are wrong, of four pairs of videos none
    metrics = validation_metrics(Samples(**fields), np.array([0.1, 0.5, 0.4, 0.3, 0.9, 0.6]), "mean")
    assert (metrics["val/frame_auc"], metrics["val/video_auc"]) == (pytest.approx(7 / 9), 1)
    assert metrics["val/selection"] == pytest.approx(1 + 7 / 9 / 1000)
    assert metrics["val/video_log_loss"] == pytest.approx(-np.log([0.7, 0.6, 0.6, 0.6]).mean())


def test_accumulated_batches_step_once(store, tmp_path):
    # without batch normalisation a batch of 6 is two of 3
    settings = {"backbone": "test_vit", "backbone_stride": 16, "epochs": 1, "optimizer": "sgd", "samples_per_epoch": 12}
    whole = train(store, tmp_path / "whole", **settings)
    halves = train(store, tmp_path / "halves", **settings | {"batch_size": 3, "accumulate_batches": 2})
    for name, value in whole.items():
        assert torch.allclose(value, halves[name], atol=1e-5), name


def test_channels_last_changes_no_result_but_for_rounding(store, tmp_path):
    plain = train(store, tmp_path / "plain", epochs=1, optimizer="sgd")
    last = train(store, tmp_path / "last", epochs=1, optimizer="sgd", channels_last=True)
    for name, value in plain.items():
        assert torch.allclose(value.float(), last[name].float(), atol=1e-4), name


@pytest.mark.slow
def test_a_compiled_network_learns_the_same_but_for_rounding(store, tmp_path):
    """Half a minute: the compiler's."""
    plain = train(store, tmp_path / "plain", epochs=1, optimizer="sgd")
    compiled = train(store, tmp_path / "compiled", epochs=1, optimizer="sgd", compile=True)
    assert plain.keys() == compiled.keys()
    for name, value in plain.items():
        assert torch.allclose(value.float(), compiled[name].float(), atol=1e-4), name


@pytest.fixture
def few(store):
    """Settings, training samples and validation samples; an odd number of these."""
    samples = Samples.read([store.samples])
    train, val = (np.flatnonzero(samples.split.equals(split)) for split in ("train", "val"))
    settings = SMALL | {"backbone": "test_vit", "backbone_stride": 16, "optimizer": "sgd", "learning_rate": 1e-2}
    return settings, samples[train], samples[val[:-1]]


def fit(few, data, logs, devices):
    options, train, val = few
    torch.manual_seed(0)
    detector = Classifier(ClassifierSettings(**options, gpus=len(devices)), ["real", "swap"])
    return detector, detector.fit(Training(train, val, data, logs, 0, devices[0], 0, None, devices[1:]))


@pytest.mark.slow
def test_devices_that_share_a_batch_learn_what_one_learns(store, few, tmp_path):
    """Half a minute: two processes on the CPU, which take the place of two GPUs."""
    data = store.data
    one, fitted = fit(few, data, tmp_path / "one", ("cpu",))
    two, together = fit(few, data, tmp_path / "two", ("cpu", "cpu"))
    for name, value in one.state_dict().items():
        assert torch.allclose(value, two.state_dict()[name], atol=1e-5), name
    assert np.allclose(fitted.val_scores, together.val_scores, atol=1e-5)
    assert together.best["val/frame_auc"] == pytest.approx(fitted.best["val/frame_auc"], abs=1e-5)
    assert together.best["train/total"] > 0
    with pytest.raises(ValueError, match="batch_size: found 6, which 4 GPUs cannot share"):
        fit(few, data, tmp_path / "four", ("cpu",) * 4)
