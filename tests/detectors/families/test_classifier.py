"""The plain classifier and SPSL: their parts by numbers worked out by hand, what is drawn, learning, prediction."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
import timm
import torch

from detectors.data.crop_window import CropWindow
from detectors.data.labelled_crops import LabelledCrops
from detectors.data.samples import Samples
from detectors.data.split import split_for_training
from detectors.families.classifier import Classifier, ClassifierSettings
from detectors.families.registry import load_detector
from detectors.families.spsl import Spsl, SpslSettings, phase_image
from detectors.networks.backbones import ClassificationNetwork, add_input_channel
from detectors.networks.losses import cross_entropy, focal_loss
from helpers.short_run import frame_auc, in_domain_video_aucs, predict_on_cpu, train_on_cpu
from helpers.tiny_batches import checked_batch, learn, random_images, untaught
from helpers.tiny_store import make_store
from preprocess.running.cli import UserError

METHODS = ["real", "swap"]
SMALL = {"backbone": "test_resnet", "pretrained": False, "backbone_stride": 16, "size": 64}
WINDOW = CropWindow(margin=0.15, size=32)


def test_focal_loss_by_hand():
    logits = torch.tensor([[0.0, 0.0], [0.0, math.log(3)]])  # fake with probability 1/2 and 3/4
    loss = focal_loss(logits, torch.tensor([0, 1]), gamma=2.0, fake_weight=0.25)
    expected = (0.75 * 0.5**2 * math.log(2) + 0.25 * 0.25**2 * math.log(4 / 3)) / 2
    assert loss.item() == pytest.approx(expected, rel=1e-6)


def test_cross_entropy_by_hand():
    logits, classes = torch.tensor([[0.0, 0.0], [0.0, math.log(3)]]), torch.tensor([0, 1])
    even = cross_entropy(logits, classes, fake_weight=0.5, label_smoothing=0.0)
    assert even.item() == pytest.approx((math.log(2) + math.log(4 / 3)) / 2, rel=1e-6)
    reals = cross_entropy(logits, classes, fake_weight=0.2, label_smoothing=0.0)
    assert reals.item() == pytest.approx(0.8 * math.log(2) + 0.2 * math.log(4 / 3), rel=1e-6)
    # a whole number, as YAML reads `fake_weight: 1`
    fakes = cross_entropy(logits, classes, fake_weight=1, label_smoothing=0)
    assert fakes.item() == pytest.approx(math.log(4 / 3), rel=1e-6)
    smooth = cross_entropy(logits, classes, fake_weight=0.5, label_smoothing=0.2)
    assert smooth.item() == pytest.approx((math.log(2) + 0.9 * math.log(4 / 3) + 0.1 * math.log(4)) / 2, rel=1e-6)


def test_phase_image_of_an_impulse_is_an_impulse_and_amplitudes_do_not_matter():
    impulse = torch.zeros(1, 3, 16, 16, dtype=torch.uint8)
    impulse[:, :, 3, 5] = 255
    expected = torch.zeros(16, 16)
    expected[3, 5] = 1
    assert torch.allclose(phase_image(impulse)[0, 0], expected, atol=1e-5)
    # half the amplitude has the same phase
    assert torch.allclose(phase_image(impulse // 2)[0, 0], expected, atol=1e-5)


def test_phase_image_has_the_phases_of_the_image_and_unit_amplitudes():
    some = random_images(2, 32)
    spectrum = torch.fft.fft2(some.float().mean(dim=1))
    of_phase = torch.fft.fft2(phase_image(some)[:, 0])
    assert torch.allclose(of_phase.abs(), torch.ones(2, 32, 32), atol=1e-3)
    difference = torch.angle(of_phase * spectrum.conj())
    assert difference.abs().max() < 1e-2
    assert phase_image(some).square().mean().item() == pytest.approx(1 / 32**2, rel=1e-3)


def test_half_precision_around_it_does_not_coarsen_the_phase_image():
    images = random_images(2, 32)
    plain = phase_image(images)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(phase_image(images), plain)


def test_an_even_picture_has_no_phase_but_its_mean():
    grey = torch.full((1, 3, 8, 8), 100, dtype=torch.uint8)
    assert torch.allclose(phase_image(grey), torch.full((1, 1, 8, 8), 1 / 64), atol=1e-6)


def test_the_fourth_channel_begins_with_the_mean_of_the_colours_kernels():
    settings = SpslSettings(**SMALL)
    spsl = Spsl(settings, METHODS)
    first = next(module for module in spsl.modules() if isinstance(module, torch.nn.Conv2d))
    assert first.in_channels == first.weight.shape[1] == 4
    assert torch.equal(first.weight[:, 3], first.weight[:, :3].mean(dim=1))
    some = random_images()
    inputs = spsl.inputs(some)
    assert inputs.shape == (4, 4, 64, 64)
    assert torch.equal(inputs[:, 3:], phase_image(some))
    louder = Spsl(settings.model_copy(update={"phase_gain": 64.0}), METHODS).inputs(some)
    assert torch.allclose(louder[:, 3:], 64 * phase_image(some))
    plain = Spsl(settings.model_copy(update={"phase": False}), METHODS)
    assert plain.inputs(some).shape == (4, 3, 64, 64)
    assert isinstance(plain, Classifier)


@pytest.mark.parametrize("name", ["efficientnet_b0", "resnet18", "mobilenetv3_small_050", "densenet121"])
def test_any_first_convolution_can_be_widened(name):
    network = timm.create_model(name)
    add_input_channel(network)
    assert network.eval()(torch.zeros(1, 4, 64, 64)).shape == (1, 1000)


def test_normalisation_gives_the_published_ranges():
    black_and_white = torch.stack([torch.zeros(3, 4, 4), torch.full((3, 4, 4), 255)]).byte()
    half = Classifier(ClassifierSettings(**SMALL), METHODS).inputs(black_and_white)
    assert torch.equal(half.flatten(1).mean(dim=1), torch.tensor([-1.0, 1.0]))
    imagenet = Classifier(ClassifierSettings(**SMALL, normalisation="imagenet"), METHODS).inputs(black_and_white)
    assert imagenet[0, :, 0, 0].tolist() == pytest.approx([-2.1179, -2.0357, -1.8044], abs=1e-4)


def test_at_its_own_stride_a_network_is_the_whole_of_timms():
    torch.manual_seed(0)
    network = ClassificationNetwork("efficientnet_b0", pretrained=False, stride=32, n_classes=2, dropout=0.0).eval()
    whole = timm.create_model("efficientnet_b0", num_classes=2).eval()
    state = network.body.state_dict() | {f"classifier.{key}": value for key, value in network.last.state_dict().items()}
    whole.load_state_dict(state)
    pixels = torch.randn(1, 3, 64, 64)
    assert network.channels == 1280
    assert torch.allclose(network(pixels), whole(pixels), atol=1e-6)
    shallow = ClassificationNetwork("efficientnet_b0", pretrained=False, stride=8, n_classes=2, dropout=0.0)
    assert shallow.vectors(pixels).shape == (1, shallow.channels)
    n_weights = [sum(p.numel() for p in model.parameters()) for model in (shallow, network)]
    assert n_weights[0] < n_weights[1] / 10


def test_weights_of_a_file_reach_the_whole_network_but_its_last_layer(tmp_path):
    torch.manual_seed(1)
    trained = timm.create_model("test_resnet")
    torch.save(trained.state_dict(), tmp_path / "weights.pth")
    network = ClassificationNetwork(
        "test_resnet", pretrained=str(tmp_path / "weights.pth"), stride=32, n_classes=2, dropout=0.0
    )
    assert all(torch.equal(value, trained.state_dict()[key]) for key, value in network.body.state_dict().items())
    with pytest.raises(UserError, match="is no checkpoint of the backbone"):
        ClassificationNetwork(
            "efficientnet_b0", pretrained=str(tmp_path / "weights.pth"), stride=32, n_classes=2, dropout=0.0
        )


@pytest.mark.parametrize(("family", "settings"), [(Classifier, ClassifierSettings), (Spsl, SpslSettings)])
@pytest.mark.parametrize("loss", ["cross_entropy", "focal"])
def test_every_parameter_learns_and_eight_faces_are_learnt_by_heart(family, settings, loss):
    torch.manual_seed(0)
    detector = family(settings(**SMALL, loss=loss, learning_rate=3e-3), METHODS).train()
    batch = {"image": random_images(16), "label": torch.arange(16) % 2}
    learn(detector, detector.optimizer(), batch, 30)
    assert untaught(detector) == []
    score = detector.eval().score(batch["image"])
    assert score.shape == (16,)
    assert score[batch["label"] == 1].min() > score[batch["label"] == 0].max()


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return make_store(tmp_path_factory.mktemp("store"), n_groups=4)


def training_samples(store):
    samples = Samples.read([store.samples])
    return samples[split_for_training(samples, 0.1)[0]]


def drawn(store, balance, epoch, **options):
    samples = training_samples(store)
    values = {"window": WINDOW, "seed": 5, "augmentation": "none"} | options
    crops = LabelledCrops(store.crops, samples, balance=balance, **values)
    return samples, [crops.row(epoch, index) for index in range(len(crops))]


def test_unbalanced_an_epoch_is_every_sample_once(store):
    samples, rows = drawn(store, "none", 3)
    assert sorted(rows) == list(range(len(samples)))


@pytest.mark.parametrize("balance", ["label", "method"])
def test_balanced_an_epoch_has_as_many_reals_as_fakes_and_reads_all_in_the_end(store, balance):
    samples, rows = drawn(store, balance, 0)
    n_rows = len(samples)
    assert Counter(samples.label[rows].tolist()) == {0: n_rows // 2, 1: n_rows // 2}
    # a third of the samples are real: each is read once and half of them twice
    counts = Counter(rows)
    assert {counts[row] for row in np.flatnonzero(samples.label == 0)} == {1, 2}
    if balance == "method":
        fakes = Counter(samples.method.names[samples.method.codes[row]] for row in rows if samples.label[row])
        assert max(fakes.values()) - min(fakes.values()) <= 1
    both = Counter(rows) + Counter(drawn(store, balance, 1)[1])
    assert {both[row] for row in np.flatnonzero(samples.label == 0)} == {3}
    assert min(both[row] for row in range(n_rows)) >= 1
    assert drawn(store, balance, 0)[1] == rows
    assert drawn(store, balance, 0, seed=6)[1] != rows


def test_items_and_batches_agree_and_workers_change_nothing(store):
    samples = training_samples(store)
    crops = LabelledCrops(store.crops, samples, WINDOW, 5, augmentation="ucf", balance="method")
    items = [(2, index) for index in range(6)]
    batch = checked_batch(crops, items)
    assert batch["label"].tolist() == samples.label[[crops.row(*item) for item in items]].tolist()


def test_both_kinds_are_needed(tmp_path):
    path, crops = make_store(tmp_path, "reals", methods=("real",))
    with pytest.raises(UserError, match=r"0 fake crops of reals.*add a data set"):
        LabelledCrops(crops, Samples.read([path]), WINDOW, 0, augmentation="none", balance="none")


@pytest.mark.parametrize("detector", ["classifier", "spsl"])
def test_it_learns_what_makes_a_fake_and_predicts(store, tmp_path, detector):
    settings = SMALL | {"backbone_stride": 8, "size": 48, "epochs": 8, "batch_size": 8, "learning_rate": 3e-3}
    settings |= {"augmentation": "none", "balance": "label"}
    summary = train_on_cpu(detector, settings, [store.samples], tmp_path)
    assert summary["best"]["val/video_auc"] == 1
    assert load_detector(tmp_path / "detector.ckpt")[1]["detector"] == detector
    assert frame_auc(predict_on_cpu(tmp_path, store.samples)) > 0.95


@pytest.mark.training
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("detector", "own"), [("classifier", {}), ("spsl", {"phase_gain": 112.0})])
def test_it_detects_the_rendered_fakes_of_test_videos(shipped_store, tmp_path, detector, own):
    """Two and a half minutes of one core each, besides the store."""
    settings = {"backbone": "resnet10t", "pretrained": False, "backbone_stride": 8, "size": 112, "cpu_threads": 1}
    settings |= {"epochs": 8, "samples_per_epoch": 800, "batch_size": 16, "learning_rate": 1e-3, "balance": "label"}
    aucs = in_domain_video_aucs(shipped_store, tmp_path, detector, settings | {"augmentation": "none"} | own)
    assert min(aucs.values()) > 0.80, aucs
