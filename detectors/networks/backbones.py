"""Backbones from timm: feature maps of an image, with ImageNet weights or random ones, never one for the other.

A name may also be one of `detectors.networks.architectures`, which are in timm's registry too.
"""

from __future__ import annotations

import difflib
import socket
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlparse
from urllib.request import getproxies

import huggingface_hub
import timm
import torch
from timm.models import FeatureDictNet, get_pretrained_cfg
from torch import Tensor, nn

from detectors.networks.architectures import WEIGHTS_OF
from preprocess.running.cli import UserError

_CONNECT_SECONDS = 5.0


class Backbone(nn.Module):
    """One feature map of a timm model: (N, 3, height, width) to (N, channels, height / stride, width / stride).

    Args:
        name: timm model name, with a tag after a dot where there are several sets of weights.
        pretrained: True for the ImageNet weights, False for random ones, or the path of a timm checkpoint file.
        stride: Input pixels per feature; layers behind that feature map are left out.

    Attributes:
        channels: Channels of the feature map.
        stride: As given.

    Raises:
        UserError: An unknown name, a stride that the model does not have, or weights that cannot be loaded.
    """

    body: Any  # a model of timm
    channels: int

    def __init__(self, name: str, *, pretrained: bool | str, stride: int):
        super().__init__()
        self.stride = stride
        index = _feature_index(name, stride)
        self.body = create_pretrained(name, pretrained, partial(_create, name, index))
        (self.channels,) = self.body.feature_info.channels()

    def forward(self, images: Tensor) -> Tensor:
        """Features of normalised images."""
        return self.body(images)[0]


class VectorNetwork(nn.Module):
    """A timm model without its last layer: (N, 3, height, width) to vectors (N, channels).

    At the model's own stride it is the whole model, the layers before its last one included (EfficientNet's last
    convolution, say); at a smaller stride, the feature map of that stride, averaged over its positions.

    Args:
        name: As for `Backbone`.
        pretrained: As for `Backbone`.
        stride: Input pixels per feature.

    Attributes:
        channels: Length of the vectors.

    Raises:
        UserError: As for `Backbone`.
    """

    body: Any  # a model of timm, or a Backbone
    channels: int

    def __init__(self, name: str, *, pretrained: bool | str, stride: int):
        super().__init__()
        self._whole = stride == max(feature_strides(name))
        self.body = (
            whole_model(name, pretrained) if self._whole else Backbone(name, pretrained=pretrained, stride=stride)
        )
        self.channels = self.body.head_hidden_size if self._whole else self.body.channels

    def vectors(self, images: Tensor) -> Tensor:
        """(N, channels) of normalised images."""
        if self._whole:
            return self.body(images)
        return self.body(images).mean(dim=(2, 3))

    def forward(self, images: Tensor) -> Tensor:
        """Vectors of normalised images."""
        return self.vectors(images)


class ClassificationNetwork(VectorNetwork):
    """A timm model with a last layer of its own: (N, 3, height, width) to logits (N, n_classes).

    Args:
        name: As for `VectorNetwork`, whose vectors the last layer reads.
        pretrained: As for `Backbone`; the last layer is always new.
        stride: Input pixels per feature.
        n_classes: Logits.
        dropout: Probability, before the last layer.

    Raises:
        UserError: As for `Backbone`.
    """

    def __init__(self, name: str, *, pretrained: bool | str, stride: int, n_classes: int, dropout: float):
        super().__init__(name, pretrained=pretrained, stride=stride)
        self.dropout = nn.Dropout(dropout)
        self.last = nn.Linear(self.channels, n_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits of normalised images."""
        return self.last(self.dropout(self.vectors(images)))


def add_input_channel(network: nn.Module) -> None:
    """Let the first convolution read one channel more, with the mean of its other kernels to begin with.

    Args:
        network: Its first convolution must not be grouped.
    """
    first = next(module for module in network.modules() if isinstance(module, nn.Conv2d))
    with torch.no_grad():
        first.weight = nn.Parameter(torch.cat([first.weight, first.weight.mean(dim=1, keepdim=True)], dim=1))
    first.in_channels += 1


def feature_strides(name: str) -> list[int]:
    """Strides of the feature maps that timm takes from a model, input pixels per feature, ascending.

    Raises:
        UserError: An unknown name, or a model without feature maps.
    """
    try:
        return timm.create_model(name, features_only=True).feature_info.reduction()
    except RuntimeError as error:
        near = difflib.get_close_matches(name, timm.list_models(), n=5)
        raise UserError(
            f"backbone {name!r} cannot be built: {error}. Near to it timm has: {', '.join(near) or 'nothing'}"
        ) from error


def _feature_index(name: str, stride: int) -> int:
    strides = feature_strides(name)
    if stride not in strides:
        raise UserError(f"backbone {name!r} has no features at stride {stride}; allowed: {strides}")
    return strides.index(stride)


def _create(name: str, index: int, source: dict | None) -> Any:
    options: dict[str, Any] = {
        "features_only": True,
        "out_indices": (index,),
        "pretrained": source is not None,
        "pretrained_cfg_overlay": source or {},
    }
    model = timm.create_model(name, **options)
    if not isinstance(model, FeatureDictNet):
        # the other kinds run the whole model whatever is read; a traced graph ends at the features asked for
        model = timm.create_model(name, feature_cls="fx", **options)
    return model


def whole_model(name: str, pretrained: bool | str) -> Any:
    """The model without its last layer: images to vectors."""

    def create(source: dict | None) -> Any:
        return timm.create_model(
            name, num_classes=0, pretrained=source is not None, pretrained_cfg_overlay=source or {}
        )

    return create_pretrained(name, pretrained, create)


def create_pretrained(name: str, pretrained: bool | str, create: Callable[[dict | None], Any]) -> Any:
    """A model from `create`, which takes what to tell timm about the place of the weights, or None for random ones.

    Raises:
        UserError: The weights cannot be loaded, or are of another model.
    """
    if not pretrained:
        return create(None)
    source = _weights(name, pretrained)
    try:
        model = create(source)
        if isinstance(pretrained, str):
            _check_loaded(model, create(source), name, pretrained)
    except (OSError, RuntimeError, KeyError) as error:
        if isinstance(pretrained, str):
            raise UserError(f"pretrained: {pretrained} is no checkpoint of the backbone {name!r}: {error}") from error
        raise UserError(_no_weights(name, f"loading them failed: {error}")) from error
    return model


def _weights(name: str, pretrained: bool | str) -> dict:
    """What to tell timm about the place of the weights; asks the network only for what this machine lacks."""
    if isinstance(pretrained, str):
        if not Path(pretrained).is_file():
            raise UserError(f"pretrained: the file {pretrained!r} does not exist; give a timm checkpoint of {name!r}")
        return {"file": pretrained}
    config = get_pretrained_cfg(name)
    if config is None or not config.has_weights:
        raise UserError(
            f"there are no pretrained weights for the backbone {name!r}; set pretrained to the path of a checkpoint of "
            "it, or to false for random weights, or choose another backbone"
        )
    cached = _cached_file(config)
    if cached:
        return {"file": str(cached)}
    host = urlparse(huggingface_hub.constants.ENDPOINT if config.hf_hub_id else config.url).hostname or ""
    # timm's downloader repeats for a minute before it gives up; behind a proxy only it can tell
    if not getproxies() and not _reachable(host):
        raise UserError(_no_weights(name, f"{host} cannot be reached"))
    return {}


def _cached_file(config: timm.models.PretrainedCfg) -> Path | None:
    if config.hf_hub_id:
        for filename in ("model.safetensors", "pytorch_model.bin"):
            path = huggingface_hub.try_to_load_from_cache(config.hf_hub_id, filename)
            if isinstance(path, str):
                return Path(path)
    if config.url:
        path = Path(torch.hub.get_dir()) / "checkpoints" / Path(urlparse(config.url).path).name
        if path.is_file():
            return path
    return None


def _reachable(host: str) -> bool:
    try:
        with socket.create_connection((host, 443), timeout=_CONNECT_SECONDS):
            return True
    except OSError:
        return False


def _no_weights(name: str, reason: str) -> str:
    config = get_pretrained_cfg(name)
    place = f"{huggingface_hub.constants.HF_HUB_CACHE} (HF_HUB_CACHE)"
    if not config.hf_hub_id:
        place = f"{torch.hub.get_dir()}/checkpoints (TORCH_HOME)"
    source = f"https://huggingface.co/{config.hf_hub_id}" if config.hf_hub_id else config.url
    # a machine with internet may have timm and not this project
    timm_name = f"{WEIGHTS_OF[config.architecture]}.{config.tag}" if config.architecture in WEIGHTS_OF else name
    return (
        f"the ImageNet weights of the backbone {name!r} are not on this machine, and {reason}. Ways out: run "
        f"python -c \"import timm; timm.create_model('{timm_name}', pretrained=True)\" on a machine with internet and "
        f"copy its cache to {place}; or download the weights from {source} and set pretrained to the path of the "
        "file; or set pretrained: false, which trains from random weights and gives other results"
    )


def _check_loaded(model: nn.Module, again: nn.Module, name: str, path: str) -> None:
    """timm passes over names that a file does not have; two loadings agree only where the file spoke."""
    pairs = zip(model.named_parameters(), again.parameters(), strict=True)
    missing = [key for (key, one), two in pairs if not torch.equal(one, two)]
    if missing:
        raise UserError(
            f"pretrained: {path} is no checkpoint of the backbone {name!r}: it lacks {len(missing)} of its "
            f"tensors, for example {missing[0]}"
        )
