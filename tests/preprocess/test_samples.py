import csv

import numpy as np
import pytest

from preprocess.running.cli import UserError
from preprocess.samples import ShardFiles, check_lost, collect_dataset, describe_ledger
from preprocess.store.crop_file import Crop, write_crops
from preprocess.store.image_codecs import encode_crop
from preprocess.store.mask_file import CropMasks, MaskSource, write_masks
from preprocess.store.origin import Origin
from preprocess.store.schemas import FACES, FRAMES, INDEX, LANDMARKS
from preprocess.store.tables import write_table
from preprocess.video.outcomes import NO_FACE, NO_FRAMES, OK, PARTIAL, UNDECODED, UNREADABLE, UNUSED

ORIGIN = Origin("d", "test", "{}", 1, "0000")


def make_crop(video_id, frame_index, status=OK):
    return Crop(
        video_id=video_id,
        frame_index=frame_index,
        pts_seconds=frame_index / 25,
        track_id=0,
        box=np.array([1, 2, 3, 4], np.float32),
        score=0.75,
        size=(4, 4),
        crop_to_frame=np.eye(2, 3),
        padding_px=(0, 0, 0, 0),
        encoded=encode_crop(np.zeros((4, 4, 3), np.uint8)) if status == OK else b"",
        sharpness=2.5,
        status=status,
    )


@pytest.fixture
def store(tmp_path, index_row):
    """A shard in which every stage lost something: two frames were sampled from each video that opens."""
    names = ["ok", "unreadable", "no_frames", "undecoded", "no_face", "dropped", "partial", "lost_crop", "cut"]
    names.append("left_out")
    status = {"unreadable": UNREADABLE, "left_out": UNUSED}
    videos = [
        index_row(f"d/real/original/{name}", name, status=status.get(name, OK), message=status.get(name, ""))
        for name in names
    ]
    key = {name: f"d/real/original/{name}" for name in names}
    frames, faces = [], []
    for name in names:
        if name == "no_frames":
            frames.append({"video_id": key[name], "status": NO_FRAMES, "message": "nothing"})
        elif name not in status:
            for index in (0, 5):
                row = {"video_id": key[name], "frame_index": index, "pts_seconds": index / 25}
                frames.append(row | {"status": OK, "message": ""})
                lost = name == "undecoded" or (name == "partial" and index)
                found = NO_FACE if name in ("no_face", "dropped") else UNDECODED if lost else OK
                message = {"no_face": "", "dropped": "dropped a box: too short"}.get(name, found)
                faces.append(row | {"track_id": 0 if found == OK else None, "status": found, "message": message})
    # a frame with a face that is used and one that is left out, and a frame with only the latter
    for index in (0, 9):
        row = {"video_id": key["ok"], "frame_index": index, "pts_seconds": index / 25, "track_id": 1}
        faces.append(row | {"status": UNUSED, "message": "left out"})
    frames.append({"video_id": key["ok"], "frame_index": 9, "status": OK, "message": ""})
    crops = [make_crop(key["cut"], index, UNDECODED) for index in (0, 5)]
    crops += [make_crop(key["lost_crop"], 0), make_crop(key["lost_crop"], 5, UNDECODED)]
    crops += [make_crop(key["ok"], 0), make_crop(key["ok"], 5), make_crop(key["partial"], 0)]
    files = ShardFiles.of(tmp_path, "d", "0000")
    write_table(files.index, videos, INDEX, ORIGIN)
    write_table(files.frames, frames, FRAMES, ORIGIN)
    write_table(files.faces, faces, FACES, ORIGIN)
    write_crops(files.crops, iter(crops), ORIGIN)
    landmarks = [{"video_id": crop.video_id, "crop_row": row, "status": crop.status} for row, crop in enumerate(crops)]
    write_table(files.landmarks, landmarks, LANDMARKS, ORIGIN)
    sources = ["unknown", "unknown", "real", "unknown", "real", "unknown", "difference"]
    write_masks(files.masks, [CropMasks(source=MaskSource(source)) for source in sources], ORIGIN)
    return tmp_path


def test_every_video_is_in_the_ledger_with_what_became_of_it(store):
    _, ledger = collect_dataset(store, "d", 1)
    outcome = {row["video_id"].rsplit("/")[-1]: (row["stage"], row["status"]) for row in ledger}
    assert outcome == {
        "ok": (None, OK),
        "unreadable": ("index", UNREADABLE),
        "no_frames": ("frames", NO_FRAMES),
        "undecoded": ("faces", UNDECODED),
        "no_face": ("faces", NO_FACE),
        "dropped": ("faces", NO_FACE),
        "partial": ("faces", PARTIAL),
        "lost_crop": ("crops", PARTIAL),
        "cut": ("crops", UNDECODED),
        "left_out": ("index", UNUSED),
    }
    assert all(row["message"] for row in ledger if row["status"] != OK)
    counts = {row["video_id"].rsplit("/")[-1]: row for row in ledger}
    names = ("n_frames_sampled", "n_frames_with_face", "n_tracks", "n_crops", "n_landmarks", "n_masks")
    assert [counts["ok"][name] for name in names] == [3, 3, 2, 2, 2, 1]
    assert [counts["partial"][name] for name in names] == [2, 1, 1, 1, 1, 1]
    assert [counts["unreadable"][name] for name in names] == [0] * 6
    assert [counts["left_out"][name] for name in names] == [0] * 6
    assert counts["no_face"]["message"] == "no face in 2 decoded frames"
    assert counts["dropped"]["message"] == (
        "no face in 2 decoded frames; 2 boxes were dropped, such as: dropped a box: too short"
    )
    assert describe_ledger(ledger) == (
        "10 videos: 1 ok, 2 partial, 1 unused, 1 unreadable, 1 no_frames, 2 undecoded, 2 no_face; 4 face crops\n"
        "train: 4 real crops of 3 videos, 0 fake crops of 0 videos"
    )


def test_real_and_fake_crops_are_counted_by_split():
    rows = [("train", 0, 1200), ("train", 0, 3), ("train", 1, 1111), ("train", 1, 0), ("test", 1, 7), (None, 1, 2)]
    ledger = [{"split": split, "label": label, "status": OK, "n_crops": n} for split, label, n in rows]
    assert describe_ledger(ledger).splitlines() == [
        "6 videos: 6 ok; 2,323 face crops",
        "test: 0 real crops of 0 videos, 7 fake crops of 1 videos",
        "train: 1,203 real crops of 2 videos, 1,111 fake crops of 1 videos",
        "no split: 0 real crops of 0 videos, 2 fake crops of 1 videos",
    ]


def test_samples_are_the_crops_that_exist(store):
    samples, ledger = collect_dataset(store, "d", 1)
    rows = samples.to_pylist()
    assert [(row["sample_id"].rsplit("/")[-1], row["crop_row"]) for row in rows] == [
        ("lost_crop#0#0", 2),
        ("ok#0#0", 4),
        ("ok#5#0", 5),
        ("partial#0#0", 6),
    ]
    assert [row["mask_source"] for row in rows] == ["real", "real", "unknown", "difference"]
    assert len(rows) == sum(row["n_crops"] for row in ledger)
    expected = {"x0": 1, "y0": 2, "x1": 3, "y1": 4, "score": 0.75, "sharpness": 2.5, "label": 0, "split": "train"}
    assert {name: rows[0][name] for name in expected} == expected


def test_files_of_different_runs_are_refused(store):
    files = ShardFiles.of(store, "d", "0000")
    write_table(files.landmarks, [], LANDMARKS, ORIGIN)
    with pytest.raises(UserError, match=r"landmarks.*0 rows"):
        collect_dataset(store, "d", 1)


def test_more_lost_videos_than_allowed_stop_with_the_first_of_each_reason(tmp_path):
    statuses = [OK, NO_FACE, NO_FACE, UNREADABLE, PARTIAL, NO_FRAMES, UNDECODED, OK, UNUSED, UNUSED]
    ledger = [
        {"dataset": "d", "video_id": f"v{row}", "path": f"{row}.mp4", "stage": "faces", "status": of, "message": "why"}
        for row, of in enumerate(statuses)
    ]
    lost_list = tmp_path / "lost.csv"
    # five of the eight that were asked for
    check_lost(ledger, 5 / 8, lost_list)
    assert not lost_list.exists()
    with pytest.raises(UserError) as stopped:
        check_lost(ledger, 0.5, lost_list)
    message = stopped.value.args[0]
    assert message.startswith("data set 'd': 5 of 8 videos are lost (62.5%), more than max_lost_share (0.5) allows: ")
    assert "2 no_face" in message
    examples = [line.strip() for line in message.splitlines()[1:4]]
    assert examples == ["v1: no_face (why)", "v3: unreadable (why)", "v5: no_frames (why)"]
    assert message.splitlines()[4].startswith(f"All of them are listed in {lost_list}.")
    with lost_list.open() as file:
        assert [row["video_id"] for row in csv.DictReader(file)] == ["v1", "v2", "v3", "v5", "v6"]
