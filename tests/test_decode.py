import numpy as np
import pytest
from conftest import grey_frames, write_video
from PIL import Image
from tiny_videos import turn_clockwise

from preprocess.decode import read_frames, read_image
from preprocess.probe import ProbeError


def levels(path, indices):
    """Grey level of each frame that comes back, by its index."""
    return {index: float(frame[-8:].mean()) for index, frame in read_frames(path, indices)}


def expected(indices):
    return {index: pytest.approx(10 * index, abs=4) for index in indices}


@pytest.mark.parametrize(
    ("codec", "suffix"),
    [
        ("libx264", "mp4"),
        ("libx264", "mkv"),
        ("libx264", "avi"),  # no display times, with reordered frames
        ("libx264", "h264"),  # no times at all
        ("mpeg4", "avi"),
        ("libvpx-vp9", "webm"),
        ("gif", "gif"),
    ],
)
def test_every_frame_is_the_one_asked_for(tmp_path, codec, suffix):
    path = write_video(tmp_path / f"video.{suffix}", grey_frames(20), codec=codec)
    assert levels(path, range(20)) == expected(range(20))
    assert levels(path, [7, 3, 19, 3]) == expected([3, 7, 19])


def test_variable_frame_rate_and_late_start(tmp_path):
    times = [50, 51, 55, 56, 57, 70, 71, 90, 91, 92]
    path = write_video(tmp_path / "video.mkv", grey_frames(10), times=times)
    assert levels(path, [0, 4, 5, 9]) == expected([0, 4, 5, 9])


def test_rotated_video_is_upright(tmp_path):
    path = write_video(tmp_path / "video.mp4", grey_frames(3))
    turn_clockwise(path)
    frames = dict(read_frames(path, [1]))
    assert frames[1].shape == (64, 48, 3)
    assert frames[1][:8, -8:].mean() > 200, "the corner at the top left comes to the top right"
    assert frames[1][:8, :8].mean() < 60


def test_cut_file_gives_only_what_it_holds(tmp_path):
    path = write_video(tmp_path / "video.ts", np.random.default_rng(0).integers(0, 255, (20, 48, 64, 3), np.uint8))
    whole = dict(read_frames(path, range(20)))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    cut = dict(read_frames(path, range(20)))
    assert 0 < len(cut) < len(whole) == 20
    assert set(cut) <= set(range(20))
    first = min(cut)
    assert np.array_equal(cut[first], whole[first])


def test_indices_beyond_the_end_are_left_out(tmp_path):
    path = write_video(tmp_path / "video.mp4", grey_frames(5))
    assert [index for index, _ in read_frames(path, [3, 4, 5, 100])] == [3, 4]
    assert list(read_frames(path, [])) == []


def test_a_file_that_is_no_video(tmp_path):
    path = tmp_path / "video.mp4"
    path.write_text("not a video")
    with pytest.raises(ProbeError, match="cannot be opened"):
        list(read_frames(path, [0]))


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P", "CMYK", "I;16"])
def test_images_come_as_rgb(tmp_path, mode):
    values = np.full((6, 8), 200, np.uint8)
    deep = Image.fromarray(values.astype(np.uint16) << 8)
    image = deep if mode == "I;16" else Image.fromarray(values).convert(mode)
    path = tmp_path / ("image.tiff" if mode in ("CMYK", "I;16") else "image.png")
    image.save(path)
    pixels = read_image(path)
    assert pixels.shape == (6, 8, 3)
    assert np.abs(pixels.astype(int) - 200).max() <= 2


def test_exif_orientation(tmp_path):
    values = np.zeros((6, 8, 3), np.uint8)
    values[:2, :2] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise
    Image.fromarray(values).save(tmp_path / "image.png", exif=exif)
    pixels = read_image(tmp_path / "image.png")
    assert pixels.shape == (8, 6, 3)
    assert pixels[0, -1].min() == 255
    assert pixels[0, 0].max() == 0
