"""LAV: its filters, its modules, what its masks and guesses teach, and that it learns."""

from __future__ import annotations

from dataclasses import replace

import h5py
import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from detectors.data.augmentation import CHAINS, Chain
from detectors.data.crop_store import CropStore
from detectors.data.crop_window import CropWindow
from detectors.data.landmarks import read_landmarks
from detectors.data.mask_store import MaskStore, patches_of_mask
from detectors.data.masked_crops import AUGMENTATIONS, MaskedCrops
from detectors.data.samples import Samples
from detectors.data.split import split_for_training
from detectors.families.lav.detector import (
    ConsistencyEnhancement,
    GuidedAttention,
    Lav,
    LavSettings,
    PatchFusion,
    TwoStreamNetwork,
    patch_loss,
    resample,
)
from detectors.families.lav.patch_similarity import FAKE_PATCH, NO_LABEL, REAL_PATCH, PatchSimilarity, face_part_patches
from detectors.families.lav.srm import TRUNCATION, SrmFilter, srm_kernels
from detectors.families.registry import load_detector
from detectors.figures.map_sheets import intersection_over_union, locate_faces
from helpers.short_run import TRAINED_ON, in_domain_video_aucs, last_checkpoint, same_weights, train_on_cpu
from helpers.tiny_batches import checked_batch, learn, random_images, untaught
from helpers.tiny_masks import add_landmarks_and_masks, face_landmarks
from helpers.tiny_store import BOX, CROP_X, CROP_Y, make_store
from preprocess.running.cli import UserError
from preprocess.store.mask_file import CropMasks, MaskRows, write_masks
from preprocess.store.origin import Origin
from preprocess.store.tables import read_rows

METHODS = ["real", "columns", "stripes"]
SMALL = {"backbone": "test_resnet", "pretrained": False, "backbone_stride": 16, "size": 64, "fusion_channels": 16}


def random_maps(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# --- SRM --------------------------------------------------------------------------------------------------------


def test_srm_is_blind_to_even_colours_and_to_ramps():
    rows, columns = torch.meshgrid(torch.arange(16.0), torch.arange(20.0), indexing="ij")
    even = torch.full((1, 3, 16, 20), 0.7)
    assert SrmFilter()(even).abs().max() < 1e-5
    ramp = (0.02 * rows - 0.03 * columns).expand(1, 3, -1, -1)
    # at the edge the ramp stops, which is a bend
    assert SrmFilter()(ramp)[..., 2:-2, 2:-2].abs().max() < 1e-5


def test_srm_answers_an_impulse_with_its_kernels_turned_by_half():
    impulse = torch.zeros(1, 3, 11, 11)
    impulse[0, 1, 5, 5] = 1.0  # one channel: each filter reads all three
    answer = SrmFilter()(impulse)[0, :, 3:8, 3:8]
    assert torch.allclose(answer, srm_kernels().flip(1, 2))
    square, large_square, horizontal = answer
    assert square[2, 2] == -1
    assert square[1, 1] == -0.25
    assert large_square[0, 0].item() == pytest.approx(-1 / 12)
    assert horizontal[2].tolist() == [0, 0.5, -1, 0.5, 0]


def test_srm_measures_curvature_along_rows_with_its_third_filter_alone():
    columns = torch.arange(24.0)
    parabola = (0.01 * columns**2).expand(1, 3, 24, -1)
    residuals = SrmFilter()(parabola)[0, :, 4:-4, 4:-4]
    # half the second difference, 2 x 0.01, of three channels
    assert torch.allclose(residuals[2], torch.tensor(0.03), atol=1e-5)
    assert residuals[:2].abs().max() < 1e-4  # they need curvature along the columns too


def test_srm_cuts_off_what_is_too_large():
    checkers = (torch.arange(12)[:, None] + torch.arange(12)) % 2 * 2.0 - 1
    residuals = SrmFilter()(checkers.expand(1, 3, -1, -1))
    assert residuals.max() == TRUNCATION
    assert residuals.min() == -TRUNCATION


# --- modules ----------------------------------------------------------------------------------------------------


def test_lfga_at_first_leaves_the_noise_as_it_is_and_then_gathers_from_where_the_colours_agree():
    torch.manual_seed(0)
    guide = GuidedAttention(8)
    colour, noise = random_maps(2, 8, 5, 4), random_maps(2, 8, 5, 4, seed=1)
    same_colour, guided = guide(colour, noise)
    assert torch.equal(guided, noise)
    assert same_colour is colour
    guide.weight.data.fill_(1.0)
    # without a difference between positions the attention is even: every position gathers the mean
    gathered = guide(torch.ones_like(colour), noise)[1] - noise
    mean = guide.value(noise).mean(dim=(2, 3), keepdim=True)
    assert torch.allclose(gathered, mean.expand_as(gathered), atol=1e-5)
    # with large ones a position looks at the one whose key agrees with its query
    marked = torch.zeros(1, 8, 5, 4)
    marked[:, 0, 3, 2] = 40.0
    guide.query.bias.data.fill_(1.0)
    guide.key.weight.data[:, 0] = 1.0
    gathered = guide(marked, noise[:1])[1] - noise[:1]
    assert torch.allclose(gathered[0, :, 0, 0], guide.value(noise[:1])[0, :, 3, 2], atol=1e-3)


def test_cmce_takes_from_the_other_stream_as_far_as_the_two_agree():
    torch.manual_seed(0)
    exchange = ConsistencyEnhancement(4)
    colour = random_maps(1, 4, 3, 3)
    orthogonal = torch.stack([-colour[:, 1], colour[:, 0], -colour[:, 3], colour[:, 2]], dim=1)
    assert torch.allclose(exchange(colour, orthogonal)[0], colour, atol=1e-6)
    assert torch.allclose(exchange(colour, orthogonal)[1], orthogonal, atol=1e-6)
    both = exchange(colour, 2 * colour)
    assert torch.allclose(both[0], colour + exchange.to_colour(2 * colour), atol=1e-5)
    assert torch.allclose(both[1], 2 * colour + exchange.to_noise(colour), atol=1e-5)
    opposed = exchange(colour, -colour)
    assert torch.allclose(opposed[0], colour - exchange.to_colour(-colour), atol=1e-5)


def test_mpff_reads_each_patch_from_its_own_place_at_every_scale():
    torch.manual_seed(0)
    fusion = PatchFusion([3, 4, 5, 6], 8).eval()
    maps = [random_maps(1, 3, 19, 19), random_maps(1, 4, 8, 8), random_maps(1, 5, 4, 4), random_maps(1, 6, 2, 2)]
    patches = fusion(maps)
    assert patches.features.shape == (1, 8, 4, 4)
    assert patches.logits.shape == (1, 2, 4, 4)
    changed = [stage_map.clone() for stage_map in maps]
    changed[1][..., 2:4, 4:6] += 1.0  # what patch (1, 2) shows
    moved = (fusion(changed).logits - patches.logits).abs().sum(dim=1)[0] > 1e-6
    assert moved.nonzero().tolist() == [[1, 2]]


def test_resampling_is_the_mean_of_what_a_pixel_covers():
    row = torch.tensor([[1.0, 2.0, 3.0]]).expand(1, 1, 2, 3)
    assert torch.allclose(resample(row, (2, 2))[0, 0, 0], torch.tensor([4 / 3, 8 / 3]))
    assert torch.allclose(resample(row, (2, 6))[0, 0, 0], torch.tensor([1.0, 1, 2, 2, 3, 3]))
    maps = random_maps(2, 3, 12, 8)
    assert torch.allclose(resample(maps, (4, 4)), torch.nn.functional.adaptive_avg_pool2d(maps, (4, 4)), atol=1e-6)
    assert resample(maps, (12, 8)) is maps


def test_a_patch_counts_as_manipulated_when_one_of_its_pixels_is():
    mask = torch.zeros(1, 1, 32, 32, dtype=torch.uint8)
    mask[0, 0, 8, 15] = 1
    assert patches_of_mask(mask, (4, 4)).nonzero().tolist() == [[0, 1, 1]]
    # 19 patches do not divide 299 pixels: one on their border belongs to both
    mask = torch.zeros(1, 1, 299, 299, dtype=torch.uint8)
    mask[0, 0, 150, 298] = 1
    assert patches_of_mask(mask, (19, 19)).nonzero().tolist() == [[0, 9, 18]]
    assert patches_of_mask(torch.ones(2, 1, 64, 64, dtype=torch.uint8), (4, 4)).sum() == 32


def test_patches_without_a_label_teach_nothing():
    logits = random_maps(1, 2, 2, 2).requires_grad_()
    targets = torch.tensor([[[REAL_PATCH, NO_LABEL], [FAKE_PATCH, NO_LABEL]]])
    loss = patch_loss(logits, targets)
    expected = -logits.log_softmax(dim=1)[0, [0, 1], [0, 1], [0, 0]].mean()
    assert torch.allclose(loss, expected)
    nothing = patch_loss(logits, torch.full_like(targets, NO_LABEL))
    assert nothing.item() == 0
    nothing.backward()
    assert logits.grad.abs().sum() == 0


def test_at_the_published_size_the_maps_are_19_by_19():
    network = TwoStreamNetwork(
        "legacy_xception", pretrained=False, stride=32, fusion_channels=128, dropout=0.2, locates=True
    ).eval()
    with torch.no_grad():
        logits, patches = network(random_images(1, 299), locate=True)
    assert logits.shape == (1, 2)
    assert patches.logits.shape == (1, 2, 19, 19)
    assert len(network.exchanges) == 3
    assert len(network.guides) == 2
    assert len(network.locator.narrow) == 6


@pytest.mark.parametrize("point", range(81))
def test_the_parts_of_a_face_are_those_of_ibug(point):
    """Points 27 to 67 are nose, eyes and mouth; jaw, brows (0 to 26) and forehead (68 to 80) are no part."""
    landmarks = torch.full((1, 81, 2), 8.0)
    landmarks[0, point] = torch.tensor([8.0, 60.0])
    touched = face_part_patches(landmarks, 64, (4, 4))[0]
    assert touched[0, 0]
    assert touched[3, 0] == (27 <= point < 68)


# --- patch similarity -------------------------------------------------------------------------------------------


def test_guesses_are_what_the_features_resemble_more():
    similarity = PatchSimilarity(2, momentum=0.9)
    features = torch.tensor([[1.0, 0.0], [0.2, 3.0], [-2.0, 0.1], [0.0, -1.0]]).T.view(1, 2, 2, 2)
    assert (similarity.label(features) == NO_LABEL).all()
    everywhere, nowhere = torch.ones(1, 1, 1, dtype=torch.bool), torch.zeros(1, 1, 1, dtype=torch.bool)
    similarity.update(torch.tensor([2.0, 0.5]).view(1, 2, 1, 1), (everywhere, nowhere))
    assert (similarity.label(features) == NO_LABEL).all()
    similarity.update(torch.tensor([-1.0, 1.0]).view(1, 2, 1, 1), (nowhere, everywhere))
    # towards (2, 0.5) or towards (-1, 1): cosines 0.97 and -0.71; 0.31 and 0.66; -0.95 and 0.74; -0.24 and -0.71
    assert similarity.label(features).tolist() == [[[REAL_PATCH, FAKE_PATCH], [FAKE_PATCH, REAL_PATCH]]]
    # lengths do not matter
    assert torch.equal(similarity.label(7 * features), similarity.label(features))


def test_the_means_run_and_are_part_of_the_state():
    similarity = PatchSimilarity(2, momentum=0.9)
    features = torch.tensor([[[[1.0, 3.0]], [[0.0, 4.0]]]])  # two patches: (1, 0) and (3, 4)
    real, fake = torch.tensor([[[True, False]]]), torch.tensor([[[False, True]]])
    similarity.update(features, (real, fake))
    assert similarity.means.tolist() == [[1.0, 0.0], [3.0, 4.0]]
    similarity.update(features, (real | fake, torch.zeros_like(fake)))
    assert torch.allclose(similarity.means, torch.tensor([[1.1, 0.2], [3.0, 4.0]]))
    again = PatchSimilarity(2, momentum=0.9)
    again.load_state_dict(similarity.state_dict())
    assert torch.equal(again.label(features), similarity.label(features))


def test_patches_of_face_parts_are_those_that_their_boxes_touch():
    landmarks = torch.full((3, 81, 2), 100.0)  # outside the image
    landmarks[0, 36:42] = torch.tensor([[9.0, 10.0], [14.0, 12.0]] * 3)  # an eye: columns 1, row 1 of 8 px patches
    landmarks[0, 48:68] = torch.tensor([[15.0, 24.0], [17.0, 30.0]] * 10)  # a mouth across two columns
    landmarks[2] = torch.nan
    touched = face_part_patches(landmarks, 32, (4, 4))
    assert touched[0].nonzero().tolist() == [[1, 1], [3, 1], [3, 2]]
    assert not touched[1:].any()


# --- what training reads ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A store whose fakes of the method `columns` have no mask."""
    store = make_store(tmp_path_factory.mktemp("store"), n_groups=4)
    add_landmarks_and_masks(store.data, unknown=("columns",))
    return store


def training_crops(store, *, size=80, augmentation="none", seed=5, margin=0.5):
    samples = Samples.read([store.samples])
    samples = samples[split_for_training(samples, 0.1)[0]]
    return samples, MaskedCrops(store.data, samples, CropWindow(margin, size), seed, augmentation, "label")


def test_masks_and_landmarks_come_with_the_crop(store):
    samples, crops = training_crops(store)
    batch = crops.__getitems__([(0, index) for index in range(len(crops))])
    assert batch["image"].shape == (len(crops), 3, 80, 80)
    assert batch["mask"].shape == (len(crops), 1, 80, 80)
    methods = [samples.method.names[samples.method.codes[crops._draws.row(0, index)]] for index in range(len(crops))]
    assert set(methods) == set(METHODS)
    for method, label, known, mask in zip(
        methods, batch["label"], batch["mask_known"], batch["mask"][:, 0], strict=True
    ):
        assert known == (method != "columns")
        assert label == (method != "real")
        # the window is the whole stored crop
        expected = torch.zeros(80, 80)
        expected[20:60, 20:60] = method == "stripes"
        assert torch.equal(mask, expected.byte())
    expected = torch.from_numpy(face_landmarks() - (CROP_X, CROP_Y))
    assert torch.allclose(batch["landmarks"], expected.float(), atol=1e-3)


def test_the_mask_moves_with_the_face(store, monkeypatch):
    # compression would blur the pattern that is looked for
    monkeypatch.setitem(CHAINS, "dfdc_subset", Chain(geometry=CHAINS["dfdc_subset"].geometry))
    _, crops = training_crops(store, augmentation="dfdc_subset", size=112, margin=0.2)
    batch = crops.__getitems__([(epoch, index) for epoch in range(3) for index in range(len(crops))])
    moved = 0
    for image, label, mask, known, points in zip(*batch.values(), strict=True):
        if not (label and known):
            continue
        # the fakes' stripes: rows that differ from those above and below
        grey = image.float().mean(dim=0)
        striped = (grey[:-2] + grey[2:] - 2 * grey[1:-1]).abs() > 8
        y, x = striped.nonzero().float().mean(dim=0).tolist()
        mask_y, mask_x = mask[0].nonzero().float().mean(dim=0).tolist()
        assert abs(y + 1 - mask_y) < 2
        assert abs(x - mask_x) < 2
        # the eyes, the nose and the mouth lie in the box, around its middle column
        assert abs(points[27:68, 0].mean() - mask_x) < 5
        moved += abs(mask_x - 55.5) > 2 or abs(mask_y - 55.5) > 2
    assert moved > 3


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_the_chains_of_lav_move_the_face_before_it_is_cut_alone(name):
    image = np.zeros((64, 64, 3), np.uint8)
    image[10:20, 30:50] = 220
    rows, columns = np.indices((64, 64))
    for seed in range(20):
        rng = np.random.default_rng(seed)
        CHAINS[name].draw_geometry(rng)
        bright = CHAINS[name].augment(image, rng).mean(axis=2) > 110
        assert abs(rows[bright].mean() - 14.5) < 0.7
        assert abs(columns[bright].mean() - 39.5) < 0.7


def test_items_depend_on_seed_epoch_and_index_alone(store):
    _, crops = training_crops(store, augmentation="ucf", size=48)
    items = [(2, index) for index in range(6)]
    batch = checked_batch(crops, items)
    other_seed = training_crops(store, augmentation="ucf", size=48, seed=6)[1].__getitems__(items)
    assert not torch.equal(other_seed["image"], batch["image"])


def test_landmarks_and_masks_that_are_absent_or_too_few_are_named(store, tmp_path):
    samples = Samples.read([store.samples])
    with pytest.raises(UserError, match=r"cannot read the table .*0000.parquet"):
        read_landmarks(tmp_path / "landmarks", samples)
    with pytest.raises(UserError, match=r"cannot read the masks .*absent.h5.*make_masks"):
        MaskRows(tmp_path / "absent.h5")
    masks = MaskRows(store.data / "masks/tiny/0000.h5")
    # the first row that is not there
    n_rows = len(read_rows(store.data / "landmarks/tiny/0000.parquet"))
    with pytest.raises(UserError, match=rf"has no mask {n_rows}, only {n_rows}: run make_masks"):
        masks.read(n_rows)
    samples = replace(samples, crop_row=np.full(len(samples), n_rows, np.int32))
    message = rf"landmarks of {n_rows} crops, the samples ask for crop {n_rows}: run detect_landmarks"
    with pytest.raises(UserError, match=message):
        read_landmarks(store.data / "landmarks", samples)


# --- the detector -----------------------------------------------------------------------------------------------


def face_batch(n=8, size=64, known=True, seed=0):
    """Smooth faces, odd ones with fine noise in a square, which is their mask."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(n, 3, 5, 5, generator=generator) * 140 + 60
    images = torch.nn.functional.interpolate(coarse, size=(size, size), mode="bicubic")
    mask = torch.zeros(n, 1, size, size, dtype=torch.uint8)
    label = torch.arange(n) % 2
    third = size // 3
    for row in range(1, n, 2):
        top = third + size // 8 * (row // 2 % 2)
        images[row, :, top : top + third, third : 2 * third] += 25 * torch.randn(3, third, third, generator=generator)
        mask[row, 0, top : top + third, third : 2 * third] = 1
    landmarks = torch.from_numpy((face_landmarks() - BOX[:2]) * (size / 40)).float().expand(n, -1, -1)
    return {
        "image": images.clamp(0, 255).byte(),
        "label": label,
        "mask": mask,
        "mask_known": (label == 0) | known,
        "landmarks": landmarks,
    }


def test_shapes_and_ranges():
    torch.manual_seed(0)
    lav = Lav(LavSettings(**SMALL), METHODS).eval()
    images = random_images()
    score, maps = lav.score(images), lav.location_maps(images)
    assert score.shape == (4,)
    assert score.dtype == torch.float32
    assert maps.shape == (4, 8, 8)
    assert 0 <= maps.min() <= maps.max() <= 1
    assert lav.vectors(images)["noise"].shape[0] == 4
    losses = lav.losses(face_batch())
    assert set(losses) == {"class", "location", "similarity", "total"}
    assert torch.allclose(losses["total"], losses["class"] + losses["location"] + losses["similarity"])


def test_half_precision_changes_little_and_the_means_stay_in_full():
    torch.manual_seed(0)
    lav = Lav(LavSettings(**SMALL, dropout=0.0), METHODS).train()
    batch = face_batch(known=False)
    lav.losses(batch)
    whole = lav.losses(batch)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = lav.losses(batch)
    for name, loss in half.items():
        assert loss.dtype == torch.float32
        assert loss.item() == pytest.approx(whole[name].item(), abs=0.05)
    assert lav.similarity.means.dtype == torch.float32


def test_prediction_builds_what_the_score_needs_and_gives_the_same():
    torch.manual_seed(0)
    lav = Lav(LavSettings(**SMALL), METHODS).eval()
    small = Lav(LavSettings(**SMALL), METHODS, prediction_only=True).eval()
    state = lav.state_dict()
    small.load_state_dict({key: state[key] for key in small.state_dict()})
    images = random_images()
    assert torch.equal(small.score(images), lav.score(images))
    with pytest.raises(NotImplementedError, match="prediction_only"):
        small.location_maps(images)
    left_out = {key.split(".")[1] for key in state.keys() - small.state_dict().keys()}
    assert left_out == {"locator", "colour", "means", "is_known"}


def test_gradients_reach_every_parameter():
    torch.manual_seed(0)
    lav = Lav(LavSettings(**SMALL), METHODS).train()
    # LFGA's weight and the last normalisation of residual blocks start at zero, and with them the gradients behind
    learn(lav, lav.optimizer(), face_batch(), 3)
    # softmax does not see what all its inputs share
    assert [name for name in untaught(lav) if not name.endswith("key.bias")] == []


def test_unknown_masks_teach_only_at_the_parts_of_the_face():
    torch.manual_seed(0)
    lav = Lav(LavSettings(**SMALL), METHODS).train()
    batch = face_batch(known=False)
    assert lav.losses(batch)["similarity"].item() == 0  # nothing is known yet
    assert lav.similarity.is_known.all()
    losses = lav.losses(batch)
    assert losses["similarity"] > 0
    batch["landmarks"] = torch.full_like(batch["landmarks"], torch.nan)
    assert lav.losses(batch)["similarity"].item() == 0


def test_the_first_mean_of_fake_patches_is_of_those_that_a_mask_tells_if_there_are_any():
    torch.manual_seed(0)
    lav = Lav(LavSettings(**SMALL), METHODS).train()
    batch = face_batch(4)
    batch["mask_known"] = torch.tensor([True, True, True, False])
    features = lav.network(batch["image"], locate=True)[1].features
    manipulated = patches_of_mask(batch["mask"][1:2], (8, 8))[0] == 1
    lav.losses(batch)
    assert torch.allclose(lav.similarity.means[FAKE_PATCH], features[1, :, manipulated].mean(dim=1), atol=1e-5)
    # without one it is of all fake patches at the parts of the face
    again = Lav(LavSettings(**SMALL), METHODS).train()
    again.load_state_dict(lav.state_dict())
    again.similarity.is_known.fill_(False)
    batch["mask_known"] = batch["label"] == 0
    features = again.network(batch["image"], locate=True)[1].features
    parts = face_part_patches(batch["landmarks"], 64, (8, 8))
    again.losses(batch)
    expected = [features[row, :, parts[row]] for row in (1, 3)]
    assert torch.allclose(again.similarity.means[FAKE_PATCH], torch.cat(expected, dim=1).mean(dim=1), atol=1e-5)


def test_evaluation_leaves_the_running_means_alone():
    lav = Lav(LavSettings(**SMALL), METHODS).eval()
    lav.losses(face_batch())
    assert not lav.similarity.is_known.any()


def test_eight_pairs_are_learnt_by_heart_with_their_masks():
    torch.manual_seed(0)
    lav = Lav(LavSettings(**SMALL | {"size": 48}, learning_rate=3e-3, dropout=0.0), METHODS).train()
    batch = face_batch(16, size=48)
    learn(lav, lav.optimizer(), batch, 40)
    lav.eval()
    with torch.no_grad():
        score, maps = lav.score(batch["image"]), lav.location_maps(batch["image"])
    assert score[batch["label"] == 1].min() > score[batch["label"] == 0].max()
    masks = patches_of_mask(batch["mask"], maps.shape[1:])
    assert ((maps > 0.5) == masks).float().mean() > 0.95


TRAINING = SMALL | {"size": 48, "epochs": 3, "batch_size": 6, "learning_rate": 2e-3, "cpu_threads": 1}


def train(store, folder, **settings):
    return train_on_cpu("lav", TRAINING | settings, [store.samples], folder)


def test_a_resumed_training_has_the_weights_and_the_running_means_it_would_have_had(store, tmp_path, monkeypatch):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    train(store, whole)
    losses, calls = Lav.losses, []

    def stop_in_the_second_epoch(self, batch):
        calls.append(batch)
        if len(calls) == 6:
            raise RuntimeError("stopped")
        return losses(self, batch)

    with monkeypatch.context() as patch:
        patch.setattr(Lav, "losses", stop_in_the_second_epoch)
        with pytest.raises(RuntimeError, match="stopped"):
            train(store, broken)
    assert not (broken / "detector.ckpt").exists()
    train(store, broken)
    one, two = (last_checkpoint(folder)["state_dict"] for folder in (whole, broken))
    assert one["detector.similarity.is_known"].all()
    assert same_weights(one, two)
    assert {path.name for path in (broken / "logs/maps").iterdir()} == {f"epoch{epoch}.png" for epoch in range(3)}
    for epoch in range(3):
        name = f"logs/maps/epoch{epoch}.png"
        assert (whole / name).read_bytes() == (broken / name).read_bytes()
    detector, facts = load_detector(broken / "detector.ckpt", prediction_only=False)
    assert facts["detector"] == "lav"
    assert detector.location_maps(random_images(2, 48)).shape == (2, 6, 6)


def location_quality(detector, data, dataset):
    """AUC of the patches of a test set's fakes, and their mean IoU at the threshold 0.5."""
    samples = Samples.read([data / f"samples/{dataset}.parquet"])
    samples = samples[samples.split.equals("test") & (samples.label == 1)]
    crops = CropStore(data / "crops", samples, detector.window)
    masks = MaskStore(data / "masks", samples, detector.window)
    faces = []
    for row in range(len(samples)):
        stored, *place = crops.stored(row)
        faces.append((detector.window.cut(stored, *place), masks.read(row, *place), ""))
    located = locate_faces(detector, [face for face in faces if face[1] is not None and face[1].any()])
    patches = [patches_of_mask(torch.from_numpy(face.mask)[None, None], face.map.shape) for face in located]
    auc = roc_auc_score(torch.cat(patches).flatten(), np.concatenate([face.map.ravel() for face in located]))
    return auc, np.mean([intersection_over_union(face.map, face.mask) for face in located])


SHORT = {
    "backbone": "test_resnet",
    "pretrained": False,
    "backbone_stride": 16,
    "size": 112,
    "fusion_channels": 32,
    "augmentation": "none",
    "epochs": 4,
    "samples_per_epoch": 800,
    "learning_rate": 3e-3,
    "step_epochs": 2,
    "cpu_threads": 1,
}


@pytest.mark.training
@pytest.mark.timeout(1800)
def test_it_detects_and_locates_the_rendered_fakes_of_test_videos(shipped_store, tmp_path):
    """Three minutes of one core, besides the store."""
    aucs = in_domain_video_aucs(shipped_store, tmp_path, "lav", SHORT)
    assert min(aucs.values()) > 0.80, aucs
    detector, _ = load_detector(tmp_path / "detector.ckpt", prediction_only=False)
    located = {name: location_quality(detector, shipped_store, name) for name in TRAINED_ON}
    print(f"video AUC {aucs}, patch AUC and IoU of fakes {located}")
    assert min(auc for auc, _ in located.values()) > 0.90, located
    assert min(overlap for _, overlap in located.values()) > 0.60, located


@pytest.mark.training
@pytest.mark.timeout(3600)
def test_without_any_mask_resemblance_teaches_where_faces_were_manipulated(shipped_store, tmp_path):
    """Three minutes of one core, besides the store: two trainings, with and without what resemblance teaches.

    It is the maps' overlap with the masks that resemblance raises; docs/detectors.md has the figures of more seeds.
    """
    data = tmp_path / "data"
    data.mkdir()
    for stage in ("crops", "landmarks", "samples"):
        (data / stage).symlink_to(shipped_store / stage)
    for path in [path for name in TRAINED_ON for path in (shipped_store / "masks" / name).glob("*.h5")]:
        with h5py.File(path) as file:
            unknown = [CropMasks()] * len(file["mask_source"])
        origin = Origin(path.parent.name, "masks", "{}", 1, path.stem)
        write_masks(data / "masks" / path.parent.name / path.name, unknown, origin)
    overlaps = {}
    for weight in (0.0, 1.0):
        folder = tmp_path / f"weight{weight}"
        settings = SHORT | {"epochs": 3, "similarity_weight": weight}
        aucs = in_domain_video_aucs(data, folder, "lav", settings, seed=1)
        detector, _ = load_detector(folder / "detector.ckpt", prediction_only=False)
        located = {name: location_quality(detector, shipped_store, name) for name in TRAINED_ON}
        print(f"weight {weight}: video AUC {aucs}, patch AUC and IoU of fakes {located}")
        overlaps[weight] = {name: overlap for name, (_, overlap) in located.items()}
    assert all(overlaps[1.0][name] > overlaps[0.0][name] for name in TRAINED_ON), overlaps
