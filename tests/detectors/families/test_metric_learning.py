"""The Siamese and the triplet-trained detector: two stages, what learns in each, learning and prediction."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from detectors.families.metric_learning import MetricLearningSettings, Siamese, SiameseSettings, Triplet
from detectors.families.registry import load_detector
from detectors.networks.losses import pair_contrastive, triplet_loss
from helpers.short_run import (
    frame_auc,
    in_domain_video_aucs,
    predict_on_cpu,
    same_weights,
    stopped_before,
    train_on_cpu,
    weights_of,
)
from helpers.tiny_batches import learn, random_images, untaught
from helpers.tiny_store import make_store

METHODS = ["real", "swap"]
SMALL = {"backbone": "test_resnet", "pretrained": False, "backbone_stride": 16, "size": 32, "embedding_epochs": 2}
FAMILIES = [(Siamese, SiameseSettings), (Triplet, MetricLearningSettings)]


def make_batch(n=16):
    return {"image": random_images(n, 32), "label": torch.arange(n) % 2}


def make_detector(family, settings, **options):
    torch.manual_seed(0)
    return family(settings(**SMALL | {"epochs": 4} | options), METHODS)


def state_of(module):
    return {name: value.clone() for name, value in module.state_dict().items()}


def test_shapes():
    images = make_batch(3)["image"]
    siamese = make_detector(Siamese, SiameseSettings).eval()
    assert siamese.embed(images).shape == (3, 48)
    assert siamese.logits(images).shape == (3, 2)
    triplet = make_detector(Triplet, MetricLearningSettings).eval()
    assert triplet.embed(images).shape == (3, triplet.network.channels)
    assert triplet.logits(images).shape == (3, 2)
    assert torch.equal(triplet.vectors(images)["embedding"], triplet.embed(images))
    assert siamese.find_cam_layer() is not None


def test_the_first_stage_compares_all_faces_of_a_batch():
    batch = make_batch(4)
    siamese = make_detector(Siamese, SiameseSettings, embedding_margin=2.0).eval()
    vectors = siamese.embed(batch["image"])
    one, other = [0, 0, 0, 1, 1, 2], [1, 2, 3, 2, 3, 3]
    same = torch.tensor([False, True, False, False, True, False])
    expected = pair_contrastive(vectors[one], vectors[other], same, margin=2.0)
    assert siamese.losses(batch)["total"].item() == pytest.approx(expected.item(), rel=1e-6)
    triplet = make_detector(Triplet, MetricLearningSettings, embedding_margin=2.0).eval()
    expected = triplet_loss(triplet.embed(batch["image"]), batch["label"], margin=2.0)
    assert triplet.losses(batch)["embedding"].item() == pytest.approx(expected.item(), rel=1e-6)


@pytest.mark.parametrize(("family", "settings"), FAMILIES)
def test_each_stage_teaches_its_part_and_leaves_the_other_exactly_as_it_was(family, settings):
    detector = make_detector(family, settings, weight_decay=0.1, learning_rate=1e-2)
    assert any(isinstance(module, nn.BatchNorm2d) for module in detector.embedding.modules())
    whole, optimizer, batch = dict(detector.named_parameters()), detector.optimizer(), make_batch()
    embedding = {name for name, value in whole.items() if any(value is one for one in detector.embedding.parameters())}
    assert embedding
    for epoch, learns in ((0, embedding), (1, embedding), (2, whole.keys() - embedding), (3, whole.keys() - embedding)):
        detector.start_epoch(epoch)
        before, frozen = state_of(detector), state_of(detector.embedding)
        learn(detector.train(), optimizer, batch, 2)
        detector.eval().score(batch["image"])
        assert {name for name, value in whole.items() if not torch.equal(value, before[name])} == learns
        # the statistics of batch normalisation, too
        assert same_weights(frozen, state_of(detector.embedding)) == (epoch >= 2)


@pytest.mark.parametrize(("family", "settings"), FAMILIES)
def test_eight_pairs_are_learnt_by_heart_in_two_stages_and_no_parameter_is_idle(family, settings):
    detector = make_detector(family, settings, learning_rate=3e-3)
    optimizer, batch, taught = detector.optimizer(), make_batch(), set()
    whole = set(dict(detector.named_parameters()))
    for epoch, n_steps, names in ((0, 20, {"embedding", "total"}), (2, 60, {"total"})):
        detector.start_epoch(epoch)
        for _ in range(n_steps):
            assert learn(detector.train(), optimizer, batch).keys() == names
            taught |= whole - set(untaught(detector))
        vectors = detector.eval().embed(batch["image"])
        distance, same = torch.cdist(vectors, vectors), batch["label"][:, None] == batch["label"][None]
        # the first stage draws a class together and the other apart
        assert distance[~same].min() > 1.5 * distance[same].mean()
    assert taught == whole
    score = detector.score(batch["image"])
    assert score[batch["label"] == 1].min() > score[batch["label"] == 0].max()


@pytest.mark.parametrize(("family", "settings"), FAMILIES)
def test_until_the_classifier_learns_every_face_scores_one_half(family, settings):
    detector, images = make_detector(family, settings).eval(), make_batch(3)["image"]
    detector.start_epoch(1)
    assert detector.score(images).tolist() == [0.5] * 3
    detector.start_epoch(2)
    score = detector.score(images)
    assert torch.equal(score, detector.logits(images).softmax(dim=1)[:, 1])
    # what was learnt knows its stage
    again = make_detector(family, settings).eval()
    again.load_state_dict(detector.state_dict())
    assert torch.equal(again.score(images), score)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return make_store(tmp_path_factory.mktemp("store"), n_groups=4)


def train(store, folder, detector, **settings):
    options = SMALL | {"backbone_stride": 8, "size": 48, "batch_size": 8, "augmentation": "none", "learning_rate": 3e-3}
    return train_on_cpu(detector, options | settings, [store.samples], folder)


@pytest.mark.parametrize("detector", ["siamese", "triplet"])
def test_it_learns_what_makes_a_fake_and_predicts(store, tmp_path, detector):
    summary = train(store, tmp_path, detector, epochs=10, embedding_epochs=6)
    assert summary["best_epoch"] >= 6
    assert summary["best"]["val/video_auc"] == 1
    assert load_detector(tmp_path / "detector.ckpt")[0].classifier_learns
    assert frame_auc(predict_on_cpu(tmp_path, store.samples)) > 0.95


def test_a_training_that_ends_between_the_stages_goes_on_to_the_same_weights(store, tmp_path, caplog):
    train(store, tmp_path / "whole", "siamese", epochs=4)
    with stopped_before(Siamese, 2):
        train(store, tmp_path / "ended", "siamese", epochs=4)
    assert not (tmp_path / "ended/detector.ckpt").exists()
    with caplog.at_level("INFO", logger="detectors"):
        train(store, tmp_path / "ended", "siamese", epochs=4)
    assert "going on from" in caplog.text
    assert same_weights(weights_of(tmp_path / "whole"), weights_of(tmp_path / "ended"))


@pytest.mark.training
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("detector", ["siamese", "triplet"])
def test_it_detects_the_rendered_fakes_of_test_videos(shipped_store, tmp_path, detector):
    """A minute and a half of one core each, besides the store."""
    settings = {"backbone": "test_resnet", "pretrained": False, "backbone_stride": 8, "size": 96, "cpu_threads": 1}
    settings |= {"epochs": 16, "embedding_epochs": 12, "samples_per_epoch": 800, "batch_size": 32}
    settings |= {"learning_rate": 3e-3, "augmentation": "none"}
    aucs = in_domain_video_aucs(shipped_store, tmp_path, detector, settings)
    assert min(aucs.values()) > 0.80, aucs
