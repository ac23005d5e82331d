"""What a file holds, against what its decoder gives."""

import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from helpers.tiny_videos import cut_beginning, repeat_packets, truncate, turn_clockwise, write_tiny_frames, write_video
from preprocess.video.decode import read_frames, read_image
from preprocess.video.outcomes import NO_FRAMES, UNREADABLE
from preprocess.video.probe import ProbeError, VideoInfo, frame_times, probe_image, probe_video


def decoded_times(path) -> list[float]:
    """Times of the frames that PyAV decodes, passing over packets that do not decode."""
    times = []
    with av.open(str(path)) as container:
        for packet in container.demux(video=0):
            try:
                times += [frame.time for frame in packet.decode()]
            except av.FFmpegError:
                continue
    return times


def test_probe_video_measures_a_plain_video(tmp_path):
    path = write_video(tmp_path / "a.mp4", n_frames=10)
    assert probe_video(path) == VideoInfo("mpeg4", 48, 64, 10, 25.0, 0.4)
    np.testing.assert_allclose(frame_times(path), np.arange(10) / 25, atol=1e-12)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("b_frames.mp4", {"max_b_frames": 2}),
        ("b_frames.avi", {"max_b_frames": 2}),
        ("no_frame_count.mkv", {"max_b_frames": 2}),
        ("stream.ts", {"codec": "mpeg2video"}),
        ("loop.gif", {"codec": "gif", "pixel_format": "rgb8"}),
        ("one.mp4", {"n_frames": 1}),
        ("variable_rate.mp4", {"times_ms": [0, 40, 50, 130, 400, 410, 640]}),
        ("late_start.mkv", {"times_ms": [1000, 1040, 1080, 1120]}),
    ],
)
def test_frame_times_are_the_times_of_the_decoded_frames(tmp_path, name, options):
    path = write_video(tmp_path / name, **{"n_frames": 12, **options})
    times = frame_times(path)
    assert list(times) == decoded_times(path)
    assert times.dtype == np.float64
    assert probe_video(path).n_frames == len(times) == len(options.get("times_ms", range(options.get("n_frames", 12))))


def test_start_and_rate_come_from_the_times_and_not_from_the_header(tmp_path):
    late = write_video(tmp_path / "late.mkv", times_ms=[1000, 1040, 1080, 1120])
    assert frame_times(late)[0] == 1.0
    assert probe_video(late).duration_seconds == pytest.approx(0.16)
    uneven = probe_video(write_video(tmp_path / "uneven.mp4", times_ms=[0, 40, 50, 130, 400, 410, 600]))
    assert uneven.fps == pytest.approx(6 / 0.6)


def test_frames_cut_away_by_an_edit_list_do_not_count_whatever_the_header_says(tmp_path):
    path = write_video(tmp_path / "a.mp4", n_frames=12)
    with av.open(str(path)) as container:
        ticks_per_frame = round(1 / (25 * container.streams.video[0].time_base))
    cut_beginning(path, 3 * ticks_per_frame)
    with av.open(str(path)) as container:
        assert container.streams.video[0].frames == 12
    assert probe_video(path).n_frames == len(frame_times(path)) == len(decoded_times(path)) == 9


def test_a_stream_without_times_is_placed_by_its_rate(tmp_path):
    path = write_video(tmp_path / "raw.bin", codec="mjpeg", pixel_format="yuvj420p", format="mjpeg")
    np.testing.assert_allclose(frame_times(path), np.arange(5) / 25)


def test_rotation_metadata_turns_the_size(tmp_path):
    path = write_video(tmp_path / "a.mp4", size=(48, 64))
    turn_clockwise(path)
    info = probe_video(path)
    assert (info.height, info.width) == (64, 48)


def test_a_truncated_video_counts_up_to_the_cut(tmp_path):
    path = write_video(tmp_path / "a.mp4", n_frames=20, container_options={"movflags": "faststart"})
    truncate(path, 0.6)
    info = probe_video(path)
    assert 0 < len(decoded_times(path)) <= info.n_frames < 20
    assert len(frame_times(path)) == info.n_frames


def test_metadata_in_another_encoding_do_no_harm(tmp_path):
    path = write_video(tmp_path / "a.mp4", title="TITLE_OF_VIDEO")
    path.write_bytes(path.read_bytes().replace(b"TITLE_OF_VIDEO", b"\xff\xfe_OF_VIDEO!!"))
    assert probe_video(path).n_frames == 5


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("zero.mp4", b"", "0 bytes"),
        ("text.mp4", b"no video here\n" * 100, "cannot be opened"),
        ("playlist.mp4", b"ffconcat version 1.0\nfile 'other.mp4'\n", "list of other files"),
    ],
)
def test_what_is_no_video_is_unreadable(tmp_path, name, content, message):
    write_video(tmp_path / "other.mp4")
    (tmp_path / name).write_bytes(content)
    for probe in (probe_video, frame_times):
        with pytest.raises(ProbeError, match=message) as caught:
            probe(tmp_path / name)
        assert caught.value.status == UNREADABLE


def test_a_folder_an_absent_file_a_headless_file_and_sound_are_unreadable(tmp_path):
    (tmp_path / "folder.mp4").mkdir()
    headless = write_video(tmp_path / "headless.mp4", n_frames=20)
    truncate(headless, 0.6)  # the index of a plain mp4 stands at its end
    with av.open(str(tmp_path / "sound.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=48000)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        sound.sample_rate = 48000
        container.mux(stream.encode(sound))
        container.mux(stream.encode())
    for name in ("folder.mp4", "absent.mp4", "headless.mp4", "sound.mp4"):
        with pytest.raises(ProbeError) as caught:
            probe_video(tmp_path / name)
        assert caught.value.status == UNREADABLE, name


def test_a_video_of_which_nothing_decodes_has_no_frames(tmp_path):
    path = write_video(tmp_path / "a.mp4")
    data = bytearray(path.read_bytes())
    begin, end = data.index(b"mdat") + 4, data.index(b"moov") - 4
    data[begin:end] = bytes(end - begin)
    path.write_bytes(data)
    with pytest.raises(ProbeError, match="none of 5 frames decodes") as caught:
        probe_video(path)
    assert caught.value.status == NO_FRAMES


def test_names_with_any_character_open(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("Größe 人.mp4", "a b.mp4", "a\nb.mp4", "a:b.mp4", "%03d.mp4"):
        write_video(tmp_path / "plain.mp4").rename(name)
        assert probe_video(tmp_path / name).n_frames == probe_video(name).n_frames == 5


def test_probe_image_trusts_content_and_not_extension(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 255, (30, 40, 4), np.uint8)
    Image.fromarray(pixels, "RGBA").save(tmp_path / "a.jpg", "PNG")
    Image.fromarray(pixels[..., 0]).save(tmp_path / "b.jpeg", "WEBP")
    assert probe_image(tmp_path / "a.jpg") == VideoInfo("png", 30, 40, 1, None, None)
    assert probe_image(tmp_path / "b.jpeg").codec == "webp"


@pytest.mark.parametrize(
    ("orientation", "size"),
    [*((upright, (30, 40)) for upright in (0, 1, 2, 3, 4, 9)), *((turned, (40, 30)) for turned in (5, 6, 7, 8))],
)
def test_probe_image_applies_exif_orientation(tmp_path, orientation, size):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.new("RGB", (40, 30)).save(tmp_path / "a.jpg", exif=exif)
    info = probe_image(tmp_path / "a.jpg")
    assert (info.height, info.width) == size


def test_damaged_and_foreign_images_are_unreadable(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 255, (30, 40, 3), np.uint8)
    for name in ("cut.jpg", "cut.png"):
        Image.fromarray(pixels).save(tmp_path / name)
        truncate(tmp_path / name, 0.5)
    Image.fromarray(pixels).save(tmp_path / "other_format.jpg", "PPM")
    (tmp_path / "text.png").write_text("no image")
    (tmp_path / "zero.png").touch()
    for name in ("cut.jpg", "cut.png", "other_format.jpg", "text.png", "zero.png", "absent.png"):
        with pytest.raises(ProbeError) as caught:
            probe_image(tmp_path / name)
        assert caught.value.status == UNREADABLE, name


@pytest.mark.parametrize("kind", ["pipe", "folder", "socket", "device"])
def test_what_is_no_regular_file_is_refused_at_once(tmp_path, kind):
    path = tmp_path / "x.mp4"
    if kind == "pipe":
        os.mkfifo(path)  # who opens it waits for ever
    elif kind == "folder":
        path.mkdir()
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(str(path))
    else:
        path = Path("/dev/zero")  # never ends
    for probe in (probe_video, frame_times, probe_image, read_image, lambda path: list(read_frames(path, [0]))):
        with pytest.raises(ProbeError, match=f"is not a regular file but a .*{kind}") as caught:
            probe(path)
        assert caught.value.status == UNREADABLE


@pytest.mark.skipif(not hasattr(os, "seteuid"), reason="no users to be")
def test_a_file_that_may_not_be_read_says_so():
    with tempfile.TemporaryDirectory() as folder:  # a folder of this test's own, that any user may enter
        Path(folder).chmod(0o755)
        video, image = write_video(Path(folder) / "locked.mp4"), Path(folder) / "locked.png"
        Image.new("RGB", (4, 4)).save(image)
        for path in (video, image):
            path.chmod(0)
        user = os.geteuid()
        if user == 0:
            os.seteuid(65534)  # root reads files of any permission
        try:
            for probe, path in ((probe_video, video), (frame_times, video), (probe_image, image), (read_image, image)):
                with pytest.raises(ProbeError, match="Permission denied") as caught:
                    probe(path)
                assert caught.value.status == UNREADABLE
        finally:
            os.seteuid(user)


def peak_mib(function: str, path: Path) -> tuple[float, str]:
    """Most memory of a new process that calls a function of probe or decode on a file, and what it says."""
    if not Path("/proc/self/status").exists():
        pytest.skip("only Linux tells the memory of a process from that of the one that started it")
    code = """
import sys
from preprocess.video.decode import *
from preprocess.video.probe import *
try:
    print(eval(sys.argv[1])(sys.argv[2]))
except ProbeError as error:
    print(error.status, error)
(line,) = (line for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(int(line.split()[1]) / 1024)
"""
    command = [sys.executable, "-c", code, function, str(path)]
    *said, peak = subprocess.run(command, check=True, text=True, capture_output=True).stdout.splitlines()
    return float(peak), "\n".join(said)


def test_headers_that_claim_more_than_memory_holds_cost_none(tmp_path):
    write_tiny_frames(tmp_path / "canvas.gif", (16000, 16000))
    write_tiny_frames(tmp_path / "image.gif", (12000, 14000))
    grown = write_video(tmp_path / "grown.avi", codec="mjpeg", pixel_format="yuvj420p", n_frames=2)
    # frame, precision, height, width
    grown.write_bytes(
        grown.read_bytes().replace(b"\xff\xc0\x00\x11\x08\x00\x30\x00\x40", b"\xff\xc0\x00\x11\x08\xff\x00\xff\x00")
    )
    for function, name, status, message in (
        ("probe_video", "canvas.gif", NO_FRAMES, "none of 1 frames decodes, or they have over 67 million px"),
        ("probe_video", "grown.avi", NO_FRAMES, "none of 2 frames decodes"),
        ("probe_image", "image.gif", UNREADABLE, "claims 14000 x 12000 px; up to 160 million px are read"),
        ("read_image", "image.gif", UNREADABLE, "claims 14000 x 12000 px; up to 160 million px are read"),
    ):
        peak, said = peak_mib(function, tmp_path / name)
        assert (status, message) == tuple(said.split(" ", 1))
        assert peak < 200, (name, "imports take 90")


def test_a_video_whose_header_tells_too_large_a_size(tmp_path):
    with av.open(str(tmp_path / "large.mpg"), "w") as output:
        stream = output.add_stream("mpeg2video", rate=25)
        stream.width, stream.height, stream.pix_fmt = 12000, 6000, "yuv420p"
        output.mux(stream.encode(av.VideoFrame(12000, 6000, "yuv420p")))
        output.mux(stream.encode())
    peak, said = peak_mib("probe_video", tmp_path / "large.mpg")
    assert said == "unreadable claims 12000 x 6000 px; up to 67 million px are read"
    assert peak < 200


@pytest.mark.slow
def test_the_largest_images_are_read_in_seven_bytes_a_pixel(tmp_path):
    Image.new("RGB", (12000, 12500), (200, 100, 40)).save(tmp_path / "large.jpg")
    peak, said = peak_mib("lambda path: read_image(path)[::6000, ::6000].tolist()", tmp_path / "large.jpg")
    assert said == str([[[200, 100, 40]] * 2] * 3)
    assert peak < 100 + 7.2 * 150e6 / 2**20


@pytest.mark.slow
def test_two_hours_of_1080p_take_the_memory_of_a_few_frames(tmp_path):
    """180,000 frames in GOPs of ten seconds: probed, timed, and 32 frames read, of which most are never decoded."""
    options = {"preset": "ultrafast", "crf": "48", "x264-params": "bframes=3:keyint=250"}
    short = write_video(tmp_path / "short.mp4", n_frames=250, size=(1080, 1920), codec="libx264", options=options)
    long = repeat_packets(short, tmp_path / "long.mp4", times=720)
    for function, result in (
        ("lambda path: probe_video(path).duration_seconds", "7200.0"),
        ("lambda path: len(frame_times(path))", "180000"),
        ("lambda path: sum(1 for _ in read_frames(path, range(0, 180_000, 5_625)))", "32"),
    ):
        peak, said = peak_mib(function, long)
        assert said == result
        assert peak < 300, function
    long.unlink()  # 0.9 GB
