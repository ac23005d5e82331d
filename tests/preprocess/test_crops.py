import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import cv2
import h5py
import numpy as np
import pytest

from helpers.grey_videos import grey_frames, write_video
from preprocess.crops import CropsSettings, crop_shard, crop_window, cut_crop, cut_window, face_sharpness, parse_margin
from preprocess.running.cli import UserError
from preprocess.running.settings import load_settings
from preprocess.store.crop_file import CropReader, CropRows, write_crops
from preprocess.store.image_codecs import decode_crop, encode_crop, encode_png
from preprocess.store.origin import Origin
from preprocess.video.outcomes import NO_FACE, OK, UNDECODED


def face(video_id="d/real/original/a", frame_index=0, track_id=0, box=(20, 10, 40, 34), **values):
    corners = dict(zip(("x0", "y0", "x1", "y1"), map(float, box), strict=True))
    row = {"video_id": video_id, "frame_index": frame_index, "pts_seconds": frame_index / 25, "track_id": track_id}
    return row | corners | {"score": 0.99, "status": OK} | values


@pytest.mark.parametrize(("margin", "meaning"), [("30px", (30, "px")), ("0.3", (0.3, "box")), (0, (0, "box"))])
def test_margins(margin, meaning):
    assert parse_margin(margin) == meaning


@pytest.mark.parametrize("margin", ["-1", "30 %", "", "px", "0.3px0"])
def test_bad_margins_are_named(margin):
    with pytest.raises(UserError, match=r"margin.*30px"):
        load_settings(CropsSettings, {"margin": margin})


def test_window_is_the_box_and_its_margin_in_whole_pixels():
    assert crop_window(np.array([20, 10, 40, 34]), "0.5") == (10, -2, 50, 46)
    assert crop_window(np.array([20.2, 10.7, 40.2, 34.1]), "3px") == (17, 7, 44, 38)


@pytest.mark.parametrize("window", [(-3, -2, 5, 6), (60, 40, 70, 50), (100, 100, 104, 103), (-9, -9, -2, -3)])
def test_outside_the_frame_is_black_and_recorded(window):
    frame = np.full((48, 64, 3), 7, np.uint8)
    pixels, (left, top, right, bottom) = cut_window(frame, window)
    assert pixels.shape == (window[3] - window[1], window[2] - window[0], 3)
    inner = pixels[top : pixels.shape[0] - bottom, left : pixels.shape[1] - right]
    assert (inner == 7).all()
    assert (pixels == 7).sum() == inner.size
    ys, xs = np.mgrid[window[1] : window[3], window[0] : window[2]]
    inside = (ys >= 0) & (ys < 48) & (xs >= 0) & (xs < 64)
    assert inner.shape[0] * inner.shape[1] == inside.sum()


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (37, 53), (600, 500)])
def test_pixels_come_back_from_any_thread_with_the_same_bytes(size):
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (*size, 3), np.uint8)
    smooth = cv2.GaussianBlur(noise, (0, 0), 3).reshape(*size, 3)
    steps = np.zeros((*size, 3), np.uint8)
    steps[::2] = 255
    mirrored = noise[:, ::-1]  # not contiguous
    for image in (noise, smooth, steps, mirrored):
        with ThreadPoolExecutor(4) as pool:
            (encoded,) = set(pool.map(encode_crop, [image] * 16))
            decoded = list(pool.map(lambda data: decode_crop(data, size), [encoded] * 16))
        assert all(np.array_equal(image, pixels) for pixels in decoded)
        assert np.array_equal(image, decode_crop(np.frombuffer(encoded, np.uint8), np.array(size, np.int32)))


def test_crops_are_smaller_than_png_since_colours_share_their_detail():
    rng = np.random.default_rng(0)
    colours = cv2.resize(rng.integers(60, 180, (4, 4, 3), np.uint8), (240, 240), interpolation=cv2.INTER_CUBIC)
    detail = cv2.GaussianBlur(rng.normal(0, 20, (240, 240, 1)), (0, 0), 1)[..., None]
    image = np.clip(colours + detail, 0, 255).astype(np.uint8)
    assert len(encode_crop(image)) < 0.8 * len(encode_png(image))


def test_crop_is_lossless_and_its_transform_leads_back():
    frame = np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8)
    crop = cut_crop(frame, face(), CropsSettings(margin="4px"))
    pixels = decode_crop(crop.encoded, crop.size)
    assert np.array_equal(pixels, frame[6:38, 16:44])
    x, y = crop.crop_to_frame @ (3, 5, 1)
    assert np.array_equal(pixels[5, 3], frame[int(y), int(x)])


def test_a_capped_crop_keeps_its_place():
    frame = np.zeros((480, 640, 3), np.uint8)
    frame[200:204, 300:304] = 255
    crop = cut_crop(frame, face(box=(200, 100, 400, 340)), CropsSettings(margin=0, max_size_px=60))
    pixels = decode_crop(crop.encoded, crop.size)
    assert pixels.shape == (60, 50, 3)
    assert crop.crop_to_frame @ (25, 25, 1) == pytest.approx((301.5, 201.5)), "centres of the white square"
    assert pixels[25, 25].min() == 255
    assert crop.crop_to_frame @ (-0.5, -0.5, 1) == pytest.approx((199.5, 99.5)), "outer corners stay outer corners"


def test_shard_in_order_lost_frames_kept_as_rows(tmp_path, index_row):
    for name in "ab":
        write_video(tmp_path / f"{name}.mp4", grey_frames(10))
    videos = [index_row(f"d/real/original/{name}", f"{name}.mp4") for name in "ba"]
    faces = [
        face("d/real/original/b", 3),
        face("d/real/original/a", 9, track_id=1),
        face("d/real/original/a", 2),
        face("d/real/original/a", 50),  # beyond the end
        face("d/real/original/b", 4, status=NO_FACE),
    ]
    path = tmp_path / "crops.h5"
    write_crops(
        path, crop_shard(videos, faces, tmp_path, CropsSettings(), workers=3), Origin("d", "crops", "{}", 1, "0")
    )
    with CropReader(path) as crops:
        assert [video[-1] for video in crops.video_id] == ["a", "a", "a", "b"]
        assert crops.frame_index.tolist() == [2, 9, 50, 3]
        assert crops.track_id.tolist() == [0, 1, 0, 0]
        assert crops.status.tolist() == [OK, OK, UNDECODED, OK]
        assert crops.image(2) is None
        assert crops.message[2]
        assert crops.image(1).mean() == pytest.approx(90, abs=20)
        assert (crops.attrs["dataset"], crops.attrs["stage"]) == ("d", "crops")


def test_sharpness_falls_with_blur():
    frame = np.random.default_rng(0).integers(0, 255, (200, 200, 3), np.uint8)
    box = np.array([20, 20, 180, 180])
    assert face_sharpness(frame, box) > 10 * face_sharpness(cv2.GaussianBlur(frame, (0, 0), 3), box)
    assert np.isnan(face_sharpness(frame, box + 500))


def write_one_crop(path):
    frame = np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8)
    write_crops(path, [cut_crop(frame, face(), CropsSettings(margin="4px"))], Origin("d", "crops", "{}", 1, "0000"))
    return frame[6:38, 16:44]


def test_columns_of_many_crops_stay_in_order(tmp_path):
    frame = np.zeros((48, 64, 3), np.uint8)
    first = cut_crop(frame, face(), CropsSettings(margin="4px"))
    count = 10_000
    crops = (
        replace(first, video_id=f"d/{row // 100:03d}", frame_index=row % 100, message=str(row)) for row in range(count)
    )
    write_crops(tmp_path / "crops.h5", crops, Origin("d", "crops", "{}", 1, "0000"))
    with CropReader(tmp_path / "crops.h5") as crops:
        assert crops.message.tolist() == list(map(str, range(count)))
        assert crops.video_id.tolist() == [f"d/{row // 100:03d}" for row in range(count)]
        assert np.array_equal(crops.frame_index, np.arange(count) % 100)
        assert np.array_equal(crops.crop_to_frame, np.stack([first.crop_to_frame] * count))
        assert np.array_equal(crops.image(count - 1), frame[6:38, 16:44])


def test_no_crops_at_all(tmp_path):
    write_crops(tmp_path / "crops.h5", [], Origin("d", "crops", "{}", 1, "0000"))
    with CropReader(tmp_path / "crops.h5") as crops:
        assert len(crops) == len(crops.video_id) == 0
        assert crops.box.shape == (0, 4)
        assert crops.crop_to_frame.shape == (0, 2, 3)


@pytest.mark.parametrize("reader", [CropReader, CropRows])
def test_files_that_are_no_crops_of_this_version_are_refused(tmp_path, reader):
    path = tmp_path / "crops.h5"
    with pytest.raises(UserError, match=r"crops\.h5.*Run crop_faces"):
        reader(path)
    path.write_bytes(b"no HDF5")
    with pytest.raises(UserError, match=r"crops\.h5.*Run crop_faces"):
        reader(path)
    write_one_crop(path)
    with h5py.File(path, "r+") as file:
        del file["images"].attrs["encoding"]  # as files of version 1, which held PNG
    with pytest.raises(UserError, match=r"crops\.h5 holds 'PNG'.*Run crop_faces"):
        reader(path)
    with h5py.File(path, "w") as file:
        file["masks"] = 1
    with pytest.raises(UserError, match=r"crops\.h5 holds 'nothing'.*Run crop_faces"):
        reader(path)


def test_crops_read_as_the_documentation_says(tmp_path, monkeypatch):
    pixels = write_one_crop(tmp_path / "data/crops/ff_synthetic/0000.h5")
    monkeypatch.chdir(tmp_path)
    page = (Path(__file__).parents[2] / "docs/store.md").read_text(encoding="utf-8")
    snippets = [code for code in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "data/crops" in code]
    assert len(snippets) == 2, "with this package, and without it"
    assert "preprocess" not in snippets[1]
    for code in snippets:
        names = {}
        exec(code, names)
        assert np.array_equal(names["image"], pixels)
