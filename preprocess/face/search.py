"""Search the sampled frames of videos for faces: in worker processes, or on a GPU that workers feed with frames."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np

from preprocess.face.appearance import appearance_of, colour_histogram
from preprocess.running.cli import VIDEO_SECONDS
from preprocess.running.raw_files import RawFiles
from preprocess.running.workers import map_videos
from preprocess.video.decode import frames_of

if TYPE_CHECKING:  # it imports PyTorch, which workers that only decode do without
    from preprocess.face.detector import FaceDetector


@dataclass(frozen=True)
class SearchSettings:
    """What the search for faces is given: the arguments of `FaceDetector`.

    Attributes:
        min_size_px: Shorter side of the smallest face to find, in frame pixels.
        score_threshold: Score below which a box is no face.
        full_search_every: Every how many frames the whole frame is searched.
        batch_size: Frames searched at once.
    """

    min_size_px: int
    score_threshold: float
    full_search_every: int
    batch_size: int


@dataclass(frozen=True)
class SearchedFrame:
    """The faces of one frame.

    Attributes:
        frame_index: Frame of the video.
        histogram: `colour_histogram` of the frame.
        boxes: (n, 4) x0, y0, x1, y1 in frame pixels; may reach beyond the frame.
        scores: (n,) in [0, 1].
        points: (n, 5, 2) x, y of left eye, right eye, nose, left and right corner of the mouth (as seen in the image).
        appearance: (n, 96) `appearance_of` the boxes; None when nobody is to be compared.
    """

    frame_index: int
    histogram: np.ndarray
    boxes: np.ndarray
    scores: np.ndarray
    points: np.ndarray
    appearance: np.ndarray | None = None


@dataclass(frozen=True)
class _Batch:
    """Consecutive sampled frames of one video, at the size that is searched."""

    frame_indices: list[int]
    frames: list[np.ndarray]
    histograms: list[np.ndarray]


def search_videos(
    videos: list[tuple[dict, list[int]]],
    raw_files: RawFiles,
    settings: SearchSettings,
    *,
    device: str,
    workers: int,
    video_seconds: float = VIDEO_SECONDS,
) -> Iterator[Iterator[SearchedFrame]]:
    """Find the faces of the sampled frames of videos.

    On a CPU each worker decodes and searches. For a GPU the workers decode and shrink, and this process searches what
    they send. Either way a batch holds frames of one video only, so that the faces of a video do not depend on others.

    Args:
        videos: Rows of the index, each with the indices of its frames.
        raw_files: Of the shard.
        settings: What is a face.
        device: `cpu` or `cuda`.
        workers: Videos worked on side by side; the faces do not depend on it.
        video_seconds: Time after which a video is given up.

    Yields:
        For each video the frames that decode, in order; the iterator raises ProbeError as `map_videos` says.

    Raises:
        UserError: A file is not the one that was indexed, or cannot be reached.
    """
    if device == "cpu":
        search = partial(_search_video, raw_files=raw_files, settings=settings)
        preload = ("preprocess.face.search", "preprocess.face.detector")
        results = map_videos(
            search,
            videos,
            workers=workers,
            video_seconds=video_seconds,
            preload=preload,
            prepare=partial(_detector, settings, "cpu"),
        )
        for (video, _), batches in zip(videos, results, strict=True):
            yield chain.from_iterable(raw_files.believe(video, batches))
        return
    detector = _detector(settings, device)
    decode = partial(_batches, raw_files=raw_files, batch_size=settings.batch_size)
    items = [(video, frames, detector.search_size(video["height"], video["width"])) for video, frames in videos]
    decoded = map_videos(
        decode, items, workers=workers, video_seconds=video_seconds, preload=("preprocess.face.search",)
    )
    for (video, _), to_search in zip(videos, decoded, strict=True):
        yield chain.from_iterable(_search(batch, video, detector) for batch in raw_files.believe(video, to_search))


def _search_video(
    item: tuple[dict, list[int]], *, raw_files: RawFiles, settings: SearchSettings
) -> Iterator[list[SearchedFrame]]:
    """The faces of a video, a batch at a time; runs in a worker."""
    video, frame_indices = item
    detector = _detector(settings, "cpu")
    size = detector.search_size(video["height"], video["width"])
    for batch in _batches((video, frame_indices, size), raw_files=raw_files, batch_size=settings.batch_size):
        yield _search(batch, video, detector)


def _batches(
    item: tuple[dict, Iterable[int], tuple[int, int]], *, raw_files: RawFiles, batch_size: int
) -> Iterator[_Batch]:
    """Decoded frames of a video at the size that is searched; runs in a worker."""
    video, frame_indices, size = item
    batch = _Batch([], [], [])
    with raw_files.reading(video):
        for index, frame in frames_of(video, raw_files.root, frame_indices, size=size):
            batch.frame_indices.append(index)
            batch.frames.append(frame)
            batch.histograms.append(colour_histogram(frame))
            if len(batch.frames) == batch_size:
                yield batch
                batch = _Batch([], [], [])
    if batch.frames:
        yield batch


def _search(batch: _Batch, video: dict, detector: FaceDetector) -> list[SearchedFrame]:
    height, width = video["height"], video["width"]
    searched = []
    for index, frame, histogram, faces in zip(
        batch.frame_indices,
        batch.frames,
        batch.histograms,
        detector.detect(batch.frames, (height, width)),
        strict=True,
    ):
        to_searched = np.tile([frame.shape[1] / width, frame.shape[0] / height], 2)
        appearance = appearance_of(frame, faces.boxes * to_searched)
        searched.append(SearchedFrame(index, histogram, faces.boxes, faces.scores, faces.points, appearance))
    return searched


@cache
def _detector(settings: SearchSettings, device: str) -> FaceDetector:
    import torch

    from preprocess.face.detector import FaceDetector

    # one thread a worker: PyTorch's results then do not depend on the number of cores
    torch.set_num_threads(1)
    return FaceDetector(
        min_size_px=settings.min_size_px,
        score_threshold=settings.score_threshold,
        full_search_every=settings.full_search_every,
        batch_size=settings.batch_size,
        device=device,
    )
