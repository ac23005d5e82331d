"""The whole workflow on small rendered collections, held against their truth."""

from __future__ import annotations

import csv
import shutil
from collections import defaultdict

import cv2
import h5py
import numpy as np
import pytest

from detectors.figures.experiment import FIGURES
from helpers.small_run import SMALL_CONFIG, snakemake
from preprocess.datasets.raw import VIDEO_SUFFIXES
from preprocess.face.tracks import box_iou
from preprocess.store.blobs import BlobReader
from preprocess.store.crop_file import CropReader
from preprocess.store.image_codecs import decode_png
from preprocess.store.tables import read_rows
from preprocess.video.outcomes import MISSING, NO_FACE, OK, UNLABELLED, UNREADABLE

DATASETS = tuple(SMALL_CONFIG["datasets"])
# truth boxes less visible than this stand for faces that have left the picture
VISIBLE = 0.9
# of two people in one place, only the one in front can have been found
SEEN = 0.4


@pytest.fixture(scope="session")
def truth(run):
    """Truth rows by (data set, path, frame index)."""
    rows = defaultdict(list)
    for dataset in DATASETS:
        for row in read_rows(run / f"data/synthetic/{dataset}/truth.parquet"):
            rows[dataset, row["path"], row["frame_index"]].append(row)
    return rows


@pytest.fixture(scope="session")
def index(run):
    """Index rows by video id."""
    rows = [row for dataset in DATASETS for row in read_rows(run / f"data/index/{dataset}.parquet")]
    return {row["video_id"]: row for row in rows}


def shards(run, stage, suffix):
    return sorted(path for dataset in DATASETS for path in (run / "data" / stage / dataset).glob(f"*.{suffix}"))


@pytest.fixture(scope="session")
def crops_with_truth(run, truth, index):
    """For every crop: its shard, row, index row, and the truth of the person in it."""
    matched = []
    for path in shards(run, "crops", "h5"):
        with CropReader(path) as crops:
            for row in range(len(crops)):
                video = index[crops.video_id[row]]
                people = truth[video["dataset"], video["path"], int(crops.frame_index[row])]
                people = [person for person in people if person["visible"] >= SEEN]
                overlap = box_iou(crops.box[row][None], corners(people))[0]
                matched.append((path, row, video, people[int(overlap.argmax())], float(overlap.max())))
    return matched


def corners(rows):
    return np.array([[row[side] for side in ("x0", "y0", "x1", "y1")] for row in rows]).reshape(-1, 4)


def test_every_video_of_the_raw_tree_is_in_the_ledger(run):
    for dataset in DATASETS:
        root = run / "data/raw" / dataset
        raw = {
            str(path.relative_to(root))
            for path in root.rglob("*")
            if path.suffix in VIDEO_SUFFIXES and "masks" not in path.parts
        }
        ledger = read_rows(run / f"data/samples/{dataset}.ledger.parquet")
        assert raw == {row["path"] for row in ledger if row["status"] != MISSING}
        assert len({row["video_id"] for row in ledger}) == len(ledger)
        assert all(row["message"] for row in ledger if row["status"] != OK)
        assert sum(row["status"] == OK for row in ledger) >= 0.8 * len(ledger)


def test_truncated_faceless_missing_and_unlabelled_videos_say_why(run):
    ledger = [row for dataset in DATASETS for row in read_rows(run / f"data/samples/{dataset}.ledger.parquet")]
    reasons = {status: [row for row in ledger if row["status"] == status] for status in {r["status"] for r in ledger}}
    (truncated,) = reasons[UNREADABLE]
    assert truncated["stage"] == "index"
    assert "cannot be opened" in truncated["message"]
    assert any(row["label"] == 0 and row["stage"] == "faces" for row in reasons[NO_FACE])
    assert "names" in reasons[MISSING][0]["message"]
    assert "real or fake" in reasons[UNLABELLED][0]["message"]


def test_boxes_agree_with_the_truth_and_no_large_face_is_missed(run, truth, index):
    best, missed = [], []
    for path in shards(run, "faces", "parquet"):
        by_frame = defaultdict(list)
        for row in read_rows(path):
            by_frame[row["video_id"], row["frame_index"]].append(row)
        for (video_id, frame_index), rows in by_frame.items():
            video = index[video_id]
            people = [p for p in truth[video["dataset"], video["path"], frame_index] if p["visible"] >= VISIBLE]
            found = corners([row for row in rows if row["status"] == OK])
            for person in people:
                overlap = box_iou(corners([person]), found).max(initial=0)
                best.append(overlap)
                if overlap < 0.3 and min(person["x1"] - person["x0"], person["y1"] - person["y0"]) >= 70:
                    missed.append((video_id, frame_index))
    assert missed == []
    assert np.mean(best) >= 0.6


def test_no_false_faces_and_no_track_switches(crops_with_truth):
    people_of_track = defaultdict(set)
    for path, row, video, person, overlap in crops_with_truth:
        assert overlap >= 0.3, f"{path} row {row} shows no face"
        with CropReader(path) as crops:
            people_of_track[video["video_id"], int(crops.track_id[row])].add(person["track_id"])
    assert [track for track, people in people_of_track.items() if len(people) > 1] == []
    shown = defaultdict(set)
    for _, _, video, person, _ in crops_with_truth:
        shown[video["video_id"]].add((person["scene"], person["track_id"]))
    cuts = [video for video, seen in shown.items() if seen == {(0, 0), (1, 1)}]
    assert len(cuts) == 3, "Celeb-DF has a clip with a cut, DFDC has one and its fake"
    two_people = {video for video, _ in people_of_track if (video, 1) in people_of_track}
    assert two_people, "the collections hold clips with two people"


def test_fakes_share_tracks_and_windows_with_their_real_video(run):
    pairs = 0
    for path in shards(run, "crops", "h5"):
        inherited = {
            row["video_id"]: row["inherited_from"]
            for row in read_rows(run / "data/faces" / path.parent.name / f"{path.stem}.parquet")
        }
        with CropReader(path) as crops:
            keys = {
                (crops.video_id[row], int(crops.frame_index[row]), int(crops.track_id[row])): row
                for row in range(len(crops))
            }
            for (video_id, frame, track), row in keys.items():
                if inherited[video_id]:
                    source = keys[inherited[video_id], frame, track]
                    pairs += 1
                    assert np.array_equal(crops.crop_to_frame[row], crops.crop_to_frame[source])
                    assert np.array_equal(crops.size[row], crops.size[source])
    assert pairs > 100


def test_landmarks_lie_within_5_percent_of_the_distance_between_the_eyes(run, crops_with_truth):
    found = {path: read_rows(path) for path in shards(run, "landmarks", "parquet")}
    errors = []
    for path, row, video, person, _ in crops_with_truth:
        if person["visible"] < VISIBLE or video["label"] == 1:
            continue
        points = np.reshape(
            found[run / "data/landmarks" / video["dataset"] / f"{path.stem}.parquet"][row]["landmarks"], (81, 2)
        )
        true = np.reshape(person["landmarks"], (81, 2))
        eyes = np.linalg.norm(true[36:42].mean(axis=0) - true[42:48].mean(axis=0))
        errors.append(np.linalg.norm(points - true, axis=1).mean() / eyes)
    assert len(errors) > 100
    assert np.mean(errors) <= 0.05


def test_hull_masks_cover_the_hull_of_the_true_landmarks(run, crops_with_truth):
    overlaps = []
    for path, row, video, person, _ in crops_with_truth:
        if person["visible"] < VISIBLE or video["label"] == 1:
            continue
        with CropReader(path) as crops, h5py.File(run / "data/masks" / video["dataset"] / path.name) as masks:
            hull = decode_png(BlobReader(masks["hull"])[row])
            true = np.reshape(person["landmarks"], (81, 2)) - crops.crop_to_frame[row][:, 2]
            expected = np.zeros(crops.size[row], np.uint8)
            cv2.fillConvexPoly(expected, cv2.convexHull(true.round().astype(np.int32)), 255)
        assert hull.shape == expected.shape
        overlaps.append((hull & expected).astype(bool).sum() / (hull | expected).astype(bool).sum())
    assert np.mean(overlaps) >= 0.9


def test_manipulation_masks_agree_with_the_truth(run, crops_with_truth):
    true_masks = {}
    for dataset in DATASETS:
        with h5py.File(run / f"data/synthetic/{dataset}/masks.h5") as file:
            blobs = BlobReader(file["masks"])
            keys = zip(file["masks/path"].asstr()[:], file["masks/frame_index"][:], strict=True)
            true_masks |= {(dataset, path, int(frame)): blobs[item] for item, (path, frame) in enumerate(keys)}
    overlaps = defaultdict(list)
    for path, row, video, person, _ in crops_with_truth:
        with CropReader(path) as crops, h5py.File(run / "data/masks" / video["dataset"] / path.name) as masks:
            source = masks["mask_source"].asstr()[row]
            encoded = BlobReader(masks["manipulation"])[row]
            if source == "unknown":
                assert encoded == b""
                continue
            mask = decode_png(encoded) > 127
            assert mask.shape == tuple(crops.size[row])
            if video["label"] == 0:
                assert source == "real"
                assert not mask.any()
                continue
            whole = decode_png(true_masks[video["dataset"], video["path"], int(crops.frame_index[row])]) > 127
            transform = crops.crop_to_frame[row]
            size = crops.size[row][::-1].tolist()
            flags = cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP
            expected = cv2.warpAffine(whole.astype(np.uint8), transform, size, flags=flags).astype(bool)
            if person["manipulated"] and expected.any():
                overlaps[source].append((mask & expected).sum() / (mask | expected).sum())
    assert np.mean(overlaps["mask_video"]) >= 0.8
    assert np.mean(overlaps["difference"]) >= 0.6


def test_eval_csv_has_the_rows_and_columns_of_the_contract(run):
    with open(run / "results/small/eval.csv") as file:
        rows = list(csv.DictReader(file))
    assert [(row["dataset"], row["seed"], row["domain"]) for row in rows] == [
        (dataset, seed, domain)
        for dataset, domain in (("ff", "in"), ("dfdc", "out"))
        for seed in ("0", "1", "mean", "std", "best")
    ]
    for row in rows:
        if row["seed"] == "std":
            continue
        assert row["type"] == "Fake+Real"
        assert row["n_videos_leaked"] == "0"
        assert 0 <= float(row["video_auc_low"]) <= float(row["video_auc"]) <= float(row["video_auc_high"]) <= 1
        assert int(row["n_videos"]) > 0
        assert int(row["n_frames"]) > 0
    missing = {row["dataset"]: int(row["n_videos_missing"]) for row in rows if row["seed"] == "mean"}
    with open(run / "results/small/missing.csv") as file:
        listed = list(csv.DictReader(file))
    for dataset in ("ff", "dfdc"):
        assert len({row["video_id"] for row in listed if row["dataset"] == dataset}) == missing[dataset]
    for name in FIGURES:
        assert cv2.imread(str(run / f"results/small/figures/{name}.png")) is not None


def test_the_table_is_printed_for_people(run):
    printed = (run / "printed.txt").read_text()
    assert "results/small/eval.csv" in printed
    assert "video AUC" in printed


def test_same_bytes_with_another_number_of_cores(run, tmp_path):
    """From the index on: that rendering and the predictor do not depend on threads is tested where they are."""
    for given in ("data/raw/celebdf", "data/synthetic/celebdf", "data/predictor", ".snakemake/metadata"):
        shutil.copytree(run / given, tmp_path / given)
    printed = snakemake(tmp_path, "results/one/eval.csv", config=SMALL_CONFIG, cores=1)
    assert "Rendering" not in printed
    assert "Training the landmark predictor" not in printed
    made = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file())
    made = [path for path in made if path.parts[0] in ("data", "results") and path.parts[1] not in ("raw", "synthetic")]
    whole = [path for path in made if path.suffix in (".parquet", ".csv", ".png") and "logs" not in path.parts]
    arrays = [path for path in made if path.suffix == ".h5"]
    assert len(whole) > 15
    assert len(arrays) == 4
    for path in whole:
        assert (tmp_path / path).read_bytes() == (run / path).read_bytes(), path
    for path in arrays:
        with h5py.File(tmp_path / path) as one, h5py.File(run / path) as other:
            assert contents(one) == contents(other), path


def contents(file: h5py.File) -> dict:
    """Every array and attribute of an HDF5 file."""
    found = {"attributes": dict(file.attrs)}
    file.visititems(
        lambda name, item: (
            found.update({name: item[()].tobytes() if item.dtype.kind != "O" else item[()].tolist()})
            if isinstance(item, h5py.Dataset)
            else None
        )
    )
    return found
