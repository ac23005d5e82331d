"""Grad-CAM of networks whose maps are known, and what the families give it."""

from __future__ import annotations

import pytest
import timm
import torch
from torch import nn

from detectors.families import FAMILIES
from detectors.families.classifier import Classifier, ClassifierSettings
from detectors.families.lav.detector import Lav, LavSettings
from detectors.families.registry import detector_class
from detectors.families.spsl import Spsl, SpslSettings
from detectors.families.ucf import Ucf, UcfSettings
from detectors.figures.gradcam import grad_cam, last_feature_map
from helpers.tiny_batches import random_images

SMALL = {"backbone": "test_resnet", "pretrained": False, "size": 64}
# no network, or one that reads several images at once
WITHOUT_MAPS = ("temporal", "dct", "ela", "sift")


class TwoMaps(nn.Module):
    """Brightness in the upper half speaks for fake, in the lower half for real."""

    def __init__(self):
        super().__init__()
        self.maps = nn.AvgPool2d(2)

    def evidence(self, images):
        maps = self.maps(images[:, :2].float()).relu_()
        return 3 * maps[:, 0].mean(dim=(1, 2)) - maps[:, 1].mean(dim=(1, 2))


def cam_of(images, signs):
    network = TwoMaps()
    return grad_cam(network, network.maps, images, torch.tensor(signs))


def two_lights():
    """One image: red in the upper left, twice as much in its corner; green in the lower right."""
    image = torch.zeros(1, 3, 8, 8, dtype=torch.uint8)
    image[0, 0, :4, :4] = 50
    image[0, 0, :2, :2] = 100
    image[0, 1, 4:, 4:] = 200
    return image


def test_the_map_is_the_positive_part_of_the_weighted_channels():
    cam = cam_of(two_lights(), [1.0])[0]
    assert cam.shape == (8, 8)
    assert cam[0, 0] == 1, "the highest place is 1"
    assert cam[0, 3] == pytest.approx(0.5, abs=0.13), "half the light, half the map, less what interpolation takes"
    assert cam[5:, 5:].max() == 0, "what speaks against it is left out"


def test_what_speaks_for_real_is_asked_for_with_the_other_sign():
    cams = cam_of(two_lights().repeat(2, 1, 1, 1), [1.0, -1.0])
    assert cams[1, 6, 6] == 1
    assert cams[1, :3, :3].max() == 0
    assert torch.equal(cams[0], cam_of(two_lights(), [1.0])[0]), "images stay apart"


def test_an_image_with_nothing_to_say_has_an_empty_map():
    cam = cam_of(torch.zeros(1, 3, 8, 8, dtype=torch.uint8), [1.0])
    assert cam.max() == 0


@pytest.mark.parametrize(
    ("family", "settings"),
    [
        (Classifier, ClassifierSettings(**SMALL)),
        (Classifier, ClassifierSettings(**SMALL, backbone_stride=16)),
        (Spsl, SpslSettings(**SMALL)),
        (Ucf, UcfSettings(**SMALL, channels=16)),
        (Lav, LavSettings(**SMALL, fusion_channels=16)),
    ],
)
def test_every_family_gives_maps_for_its_score(family, settings):
    torch.manual_seed(0)
    detector = family(settings, ["real", "a", "b"]).eval()
    detector.requires_grad_(False)  # frozen layers are explained too
    images = random_images(3)
    with torch.inference_mode():
        assert torch.allclose(detector.evidence(images).sigmoid(), detector.score(images), atol=1e-6)
    layer = detector.find_cam_layer()
    cams = torch.stack([grad_cam(detector, layer, images, torch.full((3,), sign)) for sign in (1.0, -1.0)])
    assert cams.shape == (2, 3, 64, 64)
    assert cams.min() >= 0
    assert cams.max() == 1
    with torch.inference_mode():
        vectors = detector.vectors(images)
    assert {name: len(values) for name, values in vectors.items()} == dict.fromkeys(vectors, 3)
    assert all(values.ndim == 2 for values in vectors.values())


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_of_the_registry_can_be_asked_to_explain_itself(name):
    family = detector_class(name)
    wanted = {**SMALL, "backbone_stride": 16, "channels": 16, "fusion_channels": 16, "epochs": 10}
    fields = family.Settings.model_fields
    settings = family.Settings(**{key: value for key, value in wanted.items() if key in fields})
    detector = family(settings, ["real", "a"]).eval()
    layer = detector.find_cam_layer()
    if name in WITHOUT_MAPS:
        assert layer is None
        return
    images = random_images(2)
    assert grad_cam(detector, layer, images, torch.tensor([1.0, -1.0])).shape == (2, 64, 64)
    with torch.inference_mode():
        assert all(len(values) == 2 for values in detector.vectors(images).values())
        if detector.locates:
            located = detector.location_maps(images)
            assert located.ndim == 3
            assert located.min() >= 0
            assert located.max() <= 1
        else:
            with pytest.raises(NotImplementedError, match="does not locate"):
                detector.location_maps(images)


@pytest.mark.parametrize(
    ("backbone", "wanted"),
    [
        ("resnet10t", "layer4"),
        ("test_efficientnet", "bn2"),
        ("test_vit", None),
        ("swin_tiny_patch4_window7_224", None),
    ],
)
def test_the_last_map_of_a_network_is_found(backbone, wanted):
    network = timm.create_model(backbone, pretrained=False, num_classes=2).eval()
    size = network.pretrained_cfg["input_size"]
    layer = last_feature_map(network, lambda: network(torch.zeros(1, *size)))
    names = {module: name for name, module in network.named_modules()}
    assert (names[layer] if layer is not None else None) == wanted
