"""Published numbers, each with the paper that gives it; what a paper leaves open is in docs/detectors.md.

The defaults of the detectors are the published settings: whoever changes one changes what a run of that name means.
"""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from detectors.evaluation.distortions import DISTORTIONS, STRENGTHS
from detectors.families import FAMILIES
from detectors.families.handmade.dct import Dct, DctSettings, skin_coloured
from detectors.families.handmade.ela import ElaCnn, ElaCnnSettings, error_levels
from detectors.families.handmade.sift import keypoint_descriptors
from detectors.families.lav.patch_similarity import face_part_patches
from detectors.families.lav.srm import srm_kernels
from detectors.families.registry import detector_class
from helpers.tiny_batches import random_images

# what detectors share: of every crop, and of the training of networks
CROP = {"size": 256, "margin": 0.15, "shape": "square", "val_samples": None, "val_share": 0.1, "cpu_threads": 2}
NETWORK = CROP | {
    # UCF, Yan et al., ICCV 2023, as DeepfakeBench trains all of its detectors
    **{"backbone": "legacy_xception", "pretrained": True, "backbone_stride": 32, "augmentation": "ucf"},
    **{"optimizer": "adam", "learning_rate": 2e-4, "weight_decay": 5e-4, "batch_size": 16, "epochs": 10},
    **{"accumulate_batches": 1, "samples_per_epoch": None, "schedule": "constant", "momentum": 0.9},
    # SAM: Foret et al., ICLR 2021
    **{"sam_radius": 0.05, "step_epochs": 5, "step_factor": 0.5, "constant_share": 0.75},
    **{"precision": "16-mixed", "gpus": 1, "compile": False, "channels_last": False},
}
# focal loss: Lin et al., ICCV 2017 (gamma 2)
CLASSIFIER = NETWORK | {
    **{"dropout": 0.0, "normalisation": "half", "loss": "cross_entropy", "fake_weight": 0.5, "focal_gamma": 2.0},
    **{"label_smoothing": 0.0, "balance": "none"},
}
HANDMADE = CROP | {"classifier": "random_forest", "train_samples": 2000, "vectors_per_crop": 8, "pca_components": 64}
PUBLISHED = {
    # Yan et al., ICCV 2023: weights of the losses, and the margin
    "ucf": NETWORK
    | {"channels": 512, "dropout": 0.2, "decoder_dropout": 0.3, "permute_probability": 0.7, "specific_weight": 0.1}
    | {"reconstruction_weight": 0.3, "contrastive_weight": 0.05, "contrastive_margin": 3.0},
    "classifier": CLASSIFIER,
    # Liu et al., CVPR 2021
    "spsl": CLASSIFIER | {"phase": True, "phase_gain": 1.0},
    # Shiohara and Yamasaki, CVPR 2022, and the authors' code
    "sbi": NETWORK
    | {"size": 380, "margin": 0.125, "shape": "stretch", "backbone": "tf_efficientnet_b4.ns_jft_in1k", "epochs": 100}
    | {"augmentation": "none", "optimizer": "sam", "learning_rate": 1e-3, "weight_decay": 0.0, "schedule": "linear"}
    | {"precision": "bf16-mixed", "hsv_shift": 0.3, "dropout": 0.0},
    # the lab report on UADFV: vectors of 48 numbers
    "siamese": CLASSIFIER
    | {"balance": "label", "embedding_epochs": 5, "embedding_margin": 1.0, "embedding_size": 48, "hidden_size": 48},
    "triplet": CLASSIFIER | {"balance": "label", "embedding_epochs": 5, "embedding_margin": 1.0},
    # the study of temporal cues (Lisbon): 10 frames, the last 18 layers, AdamW 3e-4, cosine, batches of 32
    "temporal": CLASSIFIER
    | {"size": 224, "batch_size": 32, "optimizer": "adamw", "learning_rate": 3e-4, "schedule": "cosine"}
    | {"n_frames": 10, "lstm_size": 128, "lstm_layers": 1, "unfrozen_layers": 18, "unfreeze_per_epoch": 0},
    # Shuai et al., ACM MM 2023: 299 px, Adam 5e-4, a step of 0.5 every 5 epochs
    "lav": NETWORK
    | {"size": 299, "learning_rate": 5e-4, "weight_decay": 0.0, "schedule": "step", "fusion_channels": 128}
    | {
        "dropout": 0.2,
        "location_weight": 1.0,
        "similarity_weight": 1.0,
        "similarity_momentum": 0.9,
        "balance": "label",
    },
    # the lab report on UADFV: blocks of 32 px; error levels of quality 90
    "dct": HANDMADE | {"block_px": 32, "skin_only": True},
    "ela": HANDMADE | {"classifier": "svm", "quality": 90, "grid": 32},
    "ela_cnn": CLASSIFIER | {"quality": 90, "gain": 10.0},
    # Lowe, IJCV 2004: the threshold of contrast as OpenCV scales it
    "sift": HANDMADE | {"max_keypoints": 100, "min_contrast": 0.04},
}


@pytest.mark.parametrize("family", FAMILIES)
def test_the_defaults_of_a_family_are_the_published_ones(family):
    settings = detector_class(family).Settings()
    assert {name: getattr(settings, name) for name in PUBLISHED[family]} == PUBLISHED[family]
    # and none is forgotten here
    assert set(vars(settings)) == set(PUBLISHED[family])


def test_every_family_scores_a_video_as_published():
    """SBI: the highest face of a frame, then the mean (Shiohara and Yamasaki); all others the mean."""
    found = {family: detector_class(family).aggregation for family in FAMILIES}
    assert found == {family: "max_then_mean" if family == "sbi" else "mean" for family in FAMILIES}


def test_skin_has_the_chroma_of_chai_and_ngan():
    """IEEE Transactions on Circuits and Systems for Video Technology 9(4), 1999: Cb 77 to 127, Cr 133 to 173."""
    levels = np.arange(0, 256, 5, np.uint8)
    colours = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), axis=-1).reshape(1, -1, 3)
    found = skin_coloured(torch.from_numpy(colours).permute(2, 0, 1)[None])[0, 0].numpy()
    red, green, blue = colours[0].astype(float).T
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    # JFIF 1.02: chroma are differences to the luma, scaled to one half
    chroma_blue, chroma_red = 128 + (blue - luma) / 1.772, 128 + (red - luma) / 1.402
    expected = (chroma_blue >= 77) & (chroma_blue <= 127) & (chroma_red >= 133) & (chroma_red <= 173)
    # coefficients of six digits put a few colours on the other side
    assert (found != expected).mean() < 1e-4
    assert 0.05 < expected.mean() < 0.5


def test_blocks_are_of_the_luma_of_jfif():
    images = random_images(2, 64)
    red, green, blue = images.double().unbind(1)
    grey = (0.299 * red + 0.587 * green + 0.114 * blue).round().to(torch.uint8)[:, None].expand(-1, 3, -1, -1)
    detector = Dct(DctSettings(size=64), ["real", "fake"])
    (coloured, of_coloured), (plain, of_plain) = detector.describe(images), detector.describe(grey)
    assert torch.equal(of_coloured, of_plain)
    assert torch.allclose(coloured, plain, atol=1e-3)


def test_the_network_of_error_levels_sees_them_ten_times_as_bright():
    settings = ElaCnnSettings(backbone="resnet10t", pretrained=False, size=64, backbone_stride=8)
    images = random_images(2, 64)
    expected = (10 * error_levels(images, 90)).clamp(max=255) / 127.5 - 1
    assert torch.allclose(ElaCnn(settings, ["real", "fake"]).inputs(images), expected, atol=1e-5)


def test_sift_takes_the_key_points_of_most_contrast():
    grey = cv2.GaussianBlur(random_images(1, 96)[0, 0].numpy(), (0, 0), 2)
    few, many = keypoint_descriptors(grey, 5), keypoint_descriptors(grey, 1000)
    # several of equal contrast as the last are all taken
    assert 5 <= len(few) < len(many)
    assert len(keypoint_descriptors(grey, 1000, 0.02)) > len(many)
    assert np.array_equal(many, keypoint_descriptors(grey, 1000, 0.04))


def test_srm_kernels_are_those_of_the_papers():
    """Zhou et al., CVPR 2018, figure 4: KB / 4, KV / 12 and a second difference along rows / 2, each of sum 0."""
    kb, kv, difference = srm_kernels().double().numpy()
    assert np.allclose(4 * kb[1:4, 1:4], [[-1, 2, -1], [2, -4, 2], [-1, 2, -1]])
    assert np.abs(kb).sum() == np.abs(kb[1:4, 1:4]).sum()
    row, second, middle = [-1, 2, -2, 2, -1], [2, -6, 8, -6, 2], [-2, 8, -12, 8, -2]
    assert np.allclose(12 * kv, [row, second, middle, second, row])
    assert np.allclose(2 * difference[2], [0, 1, -2, 1, 0])
    assert np.abs(difference).sum() == 2


def test_the_parts_of_a_face_are_those_of_ibug():
    """Sagonas et al., 300 Faces in-the-Wild, ICCV workshops 2013: nose 28 to 36, eyes 37 to 42 and 43 to 48, mouth 49
    to 68, counted from 1; jaw, brows and forehead are no place where manipulations show."""
    points = torch.full((1, 81, 2), 95.0)
    places = {range(27, 36): (15, 15), range(36, 42): (75, 15), range(42, 48): (15, 75), range(48, 68): (55, 55)}
    for numbers, place in places.items():
        points[0, list(numbers)] = torch.tensor(place, dtype=torch.float32)
    touched = face_part_patches(points, 100, (10, 10))[0]
    assert {(column * 10 + 5, row * 10 + 5) for row, column in touched.nonzero().tolist()} == set(places.values())


def test_distortions_have_the_amounts_of_the_documentation():
    """docs/robustness.md; H.264 at 23 and 40 are c23 and c40 of FaceForensics++ (Rössler et al., ICCV 2019)."""
    assert STRENGTHS == (1, 2, 3, 4, 5)
    assert {name: distortion.amounts for name, distortion in DISTORTIONS.items()} == {
        "jpeg": (90, 70, 50, 30, 10),
        "gaussian_blur": (1, 2, 3, 5, 8),
        "gaussian_noise": (4, 8, 16, 24, 32),
        "resize": (1.5, 2, 3, 4, 6),
        "contrast": (0.85, 0.7, 0.55, 0.4, 0.25),
        "video_compression": (23, 28, 34, 40, 46),
    }
