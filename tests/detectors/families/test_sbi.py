"""SBI: blends that change what they should and nothing else, the faces they are made of, and the training on them."""

from __future__ import annotations

import logging
from dataclasses import replace

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from lightning.fabric.utilities.apply_func import move_data_to_device

from detectors.data.crop_window import CropWindow
from detectors.data.landmarks import MIRROR
from detectors.data.loader import make_loader
from detectors.data.samples import Samples
from detectors.families.registry import load_detector
from detectors.families.sbi import detector as sbi
from detectors.families.sbi import preview as sbi_preview
from detectors.families.sbi.blending import (
    blend_at_once,
    blend_pairs,
    change_sharpness,
    elastic_displacements,
    move_source,
    self_blend,
    shift_colours,
    soft_masks,
    spread_masks,
)
from detectors.families.sbi.detector import FacesToBlend, Sbi, SbiSettings, blend_batch
from detectors.families.sbi.face_mask import MASK_PX, draw_face_mask, loose_box
from detectors.families.sbi.parameters import ColourShift, ColourShifts, draw_parameters, half_kernel, stack_parameters
from detectors.figures.gradcam import grad_cam
from helpers.programs import run_program
from helpers.short_run import in_domain_video_aucs, stopped_before, train_on_cpu, video_auc
from helpers.tiny_batches import learn, random_images, untaught
from helpers.tiny_masks import add_landmarks
from helpers.tiny_store import BOX, CROP_SIZE, CROP_X, CROP_Y, make_store
from preprocess.running.cli import UserError
from preprocess.store.crop_file import Crop, write_crops
from preprocess.store.image_codecs import encode_crop
from preprocess.store.origin import Origin
from preprocess.store.schemas import REAL
from preprocess.store.tables import read_rows
from preprocess.synthetic import geometry

SIZE = 96
TINY = SbiSettings(backbone="test_resnet", pretrained=False, backbone_stride=16, size=64, batch_size=4)


def face_points(size=SIZE, face_px=50.0):
    """(81, 2) landmarks of the average face in the middle of a square image."""
    points = geometry.template()
    low, high = points.min(axis=0), points.max(axis=0)
    return (points - (low + high) / 2) / (high - low).max() * face_px + size / 2


def picture(seed, size=SIZE):
    rng = np.random.default_rng(seed)
    smooth = cv2.resize(rng.uniform(40, 210, (6, 6, 3)), (size, size), interpolation=cv2.INTER_CUBIC)
    return np.clip(smooth + rng.normal(0, 8, smooth.shape), 0, 255).astype(np.uint8)


def make_batch(seeds, hsv_shift=0.3):
    """What `self_blend` reads, for one face each."""
    images, masks, boxes, parameters = [], [], [], []
    for seed in seeds:
        rng = np.random.default_rng(seed)
        images.append(picture(seed).transpose(2, 0, 1))
        parameters.append(draw_parameters(rng, hsv_shift))
        masks.append(draw_face_mask(face_points(), parameters[-1].mask_size, rng))
        boxes.append(loose_box(face_points()).astype(np.float32))
    tensors = (torch.from_numpy(np.stack(arrays)) for arrays in (images, masks, boxes))
    return (*tensors, stack_parameters(parameters))


# --- what a blend changes --------------------------------------------------------------------------------------


def test_nothing_outside_the_mask_changes_and_something_inside_does():
    pairs, masks = blend_pairs(*make_batch(range(24)))
    reals, blends = pairs.chunk(2)
    outside = (masks == 0).expand_as(reals)
    assert torch.equal(reals[outside], blends[outside])
    assert outside.float().mean() > 0.4
    inside = (masks > 0.2).expand_as(reals)
    for real, blend, chosen in zip(reals, blends, inside, strict=True):
        assert (real - blend)[chosen].abs().mean() > 0.2


def test_nothing_outside_the_mask_changes_after_the_shared_augmentation_either():
    batch = make_batch(range(24))
    reals, blends, masks = self_blend(*batch)
    compressed = np.array([quality is not None for quality in batch[3].jpeg_quality])
    assert 4 < compressed.sum() < 20
    # JPEG looks at blocks of 16 px and, for colours, at the pixel beside them
    touched = torch.nn.functional.max_pool2d((masks > 0).float(), 16, 16)
    touched = torch.nn.functional.interpolate(touched, scale_factor=16)
    touched = torch.nn.functional.max_pool2d(touched, 3, 1, 1)
    for number, is_compressed in enumerate(compressed):
        outside = ((touched if is_compressed else masks)[number] == 0).expand(3, -1, -1)
        assert torch.equal(reals[number][outside], blends[number][outside])
    assert not torch.equal(reals, blends)
    # a network could tell fractions from the whole numbers that real pixels are
    for images in (reals, blends):
        assert torch.equal(images, images.round())
        assert images.min() >= 0
        assert images.max() <= 255


def test_a_ratio_of_0_changes_nothing_at_all():
    *batch, parameters = make_batch(range(12))
    reals, blends, masks = self_blend(*batch, parameters._replace(ratio=torch.zeros(12)))
    assert torch.equal(reals, blends)
    assert masks.max() == 0


def test_the_ratio_is_the_share_of_the_source():
    *batch, parameters = make_batch(range(6))
    differences = []
    for ratio in (1.0, 0.25):
        pairs, masks = blend_pairs(*batch, parameters._replace(ratio=torch.full((6,), ratio)))
        differences.append(pairs[6:] - pairs[:6])
        assert masks.amax(dim=(1, 2, 3)).tolist() == pytest.approx([ratio] * 6, rel=1e-5)
    assert torch.allclose(differences[1], 0.25 * differences[0], atol=1e-3)


def test_the_same_blend_whatever_the_batch():
    batch = make_batch(range(7))
    alone = [self_blend(*make_batch([seed])) for seed in range(7)]
    # on a CPU images go one by one, on a GPU all at once
    for together in (self_blend(*batch), blend_at_once(*batch, room=0)):
        for position, maps in enumerate(together):
            assert torch.equal(maps, torch.cat([one[position] for one in alone]))


def test_room_is_cut_off_after_blending():
    *batch, parameters = make_batch(range(4))
    parameters = parameters._replace(jpeg_quality=[None] * 4)
    whole, inner = self_blend(*batch, parameters), self_blend(*batch, parameters, room=8)
    for large, small in zip(whole, inner, strict=True):
        assert torch.equal(large[..., 8:-8, 8:-8], small)


def test_autocast_does_not_coarsen_blends():
    batch = make_batch(range(3))
    plain = self_blend(*batch)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = self_blend(*batch)
    assert all(torch.equal(one, other) for one, other in zip(plain, cast, strict=True))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_blends_as_a_cpu_does():
    images, masks, boxes, parameters = make_batch(range(32))
    on_gpu = move_data_to_device(parameters, torch.device("cuda"))
    on_cpu = self_blend(images, masks, boxes, parameters)
    for one, other in zip(on_cpu, self_blend(images.cuda(), masks.cuda(), boxes.cuda(), on_gpu), strict=True):
        difference = (one - other.cpu()).abs()
        assert (difference > 1e-3).float().mean() < 1e-3
        assert difference.mean() < 2e-3


# --- masks -----------------------------------------------------------------------------------------------------


def test_points_are_mirrored_to_their_own_numbers():
    face = geometry.template()
    assert MIRROR[MIRROR].tolist() == list(range(81))
    # the template is symmetric: mirrored and numbered anew it is itself
    assert np.allclose(face[MIRROR] * (-1, 1), face)
    forehead = np.array(geometry.FOREHEAD_ORDER)
    assert MIRROR[forehead].tolist() == forehead[::-1].tolist()


def test_loose_box_by_hand():
    points = np.zeros((81, 2))
    points[:68] = [100, 50]
    points[0], points[16], points[8] = (100, 50), (140, 60), (120, 100)
    points[70] = (0, -500)  # the forehead does not count
    assert loose_box(points).tolist() == [80, 0, 160, 120]


def filled_hull(points, size):
    mask = np.zeros(size, np.uint8)
    cv2.fillConvexPoly(mask, np.round(cv2.convexHull(points.astype(np.float32)) * 16).astype(int), 1, shift=4)
    return mask


def test_masks_lie_in_the_face_and_have_several_shapes():
    points, size = face_points(), np.array([240, 200])
    x0, y0, x1, y1 = loose_box(points)
    on_grid = (points - (x0, y0)) * size / (x1 - x0, y1 - y0) - 0.5
    hulls = [filled_hull(chosen, (MASK_PX, MASK_PX)) for chosen in (on_grid, on_grid[:68])]
    seen = {}
    for seed in range(200):
        mask = draw_face_mask(points, size, np.random.default_rng(seed))
        assert set(np.unique(mask)) == {0, 1}
        assert (mask <= cv2.dilate(hulls[0], np.ones((3, 3), np.uint8))).all()
        seen[mask.tobytes()] = seen.get(mask.tobytes(), 0) + 1
    # two hulls of the whole face and three parts
    assert len(seen) == 5
    whole, short = (seen[hull.tobytes()] for hull in hulls)
    assert 0.38 < (whole + short) / 200 < 0.62
    assert 0.1 < short / (whole + short) < 0.45
    for mask in seen:
        n_parts, _ = cv2.connectedComponents(np.frombuffer(mask, np.uint8).reshape(MASK_PX, MASK_PX))
        assert n_parts == 2  # the background and one piece


def plain_parameters(**changes):
    """No change at all, and no blur."""
    one = draw_parameters(np.random.default_rng(0), 0.0)
    nothing = ColourShift(np.zeros(3, np.float32), np.zeros(3, np.float32), 1.0, 0.0)
    one = replace(
        one,
        colours=nothing,
        final_colours=nothing,
        reduction=None,
        sharpening=0.0,
        translation=np.zeros(2, np.float32),
        scale=1.0,
        mask_size=np.array([MASK_PX, MASK_PX]),
        elastic_noise=np.zeros_like(one.elastic_noise),
        blur_kernels=np.stack([np.eye(13, dtype=np.float32)[0]] * 2),
        ratio=1.0,
        jpeg_quality=None,
    )
    return stack_parameters([replace(one, **changes)])


def test_source_and_mask_move_together():
    # where a source shows its own face in white, the moved mask must lie on the moved white
    side, size = 384, np.array([200, 230])
    points = face_points(side, 200.0)
    parameters = plain_parameters(translation=np.array([0.03, -0.015], np.float32), scale=1 / 0.95, mask_size=size)
    boxes = torch.from_numpy(loose_box(points).astype(np.float32))[None]
    x0, y0, x1, y1 = boxes[0].tolist()
    image = torch.from_numpy(filled_hull(points, (side, side))).float().expand(1, 3, -1, -1)
    hull = filled_hull((points - (x0, y0)) * size / (x1 - x0, y1 - y0) - 0.5, (MASK_PX, MASK_PX))
    moved = move_source(image, boxes, parameters.translation, parameters.scale)[0, 0] > 0.5
    soft = soft_masks(torch.from_numpy(hull)[None], parameters)
    mask = spread_masks(soft, boxes, parameters.mask_size, (side, side))[0, 0] > 0.5

    def overlap(one, other):
        return (one & other).sum() / (one | other).sum()

    assert overlap(moved, mask) > 0.97
    assert overlap(image[0, 0] > 0.5, mask) < 0.9
    # 0.03 of the loose crop's width to the right, 0.015 of its height up, and larger about its centre
    places = torch.arange(side, dtype=torch.float32)
    for axis, low, high, shift in ((0, x0, x1, 0.03), (1, y0, y1, -0.015)):
        before, *after = (
            (white.sum(axis) * places).sum().item() / white.sum().item() for white in (image[0, 0], moved, mask)
        )
        centre = (low + high) / 2
        expected = centre + shift * (high - low) + (before - centre) / 0.95
        assert after == pytest.approx([expected, expected], abs=0.4)


def test_a_wide_first_blur_shrinks_the_mask_and_a_wide_second_one_grows_it():
    mask = torch.zeros(1, MASK_PX, MASK_PX, dtype=torch.uint8)
    mask[0, 80:180, 80:180] = 1
    narrow, wide = half_kernel(1.4, 2), half_kernel(4.1, 12)
    areas = []
    for kernels in ((narrow, narrow), (wide, narrow), (narrow, wide)):
        soft = soft_masks(mask, plain_parameters(blur_kernels=np.stack(kernels)))
        assert soft.min() == 0
        assert soft.max() == pytest.approx(1)
        areas.append((soft > 0.1).sum().item())
    assert areas[1] < 0.9 * areas[0] < 0.9 * areas[2]


def test_an_empty_mask_stays_empty():
    soft = soft_masks(torch.zeros(1, MASK_PX, MASK_PX, dtype=torch.uint8), plain_parameters())
    assert soft.abs().max() == 0


def test_elastic_displacements_have_the_strength_and_the_reach_of_the_paper():
    noise = torch.from_numpy(np.random.default_rng(0).integers(-127, 128, (4, 2, 128, 128), np.int8))
    field = elastic_displacements(noise)
    assert field.shape == (4, MASK_PX, MASK_PX, 2)
    inner = field[:, 40:-40, 40:-40]
    # uniform noise of 50 px, smoothed by a Gaussian of 7 px
    assert inner.std().item() == pytest.approx(50 / 3**0.5 / (2 * 7 * np.pi**0.5), rel=0.1)
    near, far = (inner[:, lag:] * inner[:, :-lag] for lag in (7, 35))
    assert (near.mean() / inner.var()).item() == pytest.approx(np.exp(-0.25), abs=0.08)
    assert abs((far.mean() / inner.var()).item()) < 0.15


# --- colours and sharpness -------------------------------------------------------------------------------------


def colour_shift(rgb=(0, 0, 0), hsv=(0, 0, 0), contrast=1.0, brightness=0.0):
    """Of one image."""
    return ColourShifts(*(torch.tensor([values], dtype=torch.float32) for values in (rgb, hsv, contrast, brightness)))


def test_colours_without_a_shift_stay():
    images = torch.from_numpy(picture(0).transpose(2, 0, 1))[None].float()
    assert (shift_colours(images, colour_shift()) - images).abs().max() < 1e-3


def test_colour_shifts_by_hand():
    images = torch.tensor([250.0, 100.0, 10.0]).view(1, 3, 1, 1)
    rgb = shift_colours(images, colour_shift(rgb=(20, -10, 5)))
    assert rgb.flatten().tolist() == pytest.approx([255, 90, 15], abs=1e-3)
    contrast = shift_colours(images, colour_shift(contrast=1.1, brightness=-25.5))
    assert contrast.flatten().tolist() == pytest.approx([249.5, 84.5, 0], abs=1e-3)
    # a third of a turn, sixty steps of two degrees, puts red in the place of green
    hue = shift_colours(images, colour_shift(hsv=(60, 0, 0)))
    assert hue.flatten().tolist() == pytest.approx([10, 250, 100], abs=1e-2)
    # value 250, saturation 0.96: 25.5 levels less are 0.86
    saturation = shift_colours(images, colour_shift(hsv=(0, -25.5, 0)))
    assert saturation.flatten().tolist() == pytest.approx([250, 250 - 150 * 0.86 / 0.96, 250 * 0.14], abs=1e-2)


def test_hue_saturation_and_value_are_those_of_opencv():
    image = picture(4)
    hsv = cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2HSV)
    hsv[..., 0] = (hsv[..., 0] + 2 * 12) % 360
    hsv[..., 1] = np.clip(hsv[..., 1] + 30 / 255, 0, 1)
    hsv[..., 2] = np.clip(hsv[..., 2] - 20 / 255, 0, 1)
    expected = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB) * 255
    images = torch.from_numpy(image.transpose(2, 0, 1))[None].float()
    ours = shift_colours(images, colour_shift(hsv=(12, 30, -20)))[0].permute(1, 2, 0).numpy()
    assert np.abs(ours - expected).max() < 0.05


def test_each_image_has_its_own_change_of_sharpness():
    images = torch.zeros(3, 3, 8, 8)
    images[:, :, 4, 4] = 90.0
    result = change_sharpness(images, [None, 2, 4], torch.tensor([0.5, 0.5, 0.5]))
    # half of 9 in the middle and -1 around it, half of the image; nothing below 0
    assert result[0, 0, 4, 4] == 255  # 90 * (1 + 0.5 * 8), cut
    assert result[0, 0, 3, 4] == 0
    flat = torch.full((1, 3, 8, 8), 77.0)
    assert torch.allclose(change_sharpness(flat, [None], torch.tensor([0.4])), flat, atol=1e-3)
    # a point spread over 2 x 2 and over 4 x 4 pixels, keeping its sum
    assert result[1].max() < 90 / 4 + 1e-3
    assert result[2].max() < 90 / 16 + 1e-3
    assert result[1:].sum(dim=(2, 3)).flatten().tolist() == pytest.approx([90] * 6, rel=0.35)
    assert images.sum() == 9 * 90  # the input stays


def test_draws_have_their_ranges_and_shares():
    draws = [draw_parameters(np.random.default_rng(seed), 0.3) for seed in range(400)]
    batch = stack_parameters(draws)
    reductions, qualities = ([value for value in values if value] for values in (batch.reduction, batch.jpeg_quality))
    assert set(reductions) == {2, 4}
    assert 160 < len(reductions) < 240
    assert 160 < len(qualities) < 240
    assert 40 <= min(qualities) < max(qualities) <= 100
    assert 0.4 < batch.source_changes.float().mean() < 0.6
    assert set(batch.ratio.tolist()) == {0.25, 0.5, 0.75, 1.0}
    assert 0.4 < (batch.ratio == 1).float().mean() < 0.6
    assert batch.translation.abs().amax(dim=0).tolist() == pytest.approx([0.03, 0.015], rel=0.1)
    assert (batch.scale.min(), batch.scale.max()) == pytest.approx((0.95, 1 / 0.95), rel=0.01)
    assert (batch.mask_size.min(), batch.mask_size.max()) == (192, 256)
    assert batch.colours.rgb.abs().max() == pytest.approx(20, rel=0.05)
    assert 0.2 < (batch.colours.rgb[:, 0] != 0).float().mean() < 0.4
    assert batch.elastic_noise.min() == -127
    kernels = batch.blur_kernels.numpy()
    assert (2 * kernels.sum(axis=2) - kernels[..., 0]).ravel() == pytest.approx(np.ones(800), abs=1e-5)
    assert set((kernels > 0).sum(axis=2).ravel()) == set(range(3, 14))


# --- the faces -------------------------------------------------------------------------------------------------

WINDOW = CropWindow(margin=0.125, size=64, shape="stretch")


def store_points():
    """(81, 2) landmarks in frame pixels of the faces of `tiny_store`."""
    return face_points(40, 36.0) + BOX[:2]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A tiny store with landmarks."""
    store = make_store(tmp_path_factory.mktemp("store"))
    add_landmarks(store.data, points=store_points())
    return store


def equal(one, two):
    if isinstance(one, dict):
        return one.keys() == two.keys() and all(equal(one[name], two[name]) for name in one)
    if isinstance(one, tuple):
        return all(equal(*values) for values in zip(one, two, strict=True))
    return torch.equal(one, two) if torch.is_tensor(one) else one == two


def test_items_depend_on_epoch_and_index_alone(store):
    samples = Samples.read([store.samples])
    faces = FacesToBlend(store.data, samples, WINDOW, 5, 0.3)
    assert len(faces) == (samples.label == 0).sum() == 18
    items = [(0, 3), (0, 4), (1, 3)]
    batch = faces.__getitems__(items)
    assert batch["image"].shape == (3, 3, 72, 72)
    assert batch["mask"].shape == (3, MASK_PX, MASK_PX)
    assert batch["loose_box"].shape == (3, 4)
    again = FacesToBlend(store.data, samples, WINDOW, 5, 0.3).__getitems__(items)
    assert equal(batch, again)
    alone = faces.__getitems__(items[1:2])
    assert torch.equal(alone["image"][0], batch["image"][1])
    assert equal(alone["parameters"], batch["parameters"].row(1))
    assert not torch.equal(batch["image"][0], batch["image"][2])
    assert not equal(batch, FacesToBlend(store.data, samples, WINDOW, 6, 0.3).__getitems__(items))


def test_workers_make_the_same_batches(store):
    faces = FacesToBlend(store.data, Samples.read([store.samples]), WINDOW, 5, 0.3)
    items = [(2, index) for index in range(8)]
    batches = [list(make_loader(faces, batch_size=3, workers=workers, sampler=items)) for workers in (0, 2)]
    assert len(batches[0]) == 3
    for one, other in zip(*batches, strict=True):
        assert equal(one, other)
        blends = [blend_batch(batch, WINDOW.size) for batch in (one, other)]
        assert all(torch.equal(a, b) for a, b in zip(*blends, strict=True))
        assert blends[0][0].shape == (len(one["image"]), 3, 64, 64)


def test_landmarks_follow_the_crop_and_its_mirror(tmp_path, monkeypatch):
    # the left of the picture is red, the right blue
    image = np.zeros((*CROP_SIZE, 3), np.uint8)
    image[:, : CROP_SIZE[1] // 2, 0] = image[:, CROP_SIZE[1] // 2 :, 2] = 200
    samples, _ = make_store(tmp_path, methods=("real",), n_shards=1, splits=("train",), n_groups=1, n_frames=1)
    add_landmarks(tmp_path, points=store_points())
    crop = Crop(
        video_id="tiny/real/original/train0",
        frame_index=0,
        pts_seconds=0.0,
        track_id=0,
        box=np.array(BOX, np.float32),
        score=0.9,
        size=CROP_SIZE,
        crop_to_frame=np.array([[1, 0, CROP_X], [0, 1, CROP_Y]], np.float64),
        padding_px=(0, 0, 0, 0),
        encoded=encode_crop(image),
    )
    write_crops(tmp_path / "crops/tiny/0000.h5", [crop], Origin("tiny", "crops", "{}", 1, "0000"))
    seen = []
    monkeypatch.setattr(sbi, "loose_box", lambda points: seen.append(points) or loose_box(points))
    faces = FacesToBlend(tmp_path, Samples.read([samples]), WINDOW, 0, 0.3)
    batch = faces.__getitems__([(epoch, 0) for epoch in range(12)])
    mirrored = []
    for pixels, found in zip(batch["image"], seen, strict=True):
        left_eye, right_eye = found[36:42].mean(axis=0), found[42:48].mean(axis=0)
        # the eye at the left of the picture has the lower numbers, mirrored or not
        assert left_eye[0] < right_eye[0]
        assert found[:17, 0].argmin() < 4
        assert found[78, 0] > found[77, 0]
        colour = pixels[:, round(left_eye[1]), round(left_eye[0])]
        mirrored.append(bool(colour[2] > colour[0]))
        # the middle of the face is where red meets blue
        edge = (pixels[0, 36].int() > pixels[2, 36].int()).int().diff().abs().argmax().item()
        assert edge + 0.5 == pytest.approx(found[27:31, 0].mean(), abs=1.6)
    assert 0 < sum(mirrored) < 12
    # the margins are drawn anew: 0.05 to 0.2 of the box on each side
    shares = [(found[:, 0].max() - found[:, 0].min()) / 64 for found in seen]
    assert np.ptp(shares) > 0.05
    face = np.ptp(store_points()[:, 0]) / 40
    assert all(face / 1.41 < share < face / 1.09 for share in shares)


def test_fakes_are_passed_over_and_reals_without_landmarks_counted(tmp_path, caplog):
    path, _ = make_store(tmp_path)
    samples = Samples.read([path])
    rows = read_rows(path)
    reals, fakes = ([row["sample_id"] for row in rows if row["label"] == label] for label in (0, 1))
    add_landmarks(tmp_path, points=store_points(), without=[*reals[:5], fakes[0]])
    with caplog.at_level(logging.WARNING, logger="detectors"):
        faces = FacesToBlend(tmp_path, samples, WINDOW, 0, 0.3)
    assert len(faces) == 13
    assert "5 of 18 real crops have no landmarks and are left out" in caplog.text
    # nor has one whose points are not all known
    some = store_points()
    some[5] = np.nan
    add_landmarks(tmp_path, points=some)
    with pytest.raises(UserError, match=r"18 real crops of tiny, 0 of them with landmarks"):
        FacesToBlend(tmp_path, samples, WINDOW, 0, 0.3)
    add_landmarks(tmp_path, without=[*reals, *fakes])
    with pytest.raises(UserError, match=r"18 real crops of tiny, 0 of them with landmarks.*landmarks\.predictor"):
        FacesToBlend(tmp_path, samples, WINDOW, 0, 0.3)
    with pytest.raises(UserError, match="0 real crops"):
        FacesToBlend(tmp_path, samples[np.flatnonzero(samples.label == 1)], WINDOW, 0, 0.3)


# --- the detector ----------------------------------------------------------------------------------------------


def make_sbi(settings=TINY):
    torch.manual_seed(0)
    return Sbi(settings, ["real"])


def training_batch(store, n_pairs=4):
    samples = Samples.read([store.samples])
    faces = make_sbi().training_set(samples, store.data, seed=0)
    return faces.__getitems__([(0, index) for index in range(n_pairs)])


def test_defaults_are_the_papers():
    settings = SbiSettings()
    assert (settings.size, settings.batch_size, settings.epochs, settings.shape) == (380, 16, 100, "stretch")
    assert (settings.optimizer, settings.learning_rate, settings.momentum) == ("sam", 1e-3, 0.9)
    assert settings.precision != "16-mixed"
    assert Sbi.aggregation == "max_then_mean"


def test_shapes_and_probabilities(store):
    model = make_sbi().eval()
    images = random_images(3)
    with torch.no_grad():
        score = model.score(images)
        losses = model.losses(training_batch(store))
    assert score.shape == (3,)
    assert score.dtype == torch.float32
    assert ((score >= 0) & (score <= 1)).all()
    assert losses["total"].shape == ()
    assert torch.allclose(model.evidence(images).sigmoid(), score, atol=1e-6)
    assert grad_cam(model, model.find_cam_layer(), images, torch.ones(3)).shape == (3, 64, 64)
    assert model.vectors(images)["features"].shape == (3, model.network.channels)
    assert model.crops_per_item == 2
    assert model.window == replace(WINDOW, size=64)


def test_gradients_reach_every_parameter(store):
    model = make_sbi().train()
    # residual branches start from zero
    learn(model, torch.optim.SGD(model.parameters(), 0.1), training_batch(store), 2)
    assert untaught(model) == []


def test_both_passes_of_sam_see_the_same_blends(store, monkeypatch):
    model = make_sbi().train()
    calls, batch = [], training_batch(store)
    monkeypatch.setattr(sbi, "blend_batch", lambda *values: calls.append(values) or blend_batch(*values))
    optimizer = model.optimizer()

    def closure():
        optimizer.zero_grad()
        loss = model.losses(batch)["total"]
        loss.backward()
        return loss

    optimizer.step(closure)
    assert len(calls) == 1


def test_a_blend_of_which_nothing_is_left_is_a_real(store):
    model = make_sbi().eval()
    batch = training_batch(store)
    batch["mask"][1] = 0
    labels = []
    model.logits = lambda images: torch.zeros(len(images), 2)
    original = torch.nn.functional.cross_entropy
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            sbi.F, "cross_entropy", lambda logits, classes: labels.append(classes) or original(logits, classes)
        )
        model.losses(batch)
    assert labels[0].tolist() == [0, 0, 0, 0, 1, 0, 1, 1]
    reals, blends, _ = batch["blended"]
    assert torch.equal(reals[1], blends[1])


def test_a_training_with_sam_that_was_stopped_ends_with_the_same_weights(store, tmp_path, caplog):
    settings = {
        "backbone": "test_resnet",
        "pretrained": False,
        "backbone_stride": 16,
        "size": 32,
        "epochs": 2,
        "batch_size": 8,
    }

    def train(folder):
        return train_on_cpu("sbi", settings, [store.samples], folder)

    summary = train(tmp_path)
    assert 0 <= summary["best"]["val/video_auc"] <= 1
    detector, _ = load_detector(tmp_path / "detector.ckpt")
    assert isinstance(detector, Sbi)

    with stopped_before(Sbi, 1):
        train(tmp_path / "again")
    with caplog.at_level(logging.INFO, logger="detectors"):
        train(tmp_path / "again")
    assert "going on from" in caplog.text
    assert (tmp_path / "again/detector.ckpt").read_bytes() == (tmp_path / "detector.ckpt").read_bytes()


def test_the_preview_shows_what_training_reads(store, tmp_path):
    output = tmp_path / "sheet.png"
    options = ["--samples", store.samples, "--data", store.data, "--output", output, "--n", 2]
    run_program(sbi_preview.main, *options, "--settings", '{"size": 40}')
    sheet = cv2.imread(str(output))
    assert sheet.shape == (2 * 44, 4 * 44, 3)
    real, mask, blend, difference = (sheet[:40, left : left + 40].astype(int) for left in range(0, 176, 44))
    assert (mask[..., 0] == mask[..., 1]).all()
    assert np.abs(np.clip(128 + 4 * (blend - real), 0, 255) - difference).max() <= 1


def test_it_learns_eight_pairs_by_heart(store):
    model = make_sbi(
        TINY.model_copy(update={"backbone_stride": 8, "size": 32, "optimizer": "adam", "learning_rate": 3e-3})
    ).train()
    faces = model.training_set(Samples.read([store.samples]), store.data, seed=0)
    batch = faces.__getitems__([(0, index) for index in range(8)])
    optimizer = model.optimizer()
    assert learn(model, optimizer, batch)["total"] > 0.5
    learn(model, optimizer, batch, 79)
    optimizer.param_groups[0]["lr"] = 5e-4
    assert learn(model, optimizer, batch, 30)["total"] < 0.1
    reals, blends, _ = batch["blended"]
    with torch.no_grad():
        model.eval()
        assert model.score(blends).min() > model.score(reals).max()


SWAPS = {"ff_synthetic": ("Deepfakes", "FaceSwap"), "celebdf_synthetic": ("Celeb-synthesis",)}


@pytest.mark.training
@pytest.mark.timeout(3600)
def test_trained_on_reals_alone_it_detects_blended_swaps(shipped_store, tmp_path):
    """Five minutes of one core, besides the store."""
    settings = {"backbone": "mobilenetv3_small_100", "pretrained": False, "backbone_stride": 16, "size": 112}
    settings |= {"optimizer": "adam", "learning_rate": 2e-3, "schedule": "cosine", "epochs": 30, "batch_size": 8}
    settings |= {"val_samples": 150, "cpu_threads": 1}
    aucs = in_domain_video_aucs(shipped_store, tmp_path, "sbi", settings)
    of_swaps = {}
    for name, methods in SWAPS.items():
        predictions = pd.DataFrame(read_rows(tmp_path / f"predictions/{name}.parquet"))
        of_swaps[name] = video_auc(predictions[predictions["method"].isin([REAL, *methods])])
    print(f"video AUC {aucs}, of swaps {of_swaps}")
    assert min(of_swaps.values()) > 0.80, of_swaps
    assert min(aucs.values()) > 0.80, aucs
