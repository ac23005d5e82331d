"""Which tasks have to run again, and why; the books that know what was made from what."""

from __future__ import annotations

import json
import os

import pytest

from workflow.made import BOOK, Books
from workflow.up_to_date import Task, judge, other_params

RAW, FRAMES, CROPS = "raw/a.mp4", "data/frames/a.parquet", "data/crops/a.h5"


def frames(**params):
    return Task("sample_frames", {"version": 1} | params, (RAW,), (FRAMES,))


def crops(*outputs, inputs=(FRAMES,), **params):
    return Task("crop_faces", {"version": 1} | params, inputs, outputs or (CROPS,))


@pytest.fixture
def folder(tmp_path):
    """Where both tasks have run."""
    for path, text in ((RAW, "video"), (FRAMES, "frames of video"), (CROPS, "crops")):
        write(tmp_path / path, text)
    enter(tmp_path, frames(), crops())
    return tmp_path


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def enter(folder, *tasks):
    books = Books(folder)
    for task in tasks:
        books.add(task.rule, dict(task.params), task.inputs, task.outputs, dict(task.places))


def verdicts(folder, *tasks, **options):
    return {outputs[0]: why for outputs, why in judge(tasks or (frames(), crops()), Books(folder), **options).items()}


def test_what_was_made_from_what_is_there_is_right(folder):
    assert verdicts(folder) == {}


def test_times_decide_nothing(folder):
    os.utime(folder / CROPS, (1, 1))
    os.utime(folder / RAW, (2e9, 2e9))
    assert verdicts(folder) == {}


def test_a_parameter_makes_its_task_and_those_below_outdated(folder):
    assert verdicts(folder, frames(version=2), crops()) == {
        FRAMES: "version was 1, is 2",
        CROPS: f"{FRAMES} is made again",
    }
    assert verdicts(folder, frames(), crops(version=2)) == {CROPS: "version was 1, is 2"}


def test_another_content_makes_what_was_made_from_it_outdated(folder):
    write(folder / RAW, "another video")
    assert verdicts(folder) == {FRAMES: "a file of your own is changed since", CROPS: f"{FRAMES} is made again"}


def test_a_file_that_nobody_made_like_this_is_made_again_and_is_expected_as_it_was(folder):
    write(folder / FRAMES, "spoilt")
    assert verdicts(folder) == {FRAMES: f"{FRAMES} is changed since the job wrote it"}


def test_settings_that_return_find_what_stands_on_them(folder):
    write(folder / FRAMES, "other frames")
    enter(folder, frames(n=2))
    # frames are those of another setting; made again, they are those that the crops were made from
    assert set(verdicts(folder)) == {FRAMES}
    assert set(verdicts(folder, frames(n=2), crops())) == {CROPS}


def test_what_is_absent_is_made_again_when_something_stands_on_it(folder):
    (folder / FRAMES).unlink()
    assert verdicts(folder) == {FRAMES: f"{FRAMES} is absent, though {CROPS} was made from it"}
    (folder / CROPS).unlink()
    assert verdicts(folder) == {}


def test_one_of_several_files_is_missing(folder):
    task = crops(CROPS, "data/crops/b.h5")
    write(folder / "data/crops/b.h5", "b")
    enter(folder, task)
    (folder / "data/crops/b.h5").unlink()
    assert verdicts(folder, frames(), task) == {CROPS: "data/crops/b.h5 is missing"}


def test_more_or_fewer_inputs_are_told(folder):
    write(folder / "data/frames/b.parquet", "b")
    both = crops(inputs=(FRAMES, "data/frames/b.parquet"))
    assert verdicts(folder, frames(), both) == {CROPS: "made without data/frames/b.parquet"}
    enter(folder, both)
    assert verdicts(folder) == {CROPS: "made also from data/frames/b.parquet"}
    turned = crops(inputs=("data/frames/b.parquet", FRAMES))
    assert verdicts(folder, frames(), turned) == {CROPS: "made from the same files in another order"}


def test_a_file_of_ones_own_may_lie_anywhere(folder):
    for path in ("models/a.dat", "elsewhere/b.dat"):
        write(folder / path, "predictor")
    enter(folder, crops(inputs=("models/a.dat",)))
    assert verdicts(folder, crops(inputs=("elsewhere/b.dat",))) == {}
    write(folder / "elsewhere/b.dat", "another")
    assert set(verdicts(folder, crops(inputs=("elsewhere/b.dat",)))) == {CROPS}


def test_files_of_which_no_book_tells_are_taken_as_they_are_unless_someone_knows_better(folder):
    (folder / "data" / BOOK).unlink()
    assert verdicts(folder) == {}
    assert verdicts(folder, unknown=lambda task: "old" if task.rule == "sample_frames" else None) == {
        FRAMES: "old",
        CROPS: f"{FRAMES} is made again",
    }


def test_half_of_the_files_of_a_job_are_not_taken_as_they_are(folder):
    (folder / "data" / BOOK).unlink()
    task = crops(CROPS, "data/crops/b.h5")
    assert verdicts(folder, frames(), task) == {CROPS: "data/crops/b.h5 is missing"}


def test_places_are_asked_for_only_where_files_are_there(folder):
    assert verdicts(folder, moved=lambda task, made: task.rule) == {FRAMES: "sample_frames", CROPS: "crop_faces"}
    (folder / CROPS).unlink()
    (folder / FRAMES).unlink()
    assert verdicts(folder, moved=lambda task, made: task.rule) == {}


@pytest.mark.parametrize(
    ("made", "wanted", "defaults", "words"),
    [
        ({"settings": '{"a": 1}'}, {"settings": '{"a": 1, "b": 2}'}, {"settings": {"b": 2}}, None),
        ({"settings": '{"a": 1}'}, {"settings": '{"a": 1, "b": 3}'}, {"settings": {"b": 2}}, "b was 2, is 3"),
        ({"settings": '{"a": 1}'}, {"settings": '{"a": 2, "b": 3}'}, {}, "a was 1, is 2; b was null, is 3"),
        ({"version": 1}, {"version": 1, "train": ["v"]}, {}, 'train was null, is ["v"]'),
        ({"title": "{no json"}, {"title": "{no json"}, {}, None),
        ({"title": "{no json"}, {"title": "{nor this"}, {}, 'title was "{no json", is "{nor this"'),
    ],
)
def test_parameters_differ_key_by_key(made, wanted, defaults, words):
    assert other_params(made, wanted, defaults) == words


def test_a_line_that_was_cut_short_is_passed_over_and_the_next_is_whole(folder):
    book = folder / "data" / BOOK
    book.write_bytes(book.read_bytes()[:-20])
    assert Books(folder).of(CROPS) is None
    enter(folder, crops())
    assert Books(folder).of(CROPS).rule == "crop_faces"
    assert Books(folder).of(FRAMES).rule == "sample_frames"


def test_a_large_file_is_read_again_when_its_size_or_time_changed(folder, monkeypatch):
    monkeypatch.setattr("workflow.made._ALWAYS_READ_BYTES", 3)
    write(folder / "results/e/detector.ckpt", "weights")
    task = Task("train_detector", {}, (), ("results/e/detector.ckpt",))
    enter(folder, task)
    stat = os.stat(folder / task.outputs[0])
    made = Books(folder).fingerprint(task.outputs[0])
    (folder / task.outputs[0]).write_text("WEIGHTS")
    os.utime(folder / task.outputs[0], ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert Books(folder).fingerprint(task.outputs[0]) == made, "its size and time are those in the book"
    os.utime(folder / task.outputs[0], (1, 1))
    assert Books(folder).fingerprint(task.outputs[0]) != made


def test_a_book_is_tidied_and_remembers_the_last_settings(folder, monkeypatch):
    monkeypatch.setattr("workflow.made._SPARE_LINES", 3)
    for n in range(30):
        enter(folder, crops(n=n))
    book = folder / "data" / BOOK
    assert len(book.read_text().splitlines()) == 32
    Books(folder).tidy()
    lines = [json.loads(line) for line in book.read_text().splitlines()]
    assert [line["params"].get("n") for line in lines] == [None, 26, 27, 28, 29]
    assert verdicts(folder, frames(), crops(n=29)) == {}
    Books(folder).tidy()
    assert len(book.read_text().splitlines()) == 5
