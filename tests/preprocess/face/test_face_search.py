import numpy as np
import pytest

from helpers.grey_videos import write_video
from preprocess.face.appearance import appearance_of
from preprocess.face.search import SearchSettings, search_videos
from preprocess.running.raw_files import RawFiles
from preprocess.synthetic import render_portrait
from preprocess.video.outcomes import UNREADABLE
from preprocess.video.probe import ProbeError

SETTINGS = SearchSettings(min_size_px=40, score_threshold=0.9, full_search_every=4, batch_size=2)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A video of five frames with one face, one of three grey ones, and one that is no video."""
    folder = tmp_path_factory.mktemp("raw")
    face, _ = render_portrait(np.random.default_rng(3), 270, 360)
    write_video(folder / "face.mp4", np.repeat(face[None], 5, axis=0))
    write_video(folder / "grey.mp4", np.full((3, 270, 360, 3), 90, np.uint8))
    (folder / "text.mp4").write_text("no video")
    return folder


def search(folder, names, index_row, device="cpu", workers=2):
    videos = [(index_row(f"d/real/c/{name}", name, height=270, width=360), [0, 2, 4]) for name in names]
    raw_files = RawFiles.of_videos([video for video, _ in videos], folder)
    return search_videos(videos, raw_files, SETTINGS, device=device, workers=workers)


def as_lists(searched):
    return [
        [(f.frame_index, f.boxes.tolist(), f.scores.tolist(), f.points.tolist(), f.histogram.tolist()) for f in frames]
        for frames in searched
    ]


def test_frames_that_decode_come_in_order_with_their_faces(folder, index_row):
    (face, grey) = (list(found) for found in search(folder, ["face.mp4", "grey.mp4"], index_row))
    assert [(frame.frame_index, len(frame.boxes)) for frame in face] == [(0, 1), (2, 1), (4, 1)]
    assert [(frame.frame_index, len(frame.boxes)) for frame in grey] == [(0, 0), (2, 0)]
    assert face[0].histogram.sum() == pytest.approx(1)
    # looked at where the face is, in a frame that was made smaller to search it
    as_rendered = appearance_of(render_portrait(np.random.default_rng(3), 270, 360)[0], face[0].boxes)
    assert np.abs(face[0].appearance - as_rendered).mean() < 8


def test_a_file_that_cannot_be_read_raises_its_own_error_and_the_next_goes_on(folder, index_row):
    text, grey = 0, 0
    for found in search(folder, ["text.mp4", "grey.mp4"], index_row, workers=1):
        try:
            grey = len(list(found))
        except ProbeError as error:
            text = error.status
    assert (text, grey) == (UNREADABLE, 2)


def test_workers_that_search_and_workers_that_feed_a_device_find_the_same(folder, index_row):
    # "cpu:0" goes the way of a GPU: the workers decode, this process searches
    names = ["face.mp4", "grey.mp4"]
    assert as_lists(search(folder, names, index_row)) == as_lists(search(folder, names, index_row, device="cpu:0"))
