"""Which patches of a fake were manipulated, guessed where no mask tells: semi-supervised patch similarity learning.

The strategy SSPSL of LAV (Shuai et al., ACM MM 2023), written from its description. Running means of the features of
real and of manipulated patches are kept. A patch of a fake whose mask is unknown is labelled by the mean that it
resembles more, but only where manipulations show: at the eyes, the nose and the mouth.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Points of the iBUG scheme, which the first 68 of the 81 landmarks follow.
_FACE_PARTS = {
    "nose": slice(27, 36),
    "right eye": slice(36, 42),
    "left eye": slice(42, 48),
    "mouth": slice(48, 68),
}

REAL_PATCH, FAKE_PATCH, NO_LABEL = 0, 1, -100


def face_part_patches(landmarks: Tensor, image_size: int, grid: tuple[int, int]) -> Tensor:
    """Patches that the landmark box of an eye, the nose or the mouth touches.

    Args:
        landmarks: (N, 81, 2) x, y in pixels of the images; NaN for a face without.
        image_size: Side of the square images in pixels.
        grid: Patches along the height and the width.

    Returns:
        (N, h, w) bool; nowhere true for a face without landmarks.
    """
    touched = torch.zeros(len(landmarks), *grid, dtype=torch.bool, device=landmarks.device)
    for points in _FACE_PARTS.values():
        # pixel i covers i - 0.5 to i + 0.5, hence the halves
        begin, end = (extreme + 0.5 for extreme in (landmarks[:, points].amin(dim=1), landmarks[:, points].amax(dim=1)))
        columns, rows = (
            _overlap(begin[:, axis], end[:, axis], image_size, grid[1 - axis]) for axis in (0, 1)
        )  # comparisons with NaN are false
        touched |= rows[:, :, None] & columns[:, None]
    return touched


def _overlap(begin: Tensor, end: Tensor, image_size: int, n_patches: int) -> Tensor:
    """(N, n_patches) bool: patches along one axis that the interval from begin to end (N,) touches."""
    edges = torch.arange(n_patches + 1, device=begin.device) * (image_size / n_patches)
    return (edges[None, :-1] < end[:, None]) & (edges[None, 1:] > begin[:, None])


class PatchSimilarity(nn.Module):
    """Running means of the features of real and of manipulated patches. They are buffers: a resumed training has them.

    Args:
        channels: Of a patch's features.
        momentum: Share of a mean that a new batch leaves as it was.
    """

    means: Tensor
    is_known: Tensor

    def __init__(self, channels: int, momentum: float):
        super().__init__()
        self._momentum = momentum
        self.register_buffer("means", torch.zeros(2, channels))  # rows as REAL_PATCH, FAKE_PATCH
        self.register_buffer("is_known", torch.zeros(2, dtype=torch.bool))

    def label(self, features: Tensor) -> Tensor:
        """What each patch resembles more, by cosine similarity.

        Args:
            features: (N, C, h, w).

        Returns:
            (N, h, w) int64: REAL_PATCH, FAKE_PATCH, or NO_LABEL everywhere as long as a mean is missing.
        """
        similarity = F.cosine_similarity(features.detach().float()[:, None], self.means[None, :, :, None, None], dim=2)
        labels = (similarity[:, FAKE_PATCH] > similarity[:, REAL_PATCH]).long()
        return torch.where(self.is_known.all(), labels, NO_LABEL)

    @torch.no_grad()
    def update(self, features: Tensor, patches: tuple[Tensor, Tensor]) -> None:
        """Move the means towards those of a batch; the first patches of a kind set its mean.

        Args:
            features: (N, C, h, w).
            patches: Which are real, and which were manipulated, each (N, h, w) bool.
        """
        for kind, chosen in enumerate(patches):
            count = chosen.sum()
            mean = (features.float() * chosen[:, None]).sum(dim=(0, 2, 3)) / count.clamp(min=1)
            moved = torch.where(self.is_known[kind], torch.lerp(mean, self.means[kind], self._momentum), mean)
            self.means[kind] = torch.where(count > 0, moved, self.means[kind])
            self.is_known[kind] |= count > 0
