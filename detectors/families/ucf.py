"""UCF: uncovering common features for generalizable deepfake detection (Yan, Zhang, Fan, Wu, ICCV 2023).

A forgery encoder and a content encoder take a face apart; the forgery features are split into those that
all manipulations have in common and those specific to one. A decoder puts faces together again, also from the
content of one and the forgery features of another, which forces the parts to be independent. Only the
common features decide whether a face is fake.

Written from the paper's description. In a batch of P pairs the fakes come first: rows 0 … P - 1 are
fake, P … 2P - 1 are their reals.
"""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import Dataset

from detectors.data.pairs import RealFakePairs
from detectors.data.samples import Samples
from detectors.families.settings import UcfSettings
from detectors.interface.settings import NetworkSettings
from detectors.networks.backbones import Backbone
from detectors.networks.detector import NetworkDetector
from detectors.networks.losses import triplet_loss

_DECODER_STAGES = 3
_EPSILON = 1e-5


class Features(NamedTuple):
    """Feature maps of N faces.

    Attributes:
        content: (N, channels, h, w); None when only forgery features were asked for.
        specific: (N, channels / 2, h, w).
        common: (N, channels / 2, h, w).
    """

    content: Tensor | None
    specific: Tensor | None
    common: Tensor


class Ucf(NetworkDetector):
    """See the module. With `prediction_only` there is a forgery encoder, the common branch and its head."""

    Settings: ClassVar[type[NetworkSettings]] = UcfSettings
    settings: UcfSettings

    def __init__(self, settings: UcfSettings, methods: list[str], *, prediction_only: bool = False):
        super().__init__(settings, methods, prediction_only=prediction_only)
        channels = settings.channels
        self.forgery_encoder = _encoder(settings)
        self.common_branch = _branch(channels)
        self.common_head = _Head(channels, 2, settings.dropout)
        if not prediction_only:
            self.content_encoder = _encoder(settings)
            self.specific_branch = _branch(channels)
            self.specific_head = _Head(channels, len(methods), settings.dropout)
            self.decoder = Decoder(channels, settings.backbone_stride, settings.decoder_dropout)

    @property
    def crops_per_item(self) -> int:
        return 2

    def training_set(self, samples: Samples, data: Path, seed: int) -> Dataset:
        return RealFakePairs(data / "crops", samples, self.methods, self.window, seed, self.settings.augmentation)

    def features(self, images: Tensor) -> Features:
        """Content, specific and common features of uint8 images (N, 3, size, size)."""
        pixels = normalise(images)
        forgery = self.forgery_encoder(pixels)
        return Features(
            content=self.content_encoder(pixels),
            specific=self.specific_branch(forgery),
            common=self.common_branch(forgery),
        )

    def losses(self, batch: dict) -> dict[str, Tensor]:
        images = torch.cat([batch["fake"], batch["real"]])
        n_pairs = len(batch["fake"])
        features = self.features(images)
        label = torch.arange(2 * n_pairs, device=images.device) < n_pairs
        method = torch.cat([batch["method"], torch.zeros_like(batch["method"])])
        common_logits, common_vector = self.common_head(features.common)
        specific_logits, specific_vector = self.specific_head(features.specific)
        margin = self.settings.contrastive_margin
        losses = {
            "common": F.cross_entropy(common_logits.float(), label.long()),
            "specific": F.cross_entropy(specific_logits.float(), method),
            "reconstruction": self._reconstruction_loss(features, normalise(images)),
            "contrastive": triplet_loss(common_vector, label, margin=margin)
            + triplet_loss(specific_vector, method, margin=margin),
        }
        settings = self.settings
        losses["total"] = (
            losses["common"]
            + settings.specific_weight * losses["specific"]
            + settings.reconstruction_weight * losses["reconstruction"]
            + settings.contrastive_weight * losses["contrastive"]
        )
        return losses

    def logits(self, images: Tensor) -> Tensor:
        logits, _ = self.common_head(self.common_branch(self.forgery_encoder(normalise(images))))
        return logits

    def vectors(self, images: Tensor) -> dict[str, Tensor]:
        """Content, specific and common features, averaged over their positions; not with `prediction_only`."""
        return {name: maps.mean(dim=(2, 3)) for name, maps in self.features(images)._asdict().items()}

    def find_cam_layer(self) -> nn.Module:
        return self.common_branch

    def _reconstruction_loss(self, features: Features, pixels: Tensor) -> Tensor:
        """Sum of the four mean L1 distances: fakes and reals, each from its own and its partner's forgery features."""
        common = features.common
        if self.training and torch.rand(()) < self.settings.permute_probability:
            common = common[permutation_within_halves(len(common)).to(common.device)]
        assert features.specific is not None, "what trains has all branches"
        style = self.decoder.style_maps(torch.cat([features.specific, common], dim=1))
        partner = [swap_halves(style_map) for style_map in style]
        # each mean runs over both halves, which are of one size: twice it is the sum of the halves' means
        own_distance = F.l1_loss(self.decoder(features.content, style, pixels.shape[-2:]).float(), pixels)
        partner_distance = F.l1_loss(self.decoder(features.content, partner, pixels.shape[-2:]).float(), pixels)
        return 2 * (own_distance + partner_distance)


class Decoder(nn.Module):
    """Puts a face together from content and style: three stages of AdaIN, doubling and convolution.

    The style passes through stages of its own, so that at each stage it has the content's channels and size.
    As in the paper the last factor of 4 is interpolated: at stride 32 every stage doubles, at a smaller stride
    only the first ones do.

    Args:
        channels: Of content and of style, `cat(specific, common)`.
        stride: Input pixels per feature.
        dropout: Probability.
    """

    def __init__(self, channels: int, stride: int, dropout: float):
        super().__init__()
        widths = [channels >> stage for stage in range(_DECODER_STAGES + 1)]
        n_doubling = int(math.log2(stride)) - 2
        self._scales = [2 if stage < n_doubling else 1 for stage in range(_DECODER_STAGES)]
        self.dropout = nn.Dropout(dropout)
        self.style_convs = nn.ModuleList(_double_conv(*pair) for pair in itertools.pairwise(widths[:-1]))
        self.content_convs = nn.ModuleList(_double_conv(*pair) for pair in itertools.pairwise(widths))
        self.to_pixels = nn.Conv2d(widths[-1], 3, 1)

    def style_maps(self, style: Tensor) -> list[Tensor]:
        """Style at each stage, from (N, channels, h, w)."""
        maps = [style]
        for scale, convs in zip(self._scales, self.style_convs, strict=False):
            maps.append(convs(self.dropout(_enlarge(maps[-1], scale))))
        return maps

    def forward(self, content: Tensor, style_maps: list[Tensor], size: tuple[int, int]) -> Tensor:
        """Faces (N, 3, height, width) with values -1 to 1.

        Args:
            content: (N, channels, h, w).
            style_maps: Of `style_maps`, for N styles.
            size: Height and width of the faces.
        """
        for style, scale, convs in zip(style_maps, self._scales, self.content_convs, strict=True):
            content = convs(self.dropout(_enlarge(adain(content, style), scale)))
        pixels = F.interpolate(self.to_pixels(content), size=size, mode="bilinear", align_corners=False)
        return pixels.tanh()


class _Head(nn.Module):
    """Pooled features, and what they say: (N, channels / 2, h, w) to logits (N, n_classes) and vectors."""

    def __init__(self, channels: int, n_classes: int, dropout: float):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(channels // 2, channels), nn.LeakyReLU(), nn.Dropout(dropout), nn.Linear(channels, n_classes)
        )

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        vectors = features.mean(dim=(2, 3))
        return self.layers(vectors), vectors


def normalise(images: Tensor) -> Tensor:
    """uint8 to float32 from -1 to 1: mean and standard deviation 0.5, and what tanh can give back."""
    return images.float() / 127.5 - 1


def adain(content: Tensor, style: Tensor) -> Tensor:
    """Adaptive instance normalisation (Huang and Belongie, ICCV 2017, equation 8).

    Args:
        content: (N, C, h, w).
        style: (N, C, any, any).

    Returns:
        The content, each channel with the style's mean and standard deviation over its positions.
    """
    # half precision cannot hold the sums
    content_mean, content_std = _mean_std(content.float())
    style_mean, style_std = _mean_std(style.float())
    return ((content - content_mean) / content_std * style_std + style_mean).to(content.dtype)


def permutation_within_halves(n_rows: int) -> Tensor:
    """A random order of a batch's rows that leaves fakes in the first half and reals in the second."""
    half = n_rows // 2
    return torch.cat([torch.randperm(half), half + torch.randperm(half)])


def swap_halves(rows: Tensor) -> Tensor:
    """Each row's partner in its pair."""
    return torch.cat(rows.chunk(2)[::-1])


def _mean_std(maps: Tensor) -> tuple[Tensor, Tensor]:
    variance, mean = torch.var_mean(maps, dim=(2, 3), keepdim=True, correction=0)
    return mean, (variance + _EPSILON).sqrt()


def _enlarge(maps: Tensor, scale: int) -> Tensor:
    if scale == 1:
        return maps
    return F.interpolate(maps, scale_factor=scale, mode="bilinear", align_corners=False)


def _encoder(settings: UcfSettings) -> nn.Sequential:
    backbone = Backbone(**settings.feature_extractor)
    return nn.Sequential(
        backbone,
        nn.Conv2d(backbone.channels, settings.channels, 1, bias=False),
        nn.BatchNorm2d(settings.channels),
        nn.ReLU(),
    )


def _branch(channels: int) -> nn.Sequential:
    half = channels // 2
    return nn.Sequential(
        nn.Conv2d(channels, half, 1),
        nn.LeakyReLU(),
        nn.Conv2d(half, half, 1),
        nn.LeakyReLU(),
        nn.Conv2d(half, half, 1),
    )


def _double_conv(n_in: int, n_out: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(n_in, n_out, 3, padding=1), nn.ReLU(), nn.Conv2d(n_out, n_out, 3, padding=1), nn.ReLU()
    )
