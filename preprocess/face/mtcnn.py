"""The three networks of MTCNN over batches of frames, without a loop over boxes.

Zhang, Zhang, Li and Qiao, "Joint Face Detection and Alignment using Multitask Cascaded Convolutional Networks",
IEEE Signal Processing Letters 2016. The proposal network looks at every place of an image pyramid; the refinement
and output networks look at its candidates, all of a batch at once. Weights are those of facenet-pytorch.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from facenet_pytorch.models.mtcnn import ONet, PNet, RNet
from torch import Tensor, nn
from torchvision.ops import batched_nms, roi_align

# Sides in pixels of what each network looks at.
_PROPOSAL_PX, _REFINE_PX, _OUTPUT_PX = 12, 24, 48
# The proposal network answers for every second pixel.
_STRIDE_PX = 2
# Probability of a face that each network must give, and the overlap above which the worse of two boxes goes. Within a
# scale boxes lie on a grid, many with an overlap of exactly 0.5, which rounding would settle.
_THRESHOLDS = (0.7, 0.7, 0.7)
_OVERLAP_IN_SCALE, _OVERLAP_ACROSS_SCALES, _OVERLAP_REFINED, _OVERLAP_OUTPUT = 0.49, 0.5, 0.6, 0.7
# From one level of the image pyramid to the next.
_PYRAMID_FACTOR = 0.65
# Sides to which a window is scaled: a face of a third of it has 13 and 17 px. Windows alone then miss 11 of 524 faces
# that full searches find; 16 at 34 and 46 px, for the same cost; 9 at three sides and windows of 3.5 faces.
_WINDOW_PX = (40, 52)
# How the networks want their boxes, found by trial: a proposal begins so many pixels later than the place it was seen
# at; the refinement and output networks look at squares of so many sides, the latter moved down and right by so many.
# It makes up for how pixels were counted in training: of 358 faces that facenet-pytorch scores 0.9 or more, 11 are
# lost without it and none with it, and scores of true faces rise.
_PROPOSAL_BEGIN_PX = 0.5
_REFINE_SIDES, _REFINE_SHIFT = 0.95, 0.0
_OUTPUT_SIDES, _OUTPUT_SHIFT = 0.95, 0.05
# Pixels that go through a network at once. On a CPU the layers' outputs then stay in its cache: four times as fast.
_PIXELS_AT_ONCE = {"cpu": 60_000, "cuda": 16_000_000}


class Detections(NamedTuple):
    """Faces in a batch of frames.

    Attributes:
        frames: (n,) int64, which frame of the batch.
        boxes: (n, 4) float32 x0, y0, x1, y1 in pixels of the batch's frames; may reach beyond them.
        scores: (n,) float32 probability of a face.
        points: (n, 5, 2) float32 x, y of the eyes, the nose and the corners of the mouth, left before right.
    """

    frames: Tensor
    boxes: Tensor
    scores: Tensor
    points: Tensor

    def select(self, chosen: Tensor) -> Detections:
        """The faces that `chosen`, a mask or indices, names."""
        return Detections(*(part[chosen] for part in self))

    def distinct(self) -> Detections:
        """The faces, best first, less those that share 0.7 of their or a better one's area with that one."""
        ranked = self.select(self.scores.argsort(descending=True, stable=True))
        boxes = ranked.boxes
        low = torch.maximum(boxes[:, None, :2], boxes[None, :, :2])
        high = torch.minimum(boxes[:, None, 2:], boxes[None, :, 2:])
        area = (boxes[:, 2:] - boxes[:, :2]).prod(dim=1)
        shared = (high - low).clamp(min=0).prod(dim=2) / torch.minimum(area[:, None], area[None]).clamp(min=1e-9)
        same = (shared > _OVERLAP_OUTPUT) & (ranked.frames[:, None] == ranked.frames[None])
        beaten = same.tril(-1)
        # a box goes when a better one that stays has it; settled once a round changes nothing
        stays = torch.ones_like(ranked.scores, dtype=torch.bool)
        while not torch.equal(stays, settled := ~(beaten & stays).any(dim=1)):
            stays = settled
        return ranked.select(stays)


class FrameBatch:
    """Frames of one size with halved copies of themselves, from which crops of any size are cut.

    Args:
        frames: (n, height, width, 3) RGB uint8.
        device: Where they lie from here on.
    """

    def __init__(self, frames: np.ndarray, device: torch.device):
        self.device = device
        whole = torch.from_numpy(frames).to(device).permute(0, 3, 1, 2)
        self.height, self.width = whole.shape[2:]
        self.levels = [whole]
        while min(self.levels[-1].shape[2:]) >= 2 * _REFINE_PX:
            height, width = self.levels[-1].shape[2:]
            self.levels.append(_resize(self.levels[-1], (height // 2, width // 2)))

    def __len__(self) -> int:
        return len(self.levels[0])

    def crops(self, frames: Tensor, boxes: Tensor, side_px: int) -> Tensor:
        """Cut square boxes out of the frames.

        Args:
            frames: (n,) int64, which frame each box lies in.
            boxes: (n, 4) x0, y0, x1, y1 in pixels of the frames; grey takes the place of what is outside of them.
            side_px: Side of the crops.

        Returns:
            (n, 3, side_px, side_px) float32 in [-1, 1]. A crop is sampled from the copy whose pixels come nearest
            to its own, so that none of them is passed over.
        """
        crops = boxes.new_empty(len(boxes), 3, side_px, side_px)
        level_of = torch.log2((boxes[:, 2] - boxes[:, 0]) / side_px).round().clamp(0, len(self.levels) - 1)
        for number, level in enumerate(self.levels):
            chosen = (level_of == number).nonzero()[:, 0]
            if not len(chosen):
                continue
            used, place = torch.unique(frames[chosen], return_inverse=True)
            height, width = level.shape[2:]
            scale = boxes.new_tensor([width / self.width, height / self.height]).repeat(2)
            for some in _portions(len(used), height * width, self.device):
                here = ((place >= some.start) & (place < some.stop)).nonzero()[:, 0]
                corners = boxes[chosen[here]] * scale
                # only what the boxes span is turned to floating point, and a pixel more for sampling between pixels
                limits = corners.new_tensor([width, height])
                low = (corners[:, :2].amin(dim=0).floor() - 1).clamp(min=0).minimum(limits - 1)
                high = (corners[:, 2:].amax(dim=0).ceil() + 1).minimum(limits).maximum(low + 1)
                (x0, y0), (x1, y1) = low.int().tolist(), high.int().tolist()
                pixels = _normalise(_chosen(level[:, :, y0:y1, x0:x1], used[some]))
                corners = corners - low.repeat(2)
                regions = torch.cat([(place[here] - some.start)[:, None].float(), corners], dim=1)
                crops[chosen[here]] = roi_align(pixels, regions, side_px, sampling_ratio=1, aligned=True)
        return crops


class Mtcnn:
    """The cascade of MTCNN on a device; see the module.

    Args:
        min_face_px: Shorter side of the smallest face to find, in pixels of the frames given; 12 at least.
        device: `cpu` or a CUDA device.
    """

    def __init__(self, *, min_face_px: int, device: torch.device):
        self._scale = _PROPOSAL_PX / min_face_px
        self.device = device
        self._proposal = _ProposalNet().to(device).eval()
        self._refine = RNet().to(device, memory_format=torch.channels_last).eval()
        self._output = ONet().to(device, memory_format=torch.channels_last).eval()

    @torch.inference_mode()
    def search(self, batch: FrameBatch, frames: Sequence[int] | np.ndarray) -> Detections:
        """Search whole frames, those that `frames` numbers."""
        numbers = torch.as_tensor(frames, dtype=torch.int64, device=self.device)
        images = _chosen(batch.levels[0], numbers)
        proposals = []
        scale = self._scale
        while min(batch.height, batch.width) * scale >= _PROPOSAL_PX:
            height, width = (max(_PROPOSAL_PX, 2 * round(side * scale / 2)) for side in (batch.height, batch.width))
            size = (height, width)
            images = _resize(images, size)
            to_frame = images.new_tensor([batch.width / size[1], batch.height / size[0]], dtype=torch.float32)
            for some in _portions(len(images), size[0] * size[1], self.device):
                image, boxes, scores, offsets = self._propose(_normalise(images[some]))
                proposals.append(
                    _Proposals(numbers[some][image], boxes * to_frame.repeat(2), scores, offsets).thinned()
                )
            scale *= _PYRAMID_FACTOR
        return self._judge(batch, proposals)

    @torch.inference_mode()
    def search_windows(self, batch: FrameBatch, frames: Tensor, windows: Tensor) -> Detections:
        """Search square windows for faces of about a third of their side.

        Args:
            batch: The frames.
            frames: (n,) int64, which frame each window lies in.
            windows: (n, 4) float32 x0, y0, x1, y1 in pixels of the frames.
        """
        proposals = []
        for side_px in _WINDOW_PX:
            for some in _portions(len(windows), side_px**2, self.device):
                crops = batch.crops(frames[some], windows[some], side_px)
                window, boxes, scores, offsets = self._propose(crops)
                corners = windows[some][window]
                to_frame = (corners[:, 2:] - corners[:, :2]) / side_px
                boxes = boxes * to_frame.repeat(1, 2) + corners[:, :2].repeat(1, 2)
                proposals.append(_Proposals(frames[some][window], boxes, scores, offsets).thinned())
        return self._judge(batch, proposals)

    def _propose(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Image, box in its pixels, logit and box offsets of each place where the proposal network sees a face."""
        answers = self._proposal(images.contiguous(memory_format=torch.channels_last))
        image, row, column = (answers[:, 0] >= math.log(_THRESHOLDS[0] / (1 - _THRESHOLDS[0]))).nonzero(as_tuple=True)
        chosen = answers[image, :, row, column]
        corner = _STRIDE_PX * torch.stack([column, row], dim=1).float()
        boxes = torch.cat([corner + _PROPOSAL_BEGIN_PX, corner + _PROPOSAL_PX], dim=1)
        return image, boxes, chosen[:, 0], chosen[:, 1:]

    def _judge(self, batch: FrameBatch, proposals: list[_Proposals]) -> Detections:
        """What the refinement and output networks make of the proposals."""
        nothing = torch.zeros(0, device=self.device)
        none = Detections(nothing.long(), nothing.view(0, 4), nothing, nothing.view(0, 5, 2))
        if not sum(len(part.frames) for part in proposals):
            return none
        frames, boxes, scores, offsets = (torch.cat(parts) for parts in zip(*proposals, strict=True))
        kept = batched_nms(boxes, scores, frames, _OVERLAP_ACROSS_SCALES)
        frames, boxes = frames[kept], _square(_moved(boxes[kept], offsets[kept]), _REFINE_SIDES, _REFINE_SHIFT)

        offsets, scores = self._look(self._refine, batch, frames, boxes, _REFINE_PX)
        kept = (scores[:, 1] >= _THRESHOLDS[1]).nonzero()[:, 0]
        kept = kept[batched_nms(boxes[kept], scores[kept, 1], frames[kept], _OVERLAP_REFINED)]
        if not len(kept):
            return none
        frames, boxes = frames[kept], _square(_moved(boxes[kept], offsets[kept]), _OUTPUT_SIDES, _OUTPUT_SHIFT)

        offsets, points, scores = self._look(self._output, batch, frames, boxes, _OUTPUT_PX)
        # five x, then five y, in sides of the box
        points = points.view(-1, 2, 5).transpose(1, 2) * (boxes[:, 2:] - boxes[:, :2])[:, None] + boxes[:, None, :2]
        found = Detections(frames, _moved(boxes, offsets), scores[:, 1], points)
        return found.select(found.scores >= _THRESHOLDS[2]).distinct()

    def _look(self, net: nn.Module, batch: FrameBatch, frames: Tensor, boxes: Tensor, side_px: int) -> list[Tensor]:
        """The outputs of a network for crops of the boxes."""
        crops = batch.crops(frames, boxes, side_px).contiguous(memory_format=torch.channels_last)
        answers = [net(crops[some]) for some in _portions(len(crops), side_px**2, self.device)]
        return [torch.cat(parts) for parts in zip(*answers, strict=True)]


class _Proposals(NamedTuple):
    """Places where the proposal network sees a face, before its offsets are added to the boxes."""

    frames: Tensor
    boxes: Tensor
    scores: Tensor
    offsets: Tensor

    def thinned(self) -> _Proposals:
        kept = batched_nms(self.boxes, self.scores, self.frames, _OVERLAP_IN_SCALE)
        return _Proposals(*(part[kept] for part in self))


class _ProposalNet(nn.Module):
    """The proposal network, with its first convolution and the pooling after it in one pass.

    Maximum pooling over 2 x 2 is the maximum of four convolutions of stride 2, each with the filters moved to one
    of the four places. Height and width must be even, else pooling differs at the border.

    Input (n, 3, height, width) in [-1, 1]; output (n, 5, rows, columns): logit of a face, offsets of the box's
    corners in sides of the box, for each place.
    """

    conv1: Tensor
    bias1: Tensor
    slope1: Tensor
    conv2: Tensor
    bias2: Tensor
    slope2: Tensor
    conv3: Tensor
    bias3: Tensor
    slope3: Tensor
    heads: Tensor
    bias4: Tensor

    def __init__(self) -> None:
        super().__init__()
        net = PNet()
        first = net.conv1.weight
        moved = [F.pad(first, (x, 1 - x, y, 1 - y)) for y in range(2) for x in range(2)]
        self.pool = len(moved)
        weights = {
            "conv1": torch.cat(moved),
            "bias1": net.conv1.bias.repeat(self.pool),
            "slope1": net.prelu1.weight.repeat(self.pool),
            "conv2": net.conv2.weight,
            "bias2": net.conv2.bias,
            "slope2": net.prelu2.weight,
            "conv3": net.conv3.weight,
            "bias3": net.conv3.bias,
            "slope3": net.prelu3.weight,
            # softmax of two is the logistic function of their difference
            "heads": torch.cat([net.conv4_1.weight[1:] - net.conv4_1.weight[:1], net.conv4_2.weight])[:, :, 0, 0],
            "bias4": torch.cat([net.conv4_1.bias[1:] - net.conv4_1.bias[:1], net.conv4_2.bias]),
        }
        for name, weight in weights.items():
            weight = weight.detach()
            self.register_buffer(
                name, weight.contiguous(memory_format=torch.channels_last) if weight.ndim == 4 else weight
            )

    def forward(self, images: Tensor) -> Tensor:
        features = F.prelu(F.conv2d(images, self.conv1, self.bias1, stride=2), self.slope1)
        features = functools.reduce(torch.maximum, features.chunk(self.pool, dim=1))
        features = F.prelu(F.conv2d(features, self.conv2, self.bias2), self.slope2)
        features = F.prelu(F.conv2d(features, self.conv3, self.bias3), self.slope3)
        # a 1 x 1 convolution; PyTorch's own is slow for a single image
        return F.linear(features.permute(0, 2, 3, 1), self.heads, self.bias4).permute(0, 3, 1, 2)


def _portions(count: int, pixels: int, device: torch.device) -> list[slice]:
    """Slices of `count` images of so many pixels that a device does best at once."""
    most = max(1, _PIXELS_AT_ONCE[device.type] // pixels)
    portions, begin = [], 0
    while begin < count:
        step = min(most, count - begin)
        if device.type == "cpu":
            # a power of two: the first batch of a size costs a network 1 to 2 ms more than the next ones
            step = 1 << (step.bit_length() - 1)
        portions.append(slice(begin, begin + step))
        begin += step
    return portions


def _chosen(images: Tensor, numbers: Tensor) -> Tensor:
    """Some of the images (n, 3, height, width), whose colours lie side by side in memory, copied whole."""
    return images.permute(0, 2, 3, 1).index_select(0, numbers).permute(0, 3, 1, 2)


def _resize(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Images (n, 3, height, width) uint8 at another size, without aliasing."""
    if images.device.type == "cpu":
        return F.interpolate(images, size=size, mode="bilinear", antialias=True)
    # integers are for CPUs only
    return F.interpolate(images.float(), size=size, mode="bilinear", antialias=True).round_().to(torch.uint8)


def _normalise(images: Tensor) -> Tensor:
    """Images uint8 as the networks want them, float32 in [-1, 1], one colour after the other."""
    pixels = images.to(torch.float32, memory_format=torch.contiguous_format)
    return pixels.sub_(127.5).mul_(1 / 128)


def _square(boxes: Tensor, sides: float, shift: float) -> Tensor:
    """Squares of `sides` longer sides of the boxes, 1 px at least, `shift` sides right of and below their centres."""
    longer = (boxes[:, 2:] - boxes[:, :2]).amax(dim=1, keepdim=True).clamp(min=1)
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2 + shift * longer
    return torch.cat([centres - sides / 2 * longer, centres + sides / 2 * longer], dim=1)


def _moved(boxes: Tensor, offsets: Tensor) -> Tensor:
    """Boxes with offsets, in their sides, added to their corners."""
    return boxes + offsets * (boxes[:, 2:] - boxes[:, :2]).repeat(1, 2)
