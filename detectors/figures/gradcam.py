"""Grad-CAM: where in a face a network sees what speaks for its verdict.

Selvaraju et al., *Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization*, ICCV 2017.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from detectors.interface.detector import Detector


def grad_cam(detector: Detector, layer: nn.Module, images: Tensor, signs: Tensor) -> Tensor:
    """Maps of what speaks for a verdict.

    The weight of a channel is the mean of the gradient of the evidence over its positions; the map is the positive part
    of the weighted sum of the channels (equations 1 and 2).

    Args:
        detector: In evaluation mode.
        layer: Of its feature maps, from `Detector.find_cam_layer`.
        images: (n, 3, size, size) uint8 RGB.
        signs: (n,) 1 to ask what speaks for fake, -1 for what speaks for real.

    Returns:
        (n, size, size) float32 from 0 to 1, the highest of each map 1; all zero where nothing speaks for it.
    """
    maps: list[Tensor] = []

    def cut_here(_module: nn.Module, _inputs: tuple, output: Tensor) -> Tensor:
        # gradients are wanted from here on alone, whether or not what lies before learns
        maps.append(output.detach().requires_grad_())
        return maps[-1].clone()  # what comes after may write into it

    handle = layer.register_forward_hook(cut_here)
    try:
        with torch.enable_grad():
            evidence = detector.evidence(images)
            (gradients,) = torch.autograd.grad((evidence * signs).sum(), maps)
    finally:
        handle.remove()
    weights = gradients.float().mean(dim=(2, 3), keepdim=True)
    cams = (weights * maps[0].detach().float()).sum(dim=1, keepdim=True).relu()
    cams = F.interpolate(cams, size=images.shape[-2:], mode="bilinear", align_corners=False)[:, 0]
    highest = cams.amax(dim=(1, 2), keepdim=True)
    return cams / torch.where(highest > 0, highest, 1)


def last_feature_map(network: nn.Module, run: Callable[[], object]) -> nn.Module | None:
    """The module of a network that is the last to give feature maps (n, channels, height, width) of several positions.

    Args:
        network: In evaluation mode.
        run: Runs it once, on anything.

    Returns:
        None where there is no such module: in a network of tokens, or one that keeps its channels last.
    """
    if any(getattr(module, "output_fmt", "NCHW") == "NHWC" for module in network.modules()):  # timm's word for it
        return None
    found: list[nn.Module] = []

    def note(module: nn.Module, _inputs: tuple, output: object) -> None:
        if not isinstance(output, Tensor):
            return
        if output.ndim == 3:  # tokens: what had four dimensions before were heads of attention
            found.clear()
        elif output.ndim == 4 and output.shape[-2:].numel() > 1:
            found.append(module)

    handles = [module.register_forward_hook(note) for module in network.modules()]
    try:
        with torch.inference_mode():
            run()
    finally:
        for handle in handles:
            handle.remove()
    return found[-1] if found else None
