"""Clips of tracks, and the temporal detector: what it reads, what its idea promises, what of it learns."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from detectors.data.crop_window import CropWindow
from detectors.data.samples import Samples
from detectors.data.split import draw_rows, split_for_training
from detectors.families.clips import LabelledClips, TrackClips, Tracks, n_frames_of
from detectors.families.registry import load_detector
from detectors.families.temporal import Temporal, TemporalSettings, layers_of
from detectors.networks.backbones import VectorNetwork
from helpers.short_run import frame_auc, in_domain_video_aucs, predict_on_cpu, train_on_cpu
from helpers.tiny_batches import checked_batch, learn, untaught
from helpers.tiny_store import make_store

METHODS = ["real", "swap"]
SMALL = {
    "backbone": "test_resnet",
    "pretrained": False,
    "backbone_stride": 8,
    "size": 48,
    "n_frames": 4,
    "lstm_size": 16,
    "unfrozen_layers": None,
}
WINDOW = CropWindow(margin=0.15, size=32)


def clips(n=4, n_frames=4, size=48):
    shape = (n, n_frames, 3, size, size)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def make_detector(**settings):
    torch.manual_seed(0)
    return Temporal(TemporalSettings(**SMALL | settings), METHODS)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return make_store(tmp_path_factory.mktemp("store"), n_groups=4, n_frames=3)


@pytest.fixture(scope="module")
def train_samples(store):
    samples = Samples.read([store.samples])
    return samples[split_for_training(samples, 0.1)[0]]


def one_video(samples, frame_index, track_id):
    """Samples of one video with these frames and tracks."""
    rows = samples[np.zeros(len(frame_index), int)]
    return replace(rows, frame_index=np.array(frame_index, np.int32), track_id=np.array(track_id, np.int32))


def test_a_clip_is_evenly_spaced_from_the_first_frame_to_the_last(train_samples):
    tracks = Tracks(one_video(train_samples, range(20), [0] * 20))
    assert tracks.clip(0, 10).tolist() == [0, 2, 4, 6, 8, 11, 13, 15, 17, 19]
    assert tracks.clip(0, 2).tolist() == [0, 19]
    assert tracks.clip(0, 1).tolist() == [0]
    assert tracks.clip(0, 20).tolist() == list(range(20))
    assert tracks.clip(0, 30).tolist() == list(range(20))


def test_tracks_are_told_apart_and_put_in_the_order_of_time_whatever_the_order_of_rows(train_samples):
    tracks = Tracks(one_video(train_samples, [7, 5, 9, 5, 3], [2, 0, 2, 2, 0]))
    assert len(tracks) == 2
    assert tracks.track_of_sample.tolist() == [0, 1, 0, 0, 1]
    assert tracks.clip(0, 3).tolist() == [3, 0, 2]
    assert tracks.clip(1, 3).tolist() == [4, 1]


def test_one_track_number_in_two_videos_is_two_tracks(train_samples):
    tracks = Tracks(train_samples)
    assert (train_samples.track_id == 0).all()
    assert len(tracks) == len(np.unique(train_samples.video_id.codes))
    for track in range(len(tracks)):
        rows = tracks.clip(track, 3)
        assert len(set(train_samples.video_id.codes[rows])) == 1
        assert train_samples.frame_index[rows].tolist() == [0, 1, 2]
    assert len(Tracks(train_samples[:0])) == 0


def test_scoring_reads_every_track_once_and_gives_its_score_to_each_of_its_samples(store, train_samples):
    shuffled = train_samples[np.random.default_rng(0).permutation(len(train_samples))]
    scoring = TrackClips(store.crops, shuffled, WINDOW, 4)
    assert len(scoring) == len(shuffled) // 3
    assert scoring.crops_per_item == 4
    assert np.bincount(scoring.item_of_sample).tolist() == [3] * len(scoring)
    drawn = draw_rows(np.arange(len(shuffled)), scoring.item_of_sample, 7, seed=0)
    assert np.unique(scoring.item_of_sample[drawn], return_counts=True)[1].tolist() == [3, 3], "whole tracks"
    batch = scoring.__getitems__([0, 2])
    assert batch["image"].shape == (2, 4, 3, 32, 32)
    assert batch["row"].tolist() == [0, 2]
    assert n_frames_of(batch["image"]).tolist() == [3, 3]
    assert torch.equal(scoring[2]["image"], batch["image"][1])
    assert torch.equal(TrackClips(store.crops, shuffled, WINDOW, 3)[2]["image"], batch["image"][1, :3])
    frames = batch["image"][1, :3].float()
    assert (frames[0] - frames[1]).abs().max() > 10  # other frames, other pictures


def labelled(store, samples, **options):
    values = {"n_frames": 4, "seed": 5, "augmentation": "none", "balance": "none"} | options
    return LabelledClips(store.crops, samples, WINDOW, **values)


def test_items_and_batches_agree_and_workers_change_nothing(store, train_samples):
    dataset = labelled(store, train_samples, augmentation="ucf", balance="method")
    items = [(2, index) for index in range(6)]
    batch = checked_batch(dataset, items)
    assert batch["label"].tolist() == [0, 1, 0, 1, 0, 1]
    assert not torch.equal(dataset[3, 0]["image"], batch["image"][0])


def test_all_frames_of_a_clip_are_augmented_alike(store, train_samples):
    # one frame three times: what happens to it must be one thing
    still = train_samples[np.repeat(np.flatnonzero(train_samples.frame_index == 0), 3)]
    still = replace(still, frame_index=np.tile(np.arange(3, dtype=np.int32), len(still) // 3))
    plain, changed = (labelled(store, still, n_frames=3, augmentation=name) for name in ("none", "ucf"))
    n_changed = 0
    for index in range(len(changed)):
        frames = changed[0, index]["image"]
        assert torch.equal(frames[0], frames[1])
        assert torch.equal(frames[0], frames[2])
        n_changed += not torch.equal(frames, plain[0, index]["image"])
    assert n_changed > len(changed) / 2


def test_an_epoch_reads_every_track_once(store, train_samples):
    dataset = labelled(store, train_samples)
    assert len(dataset) == 12
    labels = [dataset[0, index]["label"] for index in range(12)]
    assert labels == train_samples.label[::3].tolist()


def test_frames_are_counted_up_to_the_black_end():
    some = clips(4, 3, 4)
    some[0, 2] = 0
    some[1] = 0
    some[2, 0] = 0
    assert n_frames_of(some).tolist() == [2, 1, 3, 3]


@pytest.mark.parametrize("training", [False, True])
def test_the_end_of_a_short_track_changes_nothing(training):
    detector = make_detector().train(training)
    long = clips(4, 6)
    long[:, 3:] = 0
    # with batch normalisation and dropout, too: black frames are not in its statistics
    short = long[:, :3]
    assert torch.allclose(detector.logits(long), detector.logits(short), atol=1e-6)
    mixed = clips(4, 6)
    mixed[2, 2:] = 0
    alone = detector.eval().score(mixed[2:3, :2])
    assert torch.allclose(detector.score(mixed)[2], alone[0], atol=1e-6)


def test_the_order_of_frames_matters():
    detector = make_detector().eval()
    some = clips()
    assert (detector.score(some) - detector.score(some.flip(1))).abs().min() > 1e-5
    changed = some.clone()
    changed[:, 1], changed[:, 2] = some[:, 2], some[:, 1]
    assert (detector.score(some) - detector.score(changed)).abs().min() > 1e-6


def test_the_lstm_reads_both_ways():
    detector = make_detector().eval()
    inputs, n_frames = detector.inputs(clips()), torch.tensor([4, 4, 3, 1])
    states = detector.network.states(inputs, n_frames)
    assert states.shape == (4, 32)
    vectors = detector.network.backbone(inputs.flatten(0, 1)).view(4, 4, -1)
    for index, count in enumerate(n_frames):
        output, _ = detector.network.lstm(vectors[index : index + 1, :count])
        expected = torch.cat([output[0, -1, :16], output[0, 0, 16:]])  # the end of each direction
        assert torch.allclose(states[index], expected, atol=1e-5)
    assert torch.allclose(detector.vectors(clips())["clip"][:2], states[:2], atol=1e-5)
    assert detector.find_cam_layer() is None


def test_the_loss_is_the_binary_one_of_one_logit():
    detector = make_detector(label_smoothing=0.1).eval()
    batch = {"image": clips(), "label": torch.tensor([0, 1, 1, 0])}
    logit = detector.network(detector.inputs(batch["image"]), torch.full((4,), 4))
    assert logit.shape == (4,)
    target = batch["label"] * 0.9 + 0.05
    expected = F.binary_cross_entropy_with_logits(logit, target)
    assert detector.losses(batch)["total"].item() == pytest.approx(expected.item(), rel=1e-5)
    assert torch.allclose(detector.score(batch["image"]), logit.sigmoid())

    focal = make_detector(loss="focal", fake_weight=0.25, focal_gamma=2.0).eval()
    right = torch.where(batch["label"] == 1, logit.sigmoid(), 1 - logit.sigmoid())
    weight = torch.where(batch["label"] == 1, 0.25, 0.75)
    expected = -(weight * (1 - right) ** 2 * right.log()).mean()
    assert focal.losses(batch)["total"].item() == pytest.approx(expected.item(), rel=1e-4)


@pytest.mark.parametrize("loss", ["cross_entropy", "focal"])
def test_every_parameter_learns_and_eight_pairs_of_clips_are_learnt_by_heart(loss):
    detector = make_detector(loss=loss, learning_rate=3e-3, n_frames=3, size=32).train()
    batch = {"image": clips(16, 3, 32), "label": torch.arange(16) % 2}
    batch["image"][3, 2:] = 0
    optimizer = detector.optimizer()
    detector.start_epoch(0)
    learn(detector, optimizer, batch, 30)
    assert untaught(detector) == []
    score = detector.eval().score(batch["image"])
    assert score.shape == (16,)
    assert score[batch["label"] == 1].min() > score[batch["label"] == 0].max()


def test_layers_are_counted_from_the_end_of_the_backbone():
    xception = VectorNetwork("legacy_xception", pretrained=False, stride=32)
    names = {module: name.removeprefix("body.") for name, module in xception.named_modules()}
    last = [names[layer] for layer in layers_of(xception)[-6:]]
    assert last == ["conv3.conv1", "conv3.pointwise", "bn3", "conv4.conv1", "conv4.pointwise", "bn4"]
    whole = sum(value.numel() for layer in layers_of(xception) for value in layer.parameters(recurse=False))
    assert whole == sum(value.numel() for value in xception.parameters())


def states_of(layers):
    return [{name: value.clone() for name, value in layer.state_dict().items()} for layer in layers]


def changed_layers(before, layers):
    after = states_of(layers)
    return [
        number
        for number, (one, two) in enumerate(zip(before, after, strict=True))
        if any(not torch.equal(one[name], two[name]) for name in one)
    ]


def test_frozen_layers_stay_exactly_as_they_were_and_more_learn_with_every_epoch():
    detector = make_detector(unfrozen_layers=3, unfreeze_per_epoch=4, learning_rate=1e-2, weight_decay=0.1).train()
    layers = layers_of(detector.network.backbone)
    assert any(isinstance(layer, nn.BatchNorm2d) for layer in layers[-7:])
    optimizer = detector.optimizer()
    batch = {"image": clips(), "label": torch.tensor([0, 1, 1, 0])}
    for epoch, n_learning in ((0, 3), (1, 7), (2, 11), (20, len(layers))):
        detector.start_epoch(epoch)
        before = states_of(layers)
        for _ in range(2):
            learn(detector, optimizer, batch)
            detector.eval().score(batch["image"])
            detector.train()
        assert changed_layers(before, layers) == list(range(len(layers) - n_learning, len(layers)))


def test_a_frozen_backbone_leaves_the_lstm_to_learn():
    detector = make_detector(unfrozen_layers=0).train()
    optimizer = detector.optimizer()
    detector.start_epoch(0)
    layers = layers_of(detector.network.backbone)
    before, lstm = states_of(layers), states_of([detector.network.lstm, detector.network.last])
    learn(detector, optimizer, {"image": clips(), "label": torch.tensor([0, 1, 1, 0])})
    assert changed_layers(before, layers) == []
    assert changed_layers(lstm, [detector.network.lstm, detector.network.last]) == [0, 1]


def test_random_layers_that_do_not_learn_are_told_of(store, train_samples, caplog):
    make_detector().training_set(train_samples, store.data, 0)
    assert not caplog.text
    make_detector(unfrozen_layers=2).training_set(train_samples, store.data, 0)
    assert "unfrozen_layers: found 2 with random weights" in caplog.text


def test_it_learns_what_makes_a_fake_and_predicts_one_score_for_a_track(store, tmp_path):
    settings = {"augmentation": "none", "balance": "label", "epochs": 10, "batch_size": 4, "learning_rate": 3e-3}
    summary = train_on_cpu("temporal", SMALL | settings, [store.samples], tmp_path)
    assert summary["best"]["val/video_auc"] == 1
    predictions = predict_on_cpu(tmp_path, store.samples)
    assert len(predictions) == 4 * 3 * 3
    assert set(predictions.groupby(["video_id", "track_id"])["score"].nunique()) == {1}
    assert frame_auc(predictions) > 0.95


@pytest.mark.training
@pytest.mark.timeout(1800)
def test_on_a_trained_backbone_it_detects_the_rendered_fakes_of_test_videos(shipped_store, tmp_path):
    """Two minutes of one core, besides the store: the backbone's training takes most of them.

    The studies begin with ImageNet weights; here a short triplet training takes their place. Then three layers of the
    backbone learn, and two more with every epoch.
    """
    common = {"backbone": "test_resnet", "backbone_stride": 8, "size": 96, "cpu_threads": 1, "learning_rate": 3e-3}
    common |= {"augmentation": "none", "balance": "label"}
    settings = {"pretrained": False, "epochs": 14, "embedding_epochs": 12, "samples_per_epoch": 800, "batch_size": 32}
    in_domain_video_aucs(shipped_store, tmp_path / "triplet", "triplet", common | settings)
    state = load_detector(tmp_path / "triplet/detector.ckpt")[0].network.body.body.state_dict()
    torch.save(state, tmp_path / "backbone.pth")

    settings = {"pretrained": str(tmp_path / "backbone.pth"), "unfrozen_layers": 3, "unfreeze_per_epoch": 2}
    settings |= {"n_frames": 6, "lstm_size": 32, "epochs": 6, "batch_size": 8}
    aucs = in_domain_video_aucs(shipped_store, tmp_path / "temporal", "temporal", common | settings)
    assert min(aucs.values()) > 0.80, aucs
