"""Sheets of predicted and true masks: which faces they show, and that they come after every epoch."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from lightning.pytorch.loggers import TensorBoardLogger

from detectors.data.crop_window import CropWindow
from detectors.data.samples import Samples
from detectors.families.classifier import Classifier, ClassifierSettings
from detectors.families.lav.detector import Lav, LavSettings
from detectors.figures.map_sheets import MapSheets, draw_map_sheet, intersection_over_union, locate_faces, map_sheets
from detectors.interface.detector import Training
from helpers.tiny_masks import add_landmarks_and_masks
from helpers.tiny_store import make_store

SMALL = {"backbone": "test_resnet", "pretrained": False, "backbone_stride": 16, "size": 32}
WINDOW = CropWindow(margin=0.5, size=32)


def stored(root: Path, **options) -> Samples:
    path, _ = make_store(root, splits=("val",), n_groups=5)
    add_landmarks_and_masks(root, **options)
    return Samples.read([path])


class Brightness:
    """A detector whose map is the brightness of 4 x 4 patches."""

    def __init__(self):
        self.weight = torch.nn.Parameter(torch.zeros(()))

    def parameters(self):
        yield self.weight

    def score(self, images):
        return images.float().mean(dim=(1, 2, 3)) / 255

    def location_maps(self, images):
        return torch.nn.functional.adaptive_avg_pool2d(images.float() / 255, 4).mean(dim=1)


def sheet_of_epoch(sheets: MapSheets, detector, epoch: int, loggers=()) -> None:
    trainer = SimpleNamespace(is_global_zero=True, current_epoch=epoch, global_step=7 * epoch, loggers=loggers)
    sheets.on_validation_epoch_end(trainer, SimpleNamespace(detector=detector))


def test_overlap_by_hand():
    mask = np.zeros((8, 8), np.uint8)
    mask[:4, :3] = 1  # two of four patches along the left edge, since one pixel of a patch is enough
    predicted = np.array([[0.9, 0.2], [0.6, 0.1]])
    assert intersection_over_union(np.array([[0.5, 0.0], [0.0, 0.0]]), mask) == 1
    assert intersection_over_union(predicted, mask) == 0.5
    assert intersection_over_union(1 - predicted, mask) == 0
    assert np.isnan(intersection_over_union(predicted, np.zeros((8, 8), np.uint8)))


def test_a_sheet_shows_fakes_of_each_method_in_turn_and_some_reals(tmp_path):
    sheets = MapSheets(stored(tmp_path), tmp_path, WINDOW, tmp_path / "logs")
    assert [title for _, _, title in sheets._faces] == ["columns", "stripes"] * 3 + ["real"] * 2
    for image, mask, title in sheets._faces:
        assert image.shape == (32, 32, 3)
        assert mask.any() == (title != "real")
    assert len({image.tobytes() for image, _, _ in sheets._faces}) == 8


def test_fakes_without_a_mask_are_left_out_and_so_is_everything_without_a_masks_file(tmp_path):
    samples = stored(tmp_path, unknown=("columns",))
    sheets = MapSheets(samples, tmp_path, WINDOW, tmp_path / "logs")
    assert [title for _, _, title in sheets._faces] == ["stripes"] * 5 + ["real"] * 2
    for path in (tmp_path / "masks").rglob("*.h5"):
        path.unlink()
    sheets = MapSheets(samples, tmp_path, WINDOW, tmp_path / "logs")
    sheet_of_epoch(sheets, Brightness(), 0)
    assert not (tmp_path / "logs").exists()


def test_each_epoch_has_a_sheet_of_the_same_bytes_for_the_same_maps(tmp_path):
    sheets = MapSheets(stored(tmp_path), tmp_path, WINDOW, tmp_path / "logs")
    logger = TensorBoardLogger(tmp_path / "board", name="", version="")
    sheet_of_epoch(sheets, Brightness(), 0, [logger])
    sheet_of_epoch(sheets, Brightness(), 1, [logger])
    first, second = ((tmp_path / f"logs/maps/epoch{epoch}.png") for epoch in (0, 1))
    one, two = cv2.imread(str(first)), cv2.imread(str(second))
    assert one.shape == two.shape
    differing = np.argwhere((one != two).any(axis=2))
    assert len(differing)  # the number of the epoch, above all
    assert differing[:, 0].max() < 0.1 * one.shape[0]
    before = first.read_bytes()
    sheet_of_epoch(sheets, Brightness(), 0)
    assert first.read_bytes() == before
    logger.finalize("success")
    board = b"".join(path.read_bytes() for path in (tmp_path / "board").rglob("events*"))
    assert board.count(b"\x89PNG") == 2


def test_maps_are_drawn_as_they_are(tmp_path):
    sheets = MapSheets(stored(tmp_path), tmp_path, WINDOW, tmp_path / "logs")
    located = locate_faces(Brightness(), sheets._faces, batch_size=3)
    assert [face.title for face in located] == [title for _, _, title in sheets._faces]
    for face, (image, mask, _) in zip(located, sheets._faces, strict=True):
        patches = image.reshape(4, 8, 4, 8, 3).mean(axis=(1, 3, 4)) / 255
        assert np.allclose(face.map, patches, atol=1e-5)
        assert face.score == pytest.approx(image.mean() / 255, abs=1e-5)
        assert face.mask is mask
    figure = draw_map_sheet(located, "title")
    drawn = [picture.get_array() for picture in figure.axes[2].images]
    assert all(np.array_equal(picture, face.map) for picture, face in zip(drawn, located, strict=True))
    assert figure.axes[0].get_xticklabels()[-1].get_text() == "real"
    assert figure.axes[2].get_xticklabels()[0].get_text().startswith(f"score {located[0].score:.2f}\nIoU ")
    assert "IoU" not in figure.axes[2].get_xticklabels()[-1].get_text()


def test_only_detectors_that_locate_have_sheets(tmp_path):
    samples = stored(tmp_path)
    training = Training(
        train=samples, val=samples, data=tmp_path, logs=tmp_path / "logs", seed=0, device="cpu", workers=0
    )
    locating = Lav(LavSettings(**SMALL, fusion_channels=8), ["real", "fake"]).eval()
    (sheets,) = map_sheets(locating, training)
    sheet_of_epoch(sheets, locating, 0)
    assert (tmp_path / "logs/maps/epoch0.png").is_file()
    assert map_sheets(Classifier(ClassifierSettings(**SMALL), ["real", "fake"]), training) == []
