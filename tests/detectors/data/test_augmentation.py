from __future__ import annotations

import cv2
import numpy as np
import pytest

from detectors.data import augmentation
from detectors.data.augmentation import CHAINS, Chain, Step, add_noise, change_contrast, jpeg, read_augmented
from detectors.data.crop_store import CropStore
from detectors.data.crop_window import CropWindow, Geometry
from detectors.data.samples import Samples
from helpers.programs import run_program
from helpers.tiny_store import make_store

N_DRAWS = 600
# five standard deviations of a share of `N_DRAWS` at one half
TOLERANCE = 5 * 0.5 / N_DRAWS**0.5


@pytest.fixture(scope="module")
def image():
    """Smooth colours, (64, 64, 3) uint8, nowhere black or white."""
    return cv2.resize(np.random.default_rng(1).integers(60, 190, (9, 9, 3), np.uint8), (64, 64))


def draws(chain: Chain, image: np.ndarray) -> list[np.ndarray]:
    return [chain.augment(image, np.random.default_rng(seed)) for seed in range(N_DRAWS)]


def share(values) -> float:
    return float(np.mean(list(values)))


@pytest.mark.parametrize("name", CHAINS)
def test_a_chain_draws_everything_from_the_generator_and_gives_an_image_of_the_same_shape(name, image):
    chain, before = CHAINS[name], image.copy()
    for seed in range(30):
        one, other = np.random.default_rng(seed), np.random.default_rng(seed)
        assert chain.draw_geometry(one) == chain.draw_geometry(other)
        first, second = chain.augment(image, one), chain.augment(image, other)
        assert np.array_equal(first, second)
        assert first.shape == image.shape
        assert first.dtype == np.uint8
    assert np.array_equal(image, before), "the picture given is left as it is"


def test_no_chain_leaves_the_picture_as_it_is_and_draws_nothing(image):
    rng = np.random.default_rng(0)
    assert CHAINS["none"].draw_geometry(rng) == Geometry()
    assert CHAINS["none"].augment(image, rng) is image
    assert rng.random() == np.random.default_rng(0).random()


def test_the_chains_of_the_study_are_in_its_order_with_its_probabilities():
    """JPEG, noise, blur or sharpen, flip, colour, grey, shift-scale-rotate."""
    assert [step.probability for step in CHAINS["default"].pixels] == [0.5, 0.1, 0.5, 0.5, 0.5, 0.2, 0.5]
    for name in ("default_dropout", "default_gridmask"):
        assert CHAINS[name].pixels[:-1] == CHAINS["default"].pixels
    assert not CHAINS["default"].geometry, "geometry comes last: after JPEG, noise and colours"


def test_each_step_of_the_default_chain_does_what_its_place_says(image):
    """Each step alone, on a picture on which its trace can be measured."""
    compress, noise, sharpness, flip, colour, grey, place = (Chain(pixels=(step,)) for step in CHAINS["default"].pixels)
    changed = {
        "jpeg": share(not np.array_equal(drawn, image) for drawn in draws(compress, image)),
        "noise": share(not np.array_equal(drawn, image) for drawn in draws(noise, image)),
        "colour": share(not np.array_equal(drawn, image) for drawn in draws(colour, image)),
        "flip": share(np.array_equal(drawn, image[:, ::-1]) for drawn in draws(flip, image)),
        "grey": share(np.ptp(drawn, axis=2).max() == 0 for drawn in draws(grey, image)),
        "place": share(not np.array_equal(drawn, image) for drawn in draws(place, image)),
    }
    expected = {"jpeg": 0.5, "noise": 0.1, "colour": 0.5, "flip": 0.5, "grey": 0.2, "place": 0.5}
    assert changed == pytest.approx(expected, abs=TOLERANCE)
    # a kernel of 3 px at 224 px is none at 64 px
    large = cv2.resize(np.random.default_rng(2).integers(0, 256, (224, 224, 3), np.uint8), (224, 224))
    edges = [cv2.Laplacian(drawn, cv2.CV_64F).std() for drawn in draws(sharpness, large)[:200]]
    plain = cv2.Laplacian(large, cv2.CV_64F).std()
    assert share(edge < 0.99 * plain for edge in edges) == pytest.approx(0.25, abs=0.15)
    assert share(edge > 1.01 * plain for edge in edges) == pytest.approx(0.25, abs=0.15)


def test_default_compression_keeps_to_its_qualities_and_lies_under_the_turn(image):
    """Blocks of JPEG are turned with the face: the study turns last."""
    compress, place = CHAINS["default"].pixels[0], CHAINS["default"].pixels[-1]
    always = Chain(pixels=(Step(1.0, compress.change), Step(1.0, place.change)))
    one, other = np.random.default_rng(5), np.random.default_rng(5)
    _ = other.random()
    compressed = jpeg(image, int(other.integers(60, 101)))
    _ = other.random()
    assert np.array_equal(always.augment(image, one), place.change(compressed, other))


def test_dropout_blackens_two_squares_of_64_px_at_224():
    image = np.full((224, 224, 3), 200, np.uint8)
    chain = Chain(pixels=(CHAINS["default_dropout"].pixels[-1],))
    black = [int((drawn == 0).all(axis=2).sum()) for drawn in draws(chain, image)[:200]]
    hit = [count for count in black if count]
    assert share(count > 0 for count in black) == pytest.approx(0.5, abs=0.2)
    assert max(hit) == 2 * 64 * 64
    assert all(64 * 64 <= count <= 2 * 64 * 64 for count in hit)


def test_gridmask_blackens_a_quarter_in_five_units_a_side():
    image = np.full((200, 200, 3), 200, np.uint8)
    chain = Chain(pixels=(CHAINS["default_gridmask"].pixels[-1],))
    drawn = [picture for picture in draws(chain, image)[:60] if (picture == 0).any()]
    assert 12 <= len(drawn) <= 48
    for picture in drawn:
        black = (picture == 0).all(axis=2)
        assert black.mean() == pytest.approx(0.25, abs=0.02)
        # a row through the squares, read as a ring, enters five of them
        row = black[np.argmax(black.sum(axis=1))]
        assert np.sum(row & ~np.roll(row, 1)) in (5, 6)


def test_jpeg_quality_compresses_every_other_crop_with_a_quality_of_10_to_50(image):
    subset, chain = CHAINS["dfdc_subset"], CHAINS["jpeg_quality"]
    assert (chain.geometry, chain.pixels[:-1]) == (subset.geometry, subset.pixels), "nothing else tells the two apart"
    possible = {jpeg(image, quality).tobytes() for quality in range(10, 51)}
    drawn = [picture.tobytes() for picture in draws(Chain(pixels=chain.pixels[-1:]), image)]
    compressed = [picture for picture in drawn if picture != image.tobytes()]
    assert set(compressed) <= possible
    assert len(set(compressed)) > 0.8 * len(possible)
    assert len(compressed) / len(drawn) == pytest.approx(0.5, abs=TOLERANCE)


def test_ucfs_chain_is_what_it_was():
    """The geometry, the brightness and the sharpness that the chain gave when UCF was first trained with it."""
    image = (np.indices((64, 64)).sum(axis=0)[..., None] * [1, 2, 3] % 200 + 30).astype(np.uint8)
    rotations = [-9.180529521276107, 0, 6.284514811885607, 6.025489304127937, 0, 0]
    geometry = [CHAINS["ucf"].draw_geometry(np.random.default_rng(seed)) for seed in range(6)]
    assert [drawn.flip for drawn in geometry] == [False, False, True, True, False, False]
    assert [drawn.rotation_degrees for drawn in geometry] == pytest.approx(rotations, abs=1e-9)
    pictures = [CHAINS["ucf"].augment(image, np.random.default_rng(seed)).astype(int) for seed in range(8)]
    # another build of the JPEG library may round otherwise
    assert [picture.sum() for picture in pictures] == pytest.approx(
        [1529080, 1475085, 1474151, 1475328, 1475328, 1475328, 1743802, 1475328], rel=2e-3
    )
    sharpness = [np.abs(np.diff(picture, axis=1)).sum() for picture in pictures]
    assert sharpness == pytest.approx([37164, 56315, 61061, 41124, 41124, 41124, 40074, 41124], rel=1e-2)


def test_ucfs_geometry_is_drawn_with_its_probabilities():
    geometry = [CHAINS["ucf"].draw_geometry(np.random.default_rng(seed)) for seed in range(N_DRAWS)]
    assert share(drawn.flip for drawn in geometry) == pytest.approx(0.5, abs=TOLERANCE)
    assert share(drawn.rotation_degrees != 0 for drawn in geometry) == pytest.approx(0.5, abs=TOLERANCE)
    assert all(abs(drawn.rotation_degrees) <= 10 and drawn.scale == 1 for drawn in geometry)


def test_a_window_moved_before_the_cut_has_corners_of_the_stored_crop(image):
    """Where the picture is moved first, what comes in at the corners are pixels of the stored crop, not black."""
    bright = np.maximum(image, 60)
    bright = cv2.copyMakeBorder(bright, 40, 40, 40, 40, cv2.BORDER_REFLECT)
    box, window = np.array([60, 60, 84, 84]), CropWindow(margin=0.1, size=32)
    bare = Chain(geometry=CHAINS["dfdc_subset"].geometry)
    for seed in range(40):
        assert read_augmented(window, bare, np.random.default_rng(seed), bright, box, np.eye(2, 3)).min() > 40


def test_noise_and_contrast_have_the_strength_that_they_are_given():
    grey = np.full((128, 128, 3), 128, np.uint8)
    noise = add_noise(grey, 8.0, np.random.default_rng(0)).astype(float) - 128
    assert noise.std() == pytest.approx(8.0, rel=0.02)
    assert abs(noise.mean()) < 0.1
    assert abs(np.corrcoef(noise[..., 0].ravel(), noise[..., 1].ravel())[0, 1]) < 0.05
    steps = np.array([[[28, 128, 228]]], np.uint8)
    assert change_contrast(steps, 0.5, 10, pivot=128).ravel().tolist() == [88, 138, 188]


def test_the_command_draws_every_chain_on_one_face(tmp_path):
    _, crops = make_store(tmp_path)
    output = tmp_path / "chains.png"
    options = ["--crops", crops / "tiny/0000.h5", "--draws", 3, "--size", 40, "--row", 1]
    run_program(augmentation.main, output, *options)
    sheet = cv2.imread(str(output))
    assert sheet.shape == (len(CHAINS) * (18 + 40), 4 * 40, 3)
    first = sheet[18:58, :40]
    assert np.array_equal(first, sheet[18:58, 40:80]), "none changes nothing"


@pytest.mark.parametrize("name", CHAINS)
def test_a_crop_store_runs_the_chain_of_its_name_on_crops_that_are_read_with_a_generator(tmp_path, name):
    path, crops = make_store(tmp_path, n_groups=1, n_shards=1)
    samples = Samples.read([path])
    window = CropWindow(margin=0.1, size=40)
    store = CropStore(crops, samples, window, name)
    plain = [store.read(row) for row in range(6)]
    assert all(np.array_equal(plain[row], window.cut(*store.stored(row))) for row in range(6))
    augmented = [store.read(row, np.random.default_rng([1, row])) for row in range(6)]
    for row, crop in enumerate(augmented):
        expected = read_augmented(window, CHAINS[name], np.random.default_rng([1, row]), *store.stored(row))
        assert np.array_equal(crop, expected)
    changed = [not np.array_equal(*pair) for pair in zip(plain, augmented, strict=True)]
    assert any(changed) == (name != "none")
