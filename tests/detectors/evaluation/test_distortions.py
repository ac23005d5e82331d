from __future__ import annotations

import pickle

import cv2
import numpy as np
import pytest

from detectors.data.crop_store import StoredCrops
from detectors.data.crop_window import CropWindow
from detectors.data.samples import Samples
from detectors.data.scoring_set import FaceCrops
from detectors.evaluation.distortions import DISTORTIONS, STRENGTHS, DistortedCrops, compress_clip
from detectors.families.clips import TrackClips
from helpers.tiny_store import make_store

N_FRAMES = 5


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Crops of two shards, and their samples."""
    path, crops = make_store(tmp_path_factory.mktemp("store"), splits=("test",), n_groups=2, n_frames=N_FRAMES)
    return crops, Samples.read([path])


class OneCrop:
    """Reads one crop, whichever is asked for."""

    def __init__(self, source: StoredCrops, image, box, crop_to_frame, padding_px=(0, 0, 0, 0)):
        self.samples = source.samples
        self._crop, self._padding_px = (image, box, crop_to_frame), np.array(padding_px, np.int32)

    def read(self, row: int):
        return self._crop

    def padding_px(self, row: int):
        return self._padding_px


def psnr(distorted: list[np.ndarray], plain: list[np.ndarray]) -> float:
    return float(np.mean([cv2.PSNR(one, other) for one, other in zip(distorted, plain, strict=True)]))


@pytest.mark.parametrize("name", DISTORTIONS)
def test_each_strength_spoils_more_than_the_one_before(store, name):
    source = StoredCrops(*store)
    rows = range(10)
    plain = [source.read(row)[0] for row in rows]
    quality = []
    for strength in STRENGTHS:
        crops = [DistortedCrops(source, name, strength, seed=0).read(row)[0] for row in rows]
        assert all(
            crop.shape == image.shape and crop.dtype == np.uint8 for crop, image in zip(crops, plain, strict=True)
        )
        quality.append(psnr(crops, plain))
    # a tenth of a decibel for stripes that a factor happens to fit
    assert np.all(np.diff(quality) < 0.1)
    assert quality[0] > quality[-1] + 3


@pytest.mark.parametrize("name", DISTORTIONS)
def test_a_crop_is_distorted_alike_whoever_reads_it_and_in_any_order(store, name):
    crops, samples = store
    forwards = DistortedCrops(StoredCrops(crops, samples), name, 3, seed=0)
    first = [forwards.read(row)[0] for row in range(len(samples))]
    backwards = pickle.loads(pickle.dumps(DistortedCrops(StoredCrops(crops, samples), name, 3, seed=0)))
    for row in reversed(range(len(samples))):
        assert np.array_equal(backwards.read(row)[0], first[row])
    # samples of other shards or videos beside it change nothing
    of_shard = np.flatnonzero(samples.shard.equals("0001"))
    part = DistortedCrops(StoredCrops(crops, samples[of_shard]), name, 3, seed=0)
    for row, number in enumerate(of_shard):
        assert np.array_equal(part.read(row)[0], first[number])


def test_noise_is_of_the_sample_the_strength_and_the_seed(store):
    source = StoredCrops(*store)

    def noise(row: int, strength: int = 1, seed: int = 0) -> np.ndarray:
        crop = DistortedCrops(source, "gaussian_noise", strength, seed).read(row)[0]
        return crop.astype(float) - source.read(row)[0]

    assert noise(0).std() == pytest.approx(4, rel=0.05)
    for other in (noise(1), noise(0, seed=1), noise(0, strength=2)):
        assert abs(np.corrcoef(noise(0).ravel(), other.ravel())[0, 1]) < 0.05


def test_blur_is_told_in_pixels_of_a_face_of_256_px(store):
    source = StoredCrops(*store)
    image, box, _ = source.read(3)
    blurred = DistortedCrops(source, "gaussian_blur", 5, 0).read(3)[0]
    # the box of the tiny store is 40 px wide
    assert np.array_equal(blurred, cv2.GaussianBlur(image, (0, 0), 8 * 40 / 256))
    reduced = np.array([[2.0, 0, 0], [0, 2.0, 0]])

    blurred = DistortedCrops(OneCrop(source, image, box, reduced), "gaussian_blur", 5, 0).read(3)[0]
    assert np.array_equal(blurred, cv2.GaussianBlur(image, (0, 0), 8 * 20 / 256))


def test_boxes_and_transforms_stay_as_they_are(store):
    source = StoredCrops(*store)
    for name in DISTORTIONS:
        for distorted, plain in zip(DistortedCrops(source, name, 2, 0).read(4)[1:], source.read(4)[1:], strict=True):
            assert np.array_equal(distorted, plain)


@pytest.mark.parametrize("name", DISTORTIONS)
def test_what_lies_outside_the_frame_stays_black_and_does_not_bleed_in(store, name):
    """A crop at the corner of the frame, stored at half the size: 20 and 30 px of the frame are 10 and 15 px of it."""
    source = StoredCrops(*store)
    image = np.zeros((80, 80, 3), np.uint8)
    image[15:, 10:] = 150
    transform = np.array([[2.0, 0, 0], [0, 2.0, 0]])
    crops = OneCrop(source, image, source.read(0)[1], transform, padding_px=(20, 30, 0, 0))
    distorted = DistortedCrops(crops, name, 5, 0).read(0)[0]
    assert distorted.shape == image.shape
    assert not distorted[:15].any()
    assert not distorted[:, :10].any()
    edge, middle = distorted[15:17, 10:], distorted[40:70, 40:70]
    assert abs(edge.mean() - middle.mean()) < 4


def test_what_is_seen_of_a_frame_is_one_pixel_where_it_is_thinner(store):
    """10 x 10 px, stored at half the size; of its 20 px, 9 and 10 lie beyond the edges on either side."""
    image, box = np.full((10, 10, 3), 200, np.uint8), np.array([4.0, 4.0, 6.0, 6.0])
    transform = np.array([[2.0, 0, 0], [0, 2.0, 0]])
    crop = OneCrop(StoredCrops(*store), image, box, transform, padding_px=(9, 9, 10, 10))
    distorted = DistortedCrops(crop, "contrast", 5, 0).read(0)[0]
    assert np.argwhere(distorted.any(axis=2)).tolist() == [[5, 5]]


def moving_frames(n_frames: int, sizes: list[tuple[int, int]]) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    scene = cv2.resize(rng.integers(0, 256, (24, 24, 3), np.uint8), (160, 160), interpolation=cv2.INTER_CUBIC)
    return [scene[5 * i : 5 * i + h, 3 * i : 3 * i + w] for i, (h, w) in zip(range(n_frames), sizes, strict=True)]


def test_a_compressed_clip_has_the_frames_in_their_order_and_sizes():
    sizes = [(60, 50), (64, 51), (61, 48), (59, 53)]
    frames = moving_frames(4, sizes)
    compressed = compress_clip(frames, 23)
    assert [frame.shape[:2] for frame in compressed] == sizes
    assert [np.array_equal(*pair) for pair in zip(compressed, compress_clip(frames, 23), strict=True)] == [True] * 4
    for number, frame in enumerate(compressed):
        errors = [cv2.PSNR(frame, cv2.resize(other, frame.shape[1::-1])) for other in frames]
        assert int(np.argmax(errors)) == number
        assert errors[number] > 26  # the colours of the scene are finer than the colour planes


@pytest.mark.parametrize("shape", [(40, 41), (9, 7), (1, 1)])
def test_a_single_crop_is_compressed_as_a_clip_of_one_frame(shape):
    image = np.full((*shape, 3), (200, 100, 50), np.uint8)
    (compressed,) = compress_clip([image], 30)
    assert compressed.shape == image.shape
    assert np.abs(compressed.astype(int) - image).max() <= 6


def test_frames_of_a_track_are_compressed_together_and_others_apart(store):
    """What a crop becomes depends on the frames of its track, and on no other video."""
    crops, samples = store
    source = StoredCrops(crops, samples)
    video = samples.video_id.codes[0]
    rows = np.flatnonzero(samples.video_id.codes == video)
    assert len(rows) == N_FRAMES
    expected = compress_clip([source.read(int(row))[0] for row in rows], 34)
    reader = DistortedCrops(source, "video_compression", 3, 0)
    for row, frame in zip(rows.tolist(), expected, strict=True):
        assert np.array_equal(reader.read(row)[0], frame)
    alone = DistortedCrops(StoredCrops(crops, samples[rows[2:3]]), "video_compression", 3, 0).read(0)[0]
    assert np.array_equal(alone, compress_clip([source.read(int(rows[2]))[0]], 34)[0])
    assert not np.array_equal(alone, expected[2])


def test_long_tracks_are_compressed_in_pieces(tmp_path, monkeypatch):
    path, crops = make_store(tmp_path, splits=("test",), n_groups=1, n_frames=40, methods=("real",), n_shards=1)
    samples = Samples.read([path])
    lengths = []

    def counted(frames: list[np.ndarray], crf: int) -> list[np.ndarray]:
        lengths.append(len(frames))
        return frames

    monkeypatch.setattr("detectors.evaluation.distortions.compress_clip", counted)
    source = StoredCrops(crops, samples)
    reader = DistortedCrops(source, "video_compression", 1, 0)
    assert all(np.array_equal(reader.read(row)[0], source.read(row)[0]) for row in range(40))
    assert lengths == [20, 20]


def test_a_scoring_set_reads_distorted_crops_when_its_source_is_changed(store):
    crops, samples = store
    window = CropWindow(margin=0.0, size=40)
    faces = FaceCrops(crops, samples, window)
    plain = faces[0]["image"].numpy()
    faces.store.source = DistortedCrops(faces.store.source, "contrast", 5, 0)
    flat = faces[0]["image"].numpy()
    expected = np.round((plain.astype(float) - 127.5) * 0.25 + 127.5)
    assert np.abs(flat - expected).max() <= 1


def test_clips_of_a_temporal_detector_read_distorted_crops_too(store):
    crops, samples = store
    window = CropWindow(margin=0.0, size=40)
    clips = TrackClips(crops, samples, window, n_frames=3)
    source = clips.store.source
    clips.store.source = DistortedCrops(source, "video_compression", 4, 0)
    clip = clips[1]["image"].numpy()
    rows = np.flatnonzero(clips.item_of_sample == 1)[[0, 2, 4]]
    for frame, row in zip(clip, rows.tolist(), strict=True):
        image, box, crop_to_frame = DistortedCrops(source, "video_compression", 4, 0).read(row)
        assert np.array_equal(frame.transpose(1, 2, 0), window.cut(image, box, crop_to_frame))
