"""Networks of the studies that timm does not have, in timm's own registry: any family takes them as `backbone`.

- `xception_midway`: Xception whose eight middle blocks use grouped instead of depthwise 3×3 convolutions (half as many
  groups as channels, so that each output reads two channels) and a 1×1 convolution as shortcut instead of the identity.
- `xception_light`: Xception without four of its eight equal middle blocks.
- `efficientnet_autoatt_b4`, `efficientnet_autoatt_b0`: EfficientNet with an attention map (Bonettini et al., *Video
  Face Manipulation Detection Through Ensemble of CNNs*, ICPR 2020): after the last block of stride 8 (56 channels in
  B4, 28×28 at an input of 224) a 1×1 convolution and a sigmoid weigh every position.

Importing this module registers them. Which weights there are: `WEIGHTS_OF`, and docs/detectors.md.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import timm
import torch
from timm.models import build_model_with_cfg, generate_default_cfgs, get_pretrained_cfg, register_model
from timm.models.xception import Xception
from torch import Tensor, nn

# The model of timm whose weights a network starts from; what is not named has none.
WEIGHTS_OF = {
    "xception_light": "legacy_xception",
    "efficientnet_autoatt_b4": "tf_efficientnet_b4",
    "efficientnet_autoatt_b0": "tf_efficientnet_b0",
}
_EFFICIENTNET_TAGS = ("aa_in1k", "ns_jft_in1k")  # the first one is what a name without a tag means

_MIDDLE_BLOCKS = [f"block{number}" for number in range(4, 12)]
_BLOCKS_OF_LIGHT = _MIDDLE_BLOCKS[:4]
_ATTENTION_STAGE = 2  # of timm's EfficientNets: the stage of stride 8

_XCEPTION_CFG = {
    "input_size": (3, 299, 299),
    "pool_size": (10, 10),
    "mean": (0.5, 0.5, 0.5),
    "std": (0.5, 0.5, 0.5),
    "num_classes": 1000,
    "first_conv": "conv1",
    "classifier": "fc",
}

default_cfgs = generate_default_cfgs(
    {
        "xception_midway": _XCEPTION_CFG,
        "xception_light.tf_in1k": get_pretrained_cfg("legacy_xception.tf_in1k").to_dict(),
    }
    | {
        f"{name}.{tag}": get_pretrained_cfg(f"{WEIGHTS_OF[name]}.{tag}").to_dict()
        for name in ("efficientnet_autoatt_b4", "efficientnet_autoatt_b0")
        for tag in _EFFICIENTNET_TAGS
    }
)


class AttentionGate(nn.Module):
    """Features weighted by a map of their own: (N, channels, h, w) to the same.

    The convolution starts at zero, so that at first every position weighs one half. With that, EfficientNet's weights
    are a checkpoint of the whole network: nothing in it is left to chance.

    Args:
        channels: Of the features.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.conv = nn.Conv2d(channels, 1, 1)
        for parameter in self.conv.parameters():
            nn.init.zeros_(parameter)

    def map(self, features: Tensor) -> Tensor:
        """(N, 1, h, w), from 0 to 1."""
        return self.conv(features).sigmoid()

    def forward(self, features: Tensor) -> Tensor:
        return features * self.map(features)


# a gate stays one module when timm traces a network for its features, so that `attention_map` finds it there
timm.models.register_notrace_module(AttentionGate)


def attention_map(network: nn.Module, images: Tensor) -> Tensor:
    """What a network with an attention gate looks at.

    Args:
        network: Any module with one `AttentionGate` within: the model of timm, a backbone, a classifier's network.
        images: What the network reads, (N, 3, height, width).

    Returns:
        (N, 1, height / 8, width / 8), from 0 to 1.

    Raises:
        ValueError: The network has no attention gate.
    """
    gates = [module for module in network.modules() if isinstance(module, AttentionGate)]
    if not gates:
        raise ValueError("the network has no attention gate; efficientnet_autoatt_b4 has one")
    seen: list[Tensor] = []
    hook = gates[0].register_forward_pre_hook(lambda gate, inputs: seen.append(gate.map(inputs[0])))
    try:
        network(images)
    finally:
        hook.remove()
    return seen[0]


@register_model
def xception_midway(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """See the module. There are no weights."""
    return _build_xception(_midway, "xception_midway", pretrained, **kwargs)


@register_model
def xception_light(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """See the module. The weights are Xception's, less those of the four blocks."""
    return _build_xception(_light, "xception_light", pretrained, pretrained_filter_fn=_of_light, **kwargs)


@register_model
def efficientnet_autoatt_b4(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """See the module. The weights are EfficientNet-B4's."""
    return _build_attentive("efficientnet_autoatt_b4", pretrained, **kwargs)


@register_model
def efficientnet_autoatt_b0(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """The same with EfficientNet-B0, where the gate reads 40 channels."""
    return _build_attentive("efficientnet_autoatt_b0", pretrained, **kwargs)


def _build_xception(create: Callable[..., nn.Module], variant: str, pretrained: bool, **kwargs: Any) -> nn.Module:
    return build_model_with_cfg(create, variant, pretrained, feature_cfg={"feature_cls": "hook"}, **kwargs)


def _midway(**kwargs: Any) -> Xception:
    model = Xception(**kwargs)
    for name in _MIDDLE_BLOCKS:
        block = getattr(model, name)
        for layer in block.rep:
            if hasattr(layer, "pointwise"):
                channels = layer.conv1.in_channels
                layer.conv1 = _conv(channels, kernel_size=3, padding=1, groups=channels // 2)
        block.skip = _conv(channels, kernel_size=1)
        block.skipbn = nn.BatchNorm2d(channels)
    return model


def _conv(channels: int, **options: Any) -> nn.Conv2d:
    conv = nn.Conv2d(channels, channels, bias=False, **options)
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")  # as timm's Xception
    return conv


def _light(**kwargs: Any) -> Xception:
    model = Xception(**kwargs)
    for name in _BLOCKS_OF_LIGHT:
        setattr(model, name, nn.Identity())
    return model


def _of_light(state_dict: dict[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """Weights of Xception, or of the light one, without the blocks that it does not have."""
    return {key: value for key, value in state_dict.items() if key.split(".")[0] not in _BLOCKS_OF_LIGHT}


def _build_attentive(variant: str, pretrained: bool, **kwargs: Any) -> nn.Module:
    return build_model_with_cfg(
        partial(_attentive, WEIGHTS_OF[variant]),
        variant,
        pretrained,
        feature_cfg={"feature_cls": "fx"},
        pretrained_filter_fn=_with_gate,
        **kwargs,
    )


def _attentive(efficientnet: str, **kwargs: Any) -> nn.Module:
    model = timm.create_model(efficientnet, pretrained=False, **kwargs)
    (channels,) = (info["num_chs"] for info in model.feature_info if info["stage"] == _ATTENTION_STAGE + 1)
    model.blocks[_ATTENTION_STAGE].append(AttentionGate(channels))
    return model


def _with_gate(state_dict: dict[str, Tensor], model: Any) -> dict[str, Tensor]:
    """Weights of an EfficientNet, or of the attentive one, with the gate as it starts where they have none."""
    stage = model.blocks[_ATTENTION_STAGE]
    prefix = f"blocks.{_ATTENTION_STAGE}.{len(stage) - 1}."
    gate = {prefix + key: torch.zeros_like(value) for key, value in stage[-1].state_dict().items()}
    return state_dict if gate.keys() & state_dict.keys() else state_dict | gate
