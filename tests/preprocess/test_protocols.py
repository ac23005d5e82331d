"""The protocols of docs/protocols.md: every block is a config that works, and the first two do what studies say."""

import json
import re
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from helpers.grey_videos import write_video
from preprocess.crops import CropsSettings, crop_shard
from preprocess.face.search import SearchedFrame
from preprocess.face.tracks import box_iou
from preprocess.faces import FacesSettings, track_shard, track_video
from preprocess.frames import FramesSettings, sample_frames, sample_shard
from preprocess.index import index_videos
from preprocess.landmarks import LandmarksSettings, detect_landmarks
from preprocess.masks import MasksSettings, make_masks
from preprocess.running.settings import load_settings
from preprocess.samples import ShardFiles, collect_shard, describe_ledger
from preprocess.settings.index import IndexSettings
from preprocess.store.crop_file import CropReader, write_crops
from preprocess.store.mask_file import write_masks
from preprocess.store.origin import Origin
from preprocess.store.schemas import FACES, FRAMES, INDEX, LANDMARKS
from preprocess.store.tables import read_table, write_table
from preprocess.synthetic import render_portrait
from preprocess.video.outcomes import NO_FACE, OK, UNDECODED, UNUSED
from workflow.config import check_config, resolve

PAGE = Path(__file__).parents[2] / "docs" / "protocols.md"
BLOCKS = re.findall(r"^```yaml\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)
STAGES = {
    "index": IndexSettings,
    "frames": FramesSettings,
    "faces": FacesSettings,
    "crops": CropsSettings,
    "masks": MasksSettings,
}
PREDICTOR = "models/shape_predictor_81_face_landmarks.dat"


def protocol(dataset):
    """Layout and settings, stage by stage, of a data set on the page."""
    for block in BLOCKS:
        resolved = resolve(yaml.safe_load(block))
        if dataset in resolved:
            settings = {stage: load_settings(cls, resolved[dataset][stage]) for stage, cls in STAGES.items()}
            return resolved[dataset]["layout"], settings
    raise AssertionError(f"{PAGE} has no data set {dataset!r}")


def test_every_block_of_the_page_is_a_config(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / PREDICTOR).parent.mkdir()
    (tmp_path / PREDICTOR).touch()
    assert len(BLOCKS) == 4
    for block in BLOCKS:
        check_config(yaml.safe_load(block))


def test_every_setting_that_the_page_explains_exists():
    keys = re.findall(r"^\| `(\w+)\.(\w+)`(?:, `(\w+)`)? \|", PAGE.read_text(), re.MULTILINE)
    assert len(keys) >= 12
    for stage, *names in keys:
        if stage != "landmarks":
            assert set(filter(None, names)) <= set(STAGES[stage].model_fields)


# --- the dense protocol, on boxes ------------------------------------------------------------------------------


def still(begin, end, x, side=100):
    """{frame: box} of a face that shakes a little between two frames."""
    return {index: (x + index % 2, 10.0, x + index % 2 + side, 10.0 + side) for index in range(begin, end)}


def dense_rows(people, n_frames=300, undecoded=()):
    """Faces of a video in which each of the people, `{frame: box}`, is found in every frame that it names."""
    _, settings = protocol("celebdf_dense")
    frame_indices = sample_frames(n_frames, settings["frames"]).tolist()
    assert frame_indices == list(range(n_frames)), "every frame is searched"
    frames = [{"video_id": "v", "frame_index": index, "pts_seconds": index / 25} for index in frame_indices]
    # every frame of another colour, so that scene cuts would end every track
    histograms = np.eye(512, dtype=np.float32)
    searched = []
    for index in sorted(set(frame_indices) - set(undecoded)):
        boxes = np.array([person[index] for person in people if index in person], np.float64).reshape(-1, 4)
        scores = np.full(len(boxes), 0.91)
        searched.append(SearchedFrame(index, histograms[index % 512], boxes, scores, np.zeros((len(boxes), 5, 2))))
    return track_video(frames, iter(searched), settings["faces"])


def used_by_track(rows):
    return Counter(row["track_id"] for row in rows if row["status"] == OK)


@pytest.mark.parametrize("begin", [0, 150, 200])
def test_dense_tracks_of_100_and_200_frames_give_17_and_33_faces(begin):
    rows = dense_rows([still(begin, begin + 100, 300), still(0, 200, 10)])
    assert sorted(used_by_track(rows).values()) == [17, 33]
    found = Counter(row["track_id"] for row in rows if row["status"] in (OK, UNUSED))
    assert sorted(found.values()) == [100, 200], "what is left out keeps its row"
    for track, length in found.items():
        used = [row["frame_index"] for row in rows if row["status"] == OK and row["track_id"] == track]
        gaps = np.diff(used)
        assert set(gaps.tolist()) <= {length // len(used), length // len(used) + 1}, "evenly spread over the track"
    unused = [row for row in rows if row["status"] == UNUSED]
    assert all(row["x1"] - row["x0"] == 100 and "faces_per_video (50)" in row["message"] for row in unused)


def test_dense_tracks_longer_than_50_frames_are_kept():
    rows = dense_rows([still(0, 51, 10), still(100, 150, 300)])
    assert used_by_track(rows) == {0: 50}
    dropped = [row for row in rows if row["status"] == NO_FACE and row["message"]]
    assert [row["frame_index"] for row in dropped] == list(range(100, 150))
    assert {row["message"] for row in dropped} == {
        "dropped a box: its track has 50 sampled frames, fewer than min_track_frames (51)"
    }


def test_dense_overlap_must_exceed_three_quarters():
    wide, exact, more = ((0, 0, width, 100) for width in (100, 75, 76))
    assert box_iou(wide, exact)[0, 0] == 0.75
    for next_box, n_tracks in ((exact, 2), (more, 1)):
        person = dict.fromkeys(range(60), wide) | dict.fromkeys(range(60, 120), next_box)
        assert len(used_by_track(dense_rows([person]))) == n_tracks


def test_dense_one_frame_without_the_face_ends_its_track():
    seen = still(0, 120, 10)
    del seen[60]
    assert sorted(used_by_track(dense_rows([seen])).values()) == [25, 25]
    del seen[30]
    assert sorted(used_by_track(dense_rows([seen])).values()) == [50], "tracks of 30 and 29 frames are too short"


def test_dense_frames_that_do_not_decode_are_counted_and_end_no_track():
    rows = dense_rows([still(0, 80, 10)], n_frames=80, undecoded=(40,))
    assert used_by_track(rows) == {0: 50}
    assert [row["frame_index"] for row in rows if row["status"] == UNDECODED] == [40]


# --- both protocols, from files to the ledger ------------------------------------------------------------------


@pytest.fixture(scope="module")
def portrait():
    """A face of more than 70 px, and the same of fewer."""
    near, _ = render_portrait(np.random.default_rng(3), 270, 360)
    far = np.full_like(near, 90)
    far[67:202, 90:270] = cv2.resize(near, (180, 135), interpolation=cv2.INTER_AREA)
    return near, far


def write_dfdc(root, portrait):
    """Two real videos of the training split with 10 fakes each, the second with a small face, and a test video."""
    near, far = portrait
    part, labels = root / "dfdc_train_part_0", {}
    part.mkdir(parents=True)
    for name, picture in (("near", near), ("far", far)):
        video = write_video(part / f"{name}.mp4", np.repeat(picture[None], 25, axis=0))
        labels[video.name] = {"label": "REAL"}
        for number in range(10):
            (part / f"{name}{number}.mp4").write_bytes(video.read_bytes())
            labels[f"{name}{number}.mp4"] = {"label": "FAKE", "original": video.name}
    (part / "metadata.json").write_text(json.dumps(labels))
    (root / "test").mkdir()
    (root / "test/a.mp4").write_bytes((part / "near.mp4").read_bytes())
    (root / "test/labels.csv").write_text("filename,label\na.mp4,0\n")


def run_stages(dataset, root, store):
    """Run a protocol of the page over one shard; returns faces, crops as (video, frame, box, size), and ledger."""
    layout, settings = protocol(dataset)
    files, origin = ShardFiles.of(store, "d", "0000"), Origin("d", "test", "{}", 1, "0000")
    videos = index_videos("d", layout, root, 1, settings["index"])
    frames = sample_shard(videos, root, settings["frames"], workers=1)
    faces = track_shard(videos, frames, root, settings["faces"], device="cpu", workers=1)
    write_table(files.index, videos, INDEX, origin)
    write_table(files.frames, frames, FRAMES, origin)
    write_table(files.faces, faces, FACES, origin)
    write_crops(files.crops, crop_shard(videos, faces, root, settings["crops"], workers=1), origin)
    with CropReader(files.crops) as crops:
        cut = [
            (crops.video_id[row].rsplit("/")[-1], int(crops.frame_index[row]), crops.box[row], crops.image(row).shape)
            for row in range(len(crops))
        ]
        write_table(files.landmarks, detect_landmarks(crops, None, LandmarksSettings(), threads=1), LANDMARKS, origin)
    landmarks = read_table(files.landmarks)
    write_masks(files.masks, make_masks(files.crops, landmarks, videos, root, settings["masks"], workers=1), origin)
    _, ledger = collect_shard(files, "0000")
    return faces, cut, ledger


def test_training_protocol_from_a_tree_to_the_ledger(tmp_path, portrait):
    write_dfdc(tmp_path / "raw", portrait)
    faces, crops, ledger = run_stages("dfdc_train", tmp_path / "raw", tmp_path / "store")

    status = {(name, row["status"]): 0 for row in ledger for name in ("near", "far", "a")}
    for row in ledger:
        status[row["video_id"].rsplit("/")[-1].rstrip("0123456789"), row["status"]] += 1
    assert {key: n for key, n in status.items() if n} == {
        ("near", OK): 3,  # the real video and two of its ten fakes
        ("near", UNUSED): 8,
        ("far", NO_FACE): 3,
        ("far", UNUSED): 8,
        ("a", UNUSED): 1,
    }
    assert describe_ledger(ledger).splitlines() == [
        "23 videos: 3 ok, 17 unused, 3 no_face; 30 face crops",
        "train: 10 real crops of 1 videos, 20 fake crops of 2 videos",
    ]
    opened = {row["video_id"] for row in ledger if row["status"] != UNUSED}
    assert {row["video_id"] for row in faces} == opened, "what is left out is never looked at"

    boxes = {(name, frame): box for name, frame, box, _ in crops}
    assert Counter(name for name, _ in boxes).most_common()[0][1] == 10
    for name, frame, box, (height, width, _) in crops:
        assert min(box[2] - box[0], box[3] - box[1]) >= 70
        np.testing.assert_array_equal(box, boxes["near", frame], "boxes of the real video")
        x0, y0, x1, y1 = box.astype(np.float64)
        assert (width, height) == (
            int(np.ceil(x1 + 30) - np.floor(x0 - 30)),
            int(np.ceil(y1 + 30) - np.floor(y0 - 30)),
        ), name
    sources = {row["inherited_from"] for row in faces if row["status"] == OK}
    assert sources == {None, "d/real/original/dfdc_train_part_0/near"}
    near_px = min(box[2] - box[0] for box in boxes.values())
    assert 40 < near_px / 2 < 70, "it is for its size alone that the other face is not found"


def test_dense_protocol_from_a_tree_to_the_ledger(tmp_path, portrait):
    near, _ = portrait
    raw = tmp_path / "raw"
    (raw / "Celeb-real").mkdir(parents=True)
    (raw / "Celeb-synthesis").mkdir()
    (raw / "List_of_testing_videos.txt").write_text("1 Celeb-real/id0_0000.mp4\n0 Celeb-synthesis/id0_id1_0000.mp4\n")
    # 55 frames with the face, and after a break 10 more
    frames = np.repeat(near[None], 70, axis=0)
    frames[55:60] = 90
    write_video(raw / "Celeb-real/id0_0000.mp4", frames)
    (raw / "Celeb-synthesis/id0_id1_0000.mp4").write_bytes((raw / "Celeb-real/id0_0000.mp4").read_bytes())
    (raw / "Celeb-real/id0_0001.mp4").write_bytes(b"never opened")
    faces, crops, ledger = run_stages("celebdf_dense", raw, tmp_path / "store")

    assert [(row["status"], row["n_frames_with_face"], row["n_tracks"], row["n_crops"]) for row in ledger] == [
        (OK, 55, 1, 50),
        (OK, 55, 1, 50),
        (UNUSED, 0, 0, 0),
    ]
    assert all(row.get("inherited_from") is None for row in faces)
    for name in ("id0_0000", "id0_id1_0000"):
        rows = [row for row in faces if row["video_id"].endswith(f"/{name}")]
        assert Counter(row["status"] for row in rows) == {OK: 50, UNUSED: 5, NO_FACE: 15}
        assert sum("fewer than min_track_frames (51)" in row["message"] for row in rows) == 10
        assert sum(crop[0] == name for crop in crops) == 50
