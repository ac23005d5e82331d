"""A collection that shrank since its last index stops there, says what vanished and how to accept it."""

from __future__ import annotations

import pytest

from helpers.programs import run_program
from helpers.tiny_videos import write_video
from preprocess.datasets.shrunk import check_shrunk, read_last_index
from preprocess.index import main
from preprocess.running.cli import UserError
from preprocess.running.settings import settings_json
from preprocess.settings.index import IndexSettings
from preprocess.store.origin import Origin
from preprocess.store.schemas import FRAMES, INDEX
from preprocess.store.tables import read_rows, write_table

SETTINGS = IndexSettings()


def video(method, name, split="train", status="ok"):
    label = {"real": 0, "none": None}.get(method, 1)
    row = {"video_id": f"d/{method}/original/{name}", "path": f"{method}/{name}.mp4", "label": label, "split": split}
    return dict.fromkeys(INDEX.names) | row | {"method": method, "status": status, "message": f"why {name}"}


def videos(method, count, split="train", **more):
    return [video(method, f"{split}{number}", split, **more) for number in range(count)]


LAST = [
    *videos("real", 8),
    *videos("swap", 6),
    *videos("mask", 2),
    *videos("real", 2, "test"),
    *videos("swap", 2, "test"),
]


def check(rows, root, *, last=LAST, **options):
    check_shrunk("d", root, last, rows, **{"max_lost_share": 0.25} | options)


def refusal(rows, root, **options):
    with pytest.raises(UserError) as caught:
        check(rows, root, **options)
    return str(caught.value)


def without(*gone):
    """The last videos but some, by the end of their ids."""
    return [row for row in LAST if not row["video_id"].endswith(gone)]


def test_a_collection_may_grow_be_replaced_and_lose_its_share(tmp_path):
    check(LAST, tmp_path)
    check([*({**row, "checksum": "other", "shard": "0009"} for row in LAST), *videos("new", 3)], tmp_path)
    five = ("real/original/train0", "real/original/train1", "swap/original/train0", "mask/original/train0")
    check(without(*five, "swap/original/test0"), tmp_path)
    check([], tmp_path, last=[])


def test_more_than_its_share_stops_with_counts_examples_and_the_way_out(tmp_path):
    gone = [f"real/original/train{number}" for number in range(4)] + ["swap/original/train0", "swap/original/test1"]
    lost = [video("swap", "train0", status="unreadable"), video("none", "x", status="unlabelled")]
    message = refusal([*without(*gone), *lost], tmp_path)
    assert message.splitlines()[:7] == [
        "data set 'd' shrank: 6 of the 20 usable videos of its last index are lost (30.0%), 14 can be used now; "
        "more videos are lost than max_lost_share (0.25) allows",
        "  real, train: 4 of 8 lost",
        "  swap, train: 1 of 6 lost",
        "  swap, test: 1 of 2 lost",
        "  d/real/original/train0: no longer found",
        "  d/real/original/train1: no longer found",
        "  d/real/original/train2: no longer found",
    ]
    assert f"Is the disc mounted, is the root ({str(tmp_path)!r}) right?" in message
    assert "datasets.d.accept_smaller: 14 in config.yaml" in message
    assert "d/swap/original/train0: unreadable (why train0)" in refusal(lost, tmp_path, last=videos("swap", 1))
    check([*without(*gone), *lost], tmp_path, max_lost_share=0.3)


@pytest.mark.parametrize(
    ("gone", "told"),
    [
        (lambda row: row["method"] == "mask", ["no video of the method mask is left"]),
        (lambda row: row["label"] == 0, ["no real video is left"]),
        (lambda row: row["label"] == 1, ["no fake video is left"]),
        (lambda row: row["split"] == "test" and row["label"] == 1, ["no fake video of the split test is left"]),
        (
            lambda row: row["split"] == "test",
            ["no real video of the split test is left", "no fake video of the split test is left"],
        ),
    ],
)
def test_a_label_a_method_or_a_label_of_a_split_that_is_gone_stops_whatever_the_share(tmp_path, gone, told):
    message = refusal([row for row in LAST if not gone(row)], tmp_path, max_lost_share=1)
    assert message.splitlines()[0].split("can be used now; ")[1] == "; ".join(told)


def test_videos_that_all_changed_their_split_stop_too_and_none_of_no_split_counts(tmp_path):
    message = refusal([{**row, "split": "train"} for row in LAST], tmp_path)
    assert "0 of the 20 usable videos of its last index are lost" in message
    assert "no real video of the split test is left; no fake video of the split test is left" in message
    last = [*LAST, *videos("real", 1, None)]
    check(LAST, tmp_path, last=last)


def test_a_video_that_a_setting_leaves_out_is_not_lost(tmp_path):
    check([{**row, "status": "unused"} if row["method"] == "swap" else row for row in LAST], tmp_path)


def test_a_smaller_collection_is_accepted_down_to_the_number_that_was_said(tmp_path, caplog):
    rows = [row for row in LAST if row["method"] == "real"]
    for accepted in (0, 11):
        assert "accept_smaller: 10" in refusal(rows, tmp_path, accept_smaller=accepted)
    assert not caplog.text
    check(rows, tmp_path, accept_smaller=10)
    assert "no fake video is left, which accept_smaller (10) says is right" in caplog.text
    check(rows, tmp_path, accept_smaller=9)


def test_the_highest_folder_that_is_gone_and_empty_ones_are_named(tmp_path):
    def lying(folder, count):
        return [row | {"path": f"{folder}/{row['video_id'][-2:]}.mp4"} for row in videos("swap", count)]

    (tmp_path / "empty").mkdir()
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept/another.mp4").touch()
    lost = [*lying("away/deep/a", 2), *lying("away/deep/b", 1), *lying("empty", 2), *lying("kept", 9)]
    lines = refusal([], tmp_path, last=lost).splitlines()
    assert [line for line in lines if "lay in it" in line] == [
        f"  the folder {tmp_path}/away is gone: 3 videos lay in it",
        f"  the folder {tmp_path}/empty is empty: 2 videos lay in it",
    ]
    lines = refusal([], tmp_path / "absent", last=lost).splitlines()
    assert f"  the folder {tmp_path}/absent is gone: 14 videos lay in it" in lines


def test_only_the_groups_that_lost_most_are_told(tmp_path):
    last = [row for number in range(14) for row in videos(f"m{number:02d}", 15 - number)]
    lines = refusal([], tmp_path, last=last).splitlines()
    assert next(line for line in lines if "train:" in line) == "  m00, train: 15 of 15 lost"
    assert sum("train:" in line for line in lines) == 12
    assert "  and 2 more methods and splits" in lines
    assert "more methods" not in refusal([], tmp_path, last=last[: sum(range(4, 16))])


def write_last(path, rows=LAST, *, settings="{}", schema=INDEX, dataset="d", also=None):
    write_table(path, rows, schema, Origin(dataset, "index", settings, 1), also)


def test_the_last_index_gives_its_usable_videos(tmp_path, caplog):
    path = tmp_path / "d.parquet"
    assert read_last_index(path, "d", "videos", SETTINGS) == []
    for settings in ("{}", settings_json(SETTINGS)):  # settings that it does not name are at their default
        for also in (None, {"layout": "videos"}):
            write_last(path, [*LAST, *videos("away", 2, status="missing")], settings=settings, also=also)
            assert [row["video_id"] for row in read_last_index(path, "d", "videos", SETTINGS)] == [
                row["video_id"] for row in LAST
            ]
    assert not caplog.text


def test_an_index_of_another_layout_or_other_settings_is_not_compared(tmp_path, caplog):
    path = tmp_path / "d.parquet"
    write_last(path, also={"layout": "dfdc"})
    assert read_last_index(path, "d", "videos", SETTINGS) == []
    assert read_last_index(path, "d", "dfdc", IndexSettings(splits=["test"])) == []
    assert read_last_index(path, "other", "dfdc", SETTINGS) == []
    assert len(read_last_index(path, "d", "dfdc", SETTINGS)) == len(LAST)
    assert not caplog.text


@pytest.mark.parametrize(
    "write",
    [
        lambda path: path.write_bytes(b"damaged"),
        lambda path: path.write_bytes(path.read_bytes()[:-100]),
        lambda path: write_last(path, [], schema=FRAMES),
        lambda path: write_last(path, settings='{"unknown": 1}'),
        lambda path: write_last(path, settings="no JSON"),
    ],
)
def test_an_index_that_cannot_be_read_is_told_and_ignored(tmp_path, caplog, write):
    path = tmp_path / "d.parquet"
    write_last(path)
    write(path)
    assert read_last_index(path, "d", "videos", SETTINGS) == []
    assert f"{path}: the last index cannot be read" in caplog.text


def test_the_command_leaves_the_last_index_until_the_loss_is_accepted(tmp_path):
    root, table = tmp_path / "raw", tmp_path / "d.parquet"
    for name in ("real/a", "real/b", "real/c", "fake/a", "fake/b"):
        write_video(root / f"{name}.mp4", n_frames=2)

    def scan(*more, n_shards=2):
        options = ["--dataset", "d", "--layout", "videos", "--root", root, "--n-shards", n_shards]
        run_program(main, *options, "--output", table, *more)

    scan()
    before = table.read_bytes()
    (root / "fake").rename(tmp_path / "away")
    with pytest.raises(UserError, match=rf"no fake video is left(?s:.*)the folder {root}/fake is gone: 2 videos"):
        scan("--max-lost-share", 1, n_shards=3)
    assert table.read_bytes() == before
    scan("--accept-smaller", 3)
    assert len(read_rows(table)) == 3
    (tmp_path / "away").rename(root / "fake")
    scan("--max-lost-share", 0)
    assert table.read_bytes() == before
    # other settings are another collection
    (root / "fake/a.mp4").unlink()
    (root / "fake/b.mp4").unlink()
    scan("--settings", '{"test_share": 0.4}')
    assert len(read_rows(table)) == 3
