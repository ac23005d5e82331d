"""LAV: locate and verify (Shuai et al., *Locate and Verify: A Two-Stream Network for Improved Deepfake Detection*,
ACM MM 2023).

One stream of the network reads the colours of a face, the other its noise residuals. After each entry stage each
enhances the other where the two agree (CMCE); in the middle flow the colours point the noise to where forgeries show
(LFGA). A location branch (MPFF) says of each patch whether it was manipulated, and learns from the masks; the noise at
all scales says whether the face is fake. Where no mask is known, patches are labelled by what they resemble (SSPSL).

Written from a description of the paper; docs/detectors.md says what was decided here.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import Dataset

from detectors.data.mask_store import patches_of_mask
from detectors.data.masked_crops import MaskedCrops
from detectors.data.samples import Samples
from detectors.families.lav.patch_similarity import FAKE_PATCH, NO_LABEL, REAL_PATCH, PatchSimilarity, face_part_patches
from detectors.families.lav.srm import SrmFilter
from detectors.families.lav.stages import StagedBackbone
from detectors.families.settings import LavSettings
from detectors.interface.settings import NetworkSettings
from detectors.networks.detector import NetworkDetector

# Channels of what LFGA compares, as a share of the features'.
_QUERY_SHARE = 1 / 8


class Lav(NetworkDetector):
    """See the module. With `prediction_only` there is no location branch: it has no maps."""

    Settings: ClassVar[type[NetworkSettings]] = LavSettings
    settings: LavSettings
    locates = True

    def __init__(self, settings: LavSettings, methods: list[str], *, prediction_only: bool = False):
        super().__init__(settings, methods, prediction_only=prediction_only)
        self.network = TwoStreamNetwork(
            **settings.feature_extractor,
            fusion_channels=settings.fusion_channels,
            dropout=settings.dropout,
            locates=not prediction_only,
        )
        if not prediction_only:
            self.similarity = PatchSimilarity(settings.fusion_channels, settings.similarity_momentum)

    def training_set(self, samples: Samples, data: Path, seed: int) -> Dataset:
        return MaskedCrops(data, samples, self.window, seed, self.settings.augmentation, self.settings.balance)

    def losses(self, batch: dict) -> dict[str, Tensor]:
        settings, label = self.settings, batch["label"]
        logits, patches = self.network(batch["image"], locate=True)
        grid = patches.features.shape[-2:]
        masked = patches_of_mask(batch["mask"], grid)
        targets = torch.where(batch["mask_known"][:, None, None], masked, NO_LABEL)
        at_face_parts = face_part_patches(batch["landmarks"], batch["image"].shape[-1], grid)
        guessed_here = at_face_parts & ~batch["mask_known"][:, None, None]
        guesses = torch.where(guessed_here, self.similarity.label(patches.features), NO_LABEL)
        losses = {
            "class": F.cross_entropy(logits.float(), label),
            "location": patch_loss(patches.logits, targets),
            "similarity": patch_loss(patches.logits, guesses),
        }
        losses["total"] = (
            losses["class"]
            + settings.location_weight * losses["location"]
            + settings.similarity_weight * losses["similarity"]
        )
        if self.training:
            real = at_face_parts & (label == REAL_PATCH)[:, None, None]
            fake = (targets == FAKE_PATCH) | (guesses == FAKE_PATCH)
            # as long as nothing else is known, what lies at the parts of a fake face counts as manipulated
            fake |= guessed_here & ~self.similarity.is_known[FAKE_PATCH] & ~fake.any()
            self.similarity.update(patches.features.detach(), (real, fake))
        return losses

    def logits(self, images: Tensor) -> Tensor:
        logits, _ = self.network(images)
        return logits

    def location_maps(self, images: Tensor) -> Tensor:
        if self.prediction_only:
            raise NotImplementedError("with prediction_only there is no location branch")
        _, patches = self.network(images, locate=True)
        return patches.logits.float().softmax(dim=1)[:, FAKE_PATCH]

    def vectors(self, images: Tensor) -> dict[str, Tensor]:
        return {"noise": self.network.vectors(images)}

    def find_cam_layer(self) -> nn.Module:
        return self.network.noise.stages[-1]


class Patches(NamedTuple):
    """What the location branch says of each patch.

    Attributes:
        features: (N, fusion_channels, h, w).
        logits: (N, 2, h, w): real, manipulated.
    """

    features: Tensor
    logits: Tensor


class TwoStreamNetwork(nn.Module):
    """Both streams with what passes between them, the head, and the location branch.

    The map of the last stage but one sets the size of the location maps: 19 x 19 for Xception at 299 pixels. The stages
    before the first one of that stride, and where there are several, that one too, are the entry flow; those between
    the entry flow and the last stage are the middle flow.

    Args:
        name, pretrained, stride: Of both streams' backbones, as for `StagedBackbone`.
        fusion_channels: Channels of the maps that the head and the location branch join.
        dropout: Before the last layer of the head.
        locates: Whether there is a location branch, and the last colour stage, which only it reads.
    """

    def __init__(
        self, name: str, *, pretrained: bool | str, stride: int, fusion_channels: int, dropout: float, locates: bool
    ):
        super().__init__()
        self.colour, self.noise = (StagedBackbone(name, pretrained=pretrained, stride=stride) for _ in range(2))
        channels, strides = self.colour.channels, self.colour.strides
        map_stages = [stage for stage in range(len(strides) - 1) if strides[stage] == strides[-2]]
        n_entry = map_stages[0] + (len(map_stages) > 1)
        self.srm = SrmFilter()
        self.exchanges = nn.ModuleList(ConsistencyEnhancement(width) for width in channels[:n_entry])
        self.guides = nn.ModuleList(GuidedAttention(width) for width in channels[n_entry:-1])
        self.head = Head(channels, fusion_channels, dropout)
        self.locator = PatchFusion(channels, fusion_channels) if locates else None
        if not locates:
            del self.colour.stages[-1]

    def forward(self, images: Tensor, *, locate: bool = False) -> tuple[Tensor, Patches | None]:
        """Logits (N, 2) of real and fake, and of each patch when `locate` is set.

        Args:
            images: (N, 3, size, size) uint8 RGB.
            locate: Whether to go through the location branch.
        """
        colour_maps, noise_maps = self._maps(images, locate)
        patches = None
        if locate:
            assert self.locator is not None, "a network without location branch is asked for locations"
            patches = self.locator(colour_maps)
        return self.head(noise_maps), patches

    def vectors(self, images: Tensor) -> Tensor:
        """(N, any): what the head's last layer reads."""
        return self.head.vectors(self._maps(images, False)[1])

    def _maps(self, images: Tensor, locate: bool) -> tuple[list[Tensor], list[Tensor]]:
        """The maps of the colour stream (without the last one unless `locate`) and of the noise stream."""
        colour = images.float() / 127.5 - 1  # mean and standard deviation 0.5
        noise = self.srm(colour)
        colour_maps, noise_maps = [], []
        between = [*self.exchanges, *self.guides]
        for colour_stage, noise_stage, exchange in zip(self.colour.stages, self.noise.stages, between, strict=False):
            colour, noise = exchange(colour_stage(colour), noise_stage(noise))
            colour_maps.append(colour)
            noise_maps.append(noise)
        noise_maps.append(self.noise.stages[-1](noise))
        if locate:
            colour_maps.append(self.colour.stages[-1](colour))
        return colour_maps, noise_maps


class ConsistencyEnhancement(nn.Module):
    """CMCE, cross-modality consistency enhancement: each stream takes from the other where the two agree.

    The cosine similarity of the two over their channels, one number for each position, gates what a 1 x 1 convolution
    makes of the other stream.

    Args:
        channels: Of both streams.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.to_colour = nn.Conv2d(channels, channels, 1)
        self.to_noise = nn.Conv2d(channels, channels, 1)

    def forward(self, colour: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Both streams (N, channels, h, w), enhanced."""
        # half precision cannot hold the sums of squares
        agreement = F.cosine_similarity(colour.float(), noise.float(), dim=1)[:, None].to(colour.dtype)
        return colour + agreement * self.to_colour(noise), noise + agreement * self.to_noise(colour)


class GuidedAttention(nn.Module):
    """LFGA, local forgery guided attention: the colours say where the noise is looked at.

    Queries and keys come from the colours, values from the noise; each position gathers the values of all positions.
    What is gathered is added with a weight that starts at zero: at first the noise passes unchanged.

    Args:
        channels: Of both streams.
    """

    def __init__(self, channels: int):
        super().__init__()
        width = max(1, round(channels * _QUERY_SHARE))
        self.query, self.key = nn.Conv2d(channels, width, 1), nn.Conv2d(channels, width, 1)
        self.value = nn.Conv2d(channels, channels, 1)
        self.weight = nn.Parameter(torch.zeros(()))

    def forward(self, colour: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """The colours as they are, and the noise (N, channels, h, w) with what they point to."""
        query, key, value = (
            layer(maps).flatten(2) for layer, maps in ((self.query, colour), (self.key, colour), (self.value, noise))
        )
        attention = (query.mT @ key / query.shape[1] ** 0.5).softmax(dim=2)  # (N, positions, positions)
        gathered = value @ attention.mT.to(value.dtype)
        return colour, noise + self.weight * gathered.view_as(noise)


class PatchFusion(nn.Module):
    """MPFF, multi-scale patch feature fusion: what each patch of the location map shows at all scales.

    A 1 x 1 convolution brings each stage's map to the same channels. Each pixel of a map counts as far as it agrees
    with the deepest map at its patch: by the sigmoid of their scaled scalar product. The mean over the pixels of each
    patch, of all maps side by side with the deepest one, are the features of the patch.

    Args:
        channels: Of each stage's map.
        fusion_channels: Of the maps that are joined, and of the patches' features.
    """

    def __init__(self, channels: list[int], fusion_channels: int):
        super().__init__()
        self.narrow = nn.ModuleList(nn.Conv2d(width, fusion_channels, 1) for width in channels)
        self.join = nn.Sequential(
            nn.Conv2d(len(channels) * fusion_channels, fusion_channels, 1, bias=False), nn.BatchNorm2d(fusion_channels)
        )
        self.classify = nn.Sequential(nn.ReLU(), nn.Conv2d(fusion_channels, 2, 1))

    def forward(self, maps: list[Tensor]) -> Patches:
        """Patches (h, w) as in the last map but one, from the maps of all stages."""
        height, width = maps[-2].shape[-2:]
        grid = (height, width)
        *shallow, deepest = (narrow(stage_map) for narrow, stage_map in zip(self.narrow, maps, strict=True))
        deepest = resample(deepest, grid)
        fused = [deepest]
        for stage_map in shallow:
            side = max(1, round(stage_map.shape[-1] / width))  # pixels of this map along a patch
            pixels = (
                resample(stage_map, (side * height, side * width))
                .unflatten(3, (width, side))
                .unflatten(2, (height, side))
            )
            product = torch.einsum("nchiwj,nchw->nhiwj", pixels, deepest) / deepest.shape[1] ** 0.5
            fused.append((pixels * product.sigmoid()[:, None]).mean(dim=(3, 5)))
        features = self.join(torch.cat(fused, dim=1))
        return Patches(features, self.classify(features))


class Head(nn.Module):
    """Real or fake, from the noise at all scales.

    Each stage's map, brought to the same channels and to the size of the last one, is multiplied with the last one; the
    means over all positions, and that of the last map as it is, are what the last layer reads.

    Args:
        channels: Of each stage's map.
        fusion_channels: Of the maps that are multiplied.
        dropout: Before the last layer.
    """

    def __init__(self, channels: list[int], fusion_channels: int, dropout: float):
        super().__init__()
        self.narrow = nn.ModuleList(nn.Conv2d(width, fusion_channels, 1) for width in channels)
        self.dropout = nn.Dropout(dropout)
        self.last = nn.Linear((len(channels) - 1) * fusion_channels + channels[-1], 2)

    def vectors(self, maps: list[Tensor]) -> Tensor:
        """(N, any): what the last layer reads, without dropout."""
        height, width = maps[-1].shape[-2:]
        size = (height, width)
        *shallow, deepest = (
            narrow(resample(stage_map, size)) for narrow, stage_map in zip(self.narrow, maps, strict=True)
        )
        products = [(stage_map * deepest).mean(dim=(2, 3)) for stage_map in shallow]
        return torch.cat([*products, maps[-1].mean(dim=(2, 3))], dim=1)

    def forward(self, maps: list[Tensor]) -> Tensor:
        """Logits (N, 2) from the maps of all stages."""
        return self.last(self.dropout(self.vectors(maps)))


def patch_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy, the mean over all patches with a label; 0 when there is none.

    Args:
        logits: (N, 2, h, w).
        targets: (N, h, w) int64: REAL_PATCH, FAKE_PATCH or NO_LABEL.
    """
    total = F.cross_entropy(logits.float(), targets, ignore_index=NO_LABEL, reduction="sum")
    return total / (targets != NO_LABEL).sum().clamp(min=1)


def resample(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Maps (N, C, h, w) at another size: each new pixel is the mean of what it covers.

    As products of matrices, whose gradients, unlike those of PyTorch's pooling, are the same in every run on a GPU.
    """
    if maps.shape[-2:] == size:
        return maps
    rows, columns = (
        _coverage(old, new, maps.device).to(maps.dtype) for old, new in zip(maps.shape[-2:], size, strict=True)
    )
    return rows @ maps @ columns.mT


def _coverage(n_old: int, n_new: int, device: torch.device) -> Tensor:
    """(n_new, n_old): how much of each new pixel each old one covers, along one axis."""
    new_edges = torch.arange(n_new + 1, device=device) * (n_old / n_new)
    old_edges = torch.arange(n_old + 1, device=device)
    begin = torch.maximum(new_edges[:-1, None], old_edges[None, :-1])
    end = torch.minimum(new_edges[1:, None], old_edges[None, 1:])
    return (end - begin).clamp(min=0) * (n_new / n_old)
