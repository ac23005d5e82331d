"""A backbone from timm cut into stages that run one after another, so that something can be done between them."""

from __future__ import annotations

import itertools
import re
from typing import Any

import timm
from timm.models import FeatureDictNet
from timm.models.efficientnet import EfficientNet
from timm.models.mobilenetv3 import MobileNetV3
from timm.models.xception import Xception
from torch import Tensor, nn

from detectors.networks.backbones import create_pretrained, feature_strides, whole_model
from preprocess.running.cli import UserError


class StagedBackbone(nn.Module):
    """Stages of a timm model: stage i + 1 reads what stage i gives.

    Xception is cut behind each of its three entry blocks (strides 4, 8, 16), behind the fourth and behind the eighth
    of its middle blocks (16), and behind its exit flow (32); its relatives with the same blocks likewise. Other models
    are cut where timm takes feature maps from, usually at strides 2, 4, 8, 16 and 32.

    Args:
        name: timm model name, with a tag after a dot where there are several sets of weights.
        pretrained: As for `Backbone`.
        stride: Of the last stage, input pixels per feature; stages behind it are left out.

    Attributes:
        stages: (S) modules; each maps (N, channels of the stage before, ...) to (N, channels, h, w).
        channels, strides: Of each stage.

    Raises:
        UserError: As for `Backbone`, or the model is not a chain of modules.
    """

    def __init__(self, name: str, *, pretrained: bool | str, stride: int):
        super().__init__()
        stages, self.channels, self.strides = _cut(name, pretrained)
        if stride not in self.strides:
            raise UserError(f"backbone {name!r} has no features at stride {stride}; allowed: {sorted({*self.strides})}")
        n_stages = len(self.strides) - self.strides[::-1].index(stride)
        self.stages = nn.ModuleList(stages[:n_stages])
        self.channels, self.strides = self.channels[:n_stages], self.strides[:n_stages]

    def forward(self, images: Tensor) -> list[Tensor]:
        """The feature map of each stage."""
        maps = []
        for stage in self.stages:
            images = stage(images)
            maps.append(images)
        return maps


def _cut(name: str, pretrained: bool | str) -> tuple[list[nn.Module], list[int], list[int]]:
    """All stages of a model, their channels and their strides."""
    strides = feature_strides(name)  # first: it tells an unknown name
    if isinstance(timm.create_model(name, features_only=True), FeatureDictNet):
        return _feature_stages(name, pretrained, len(strides))
    model = whole_model(name, pretrained)
    if isinstance(model, Xception):
        return _xception_stages(model)
    if isinstance(model, (EfficientNet, MobileNetV3)):
        return _efficientnet_stages(model)
    raise UserError(
        f"backbone {name!r} cannot be cut into stages, since timm has it not as a chain of modules; legacy_xception, "
        "resnet50, tf_efficientnet_b4 and most that are built like them can"
    )


def _feature_stages(name: str, pretrained: bool | str, n_stages: int) -> tuple[list[nn.Module], list[int], list[int]]:
    def create(source: dict | None) -> nn.Module:
        return timm.create_model(
            name,
            features_only=True,
            out_indices=tuple(range(n_stages)),
            pretrained=source is not None,
            pretrained_cfg_overlay=source or {},
        )

    model = create_pretrained(name, pretrained, create)
    stages: list[list[nn.Module]] = [[]]
    for key, module in model.items():
        stages[-1].append(module)
        if key in model.return_layers:
            stages.append([])
    return (
        [nn.Sequential(*stage) for stage in stages[:n_stages]],
        model.feature_info.channels(),
        model.feature_info.reduction(),
    )


def _xception_stages(model: Xception) -> tuple[list[nn.Module], list[int], list[int]]:
    blocks: dict[str, Any] = {key: module for key, module in model.named_children() if re.fullmatch(r"block\d+", key)}
    entry, middle, last = list(blocks.values())[:3], list(blocks.values())[3:-1], list(blocks.values())[-1]
    middle = [block for block in middle if not isinstance(block, nn.Identity)]  # Light Xception's absent ones
    half = len(middle) // 2
    stem = [model.conv1, model.bn1, model.act1, model.conv2, model.bn2, model.act2]
    exit_flow = [last, model.conv3, model.bn3, model.act3, model.conv4, model.bn4, model.act4]
    parts = [[*stem, entry[0]], [entry[1]], [entry[2]], middle[:half], middle[half:], exit_flow]
    widths = [entry[0].rep[-2].num_features, entry[1].rep[-2].num_features, *(3 * [entry[2].rep[-2].num_features])]
    return [nn.Sequential(*part) for part in parts], [*widths, model.num_features], [4, 8, 16, 16, 16, 32]


def _efficientnet_stages(model: EfficientNet | MobileNetV3) -> tuple[list[nn.Module], list[int], list[int]]:
    infos = model.feature_info
    ends = [info["stage"] for info in infos]
    parts = [list(model.blocks[begin:end]) for begin, end in itertools.pairwise([0, *ends])]
    parts[0] = [model.conv_stem, model.bn1, *parts[0]]  # the activation is part of bn1
    channels, strides = ([info[key] for info in infos] for key in ("num_chs", "reduction"))
    return [nn.Sequential(*part) for part in parts], channels, strides
