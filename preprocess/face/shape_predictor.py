"""dlib's facial landmark predictor evaluated in PyTorch, for a batch of faces at a time, on CPU or GPU.

The predictor is the cascade of gradient-boosted regression trees of Kazemi and Sullivan, "One Millisecond Face
Alignment with an Ensemble of Regression Trees" (CVPR 2014). It starts from the mean shape in a face rectangle; each
level of the cascade reads pixels at places that are bound to the shape so far, lets every tree compare pairs of them,
and adds the shape correction of the leaf that each tree ends in. The numbers come from the `.dat` file that dlib
writes, and the points are dlib's: rounding of pixel places, zeros outside the image, rectangles with inclusive corners.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from preprocess.face.dlib_file import DlibLevel, read_shape_predictor


@dataclass(frozen=True)
class CascadeLevel:
    """One level of the cascade: T trees of S splits and L = S + 1 leaves, reading F pixels, moving P points.

    The splits of node i of all trees lie together, in the order of a complete binary tree: the children of node i are
    2 i + 1 (left) and 2 i + 2.

    Attributes:
        first, second: (S * T,) int64, the two pixels of the pool that a split compares.
        threshold: (S * T, 1) int16; a sample goes to the left child when first - second >= threshold.
        leaves: (T * L, 2 * P) float32, shape corrections x0, x1 … y0, y1 … in units of the rectangle.
        anchors: (2 * F,) int64, the value of a shape x0, x1 … y0, y1 … from which a pixel's x, then its y, is measured.
        offsets: (2 * F, 1) float32, x, then y from there in the frame of the mean shape.
        turned_offsets: (2 * F, 1) float32, the same turned by a right angle: -y, then x.
        n_trees: T.
    """

    first: torch.Tensor
    second: torch.Tensor
    threshold: torch.Tensor
    leaves: torch.Tensor
    anchors: torch.Tensor
    offsets: torch.Tensor
    turned_offsets: torch.Tensor
    n_trees: int

    def to(self, device: str | torch.device) -> CascadeLevel:
        """A copy on another device."""
        moved = {name: value.to(device) for name, value in vars(self).items() if name != "n_trees"}
        return CascadeLevel(**moved, n_trees=self.n_trees)


class ShapePredictor:
    """A cascade of regression trees that places P landmarks in a face rectangle.

    Args:
        initial_shape: (P, 2) float32, x and y of the mean shape; (0, 0) is the rectangle's top left pixel and (1, 1)
            its bottom right one.
        levels: The cascade.
    """

    def __init__(self, initial_shape: torch.Tensor, levels: list[CascadeLevel]):
        self.initial_shape = initial_shape
        self.levels = levels
        source = initial_shape.double()
        source = source - source.mean(dim=0)  # centred, so that the mean of the shapes drops out
        x, y = source.t() / source.square().sum()
        # (2, 2 * P): turns a shape x0, x1 … y0, y1 … into scale times cosine and sine against the mean shape
        self._similarity = torch.stack([torch.cat([x, y]), torch.cat([-y, x])])

    @property
    def n_points(self) -> int:
        """Number of landmarks."""
        return len(self.initial_shape)

    @classmethod
    def load(cls, path: str | Path, device: str | torch.device = "cpu") -> ShapePredictor:
        """Read the file that dlib's `shape_predictor` writes.

        Args:
            path: The `.dat` file.
            device: Where to put the trees.

        Raises:
            UserError: The file is absent, or is not a shape predictor of dlib.
        """
        read = read_shape_predictor(path)
        return cls(torch.from_numpy(read.initial_shape), [_cascade_level(level) for level in read.levels]).to(device)

    def to(self, device: str | torch.device) -> ShapePredictor:
        """A copy on another device."""
        return ShapePredictor(self.initial_shape.to(device), [level.to(device) for level in self.levels])

    @torch.inference_mode()
    def __call__(self, images: torch.Tensor, sizes: torch.Tensor, rects: torch.Tensor) -> torch.Tensor:
        """Place the landmarks of B faces.

        dlib rounds its points to whole pixels; `torch.floor(points + 0.5)` gives them.

        Args:
            images: (B, H, W) uint8 grey values as `grey_values` makes them, padded on the right and at the bottom.
            sizes: (B, 2) true height and width of each image.
            rects: (B, 4) whole numbers x0, y0, x1, y1 of the face rectangles in pixels, x1 and y1 exclusive
                (dlib's `right` and `bottom` are x1 - 1 and y1 - 1). They may reach outside the image.

        Returns:
            (B, P, 2) float64, x and y in pixels of the image, not rounded.
        """
        batch, _, width = images.shape
        device = self.initial_shape.device
        pixels = images.to(device, non_blocking=True).reshape(-1)
        # all that follows has the faces in the last dimension, where memory is contiguous
        corners = rects.to(device, torch.float64, non_blocking=True).t()
        origin = corners[:2, None]
        extent = corners[2:, None] - 1 - origin
        last = sizes.to(device, torch.float64, non_blocking=True).t().flip(0)[:, None] - 1  # column, row
        image_begin = torch.arange(batch, device=device) * images.shape[1:].numel()

        shapes = self.initial_shape.t().reshape(1, -1).expand(batch, -1)
        for level in self.levels:
            places = _pixel_places(self._similarity, shapes.t(), level)
            # double, as in dlib: a single pixel that rounds the other way may turn a split
            places = torch.addcmul(origin + 0.5, places.double(), extent).floor_()
            inside_places = torch.minimum(places.clamp(min=0), last)
            inside = (inside_places == places).all(dim=0)
            column, row = inside_places.long()
            index = torch.add(column, row, alpha=width).add_(image_begin)
            values = pixels.index_select(0, index.flatten()).view(index.shape).mul_(inside)
            shapes = _add_corrections(shapes, level, _reached_leaves(level, values))
        points = shapes.t().view(2, -1, batch) * extent + origin
        return points.permute(2, 1, 0).contiguous()


def grey_values(image: np.ndarray) -> np.ndarray:
    """The grey values that dlib's predictor reads from an RGB image: (r + g + b) / 3, rounded down.

    Args:
        image: (height, width, 3) uint8.

    Returns:
        (height, width) uint8.
    """
    total = image[..., 0].astype(np.uint16)  # plane by plane: summing over an axis of three is 15 times slower
    total += image[..., 1]
    total += image[..., 2]
    total //= 3
    return total.astype(np.uint8)


def _cascade_level(level: DlibLevel) -> CascadeLevel:
    n_points = level.leaves.shape[1]
    x, y = level.offsets.T
    arrays = {
        "first": level.first.reshape(-1),
        "second": level.second.reshape(-1),
        # a difference of two pixels exceeds the threshold when it reaches the next whole number
        "threshold": _whole_thresholds(level.threshold).reshape(-1, 1) + np.int16(1),
        "leaves": level.leaves.transpose(0, 2, 1).reshape(len(level.leaves), -1),
        "anchors": np.concatenate([level.anchors, level.anchors + n_points]),
        "offsets": np.concatenate([x, y])[:, None],
        "turned_offsets": np.concatenate([-y, x])[:, None],
    }
    tensors = {name: torch.from_numpy(np.ascontiguousarray(values)) for name, values in arrays.items()}
    return CascadeLevel(**tensors, n_trees=level.first.shape[1])


def _whole_thresholds(thresholds: np.ndarray) -> np.ndarray:
    """int16 thresholds that sort whole numbers from -255 to 255 as the given float32 ones do: d > t, d > floor(t)."""
    return np.clip(np.floor(np.nan_to_num(thresholds, nan=np.inf)), -256, 255).astype(np.int16)


def _pixel_places(similarity: torch.Tensor, shapes: torch.Tensor, level: CascadeLevel) -> torch.Tensor:
    """Where a level reads pixels, in units of the rectangles.

    The offsets turn and grow as the shapes do against the mean shape: Umeyama (1991), "Least-squares estimation of
    transformation parameters between two point patterns". In the plane its singular value decomposition has a closed
    form (no reflection): the matrix [[a, -b], [b, a]] below.

    Args:
        similarity: (2, 2 * P) float64, from which a and b come.
        shapes: (2 * P, B) float32 x0, x1 … y0, y1 … of each face.
        level: A level of the cascade.

    Returns:
        (2, F, B) float32, x and y.
    """
    a, b = (similarity @ shapes.double()).float()
    turned = (level.offsets * a).add_(level.turned_offsets * b)
    return turned.add_(shapes.index_select(0, level.anchors)).view(2, -1, shapes.shape[1])


def _reached_leaves(level: CascadeLevel, values: torch.Tensor) -> torch.Tensor:
    """The leaf in which each sample ends, tree by tree.

    Args:
        level: A level of the cascade.
        values: (F, B) uint8 pixel values.

    Returns:
        (T, B) int16, the leaf's number in its tree.
    """
    n_splits = len(level.first) // level.n_trees
    pool = values.to(torch.int16)
    # every split at once, also those that a sample does not reach: copying rows is cheaper than picking single values
    excess = pool.index_select(0, level.first).sub_(pool.index_select(0, level.second)).sub_(level.threshold)
    # -1 where a sample goes right, else 0: an arithmetic shift is faster than a comparison
    right = (excess >> 15).view(n_splits, level.n_trees, -1)
    begin = n_splits // 2
    leaf = torch.arange(0, n_splits + 1, 2, dtype=torch.int16, device=values.device)[:, None, None] - right[begin:]
    while begin:  # from the lowest splits to the root: each passes on the leaf of the side that the sample goes to
        begin, end = begin // 2, begin
        left = leaf[0::2]
        leaf = torch.addcmul(left, right[begin:end], left - leaf[1::2])
    return leaf[0]


def _add_corrections(shapes: torch.Tensor, level: CascadeLevel, leaves: torch.Tensor) -> torch.Tensor:
    """Add the corrections of the leaves, (T, B) numbers in their trees, to the (B, 2 * P) shapes."""
    batch = len(shapes)
    # The shape so far is the first summand, so that the order of the float32 sums is dlib's: shape + tree 0 + tree 1 …
    table = torch.cat([shapes, level.leaves])
    numbers = torch.arange(len(table), dtype=torch.int32, device=shapes.device)
    rows = torch.empty((batch, 1 + level.n_trees), dtype=torch.int32, device=shapes.device)
    rows[:, 0] = numbers[:batch]
    torch.add(leaves.t(), numbers[batch :: len(level.leaves) // level.n_trees], out=rows[:, 1:])
    return torch.nn.functional.embedding_bag(rows, table, mode="sum")
