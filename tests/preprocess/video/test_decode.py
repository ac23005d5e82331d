from fractions import Fraction

import av
import cv2
import numpy as np
import pytest
from av.video.frame import PictureType
from PIL import Image, ImageOps

from helpers.grey_videos import grey_frames, write_video
from helpers.tiny_videos import cut_beginning, turn_clockwise
from helpers.tiny_videos import write_video as write_noise_video
from preprocess.video import decode
from preprocess.video.decode import read_frames, read_image
from preprocess.video.packet_roles import Role
from preprocess.video.probe import NO_TICKS, PacketTable, ProbeError, frame_times, scan_packets


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


@pytest.mark.parametrize("orientation", range(10))
def test_images_are_turned_as_pillow_turns_them(tmp_path, orientation):
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8))
    exif = Image.Exif()
    exif[0x0112] = orientation
    image.save(tmp_path / "image.png", exif=exif)
    with Image.open(tmp_path / "image.png") as saved:
        assert np.array_equal(read_image(tmp_path / "image.png"), np.asarray(ImageOps.exif_transpose(saved)))


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


# --- exactness: what is not needed is not decoded, and no pixel changes -------------------------------------

X264 = "keyint=12:min-keyint=12:scenecut=0:bframes=3:b-adapt=0"
X265 = "log-level=none:keyint=12:min-keyint=12:scenecut=0:bframes=3:b-adapt=0"


def x264(params: str = "", **values) -> dict:
    return {"codec": "libx264", "options": {"x264-params": f"{X264}:{params}"}, **values}


def x265(params: str = "", **values) -> dict:
    return {"codec": "libx265", "options": {"x265-params": f"{X265}:{params}"}, **values}


# name -> how it is written, and the roles that its packets are known to have; none: all is decoded
F, M, U = Role.STARTS_AFRESH, Role.MAY_BE_NEEDED, Role.UNREFERENCED
FOLLOWED = {
    "plain.mp4": (x264("bframes=0"), {F, M}),
    "b_frames.mp4": (x264("b-pyramid=none"), {F, M, U}),
    "pyramid.mkv": (x264("b-pyramid=normal:ref=5"), {F, M, U}),
    "pyramid.ts": (x264("b-pyramid=strict"), {F, M, U}),
    "annex_b.mkv": (x264("annexb=1:repeat-headers=1"), {F, M, U}),
    "open_gop.mp4": (x264("open-gop=1"), {F, M, U}),
    "intra_refresh.mp4": (x264("intra-refresh=1"), {F, M, U}),
    "slices.mp4": (x264("slices=3:weightp=2"), {F, M, U}),
    "444.mp4": (x264(pixel_format="yuv444p"), {F, M, U}),
    "scaling_lists.mp4": (x264("cqm=jvt"), {F, M, U}),
    "10_bit.mkv": (x264(pixel_format="yuv420p10le"), {F, M, U}),
    "lossless.mp4": (x264("qp=0"), {F, M}),
    "variable_rate.mp4": (x264(times_ms=[40 * i + 13 * (i % 3) + 500 * (i > 20) for i in range(40)]), {F, M, U}),
    "early_start.mp4": (x264(times_ms=[40 * i - 200 for i in range(40)]), {F, M, U}),
    "late_start.mkv": (x264(times_ms=[5000 + 40 * i for i in range(40)]), {F, M, U}),
    "hevc.mp4": (x265(), {F, M, U}),
    "hevc_closed.ts": (x265("open-gop=0"), {F, M, U}),
    "hevc_layers.mkv": (x265("temporal-layers=3:open-gop=0"), {F, M, U}),
    "vp9.webm": ({"codec": "libvpx-vp9", "options": {"g": "12", "lag-in-frames": "8"}}, {F, M}),
    "av1.mkv": ({"codec": "libsvtav1", "options": {"g": "12", "preset": "12"}}, {F, M}),
    "av1.mp4": ({"codec": "libsvtav1", "options": {"g": "12", "preset": "12"}}, {F, M}),
}
DECODED_WHOLE = {
    "interlaced.mp4": x264("interlaced=1"),
    "reordered.avi": x264(),
    "raw.h264": x264(),
    "mpeg4.mp4": {"codec": "mpeg4", "max_b_frames": 2},
    "mpeg4.avi": {"codec": "mpeg4", "max_b_frames": 2},
    "mpeg2.ts": {"codec": "mpeg2video", "max_b_frames": 2},
    "mjpeg.mov": {"codec": "mjpeg", "pixel_format": "yuvj420p"},
    "animation.gif": {"codec": "gif", "pixel_format": "rgb8"},
    "vp8.webm": {"codec": "libvpx"},
}
FRAME_SETS = {
    "first": [0],
    "one": [17],
    "last": [39],
    "every": range(40),
    "tenth": range(0, 40, 10),
    "random": [5, 6, 21, 22, 23, 38],
}


def decoded_whole(path) -> dict[int, np.ndarray]:
    """All frames by their place in display order, decoded with nothing left out."""
    frames = {}
    with av.open(str(path)) as container:
        container.streams.video[0].codec_context.thread_count = 1
        for packet in container.demux(video=0):
            try:
                for frame in packet.decode():
                    frames[len(frames)] = np.rot90(frame.to_ndarray(format="rgb24"), round(frame.rotation / 90))
            except av.FFmpegError:
                continue
    return frames


def assert_same_frames(path, monkeypatch=None) -> None:
    """`read_frames` gives every set of frames as they come when all is decoded; with `monkeypatch`, without that."""
    whole = decoded_whole(path)
    if monkeypatch:
        monkeypatch.setattr("preprocess.video.decode._decode_all", lambda path: pytest.fail("decodes everything"))
    for name, indices in FRAME_SETS.items():
        chosen = dict(read_frames(path, indices))
        assert list(chosen) == [index for index in indices if index in whole], name
        for index, frame in chosen.items():
            assert np.array_equal(frame, whole[index]), (name, index)


@pytest.mark.parametrize("name", FOLLOWED)
def test_decoding_what_is_needed_changes_no_pixel(tmp_path, name, monkeypatch):
    values, roles = FOLLOWED[name]
    path = write_noise_video(tmp_path / name, n_frames=40, size=(96, 128), **values)
    found = scan_packets(path).roles
    assert {Role(role) for role in found} == roles
    assert_same_frames(path, monkeypatch)


@pytest.mark.parametrize("video", [x264("b-pyramid=none"), x265("b-pyramid=0:open-gop=0")], ids=["h264", "hevc"])
def test_roles_are_those_of_the_pictures(tmp_path, video):
    """Where no B picture is referenced, the decoder's types of pictures tell the roles of the packets."""
    path = write_noise_video(tmp_path / "video.mp4", n_frames=40, size=(96, 128), **video)
    found = scan_packets(path)
    with av.open(str(path)) as container:
        frames = {frame.pts: frame for frame in container.decode(video=0)}
    expected = [
        F if frames[pts].key_frame else U if frames[pts].pict_type == PictureType.B else M
        for pts in found.pts_ticks.tolist()
    ]
    assert set(expected) == {F, M, U}
    assert found.roles.tolist() == expected


# two groups in file order, the second from packet 4 on; times in the order of the file
ROLES = [F, M, U, U, F, M, U, M]


def needs(wanted: list[int], roles=ROLES, pts=range(8), hidden=(), guesses=False) -> str | None:
    """What is done with each packet: `.` dropped, `p` passed over, `D` decoded."""
    is_shown = ~np.isin(np.arange(8), hidden)
    pts = np.array(pts)
    table = PacketTable(pts, pts, is_shown, np.array(roles, np.uint8), Fraction(1, 25), Fraction(1, 25), guesses)
    found = decode._needed_packets(table, wanted)
    marks = {decode._DROP: ".", decode._PASS: "p", decode._DECODE: "D"}
    return None if found is None else "".join(marks[need] for need in found.tolist())


def test_what_is_dropped_passed_over_and_decoded():
    assert needs([2]) == "DDD....."
    assert needs([3]) == "DDpD....", "unreferenced and not wanted"
    assert needs([1]) == "DD......"
    assert needs([7]) == "D...DDpD", "the first frame tells the size of all"
    assert needs([2, 6]) == "DDD.DDD."
    assert needs(list(range(8))) == "DDDDDDDD"
    # the first packet is cut away by an edit list: frame 2 is packet 3
    assert needs([2], hidden=[0]) == "DDpD...."
    # a frame that is shown before what it is made from
    assert needs([1], pts=[0, 3, 1, 2, 4, 7, 5, 6]) == "DDD....."


def test_all_is_decoded_where_not_every_packet_is_known():
    assert needs([2], roles=[M, *ROLES[1:]]) is None
    assert needs([2], roles=[*ROLES[:7], Role.UNKNOWN]) is None
    assert needs([2], guesses=True) is None
    assert needs([2], pts=[0, 1, 2, 3, 4, 5, 6, 6]) is None
    assert needs([2], pts=[0, 1, 2, 3, 4, 5, 6, NO_TICKS]) is None


def test_all_is_decoded_where_the_user_asks_for_it(tmp_path, monkeypatch):
    path = write_noise_video(tmp_path / "video.mp4", n_frames=40, size=(96, 128), **x264("b-pyramid=normal"))
    monkeypatch.setattr(decode, "_decode_needed", lambda *_: pytest.fail("leaves packets out"))
    monkeypatch.setenv(decode.DECODE_WHOLE, "1")
    assert_same_frames(path)
    monkeypatch.setenv(decode.DECODE_WHOLE, "")
    with pytest.raises(pytest.fail.Exception, match="leaves packets out"):
        list(read_frames(path, [3]))


@pytest.mark.parametrize("bend", [turn_clockwise, lambda path: cut_beginning(path, 512 * 10)])
def test_frames_that_are_turned_or_cut_away_change_nothing_of_this(tmp_path, bend, monkeypatch):
    path = write_noise_video(tmp_path / "video.mp4", n_frames=40, size=(96, 128), **x264("b-pyramid=normal"))
    bend(path)
    assert Role.UNREFERENCED in scan_packets(path).roles
    assert_same_frames(path, monkeypatch)


def test_streams_that_are_joined_are_decoded_whole(tmp_path):
    """The headers of the second part come beside a packet, and whoever drops that packet drops them."""
    parts = [
        write_noise_video(
            tmp_path / f"{number}.flv",
            size=(96, 128),
            times_ms=[40 * (24 * number + frame) for frame in range(20)],
            **x264(params),
        )
        for number, params in enumerate(("b-pyramid=normal", "cabac=0:8x8dct=0"))
    ]
    file_header_bytes = 13
    path = tmp_path / "joined.flv"
    path.write_bytes(parts[0].read_bytes() + parts[1].read_bytes()[file_header_bytes:])
    assert Role.UNKNOWN in scan_packets(path).roles
    expected = {**frames_by_time(parts[0]), **frames_by_time(parts[1])}
    for indices in ([35], range(40)):
        frames = dict(read_frames(path, indices))
        assert list(frames) == list(indices)
        for index, frame in frames.items():
            assert np.array_equal(frame, list(expected.values())[index])


def test_lost_packets_are_lost_alone(tmp_path):
    path = write_noise_video(tmp_path / "video.mkv", n_frames=40, size=(96, 128), **x264("b-pyramid=normal"))
    with av.open(str(path)) as whole, av.open(str(tmp_path / "lost.mkv"), "w") as output:
        stream = output.add_stream_from_template(whole.streams.video[0])
        for number, packet in enumerate(whole.demux(video=0)):
            if packet.size and number not in (5, 18, 30):
                packet.stream = stream
                output.mux(packet)
    times, expected = frame_times(tmp_path / "lost.mkv"), frames_by_time(tmp_path / "lost.mkv")
    assert len(times) == 37
    for indices in (range(37), range(0, 37, 6), [36]):
        for index, frame in read_frames(tmp_path / "lost.mkv", indices):
            assert np.array_equal(frame, expected[times[index]]), index


@pytest.mark.parametrize("name", DECODED_WHOLE)
def test_what_cannot_be_followed_is_decoded_whole(tmp_path, name):
    path = write_noise_video(tmp_path / name, n_frames=40, size=(96, 128), **DECODED_WHOLE[name])
    assert_same_frames(path)


@pytest.mark.parametrize("name", ["b_frames.mp4", "pyramid.ts", "open_gop.mp4", "annex_b.mkv"])
def test_damaged_files_give_the_frames_that_decoding_everything_gives(tmp_path, name):
    path = write_noise_video(tmp_path / name, n_frames=40, size=(96, 128), **FOLLOWED[name][0])
    data = path.read_bytes()
    n_same = n_compared = 0
    for number in range(40):
        random = np.random.default_rng([3, number])
        bent = bytearray(data)
        if number % 2:
            for place in random.integers(len(bent), size=3).tolist():
                bent[place] ^= 1 << int(random.integers(8))
        else:  # some packets are lost, in whole or in part
            place, length = random.integers(len(bent)), random.integers(1, 3000)
            bent[place : place + length] = bytes(len(bent[place : place + length]))
        path.write_bytes(bent)
        try:
            times = frame_times(path)
        except ProbeError:
            continue
        whole = frames_by_time(path)
        for index, frame in read_frames(path, range(0, 40, 5)):
            if times[index] in whole:
                n_compared += 1
                n_same += np.array_equal(frame, whole.pop(times[index]))
        assert not whole.keys() & set(times[::5]), "loses nothing that decoding everything gives"
    # what a decoder shows in the place of lost blocks may be anything, such as what was in memory before
    assert n_compared > 100
    assert n_same >= 0.99 * n_compared


def frames_by_time(path) -> dict[float, np.ndarray]:
    """Frames by their time, decoded with nothing left out; the first of those with the same time."""
    frames = {}
    with av.open(str(path)) as container:
        stream = container.streams.best("video")
        stream.codec_context.thread_count = 1
        for packet in container.demux(stream):
            try:
                for frame in packet.decode():
                    frames.setdefault(frame.time, frame.to_ndarray(format="rgb24"))
            except av.FFmpegError:
                continue
    return frames


@pytest.mark.parametrize("is_turned", [False, True])
@pytest.mark.parametrize("size", [(81, 144), (108, 192), (180, 320)])
def test_shrunken_frames_are_area_averages_in_their_place(tmp_path, size, is_turned):
    y, x = np.mgrid[:360, :640]
    spot = 200 * np.exp(-((x - 430.3) ** 2 + (y - 101.6) ** 2) / 400) + 20
    stripes = 60 * ((x // 7 + y // 11) % 2)
    frames = np.repeat((np.maximum(spot, stripes)).astype(np.uint8)[None, :, :, None], 3, axis=3).repeat(2, axis=0)
    path = write_video(tmp_path / "video.mp4", frames)
    if is_turned:
        turn_clockwise(path)
        size = size[::-1]
    whole = dict(read_frames(path, [1]))[1]
    expected = cv2.resize(whole, size[::-1], interpolation=cv2.INTER_AREA).astype(float)
    shrunken = dict(read_frames(path, [1], size=size))[1]
    assert shrunken.shape == (*size, 3)
    assert shrunken.flags.c_contiguous
    assert np.abs(shrunken - expected).mean() < 2
    assert np.array_equal(shrunken, dict(read_frames(path, [0, 1], size=size))[1])
    for axis in (0, 1):  # no shift: the spot's centre of mass
        places = np.arange(size[axis]).reshape((-1, 1) if axis == 0 else (1, -1))
        centres = [np.average(places + 0 * bright, weights=bright) for bright in _above_100(shrunken, expected)]
        assert centres[0] == pytest.approx(centres[1], abs=0.03)


def _above_100(*images: np.ndarray) -> list[np.ndarray]:
    return [np.clip(image[..., 1].astype(float) - 100, 0, None) for image in images]


def test_grey_frames_are_the_luma_at_full_range(tmp_path):
    levels = np.array([0, 64, 128, 255], np.uint8)
    frames = np.repeat(levels[:, None, None, None], 48, axis=1).repeat(64, axis=2).repeat(3, axis=3)
    write_video(tmp_path / "a.mp4", frames)
    found = dict(read_frames(tmp_path / "a.mp4", range(4), grey=True))
    assert found[0].shape == (48, 64)
    for index, level in enumerate(levels):
        assert np.abs(found[index].astype(int) - int(level)).max() <= 3
