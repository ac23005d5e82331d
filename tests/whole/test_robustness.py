"""Every kind of file that collections hold, good and bad, from the raw folder to the crops: a row, never a crash."""

import contextlib
import itertools
import json
import os
import time
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pyarrow as pa
import pytest
from PIL import Image, ImageOps

from helpers.grey_videos import grey_frames
from helpers.grey_videos import write_video as write_grey_video
from helpers.tiny_videos import truncate, turn_clockwise
from helpers.tiny_videos import write_video as write_noise_video
from preprocess.crops import CropsSettings, crop_shard
from preprocess.frames import FramesSettings, sample_shard
from preprocess.index import index_videos
from preprocess.running.cli import UserError
from preprocess.settings.index import IndexSettings
from preprocess.store.crop_file import CropReader, write_crops
from preprocess.store.origin import Origin
from preprocess.store.schemas import FRAMES, INDEX
from preprocess.video.outcomes import MISSING, OK, UNREADABLE, VIDEO_STATUS

COLOUR = (200, 100, 40)
# For one file: longer than any takes, and far below the time limit of the tests.
FILE_SECONDS = 10.0
# Without B-frames: of so few frames x265 would give some decoding times that it never set.
X265 = {"options": {"x265-params": "log-level=none:bframes=0"}}


def run_chain(
    root: Path, layout: str = "videos", label: str | None = "fake", stride: int = 1
) -> tuple[list[dict], dict]:
    """Index, sample every `stride`-th frame, and crop a folder with one face, the whole frame, in each.

    Checks what holds for any file, and returns the rows of the index and `{(name, frame_index): pixels}`
    of the crops, None for a lost one.
    """
    videos = index_videos("d", layout, root, 1, IndexSettings(label=label))
    frames = sample_shard(videos, root, FramesSettings(mode="stride", stride=stride), workers=1)
    size = {video["video_id"]: (video["height"], video["width"]) for video in videos}
    pa.Table.from_pylist(videos, schema=INDEX)
    pa.Table.from_pylist(frames, schema=FRAMES)
    for row in [*videos, *frames]:
        assert row["status"] in VIDEO_STATUS
        assert (row["status"] == OK) == (row["message"] == ""), row
    assert {row["video_id"] for row in frames} == {row["video_id"] for row in videos if row["status"] == OK}

    sampled = [frame for frame in frames if frame["status"] == OK]
    faces = [
        {**frame, "track_id": 0, "score": 1.0, "x0": 0.0, "y0": 0.0}
        | dict(zip(("y1", "x1"), map(float, size[frame["video_id"]]), strict=True))
        for frame in sampled
    ]
    path = root.parent / "crops.h5"
    write_crops(
        path, crop_shard(videos, faces, root, CropsSettings(margin=0), workers=1), Origin("d", "crops", "{}", 1, "0")
    )
    with CropReader(path) as crops:
        assert len(crops) == len(faces), "no face is lost in silence"
        pixels = {}
        for row in range(len(crops)):
            name = crops.video_id[row].split("/", 3)[3]
            image = pixels[name, int(crops.frame_index[row])] = crops.image(row)
            assert (crops.status[row] == OK) == (image is not None) == (crops.message[row] == "")
            if image is not None:
                assert image.shape == (*size[crops.video_id[row]], 3)
    return videos, pixels


def row_of(videos: list[dict], name: str) -> dict:
    (row,) = (video for video in videos if video["path"] == name)
    return row


def write_colour_video(
    path: Path, codec: str, pixel_format: str, size: tuple[int, int] = (48, 64), n_frames: int = 2, **stream_values
) -> Path:
    """Encode frames that are `COLOUR` all over; `stream_values` are set on the encoder."""
    colour = np.full((*size, 3), COLOUR, np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.height, stream.width, stream.pix_fmt = *size, pixel_format
        encoder = stream.codec_context
        encoder.thread_count = 1
        for name, value in stream_values.items():
            setattr(encoder, name, value)
        for index in range(n_frames):
            frame = av.VideoFrame.from_ndarray(colour, format="rgb24").reformat(
                format=pixel_format,
                dst_color_range=stream_values.get("color_range"),
                dst_colorspace=stream_values.get("colorspace"),
            )
            frame.pts = index
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def write_sound(path: Path, cover: bool = False) -> Path:
    """Half a second of silence, with or without a cover picture."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=48000)
        if cover:
            picture = container.add_stream("mjpeg", rate=1)
            picture.height, picture.width, picture.pix_fmt = 48, 64, "yuvj420p"
            picture.disposition = av.stream.Disposition.attached_pic
            container.mux(picture.encode(av.VideoFrame.from_ndarray(np.full((48, 64, 3), 90, np.uint8))))
            container.mux(picture.encode())
        for index in range(24):
            sound = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            sound.sample_rate, sound.pts = 48000, 1024 * index
            container.mux(stream.encode(sound))
        container.mux(stream.encode())
    return path


FULL, BT709 = av.video.reformatter.ColorRange.JPEG, av.video.reformatter.Colorspace.ITU709


@pytest.mark.parametrize(
    ("name", "codec", "pixel_format", "values"),
    [
        ("plain.mp4", "libx264", "yuv420p", {}),
        ("full_range.mp4", "libx264", "yuv420p", {"color_range": FULL}),
        ("bt709.mp4", "libx264", "yuv420p", {"colorspace": BT709}),
        ("444.mp4", "libx264", "yuv444p", {}),
        ("10_bit.mp4", "libx264", "yuv420p10le", {}),
        ("hevc.mp4", "libx265", "yuv420p", X265),
        ("hevc_10_bit.mkv", "libx265", "yuv420p10le", X265),
        ("vp9.webm", "libvpx-vp9", "yuv420p", {}),
        ("av1.mkv", "libsvtav1", "yuv420p", {}),
        ("mpeg4.avi", "mpeg4", "yuv420p", {}),
        ("animation.gif", "gif", "rgb8", {}),
        ("one_frame.mkv", "libx264", "yuv420p", {"n_frames": 1}),
        ("one_pixel.mp4", "libx264", "yuv444p", {"size": (1, 1)}),
        ("one_pixel.mkv", "ffv1", "bgr0", {"size": (1, 1)}),
        ("one_second_of_4k.mp4", "mpeg4", "yuv420p", {"size": (2160, 3840), "n_frames": 25}),
        # stored as it is: the crops keep the pixels of the file
        ("wide_pixels.mp4", "libx264", "yuv420p", {"sample_aspect_ratio": Fraction(2, 1)}),
    ],
)
def test_codecs_and_pixel_formats_give_their_colour_and_size(tmp_path, name, codec, pixel_format, values):
    root = tmp_path / "raw"
    root.mkdir()
    write_colour_video(root / name, codec, pixel_format, **values)
    videos, crops = run_chain(root, stride=12 if name == "one_second_of_4k.mp4" else 1)
    assert (videos[0]["status"], videos[0]["n_frames"]) == (OK, values.get("n_frames", 2))
    assert (videos[0]["height"], videos[0]["width"]) == values.get("size", (48, 64))
    assert len(crops) == (3 if name == "one_second_of_4k.mp4" else videos[0]["n_frames"])
    for pixels in crops.values():
        # wrong range, matrix or byte order would be off by 14 or more
        assert pixels.reshape(-1, 3).mean(axis=0) == pytest.approx(COLOUR, abs=6)


@pytest.mark.parametrize("ending", ["mkv", "avi", "ts"])
def test_a_file_cut_in_the_middle_gives_its_frames_up_to_the_cut(tmp_path, ending):
    (tmp_path / "raw").mkdir()
    noise = np.random.default_rng(0).integers(0, 255, (20, 48, 64, 3), np.uint8)
    for name, share in (("whole", 1), ("cut", 0.6), ("stump", 0.002)):
        truncate(write_grey_video(tmp_path / f"raw/{name}.{ending}", noise, codec="mpeg4"), share)
    videos, crops = run_chain(tmp_path / "raw")
    assert row_of(videos, f"stump.{ending}")["status"] != OK
    n_frames = row_of(videos, f"cut.{ending}")["n_frames"]
    assert 4 < n_frames < 15
    for index in range(n_frames - 1):  # the last one is what is cut
        assert np.array_equal(crops[f"cut.{ending}", index], crops[f"whole.{ending}", index])


def test_frames_are_counted_whatever_the_header_says(tmp_path):
    path = write_grey_video(tmp_path / "raw.avi", grey_frames(8), codec="mpeg4")
    (tmp_path / "raw").mkdir()
    data = path.read_bytes()
    main, stream = data.index(b"avih") + 8 + 16, data.index(b"strh") + 8 + 32
    for name, count in (("more.avi", 98), ("none.avi", 0), ("fewer.avi", 3)):
        assert data[main : main + 4] == data[stream : stream + 4] == (8).to_bytes(4, "little")
        stated = count.to_bytes(4, "little")
        bent = data[:main] + stated + data[main + 4 : stream] + stated + data[stream + 4 :]
        (tmp_path / "raw" / name).write_bytes(bent)
    videos, crops = run_chain(tmp_path / "raw")
    assert [video["n_frames"] for video in videos] == [8, 8, 8]
    for (_, index), pixels in crops.items():
        assert pixels[-8:].mean() == pytest.approx(10 * index, abs=4)


def test_times_that_vary_start_late_or_before_zero(tmp_path):
    (tmp_path / "raw").mkdir()
    times = {"vary.mp4": [0, 1, 5, 6, 20], "late.mkv": [50, 51, 52, 53, 54], "early.mp4": [-3, -2, -1, 0, 1]}
    for name, ticks in times.items():
        write_grey_video(tmp_path / "raw" / name, grey_frames(5), times=ticks)
    turn_clockwise(tmp_path / "raw" / "vary.mp4")
    videos, crops = run_chain(tmp_path / "raw")
    assert (row_of(videos, "vary.mp4")["height"], row_of(videos, "vary.mp4")["width"]) == (64, 48)
    assert len(crops) == sum(video["n_frames"] for video in videos) >= 12
    for name in ("vary.mp4", "late.mkv"):
        levels = [crops[name, index][-8:, -8:].mean() for index in range(5)]
        assert levels == [pytest.approx(10 * index, abs=4) for index in range(5)]


@pytest.fixture
def no_videos(tmp_path):
    """One file of each kind that is no video, and what its message says."""
    root = tmp_path / "raw"
    root.mkdir()
    (root / "zero.mp4").touch()
    (root / "text.mp4").write_text("not a video\n" * 50)
    (root / "bytes.mp4").write_bytes(np.random.default_rng(0).bytes(5000))
    (root / "folder.mp4").mkdir()
    (root / "broken_link.mp4").symlink_to("nowhere.mp4")
    (root / "loop.mp4").symlink_to("loop.mp4")
    os.mkfifo(root / "pipe.mp4")
    write_sound(root / "sound.mp4")
    write_sound(root / "sound.mkv").rename(root / "sound.avi")
    write_sound(root / "song_with_cover.mp4", cover=True)
    (root / "subtitles.mp4").write_text("1\n00:00:01,000 --> 00:00:02,000\nNo picture.\n\n")
    whole = write_noise_video(tmp_path / "whole.mp4").read_bytes()
    # a box that players pass over in the place of the only track
    (root / "no_track.mp4").write_bytes(whole.replace(b"trak", b"free"))
    return root


def test_what_is_no_video_is_a_row_with_a_reason(no_videos):
    videos, crops = run_chain(no_videos)
    assert crops == {}
    assert {video["path"]: video["status"] for video in videos} == {
        "zero.mp4": UNREADABLE,
        "text.mp4": UNREADABLE,
        "bytes.mp4": UNREADABLE,
        "broken_link.mp4": MISSING,
        "loop.mp4": MISSING,
        "pipe.mp4": UNREADABLE,
        "sound.mp4": UNREADABLE,
        "sound.avi": UNREADABLE,
        "song_with_cover.mp4": UNREADABLE,
        "subtitles.mp4": UNREADABLE,
        "no_track.mp4": UNREADABLE,
        "folder.mp4": UNREADABLE,
    }
    assert "named pipe" in row_of(videos, "pipe.mp4")["message"]
    assert "folder" in row_of(videos, "folder.mp4")["message"]
    for name in ("sound.mp4", "sound.avi", "song_with_cover.mp4", "subtitles.mp4", "no_track.mp4"):
        assert "no video stream" in row_of(videos, name)["message"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads files of any permission")
def test_a_file_that_may_not_be_read_is_a_row(tmp_path):
    path = write_noise_video(tmp_path / "raw/locked.mp4")
    path.chmod(0)
    videos, _ = run_chain(tmp_path / "raw")
    assert videos[0]["status"] == UNREADABLE
    assert "ermission" in videos[0]["message"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads folders of any permission")
def test_a_folder_that_may_not_be_read_is_named(tmp_path):
    for layout, folder in (("videos", "real"), ("celebdf", "Celeb-real")):
        root = tmp_path / layout
        write_noise_video(root / folder / "a.mp4")
        (root / "List_of_testing_videos.txt").touch()
        (root / folder).chmod(0)
        with pytest.raises(UserError, match=f"cannot list the folder .*{folder}"):
            index_videos("d", layout, root, 1, IndexSettings())
        (root / folder).chmod(0o700)


def test_any_name_keeps_its_rows_and_pixels(tmp_path):
    (tmp_path / "raw/deep er").mkdir(parents=True)
    names = ["Größe 人.mp4", "a b.mp4", 'quote\'s "two".mp4', "new\nline.mp4", "deep er/%03d;$(x)*?.mp4", "-o.mp4"]
    for name in names:
        write_grey_video(tmp_path / "plain.mp4", grey_frames(3)).rename(tmp_path / "raw" / name)
    videos, crops = run_chain(tmp_path / "raw")
    assert sorted(video["path"] for video in videos) == sorted(names)
    assert {video["status"] for video in videos} == {OK}
    assert set(crops) == set(itertools.product(names, range(3)))


def test_frames_of_another_size_are_lost_with_a_reason_and_no_more(tmp_path):
    """A stream that changes its size, as broadcasts do, has boxes for one size only."""
    small = write_grey_video(tmp_path / "small.ts", grey_frames(4)).read_bytes()
    large = write_grey_video(tmp_path / "large.ts", grey_frames(4, 96, 128), times=[10, 11, 12, 13]).read_bytes()
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw/both.ts").write_bytes(small + large)
    videos, crops = run_chain(tmp_path / "raw")
    assert (videos[0]["height"], videos[0]["width"]) == (48, 64)
    assert [pixels is not None for pixels in crops.values()] == [True] * 4 + [False] * 4


def test_the_face_detector_takes_any_frame(tmp_path, monkeypatch):
    from preprocess.faces import FacesSettings, track_shard
    from preprocess.video.outcomes import NO_FACE, UNDECODED

    root = tmp_path / "raw"
    root.mkdir()
    small = write_grey_video(tmp_path / "small.ts", grey_frames(2)).read_bytes()
    large = write_grey_video(tmp_path / "large.ts", grey_frames(2, 96, 128), times=[10, 11]).read_bytes()
    (root / "sizes.ts").write_bytes(small + large)
    write_colour_video(root / "pixel.mp4", "libx264", "yuv444p", size=(1, 1))
    write_colour_video(root / "strip.mp4", "libx264", "yuv444p", size=(3, 400))
    videos = index_videos("d", "videos", root, 1, IndexSettings(label="real"))
    frames = sample_shard(videos, root, FramesSettings(), workers=1)
    faces = track_shard(videos, frames, root, FacesSettings(), device="cpu", workers=1)
    assert {(row["video_id"].split("/")[3], row["status"]) for row in faces} == {
        ("sizes.ts", NO_FACE),
        ("sizes.ts", UNDECODED),
        ("pixel.mp4", NO_FACE),
        ("strip.mp4", NO_FACE),
    }
    assert len(faces) == len(frames) == 8


def _save_images(root: Path) -> dict[str, tuple[int, int]]:
    """Images that are `COLOUR` (grey: 100) all over, and the (height, width) of each."""
    root.mkdir()
    colour = Image.new("RGB", (8, 6), COLOUR)
    turned = Image.Exif()
    turned[0x0112] = 6
    colour.save(root / "lying.jpg", "PNG")
    colour.save(root / "lying.png", "GIF")
    colour.convert("RGBA").save(root / "rgba.png")
    colour.convert("P").save(root / "palette.png")
    colour.convert("CMYK").save(root / "cmyk.jpg", quality=95)
    colour.save(root / "turned.jpg", exif=turned, quality=95)
    Image.new("L", (8, 6), 100).save(root / "grey.jpg")
    Image.new("LA", (8, 6), (100, 255)).save(root / "grey_alpha.png")
    Image.fromarray(np.full((6, 8), 100 << 8, np.uint16)).save(root / "grey_16.png")
    Image.fromarray(np.full((6, 8), 100 << 8, np.uint16)).save(root / "grey_16.tiff")
    Image.new("RGB", (1, 1), COLOUR).save(root / "one_pixel.bmp")
    sizes = {path.name: (6, 8) for path in root.iterdir()}
    return sizes | {"turned.jpg": (8, 6), "one_pixel.bmp": (1, 1)}


def test_images_of_every_mode_give_their_colour_and_size(tmp_path):
    sizes = _save_images(tmp_path / "raw")
    videos, crops = run_chain(tmp_path / "raw", "images")
    assert {video["path"]: (video["height"], video["width"]) for video in videos} == sizes
    assert len(crops) == len(sizes)
    for (name, _), pixels in crops.items():
        expected = (100, 100, 100) if name.startswith("grey") else COLOUR
        assert pixels.reshape(-1, 3).mean(axis=0) == pytest.approx(expected, abs=6), name


def test_what_is_no_image_is_a_row_with_a_reason(tmp_path):
    root = tmp_path / "raw"
    root.mkdir()
    (root / "zero.png").touch()
    (root / "text.jpg").write_text("no image")
    (root / "folder.png").mkdir()
    (root / "broken_link.jpg").symlink_to("nowhere.jpg")
    Image.effect_noise((64, 64), 50).save(root / "cut.jpg")
    truncate(root / "cut.jpg", 0.5)
    (root / "video.png").write_bytes(write_noise_video(tmp_path / "a.mp4").read_bytes())
    videos, crops = run_chain(root, "images")
    assert crops == {}
    assert {video["path"]: video["status"] for video in videos} == {
        "zero.png": UNREADABLE,
        "text.jpg": UNREADABLE,
        "broken_link.jpg": MISSING,
        "cut.jpg": UNREADABLE,
        "folder.png": UNREADABLE,
        "video.png": UNREADABLE,
    }


@pytest.mark.parametrize("orientation", range(10))
def test_images_are_turned_as_pillow_turns_them_also_when_other_exif_entries_are_broken(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112], exif[0x0110] = orientation, "camera"
    # the text gets a tag that stands for a number, which cannot be written again
    broken = exif.tobytes().replace(b"\x01\x10\x00\x02", b"\x01\x50\x00\x02")
    image = Image.effect_noise((8, 6), 50).convert("RGB")
    (tmp_path / "raw").mkdir()
    for name, entries in (("good.png", exif), ("broken.png", broken)):
        image.save(tmp_path / "raw" / name, exif=entries)
    _, crops = run_chain(tmp_path / "raw", "images")
    with Image.open(tmp_path / "raw/good.png") as good:
        expected = np.asarray(ImageOps.exif_transpose(good))
    for name in ("good.png", "broken.png"):
        assert np.array_equal(crops[name, 0], expected)


def test_sides_that_no_camera_gives_are_refused(tmp_path):
    for folder in ("videos", "images"):
        (tmp_path / folder).mkdir()
    write_colour_video(tmp_path / "videos/long.mkv", "ffv1", "bgr0", size=(2, 65536), n_frames=1)
    Image.new("L", (1, 65536)).save(tmp_path / "images/high.png")
    for layout in ("videos", "images"):
        videos, crops = run_chain(tmp_path / layout, layout)
        assert (videos[0]["status"], crops) == (UNREADABLE, {})
        assert "65536" in videos[0]["message"]


# --- fuzz --------------------------------------------------------------------------------------


def mutate(data: bytes, rng: np.random.Generator) -> bytes:
    """Bend one to eight places: a byte set, a bit turned, a piece cut out, doubled, or filled with one value."""
    bent = bytearray(data)
    for _ in range(rng.integers(1, 9)):
        # headers stand at the ends; the middle is pixels
        span = min(len(bent), int(rng.choice([64, 512, len(bent)])))
        place = int(rng.integers(span)) if rng.random() < 0.6 else len(bent) - 1 - int(rng.integers(span))
        length = int(rng.integers(1, 40))
        match rng.integers(5):
            case 0:
                bent[place] = rng.integers(256)
            case 1:
                bent[place] ^= 1 << int(rng.integers(8))
            case 2:
                del bent[place : place + length]
            case 3:
                bent[place:place] = bent[place : place + length]
            case 4:
                bent[place : place + 4] = bytes([rng.choice([0, 1, 127, 255])]) * len(bent[place : place + 4])
        if not bent:
            return b""
    return bytes(bent)


def _seed_files(folder: Path) -> list[Path]:
    """Small good videos and images of every container and codec family."""
    folder.mkdir()
    files = [write_grey_video(folder / f"h264.{ending}", grey_frames(8)) for ending in ("mp4", "mkv", "avi", "ts")]
    files += [write_grey_video(folder / "a.gif", grey_frames(4), codec="gif")]
    files += [write_grey_video(folder / "mpeg4.avi", grey_frames(4), codec="mpeg4")]
    files += [write_grey_video(folder / "vp9.webm", grey_frames(4), codec="libvpx-vp9")]
    files += [write_colour_video(folder / "hevc.mp4", "libx265", "yuv420p", **X265)]
    files += [write_colour_video(folder / "av1.mp4", "libsvtav1", "yuv420p")]
    exif = Image.Exif()
    exif[0x0112], exif[0x0110] = 6, "camera"
    for ending in ("jpg", "png", "webp", "tiff", "bmp"):
        path = folder / f"image.{ending}"
        Image.effect_noise((24, 20), 50).convert("RGB").save(path, exif=exif)
        files.append(path)
    return files


def _fuzz_files(tmp_path: Path, n_mutations: int) -> None:
    seeds = _seed_files(tmp_path / "seeds")
    # many files a round, since starting the workers takes longer than any of them
    per_round = 2 * len(seeds)
    for begin in range(0, n_mutations, per_round):
        for layout, are_images in (("images", True), ("videos", False)):
            root = tmp_path / f"{layout}{begin}"
            root.mkdir()
            for number in range(begin, min(begin + per_round, n_mutations)):
                seed = seeds[number % len(seeds)]
                if (seed.stem == "image") == are_images:
                    mutation = mutate(seed.read_bytes(), np.random.default_rng([1, number]))
                    (root / f"{number}{seed.suffix}").write_bytes(mutation)
            if any(root.iterdir()):
                _check_mutations(root, layout)


def _check_mutations(root: Path, layout: str) -> None:
    """Run the chain over a folder of mutations; when that fails or takes long, over one after the other."""
    paths = sorted(root.iterdir())
    begin = time.monotonic()
    try:
        # some frames are not wanted, so that decoding may leave them out
        videos, _ = run_chain(root, layout, stride=3)
        assert len(videos) == len(paths)
        if time.monotonic() - begin < FILE_SECONDS:
            return
        assert len(paths) > 1, "takes too long"
    except Exception as error:
        if len(paths) == 1:
            raise AssertionError(f"mutation {paths[0].name}: {error!r}") from error
        _check_one_by_one(paths, layout)
        raise
    _check_one_by_one(paths, layout)


def _check_one_by_one(paths: list[Path], layout: str) -> None:
    for path in paths:
        alone = path.parent.with_name(f"{path.parent.name}_{path.stem}")
        alone.mkdir()
        path.rename(alone / path.name)
        _check_mutations(alone, layout)


def _metadata_trees(tmp_path: Path) -> list[tuple[str, Path]]:
    """Layout and metadata file of small collections; the videos are empty, their names are what counts."""

    def touch(*paths: str) -> None:
        for path in paths:
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).touch()

    part, test = "dfdc/dfdc_train_part_0", "dfdc_test/test"
    touch(f"{part}/a.mp4", f"{part}/b.mp4", f"{test}/a.mp4", "dfdc_preview/method_A/a.mp4")
    touch("celebdf/Celeb-real/id0_0000.mp4", "celebdf/Celeb-synthesis/id0_id1_0000.mp4")
    touch("ff/original_sequences/youtube/c23/videos/000.mp4", "ff/manipulated_sequences/F2F/c23/videos/000_001.mp4")
    texts = {
        f"{part}/metadata.json": json.dumps(
            {"a.mp4": {"label": "FAKE", "split": "train", "original": "b.mp4"}, "b.mp4": {"label": "REAL", "x": 1.5}}
        ),
        f"{test}/labels.csv": "filename,label\na.mp4,1\nb.mp4,0\n",
        f"{test}/metadata.json": json.dumps({"a.mp4": {"is_fake": 1, "augmentations": ["flip"]}}),
        "dfdc_preview/dataset.json": json.dumps({"method_A/a.mp4": {"label": "fake", "set": "train"}}),
        "celebdf/List_of_testing_videos.txt": "1 Celeb-real/id0_0000.mp4\n0 Celeb-synthesis/id0_id1_0000.mp4\n",
        **{f"ff/{split}.json": json.dumps([[f"{n}00", f"{n}01"]]) for n, split in enumerate(("train", "val", "test"))},
    }
    for path, text in texts.items():
        (tmp_path / path).write_text(text)
    layouts = {"ff": "faceforensics", "celebdf": "celebdf"}
    return [(layouts.get(path.split("/")[0], "dfdc"), tmp_path / path) for path in texts]


def _fuzz_metadata(tmp_path: Path, n_mutations: int) -> None:
    trees = _metadata_trees(tmp_path)
    for number in range(n_mutations):
        layout, path = trees[number % len(trees)]
        good = path.read_bytes()
        path.write_bytes(mutate(good, np.random.default_rng([2, number])))
        root = tmp_path / path.relative_to(tmp_path).parts[0]
        try:
            with contextlib.suppress(UserError):
                run_chain(root, layout, label=None)
        except Exception as error:
            raise AssertionError(f"mutation {number} of {path.name}: {path.read_bytes()!r}: {error!r}") from error
        path.write_bytes(good)


@pytest.mark.parametrize(
    ("layout", "name", "content"),
    [
        ("celebdf", "celebdf/List_of_testing_videos.txt", b"1 ."),
        ("dfdc", "dfdc/dfdc_train_part_0/metadata.json", b"[" * 100_000),
        ("dfdc", "dfdc/dfdc_train_part_0/metadata.json", b'{".": {"label": "REAL"}}'),
        ("dfdc", "dfdc_preview/dataset.json", b'{".": {"label": "REAL"}}'),
        ("dfdc", "dfdc_test/test/labels.csv", b"filename,label\n\xff.mp4,1\n"),
        ("dfdc", "dfdc_test/test/labels.csv", b'filename,label\n"' + b"a" * 200_000 + b'",1\n'),
    ],
)
def test_broken_metadata_are_named(tmp_path, layout, name, content):
    _metadata_trees(tmp_path)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=Path(name).name):
        index_videos("d", layout, tmp_path / name.split("/")[0], 1, IndexSettings())


@pytest.mark.parametrize("fuzz", [_fuzz_files, _fuzz_metadata])
def test_mutations_give_rows_or_a_message(tmp_path, fuzz):
    fuzz(tmp_path, 60)


@pytest.mark.slow
@pytest.mark.parametrize("fuzz", [_fuzz_files, _fuzz_metadata])
def test_a_thousand_mutations_give_rows_or_a_message(tmp_path, fuzz):
    fuzz(tmp_path, 1000)
