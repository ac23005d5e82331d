"""SBI: detecting deepfakes with self-blended images (Shiohara and Yamasaki, CVPR 2022).

Trains on real faces alone: the fakes are blends of a face with itself (`detectors.families.sbi.blending`), made
anew for every epoch on the device that trains. What remains to be learned is what all swaps share, the traces of
blending.

Written from the paper's description.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import Dataset

from detectors.data.crop_store import StoredCrops
from detectors.data.crop_window import CropWindow, Geometry
from detectors.data.landmarks import MIRROR, read_landmarks
from detectors.data.loader import new_images, split_planes
from detectors.data.samples import Samples
from detectors.families.sbi.blending import self_blend
from detectors.families.sbi.face_mask import MASK_PX, draw_face_mask, loose_box
from detectors.families.sbi.parameters import draw_parameters, stack_parameters
from detectors.families.settings import SbiSettings
from detectors.interface.settings import NetworkSettings
from detectors.measures.aggregation import MAX_THEN_MEAN
from detectors.networks.backbones import ClassificationNetwork
from detectors.networks.detector import NetworkDetector
from preprocess.face.margin import parse_margin
from preprocess.running.cli import UserError

log = logging.getLogger("detectors")

# In training each margin is drawn: the box's side times 1/4 times 0.2 to 0.8, where the test takes 1/8 of it.
_MARGIN_FACTORS = (0.4, 1.6)
# Room around the detector's crop while blending, of its side: what the affine transform brings in from outside.
_ROOM = 1 / 16

# first word of a seed: which choice the generator is for
_BLEND = 21


class Sbi(NetworkDetector):
    """See the module."""

    Settings: ClassVar[type[NetworkSettings]] = SbiSettings
    settings: SbiSettings
    aggregation = MAX_THEN_MEAN

    def __init__(self, settings: SbiSettings, methods: list[str], *, prediction_only: bool = False):
        super().__init__(settings, methods, prediction_only=prediction_only)
        self.network = ClassificationNetwork(**settings.feature_extractor, n_classes=2, dropout=settings.dropout)

    @property
    def crops_per_item(self) -> int:
        return 2

    def training_set(self, samples: Samples, data: Path, seed: int) -> Dataset:
        return FacesToBlend(data, samples, self.window, seed, self.settings.hsv_shift)

    def losses(self, batch: dict) -> dict[str, Tensor]:
        if "blended" not in batch:  # the second pass of `Sam` reads the same batch
            batch["blended"] = blend_batch(batch, self.settings.size)
        reals, blends, masks = batch["blended"]
        # a blend of which nothing is left, because its mask lies outside the crop, is its real
        is_fake = masks.amax(dim=(1, 2, 3)) > 0
        labels = torch.cat([torch.zeros_like(is_fake), is_fake]).long()
        return {"total": F.cross_entropy(self.logits(torch.cat([reals, blends])).float(), labels)}

    def logits(self, images: Tensor) -> Tensor:
        return self.network(images / 255)

    def vectors(self, images: Tensor) -> dict[str, Tensor]:
        return {"features": self.network.vectors(images / 255)}


def blend_batch(batch: dict, size: int) -> tuple[Tensor, Tensor, Tensor]:
    """What the network learns from: reals and their blends, cut to the detector's crop, and the soft masks.

    Args:
        batch: n items of `FacesToBlend`, on any device.
        size: Side of the detector's crop.

    Returns:
        Reals and blends (n, 3, size, size) float32, whole numbers 0 to 255, and masks (n, 1, size, size) from 0 to 1.
    """
    room = (batch["image"].shape[-1] - size) // 2
    return self_blend(batch["image"], batch["mask"], batch["loose_box"], batch["parameters"], room)


class FacesToBlend(Dataset):
    """Real faces with all that a blend of each is made from; a real without landmarks is left out and counted.

    A batch of n is fetched at once, from items `(epoch, index)`, as `{"image": (n, 3, side, side) uint8, "mask":
    (n, 256, 256) uint8, "loose_box": (n, 4) float32 in pixels of the image, "parameters": a BlendBatch}`. The side is
    that of the detector's crop and an eighth of it more.

    Args:
        data: Folder of the store.
        samples: Training samples; the fakes among them are passed over.
        window: The detector's crop; its margins are drawn anew for every item.
        seed: Of every random choice.
        hsv_shift: See `SbiSettings`.

    Raises:
        UserError: There is no real with landmarks.
    """

    def __init__(self, data: str | Path, samples: Samples, window: CropWindow, seed: int, hsv_shift: float):
        reals = samples[np.flatnonzero(samples.label == 0)]
        landmarks = read_landmarks(Path(data) / "landmarks", reals)
        usable = ~np.isnan(landmarks).any(axis=(1, 2))
        if not usable.any():
            raise UserError(
                f"the training samples hold {len(reals)} real crops of {', '.join(samples.dataset.names)}, "
                f"{int(usable.sum())} of them with landmarks; this detector learns from reals with landmarks alone: "
                "set landmarks.predictor for their data set, or add another one to the experiment's train list"
            )
        if not usable.all():
            log.warning("train: %d of %d real crops have no landmarks and are left out", (~usable).sum(), len(usable))
        self._landmarks = landmarks[usable]
        self._crops = StoredCrops(Path(data) / "crops", reals[np.flatnonzero(usable)])
        self._window = window
        self._room_px = round(_ROOM * window.size)
        self._seed = seed
        self._hsv_shift = hsv_shift

    def __len__(self) -> int:
        return len(self._landmarks)

    def __getitems__(self, items: Sequence[tuple[int, int]]) -> dict:
        side = self._window.size + 2 * self._room_px
        images = new_images(len(items), side)
        masks = np.empty((len(items), MASK_PX, MASK_PX), np.uint8)
        loose_boxes = np.empty((len(items), 4), np.float32)
        parameters = []
        for number, (epoch, index) in enumerate(items):
            rng = np.random.default_rng([_BLEND, self._seed, epoch, index])
            pixels, points = self._cut(index, rng)
            split_planes(pixels, images[number].numpy())
            parameters.append(draw_parameters(rng, self._hsv_shift))
            masks[number] = draw_face_mask(points, parameters[-1].mask_size, rng)
            loose_boxes[number] = loose_box(points)
        return {
            "image": images,
            "mask": torch.from_numpy(masks),
            "loose_box": torch.from_numpy(loose_boxes),
            "parameters": stack_parameters(parameters),
        }

    def _cut(self, index: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """The crop with room around it, (side, side, 3), and its landmarks (81, 2) there; mirrored half of the time."""
        flip = bool(rng.random() < 0.5)
        image, box, crop_to_frame = self._crops.read(index)
        side = self._window.size + 2 * self._room_px
        window = CropWindow(margin=0.0, size=side, shape=self._window.shape)
        box = self._roomy_box(np.asarray(box, np.float64), rng)
        pixels = window.cut(image, box, crop_to_frame, geometry=Geometry(flip=flip))
        points = window.points(self._landmarks[index], box, crop_to_frame, geometry=Geometry(flip=flip))
        return pixels, points[MIRROR] if flip else points

    def _roomy_box(self, box: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """The face box with random margins, and the room around them."""
        amount, unit = parse_margin(self._window.margin)
        sides = np.tile(box[2:] - box[:2], 2)
        margins = rng.uniform(*_MARGIN_FACTORS, 4) * (amount if unit == "px" else amount * sides)
        grown = box + margins * (-1, -1, 1, 1)
        room = self._room_px / self._window.size * np.tile(grown[2:] - grown[:2], 2)
        return grown + room * (-1, -1, 1, 1)
