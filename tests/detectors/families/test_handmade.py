"""Detectors without a network: their features on signals that are known, and learning from a small store."""

from __future__ import annotations

import math
from functools import cache

import cv2
import numpy as np
import pandas as pd
import pytest
import scipy.fft
import torch

from detectors.data.samples import Samples
from detectors.families.handmade.dct import (
    Dct,
    DctSettings,
    block_spectrum,
    cut_blocks,
    histogram_spectrum,
    skin_coloured,
)
from detectors.families.handmade.detector import UNKNOWN_SCORE, draw_balanced
from detectors.families.handmade.ela import Ela, ElaCnn, ElaCnnSettings, ElaSettings, error_levels
from detectors.families.handmade.shallow import CLASSIFIERS
from detectors.families.handmade.sift import Sift, SiftSettings, keypoint_descriptors
from detectors.families.registry import load_detector
from detectors.interface.detector import Training
from helpers.short_run import frame_auc, in_domain_video_aucs, predict_on_cpu, train_on_cpu
from helpers.tiny_batches import random_images
from helpers.tiny_store import CROP_SIZE, make_store
from preprocess.running.cli import UserError

METHODS = ["real", "stripes", "columns"]
FAMILIES = ("dct", "ela", "sift")
SMALL = {"size": 64, "margin": 0.0, "pca_components": 24}
SETTINGS = {
    "dct": SMALL | {"block_px": 16},
    "ela": SMALL | {"grid": 8},
    "sift": SMALL,
}


# --- block DCT --------------------------------------------------------------------------------------------------


def test_spectrum_of_a_flat_block_is_its_mean_alone():
    # orthonormal: 32 times the mean of a block of 32 x 32
    spectrum = block_spectrum(torch.full((1, 32, 32), 100.0))
    assert spectrum.shape == (1, 1024)
    assert spectrum[0, 0] == pytest.approx(math.log1p(3200), abs=1e-4)
    assert spectrum[0, 1:].abs().max() < 1e-3


def test_spectrum_of_a_cosine_is_one_coefficient():
    rows, columns = np.indices((32, 32))
    wave = 10 * np.cos(np.pi * (2 * columns + 1) * 5 / 64) * np.cos(np.pi * (2 * rows + 1) * 3 / 64)
    spectrum = block_spectrum(torch.from_numpy(wave).float()[None])[0].view(32, 32)
    # a product of two cosines, each of length sqrt(32 / 2)
    assert spectrum[3, 5] == pytest.approx(math.log1p(160), abs=1e-3)
    spectrum[3, 5] = 0
    assert spectrum.max() < 1e-3


def test_spectra_are_scipys():
    blocks = random_images(4, 16)[:, 0].float()
    assert np.allclose(
        block_spectrum(blocks).view(4, 16, 16),
        np.log1p(np.abs(scipy.fft.dctn(blocks.numpy(), axes=(1, 2), norm="ortho"))),
        atol=1e-4,
    )
    counts = np.stack([np.bincount(block.astype(int).ravel(), minlength=256) for block in blocks.numpy()])
    expected = np.log1p(np.abs(scipy.fft.dct(counts.astype(float), axis=1, norm="ortho")))
    assert np.allclose(histogram_spectrum(blocks), expected, atol=1e-4)


def test_histogram_knows_levels_and_not_places():
    blocks = random_images(1, 16)[:, 0].float()
    turned = blocks.flip(1).transpose(1, 2)
    assert torch.equal(histogram_spectrum(blocks), histogram_spectrum(turned))
    assert not torch.allclose(histogram_spectrum(blocks), histogram_spectrum(blocks // 2))


def test_blocks_are_whole_and_in_order():
    plane = torch.arange(5 * 7).view(1, 5, 7)
    blocks = cut_blocks(plane, 2)
    assert blocks.shape == (1, 6, 2, 2)
    assert blocks[0, 0].tolist() == [[0, 1], [7, 8]]
    assert blocks[0, 4].tolist() == [[16, 17], [23, 24]]


def test_skin_has_its_colour():
    colours = torch.tensor([[224, 172, 105], [141, 85, 36], [255, 219, 172], [40, 90, 200], [60, 180, 60], [128] * 3])
    found = skin_coloured(colours.to(torch.uint8).T.reshape(1, 3, 1, 6))[0, 0]
    assert found.tolist() == [True, True, True, False, False, False]


def test_blocks_of_skin_are_learnt_from_where_there_are_any():
    detector = Dct(DctSettings(size=64, block_px=32), METHODS)
    images = torch.full((2, 3, 64, 64), 128, dtype=torch.uint8)
    images[0, :, :32, 32:] = torch.tensor([224, 172, 105])[:, None, None]
    vectors, image = detector.describe(images)
    assert image.tolist() == [0, 0, 0, 0, 1, 1, 1, 1]
    kept = detector.to_learn_from(images, vectors, image)
    # the second face has none: all of its blocks
    assert kept.tolist() == [False, True, False, False, True, True, True, True]
    everything = Dct(DctSettings(size=64, block_px=32, skin_only=False), METHODS)
    assert everything.to_learn_from(images, vectors, image).all()


# --- error levels -----------------------------------------------------------------------------------------------


def smooth_image(size=64):
    noise = np.random.default_rng(0).integers(60, 200, (6, 6), dtype=np.uint8)
    # grey: colours lose a little more each time, to rounding
    return np.repeat(cv2.resize(noise, (size, size), interpolation=cv2.INTER_CUBIC)[..., None], 3, axis=2)


def as_jpeg(image, quality):
    encoded = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return cv2.imdecode(encoded, cv2.IMREAD_COLOR)[..., ::-1].copy()


def levels(image, quality):
    return error_levels(torch.from_numpy(image).permute(2, 0, 1)[None], quality)[0]


def test_what_was_jpeg_of_that_quality_loses_nothing_more_and_what_is_pasted_in_does():
    image = as_jpeg(smooth_image(), 75)
    assert levels(image, 75).mean() < 0.05
    assert levels(smooth_image(), 75).mean() > 0.5
    assert levels(image, 50).mean() > 0.5
    forged = image.copy()
    forged[16:48, 16:48] = np.random.default_rng(1).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    errors = levels(forged, 75)
    assert errors[:, 16:48, 16:48].mean() > 10
    assert errors[:, 52:].mean() < 0.05


def test_errors_are_those_of_a_file():
    image = smooth_image()
    expected = np.abs(as_jpeg(image, 90).astype(int) - image)
    assert np.abs(levels(image, 90).permute(1, 2, 0).numpy() - expected).mean() < 0.2


def test_a_face_is_one_vector_of_the_means_of_its_cells():
    image = smooth_image()
    vectors, of_image = Ela(ElaSettings(size=64, grid=2), METHODS).describe(
        torch.from_numpy(image).permute(2, 0, 1)[None]
    )
    assert vectors.shape == (1, 12)
    assert of_image.tolist() == [0]
    quarter = levels(image, 90)[:, :32, 32:].mean((1, 2))
    assert torch.allclose(vectors.view(3, 2, 2)[:, 0, 1], torch.log1p(quarter), atol=1e-5)


def test_the_network_sees_the_errors_and_not_the_face():
    settings = {"backbone": "resnet10t", "pretrained": False, "size": 64, "backbone_stride": 8}
    detector = ElaCnn(ElaCnnSettings(**settings, quality=75, gain=10), ["real", "fake"]).eval()
    image = torch.from_numpy(as_jpeg(smooth_image(), 75)).permute(2, 0, 1)[None]
    # black is -1 in the network's normalisation
    assert detector.inputs(image).mean() < -0.98
    assert detector.inputs(random_images(1)).mean() > 0
    assert detector.inputs(random_images(1)).max() == 1
    assert detector.score(image).shape == (1,)


# --- SIFT -------------------------------------------------------------------------------------------------------


def test_a_blob_has_a_descriptor_of_length_one_that_does_not_change_with_brightness():
    grey = np.full((64, 64), 100, np.uint8)
    cv2.circle(grey, (30, 34), 6, 200, -1)
    cv2.line(grey, (30, 34), (50, 34), 150, 2)
    descriptors = keypoint_descriptors(grey, 1)
    assert descriptors.shape[1] == 128
    assert np.allclose(np.linalg.norm(descriptors, axis=1), 1)
    darker = keypoint_descriptors(grey // 2, 1)
    assert (descriptors[0] @ darker[0]) > 0.95


def test_the_score_is_the_mean_over_key_points_and_a_blank_face_has_the_unknown_one(trained):
    detector, _ = load_detector(trained("sift"))
    images = random_images(3)
    images[1] = 90
    vectors, image = detector.describe(images)
    assert set(image.tolist()) == {0, 2}
    scores = detector.score(images)
    assert scores[1] == UNKNOWN_SCORE
    assert scores[2] == pytest.approx(float(detector.classifier(vectors[image == 2]).mean()), abs=1e-6)


# --- learning ---------------------------------------------------------------------------------------------------


def textured_face(rng, method):
    """A face full of corners, for key points: spots on reals, crosses on fakes."""
    image = np.full((*CROP_SIZE, 3), 120, np.uint8)
    for x, y in rng.integers(22, 58, (12, 2)).tolist():
        colour = rng.integers(0, 2, 3).tolist()
        if method == "real":
            cv2.circle(image, (x, y), 3, [220 * value for value in colour], -1)
        else:
            cv2.drawMarker(image, (x, y), [220 * value for value in colour], cv2.MARKER_CROSS, 9, 2)
    return image


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    """The store that a family learns from, by its name."""
    folder = tmp_path_factory.mktemp("handmade")
    smooth = make_store(folder / "data", n_groups=4)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("helpers.tiny_store.face_pixels", textured_face)
        textured = make_store(folder / "textured", n_groups=4)
    return {family: textured if family == "sift" else smooth for family in FAMILIES}


@pytest.fixture
def store(stores, family):
    return stores[family]


def train(store, family, folder, *, seed=0, workers=0, **options):
    """Path of the detector."""
    train_on_cpu(family, SETTINGS[family] | options, [store.samples], folder, seed=seed, workers=workers)
    return folder / "detector.ckpt"


@pytest.fixture(scope="module")
def trained(stores, tmp_path_factory):
    """A function that gives the path of a family's detector with the settings above, trained once."""
    return cache(lambda family: train(stores[family], family, tmp_path_factory.mktemp(family)))


@pytest.mark.parametrize("family", FAMILIES)
def test_it_learns_what_makes_a_fake_and_predicts_unseen_faces(store, trained, family):
    checkpoint = trained(family)
    assert frame_auc(predict_on_cpu(checkpoint.parent, store.samples)) > 0.95
    history = pd.read_csv(checkpoint.parent / "logs/metrics.csv")
    assert len(history) == 1
    # four reals of each split have two frames, and as many of the fakes are drawn
    assert history["n_crops"][0] == 16
    assert history["val/video_auc"][0] > 0.9
    assert checkpoint.stat().st_size < 5e6


@pytest.mark.parametrize("classifier", CLASSIFIERS)
@pytest.mark.parametrize("family", FAMILIES)
def test_eight_pairs_are_learnt_by_heart(store, tmp_path, family, classifier):
    train(store, family, tmp_path, classifier=classifier)
    assert frame_auc(predict_on_cpu(tmp_path, store.samples, split="train")) > 0.99


@pytest.mark.parametrize("family", FAMILIES)
def test_the_same_seed_gives_the_same_bytes_with_other_workers_and_another_seed_others(
    store, trained, tmp_path, family
):
    one = trained(family).read_bytes()
    assert train(store, family, tmp_path / "again", workers=1).read_bytes() == one
    few = {"train_samples": 8}
    drawn = [train(store, family, tmp_path / f"{seed}", seed=seed, **few).read_bytes() for seed in (0, 1)]
    assert drawn[0] != drawn[1]


def test_as_many_reals_as_fakes_are_drawn(stores):
    samples = Samples.read([stores["dct"].samples])
    drawn = draw_balanced(samples, 10, seed=1)
    assert np.bincount(drawn.label).tolist() == [5, 5]
    assert not np.array_equal(draw_balanced(samples, 10, seed=2).crop_row, drawn.crop_row)
    # no more than there are of the rarer kind
    assert np.bincount(draw_balanced(samples, 1000, seed=1).label).tolist() == [24, 24]


class Numbered(Sift):
    """Describes any face by the numbers 0 to 9."""

    def describe(self, images):
        return torch.arange(10.0).repeat(len(images))[:, None], torch.arange(len(images)).repeat_interleave(10)


def test_a_seed_draws_the_crops_and_vectors_that_it_always_has(stores, tmp_path, monkeypatch):
    """Another draw would be another detector of the same seed, with nothing to tell it from the first."""
    store = stores["dct"]
    samples = Samples.read([store.samples])
    assert draw_balanced(samples, 10, seed=1).crop_row.tolist() == [1, 4, 8, 14, 19, 24, 31, 32, 33, 31]
    detector, learnt = Numbered(SiftSettings(**SMALL, vectors_per_crop=1), METHODS), []
    monkeypatch.setattr(detector.classifier, "fit", lambda vectors, *_, **__: learnt.extend(vectors[:, 0].tolist()))
    detector.fit(Training(samples[:12], samples[:0], store.data, tmp_path, 1, "cpu", 0))
    # of each of the eight crops drawn, one vector
    assert learnt == [7, 2, 8, 0, 9, 2, 5, 8]


def test_both_kinds_are_needed(tmp_path):
    path, _ = make_store(tmp_path, "reals", methods=("real",))
    with pytest.raises(UserError, match=r"0 fake crops of reals.*add a data set"):
        draw_balanced(Samples.read([path]), 10, seed=0)


class Silent(Sift):
    """Finds no key point in anything."""

    def describe(self, images):
        return torch.empty(0, 128), torch.empty(0, dtype=torch.int64)


def test_faces_that_give_no_vectors_stop_the_training_with_a_word(stores, tmp_path, monkeypatch):
    monkeypatch.setattr("detectors.families.handmade.sift.Sift", Silent)
    with pytest.raises(UserError, match="give 0 vectors of reals and 0 of fakes; raise train_samples or size"):
        train(stores["sift"], "sift", tmp_path)


def test_the_default_classifiers_are_the_studies():
    assert (DctSettings().classifier, ElaSettings().classifier) == ("random_forest", "svm")


ELA_CNN = {"backbone": "resnet10t", "backbone_stride": 8, "pretrained": False, "size": 112, "learning_rate": 1e-3}
ELA_CNN |= {"epochs": 8, "samples_per_epoch": 800, "augmentation": "none", "balance": "label"}
# at a constant rate the validation AUC fell to 0.3 and rose to 0.9 from one epoch to the next
ELA_CNN |= {"schedule": "cosine"}
# near the size of the stored faces
SHARP = {"size": 112, "margin": 0.0, "vectors_per_crop": 30}


@pytest.mark.training
@pytest.mark.timeout(3000)
@pytest.mark.parametrize(("family", "settings"), [("dct", {}), ("ela", {}), ("sift", SHARP), ("ela_cnn", ELA_CNN)])
def test_in_domain_it_tells_the_rendered_fakes_of_unseen_people(shipped_store, tmp_path, family, settings):
    """One to two minutes of one quiet core each, besides the store; 15 minutes in all where others compute too."""
    aucs = in_domain_video_aucs(shipped_store, tmp_path, family, settings)
    print(family, {name: round(auc, 3) for name, auc in aucs.items()})
    assert min(aucs.values()) > 0.80, aucs
