"""The stage `index`, from a raw tree with good and bad files to its tables."""

import hashlib
import json
import os
import shutil
from dataclasses import replace

import pytest

import preprocess.index
from helpers.programs import run_program
from helpers.tiny_videos import truncate, turn_clockwise, write_video
from preprocess.index import describe_index, index_videos, main, shard_of
from preprocess.running.cli import UserError
from preprocess.running.raw_files import file_checksum
from preprocess.settings.index import IndexSettings
from preprocess.store.origin import read_origin
from preprocess.store.schemas import INDEX
from preprocess.store.shard_lists import main as list_shards
from preprocess.store.shard_lists import write_shard_lists
from preprocess.store.tables import read_rows, read_table
from preprocess.video.outcomes import MISSING, OK, UNLABELLED, UNREADABLE, UNUSED
from preprocess.video.probe import probe_video

MEASURED = ("codec", "height", "width", "n_frames", "fps", "duration_seconds", "n_bytes", "checksum", "mask_checksum")


@pytest.fixture
def root(tmp_path):
    """A tiny DFDC part: two good videos of one source group, one of each kind of loss."""
    root = tmp_path / "raw"
    part = root / "dfdc_train_part_0"
    write_video(part / "real.mp4", n_frames=5, size=(48, 64))
    turn_clockwise(write_video(part / "fake.mp4", n_frames=7, size=(48, 64)))
    truncate(write_video(part / "cut.mp4"), 0.5)
    (part / "text.mp4").write_text("no video")
    (part / "folder.mp4").mkdir()
    write_video(part / "new\nline ü.mp4")
    labels = {name: {"label": "REAL"} for name in ("real.mp4", "cut.mp4", "text.mp4", "folder.mp4", "absent.mp4")}
    labels["fake.mp4"] = {"label": "FAKE", "original": "real.mp4"}
    (part / "metadata.json").write_text(json.dumps(labels))
    return root


def index(root, **options):
    options = {"layout": "dfdc", "n_shards": 4, "settings": IndexSettings()} | options
    return index_videos("d", root=root, **options)


def test_every_video_is_a_row_with_what_was_measured_or_why_not(root):
    rows = index(root)
    assert [row["video_id"] for row in rows] == sorted(row["video_id"] for row in rows)
    assert all(set(row) == set(INDEX.names) for row in rows)
    outcome = {row["video_id"].split("/")[-1]: row for row in rows}
    assert {name: row["status"] for name, row in outcome.items()} == {
        "real": OK,
        "fake": OK,
        "cut": UNREADABLE,
        "text": UNREADABLE,
        "folder": UNREADABLE,
        "absent": MISSING,
        "new\nline ü": UNLABELLED,
    }
    assert [outcome["real"][name] for name in MEASURED[:6]] == ["mpeg4", 48, 64, 5, 25.0, 0.2]
    assert [outcome["fake"][name] for name in MEASURED[:6]] == ["mpeg4", 64, 48, 7, 25.0, 0.28]
    fake = root / outcome["fake"]["path"]
    assert outcome["fake"]["n_bytes"] == fake.stat().st_size
    assert outcome["fake"]["checksum"] == hashlib.blake2b(fake.read_bytes(), digest_size=16).hexdigest()
    for row in rows:
        assert (row["status"] == OK) == (row["message"] == "")
        if row["status"] != OK:
            assert [row[name] for name in MEASURED] == [None] * 9
    assert "metadata.json names" in outcome["absent"]["message"]


def test_rows_do_not_depend_on_the_number_of_workers(root):
    assert index(root, workers=1) == index(root, workers=4)


def test_images_are_probed_as_images(tmp_path):
    from PIL import Image

    Image.new("RGB", (20, 10)).save(tmp_path / "a.jpg", "PNG")
    (tmp_path / "b.png").write_text("no image")
    rows = index(tmp_path, layout="images", settings=IndexSettings(label="fake"))
    assert [
        (row["kind"], row["codec"], row["height"], row["width"], row["n_frames"], row["status"]) for row in rows
    ] == [
        ("image", "png", 10, 20, 1, OK),
        ("image", None, None, None, None, UNREADABLE),
    ]


def test_a_real_video_and_its_fakes_share_a_shard_and_shards_never_change(root):
    rows = {row["video_id"]: row for row in index(root, n_shards=1000)}
    real, fake = rows["d/real/original/dfdc_train_part_0/real"], rows["d/DFDC/original/dfdc_train_part_0/fake"]
    assert fake["source_id"] == real["video_id"]
    assert fake["shard"] == real["shard"]
    # fixed for ever: another hash would move every video of every store
    assert [shard_of(group, 10) for group in ("000", "id0_0000", "Größe 人")] == ["0004", "0006", "0004"]
    counts = [sum(shard_of(str(group), 4) == f"{shard:04d}" for group in range(2000)) for shard in range(4)]
    assert min(counts) > 400


def run_main(root, output, *more):
    """Write the table and the lists."""
    table = output / "d.parquet"
    run_program(main, "--dataset", "d", "--layout", "dfdc", "--root", root, "--n-shards", 4, "--output", table, *more)
    run_program(list_shards, "--index", table, "--n-shards", 4, "--output", output / "d")


def test_command_lines_write_the_table_and_one_list_per_shard(root, tmp_path):
    run_main(root, tmp_path / "out", "--workers", "2")
    lists = sorted((tmp_path / "out/d").iterdir())
    assert [path.name for path in lists] == ["0000.parquet", "0001.parquet", "0002.parquet", "0003.parquet"]
    rows = read_rows(tmp_path / "out/d.parquet")
    assert rows == index(root)
    for path in lists:
        assert read_table(path).schema.remove_metadata() == INDEX
        assert read_rows(path) == [row for row in rows if row["shard"] == path.stem]
        assert read_origin(path) == replace(read_origin(tmp_path / "out/d.parquet"), shard=path.stem)
    assert {len(read_rows(path)) for path in lists} != {0}


def test_lists_of_another_number_of_shards_are_refused(root, tmp_path):
    run_main(root, tmp_path)
    with pytest.raises(UserError, match=r"holds videos of shard 000\d, but n_shards is 1; index them again"):
        write_shard_lists(tmp_path / "d.parquet", tmp_path / "d", 1)


def test_a_change_in_the_raw_folder_changes_the_list_of_its_shard_alone(root, tmp_path):
    def lists(*more):
        run_main(root, tmp_path / "out", *more)
        return {path.stem: path.read_bytes() for path in (tmp_path / "out/d").iterdir()}

    def changed(before, after):
        return {shard for shard in before if before[shard] != after[shard]}

    real = root / "dfdc_train_part_0/real.mp4"
    before = lists()
    os.utime(real)
    assert lists() == before, "the time of a file says nothing of what is in it"
    content = bytearray(real.read_bytes())
    content[len(content) // 2] ^= 1
    real.write_bytes(content)
    replaced = lists()
    (shard,) = changed(before, replaced)
    rows = {row["path"]: row for row in read_rows(tmp_path / f"out/d/{shard}.parquet")}
    row = rows["dfdc_train_part_0/real.mp4"]
    assert (row["status"], row["n_frames"], row["n_bytes"]) == (OK, 5, len(content)), "all but the bytes is as it was"
    real.unlink()
    assert changed(replaced, lists("--accept-smaller", 1)) == {shard}


@pytest.fixture
def tree_with_mask(tmp_path):
    """A fake and its mask video."""
    for split in ("train", "val", "test"):
        (tmp_path / f"{split}.json").write_text("[]")
    part = tmp_path / "manipulated_sequences/Deepfakes"
    video = write_video(part / "c23/videos/000_003.mp4", n_frames=3)
    mask = part / "masks/videos/000_003.mp4"
    mask.parent.mkdir(parents=True)
    mask.write_bytes(b"a mask")
    return tmp_path, video, mask


def test_a_replaced_mask_video_changes_the_row_of_its_fake(tree_with_mask):
    root, video, mask = tree_with_mask
    checksums = []
    for content in (b"one", b"two"):
        mask.write_bytes(content)
        (row,) = index(root, layout="faceforensics")
        assert row["checksum"] == file_checksum(video)
        checksums.append(row["mask_checksum"])
    assert checksums == [hashlib.blake2b(content, digest_size=16).hexdigest() for content in (b"one", b"two")]
    shutil.rmtree(mask.parent)
    mask.mkdir(parents=True)
    (row,) = index(root, layout="faceforensics")
    assert (row["status"], row["mask_checksum"]) == (OK, None), "the stage masks tells of it"


class Growing:
    """A file to which a writer adds some bytes whenever the probe looks at a video, for the first `times`."""

    def __init__(self, path, times):
        self.path, self.left = path, times

    def __call__(self, path):
        info = probe_video(path)
        if self.left:
            self.left -= 1
            with open(self.path, "ab") as file:
                file.write(b"more")
            if self.left == 0:
                os.utime(self.path, (0, 0))
        return info


def index_while_it_grows(root, monkeypatch, growing):
    monkeypatch.setattr(preprocess.index, "map_videos", lambda probe, taken, **_: map(probe, taken))
    monkeypatch.setattr(preprocess.index, "probe_video", growing)
    (row,) = index(root, layout="faceforensics")
    return row


@pytest.mark.parametrize("is_mask", [False, True])
def test_a_file_that_changes_while_it_is_indexed_is_measured_anew(tree_with_mask, monkeypatch, is_mask):
    root, *files = tree_with_mask
    row = index_while_it_grows(root, monkeypatch, Growing(files[is_mask], 1))
    assert (row["status"], row["n_bytes"]) == (OK, files[0].stat().st_size)
    assert [row["checksum"], row["mask_checksum"]] == [file_checksum(path) for path in files]


@pytest.mark.parametrize("is_mask", [False, True])
def test_a_file_that_goes_on_changing_while_it_is_indexed_is_not_ok(tree_with_mask, monkeypatch, is_mask):
    root, *files = tree_with_mask
    growing = Growing(files[is_mask], 100)
    row = index_while_it_grows(root, monkeypatch, growing)
    assert row["status"] == UNREADABLE
    assert row["message"] == "it was being written while it was indexed; index again when it is complete"
    assert [row[name] for name in MEASURED] == [None] * 9
    assert growing.left == 98, "measured twice"


def test_the_same_tree_gives_the_same_bytes(root, tmp_path):
    run_main(root, tmp_path / "one")
    run_main(root, tmp_path / "two", "--workers", "3")
    for path in (tmp_path / "one").rglob("*.parquet"):
        assert path.read_bytes() == (tmp_path / "two" / path.relative_to(tmp_path / "one")).read_bytes()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layout": "ffpp"}, "'ffpp' is unknown; allowed: faceforensics, celebdf, dfdc, videos, images"),
        ({"n_shards": 0}, "n_shards is 0"),
        ({"settings": IndexSettings(methods=["Deepfakes"])}, "'Deepfakes'.*found: DFDC"),
    ],
)
def test_mistakes_are_named(root, options, message):
    with pytest.raises(UserError, match=message):
        index(root, **options)


def test_an_absent_root_an_empty_tree_and_a_twofold_id_are_named(tmp_path, root):
    with pytest.raises(UserError, match="absent' is not a folder"):
        index(tmp_path / "absent")
    (tmp_path / "empty/original_sequences/actors/c23/videos").mkdir(parents=True)
    with pytest.raises(UserError, match="hold no videos"):
        index(tmp_path / "empty", layout="faceforensics")
    part = root / "dfdc_train_part_0"
    (part / "metadata.json").write_text(json.dumps({"a.mp4": {"label": "REAL"}, "a.mov": {"label": "REAL"}}))
    with pytest.raises(UserError, match=r"a\.mp4' and .*a\.mov' would both have the id|a\.mov' and .*a\.mp4'"):
        index(root)


@pytest.fixture
def fakes_root(tmp_path):
    """A tiny DFDC part: two real videos of the training split with 10 fakes each, and a test set with 6 fakes."""
    root = tmp_path / "raw"
    labels = {}
    for real in ("a", "b"):
        labels[f"{real}.mp4"] = {"label": "REAL"}
        labels |= {f"{real}{number}.mp4": {"label": "FAKE", "original": f"{real}.mp4"} for number in range(10)}
    (root / "dfdc_train_part_0").mkdir(parents=True)
    (root / "dfdc_train_part_0/metadata.json").write_text(json.dumps(labels))
    (root / "test").mkdir()
    (root / "test/labels.csv").write_text("filename,label\n" + "".join(f"t{number}.mp4,1\n" for number in range(6)))
    video = write_video(tmp_path / "video.mp4", n_frames=2)
    for name in [f"dfdc_train_part_0/{name}" for name in labels] + [f"test/t{number}.mp4" for number in range(6)]:
        (root / name).write_bytes(video.read_bytes())
    return root


def test_fakes_left_out_are_rows_and_never_opened(fakes_root):
    settings = IndexSettings(downsample_fakes=5)
    rows = index(fakes_root, settings=settings)
    assert len(rows) == 28
    unused = [row for row in rows if row["status"] == UNUSED]
    assert len(unused) == 16, "of 10 fakes, 2 are taken"
    assert all(row["label"] == 1 and row["split"] == "train" for row in unused)
    assert {row["message"] for row in unused} == {"left out by downsample_fakes: one of 5 training fakes is taken"}
    for row in unused:
        assert [row[name] for name in MEASURED] == [None] * 9
        (fakes_root / row["path"]).unlink()
    assert index(fakes_root, settings=settings) == rows, "the files are not even looked for"
    assert describe_index(rows) == ["28 videos: 12 ok, 16 unused", "test: 0 real, 6 fake", "train: 2 real, 4 fake"]


def test_videos_of_other_splits_are_rows_and_never_opened(fakes_root):
    for path in (fakes_root / "dfdc_train_part_0").glob("*.mp4"):
        path.unlink()
    rows = index(fakes_root, settings=IndexSettings(splits=["test"]))
    assert {(row["split"], row["status"], row["message"]) for row in rows} == {
        ("train", UNUSED, "left out by splits: its split is train"),
        ("test", OK, ""),
    }
    assert len(rows) == 28


@pytest.mark.skipif(os.geteuid() == 0, reason="root enters folders of any permission")
def test_a_file_in_a_folder_that_may_not_be_entered_is_not_called_missing(root):
    part = root / "dfdc_train_part_0"
    (part / "metadata.json").write_text(json.dumps({"closed/a.mp4": {"label": "REAL"}, "b/a.mp4": {"label": "REAL"}}))
    write_video(part / "closed/a.mp4")
    (part / "closed").chmod(0o600)
    try:
        rows = {row["path"].split("/")[1]: row for row in index(root)}
    finally:
        (part / "closed").chmod(0o700)
    assert rows["closed"]["status"] == UNREADABLE
    assert "Permission denied" in rows["closed"]["message"]
    assert rows["b"]["status"] == MISSING
