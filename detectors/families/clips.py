"""Clips: some frames of a face track, evenly spaced, for detectors that look at more than one frame.

A track is a face of a video, `(video_id, track_id)`. A track with fewer frames than a clip has gives the frames that
it has; what is left of the clip is black, which `n_frames_of` counts and no detector looks at. No track is dropped.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from detectors.data.crop_store import CropStore
from detectors.data.crop_window import CropWindow
from detectors.data.labelled_crops import BalancedDraws
from detectors.data.loader import new_images, split_planes
from detectors.data.samples import Samples
from detectors.data.scoring_set import ScoringSet

# first word of a seed: which choice the generator is for
_AUGMENT = 21


class Tracks:
    """The tracks of some samples, in the order of their first samples.

    Args:
        samples: N samples, in any order.

    Attributes:
        track_of_sample: (N,) int64.
        first: (n_tracks,) int64, a sample of each track.
    """

    def __init__(self, samples: Samples):
        keys = np.stack([samples.video_id.codes, samples.track_id], axis=1)
        _, first, track = np.unique(keys, axis=0, return_index=True, return_inverse=True)
        in_order = np.argsort(first)
        self.first = first[in_order]
        self.track_of_sample = np.argsort(in_order)[track.reshape(-1)]
        self._rows = np.lexsort([samples.frame_index, self.track_of_sample])
        self._starts = np.searchsorted(self.track_of_sample[self._rows], np.arange(len(first) + 1))

    def __len__(self) -> int:
        return len(self.first)

    def clip(self, track: int, n_frames: int) -> np.ndarray:
        """Samples of a track in the order of time: `n_frames` evenly spaced ones from the first to the last, or all."""
        rows = self._rows[self._starts[track] : self._starts[track + 1]]
        if len(rows) <= n_frames:
            return rows
        return rows[np.round(np.linspace(0, len(rows) - 1, n_frames)).astype(int)]


class TrackClips(ScoringSet):
    """A clip of every track, as it is, for validation and prediction; each sample gets the score of its track.

    Item i is `{"image": (n_frames, 3, size, size) uint8, "row": i}`. A batch of n is fetched at once, as
    `{"image": (n, n_frames, 3, size, size) uint8, "row": (n,) int64}`.

    Args:
        root: Folder of the crops.
        samples: Samples, in any order.
        window: The detector's crop.
        n_frames: Of a clip.
    """

    def __init__(self, root: str | Path, samples: Samples, window: CropWindow, n_frames: int):
        self._tracks = Tracks(samples)
        self.item_of_sample = self._tracks.track_of_sample
        self.crops_per_item = n_frames
        self.store = CropStore(root, samples, window)

    def __len__(self) -> int:
        return len(self._tracks)

    def __getitem__(self, track: int) -> dict:
        batch = self.__getitems__([track])
        return {"image": batch["image"][0], "row": track}

    def __getitems__(self, tracks: list[int]) -> dict:
        images = new_clips(len(tracks), self.crops_per_item, self.store.size)
        for clip, track in zip(images.numpy(), tracks, strict=True):
            # of a short track the last frames stay black
            for frame, row in zip(clip, self._tracks.clip(track, self.crops_per_item), strict=False):
                split_planes(self.store.read(row), frame)
        return {"image": images, "row": torch.tensor(tracks)}


class LabelledClips(Dataset):
    """A clip of a track with its label, for training; all frames of a clip are augmented alike.

    Item (epoch, i) is `{"image": (n_frames, 3, size, size) uint8, "label": 0 or 1}`, of the track that
    `BalancedDraws` names. A batch of n is fetched at once, as `{"image": (n, n_frames, 3, size, size) uint8,
    "label": (n,) int64}`.

    Args:
        root: Folder of the crops.
        samples: Training samples.
        window: The detector's crop.
        n_frames: Of a clip.
        seed: Of draws and augmentation.
        augmentation: Name of the chain.
        balance: One of `labelled_crops.BALANCES`; tracks are counted.

    Raises:
        UserError: There are no reals or no fakes.
    """

    def __init__(
        self,
        root: str | Path,
        samples: Samples,
        window: CropWindow,
        *,
        n_frames: int,
        seed: int,
        augmentation: str,
        balance: str,
    ):
        self._tracks = Tracks(samples)
        self._draws = BalancedDraws(samples[self._tracks.first], seed, balance)
        self._label = samples.label[self._tracks.first]
        self._store = CropStore(root, samples, window, augmentation)
        self._n_frames = n_frames
        self._seed = seed

    def __len__(self) -> int:
        return len(self._draws)

    def __getitem__(self, epoch_and_index: tuple[int, int]) -> dict:
        batch = self.__getitems__([epoch_and_index])
        return {"image": batch["image"][0], "label": int(batch["label"][0])}

    def __getitems__(self, items: list[tuple[int, int]]) -> dict:
        images = new_clips(len(items), self._n_frames, self._store.size)
        tracks = [self._draws.row(*item) for item in items]
        for clip, track, item in zip(images.numpy(), tracks, items, strict=True):
            for frame, row in zip(clip, self._tracks.clip(track, self._n_frames), strict=False):
                # the same generator for each frame: it draws the same changes
                split_planes(self._store.read(row, np.random.default_rng([_AUGMENT, self._seed, *item])), frame)
        return {"image": images, "label": torch.from_numpy(self._label[tracks].astype(np.int64))}


def new_clips(n_clips: int, n_frames: int, size: int) -> Tensor:
    """(n_clips, n_frames, 3, size, size) uint8, black; see `detectors.data.loader.new_images`."""
    return new_images(n_clips * n_frames, size).view(n_clips, n_frames, 3, size, size).zero_()


def n_frames_of(clips: Tensor) -> Tensor:
    """How many frames each clip has before the black ones at its end, at least one: (n,) int64.

    Args:
        clips: (n, n_frames, 3, size, size) uint8.
    """
    is_frame = clips.flatten(2).amax(dim=2) > 0
    number = torch.arange(1, clips.shape[1] + 1, device=clips.device)
    return (number * is_frame).amax(dim=1).clamp(min=1)
