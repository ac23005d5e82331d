"""The JPEG round trip against OpenCV's encoder and decoder."""

from __future__ import annotations

import io
import warnings

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from detectors.data import jpeg as jpeg_module
from detectors.data.jpeg import jpeg_round_trip
from detectors.data.tensors import full_precision


def picture(height=101, width=83, seed=0):
    """Smooth colours with a fine grain, (height, width, 3) uint8 RGB."""
    rng = np.random.default_rng(seed)
    smooth = cv2.resize(rng.uniform(30, 220, (6, 5, 3)), (width, height), interpolation=cv2.INTER_CUBIC)
    return np.clip(smooth + rng.normal(0, 6, smooth.shape), 0, 255).astype(np.uint8)


def to_images(*pictures):
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2)


def of_opencv(image, quality):
    _, encoded = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    return cv2.imdecode(encoded, cv2.IMREAD_COLOR)[..., ::-1].astype(int)


@pytest.mark.parametrize("quality", [10, 40, 50, 75, 90, 100])
def test_it_gives_what_opencv_gives(quality):
    image = picture()
    ours = jpeg_round_trip(to_images(image), torch.tensor([quality]))[0].permute(1, 2, 0).numpy().astype(int)
    theirs = of_opencv(image, quality)
    # transforms in integers and in floats part at the ties of rounding
    assert np.abs(ours - theirs).mean() < 0.3
    assert np.abs((ours - theirs).mean((0, 1))).max() < 0.03
    assert np.percentile(np.abs(ours - theirs), 99) <= 3
    assert quality == 100 or np.abs(theirs - image.astype(int)).mean() > 1.5


def test_each_image_has_its_quality_whatever_the_batch():
    images = to_images(picture(seed=1), picture(seed=2), picture(seed=3))
    quality = torch.tensor([95, 40, 70])
    together = jpeg_round_trip(images, quality)
    alone = torch.cat([jpeg_round_trip(images[i : i + 1], quality[i : i + 1]) for i in range(3)])
    assert torch.equal(together, alone)
    loss = (together.float() - images.float()).abs().mean((1, 2, 3))
    assert loss[0] < loss[2] < loss[1]


def test_floats_and_bytes_and_odd_sizes():
    image = to_images(picture(height=17, width=9))
    quality = torch.tensor([60])
    result = jpeg_round_trip(image, quality)
    assert result.dtype == torch.uint8
    assert result.shape == image.shape
    assert torch.equal(jpeg_round_trip(image.float(), quality), result.float())
    # fractions are rounded before, as pixels of a file are
    assert torch.equal(jpeg_round_trip(image.float() + 0.3, quality), result.float())


def test_a_plain_grey_survives_every_quality():
    grey = torch.full((100, 3, 16, 16), 128, dtype=torch.uint8)
    assert torch.equal(jpeg_round_trip(grey, torch.arange(1, 101)), grey)


def test_autocast_does_not_coarsen_it():
    image, quality = to_images(picture()), torch.tensor([90])
    plain = jpeg_round_trip(image, quality)
    torch.set_float32_matmul_precision("medium")
    try:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert torch.equal(jpeg_round_trip(image, quality), plain)
            with full_precision():
                assert torch.get_float32_matmul_precision() == "highest"
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision("highest")


def test_full_precision_has_no_autocast_and_warns_of_nothing_without_a_gpu():
    with warnings.catch_warnings(action="error"), full_precision():
        assert not torch.is_autocast_enabled("cpu")
        assert not torch.is_autocast_enabled("cuda")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_gives_what_a_cpu_gives():
    images = to_images(*(picture(seed=seed) for seed in range(8)))
    quality = torch.tensor([10, 30, 40, 55, 70, 85, 95, 100])
    difference = jpeg_round_trip(images, quality).int() - jpeg_round_trip(images.cuda(), quality.cuda()).cpu().int()
    assert (difference != 0).float().mean() < 1e-3


@pytest.mark.parametrize("quality", [1, 10, 37, 49, 50, 51, 75, 90, 99, 100])
def test_the_tables_are_those_of_the_standard_scaled_as_libjpeg_scales_them(quality):
    """ITU-T T.81, tables K.1 and K.2; a flat picture but for one frequency keeps multiples of its step alone."""
    buffer = io.BytesIO()
    Image.new("RGB", (16, 16)).save(buffer, "jpeg", quality=quality)
    with Image.open(buffer) as saved:
        luma, chroma = (np.array(saved.quantization[number]) for number in (0, 1))
    for table, expected in ((jpeg_module._LUMA_TABLE, luma), (jpeg_module._CHROMA_TABLE, chroma)):
        scaled = jpeg_module._scaled(table, torch.tensor([quality]))[0].numpy()
        assert sorted(scaled.tolist()) == sorted(expected.tolist())
        # Pillow gives them in the order of the file (zigzag) or of the rows
        zigzag = sorted(np.ndindex(8, 8), key=lambda at: (sum(at), at[0] if sum(at) % 2 else at[1]))
        in_file = scaled.reshape(8, 8)[tuple(np.array(zigzag).T)]
        assert expected.tolist() in (scaled.tolist(), in_file.tolist())
