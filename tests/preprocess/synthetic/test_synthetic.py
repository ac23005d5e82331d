"""The synthetic collections: truth against pixels, trees against the published ones, fakes against their reals."""

import contextlib
import hashlib
import json
from dataclasses import replace
from pathlib import Path

import av
import h5py
import numpy as np
import pyarrow.parquet as pq
import pytest

from preprocess.running.cli import UserError
from preprocess.running.settings import load_settings
from preprocess.store.blobs import BlobReader
from preprocess.store.image_codecs import decode_png
from preprocess.synthetic import (
    Pose,
    SyntheticSettings,
    draw_person,
    geometry,
    make_collection,
    render_portrait,
    sample_identity,
)
from preprocess.synthetic.clip import render_frame, sample_clip
from preprocess.synthetic.face import face_box
from preprocess.synthetic.methods import METHODS, forge_frame
from preprocess.synthetic.trees import plan_collection

TINY = SyntheticSettings(n_sources=10, n_frames=8, height=180, width=240, fakes_per_source=1)
PLAIN = TINY.model_copy(update={"n_sources": 6, "n_frames": 3, "extras": False})


def plain(**changes) -> SyntheticSettings:
    """The settings of `PLAIN` with others of one's own."""
    return load_settings(SyntheticSettings, dict(PLAIN) | changes)


@pytest.fixture(scope="module")
def collections(tmp_path_factory):
    base = tmp_path_factory.mktemp("collections")
    manifests = {
        layout: make_collection(layout, base / layout, base / f"{layout}_truth", TINY, 2)
        for layout in ("faceforensics", "celebdf", "dfdc")
    }
    return base, manifests


def decode(path):
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def count_until_broken(path):
    count = 0
    with av.open(str(path)) as container, contextlib.suppress(av.error.FFmpegError):
        for _ in container.decode(video=0):
            count += 1
    return count


def truth_rows(base, layout):
    return pq.read_table(base / f"{layout}_truth" / "truth.parquet").to_pylist()


def person(**changes):
    return replace(sample_identity(np.random.default_rng(3)), freckles=0.0, stubble=0.0, **changes)


def test_portrait_is_reproducible_and_lies_in_the_picture():
    (first, truth), (second, _) = (render_portrait(np.random.default_rng(4), 240, 320) for _ in range(2))
    assert first.shape == (240, 320, 3)
    assert first.dtype == np.uint8
    assert np.array_equal(first, second)
    assert truth.landmarks.shape == (81, 2)
    assert truth.visible > 0.9
    assert np.all((truth.landmarks > 0) & (truth.landmarks < [320, 240]))


@pytest.mark.parametrize("yaw", [-24, 0, 24])
@pytest.mark.parametrize("pitch", [-12, 10])
def test_landmarks_lie_on_what_they_name(yaw, pitch):
    identity = person(iris=(20, 40, 240), lips=(250, 10, 10), skin=(200, 170, 150), eye_size=1.2)
    frame = np.zeros((300, 300, 3), np.uint8)
    pose = Pose((150, 140), 70, yaw, pitch, roll_deg=8, ambient=0.8)
    points = draw_person(frame, identity, pose).landmarks
    seen = frame.astype(int)

    def colour(point):
        x, y = np.round(point).astype(int)
        return seen[y, x]

    for eye in (geometry.LEFT_EYE, geometry.RIGHT_EYE):
        # a ring of iris lies around the black pupil, just beside the middle of the lids
        x, y = np.round(points[eye].mean(axis=0)).astype(int)
        patch = seen[y - 5 : y + 6, x - 7 : x + 8]
        assert (patch[..., 2] - patch[..., 0]).max() > 60
    for lip in (points[[50, 61]].mean(axis=0), points[[57, 66]].mean(axis=0)):
        red, green, _ = colour(lip)
        assert red - green > 80
    for cheek in (points[[2, 31]].mean(axis=0), points[[14, 35]].mean(axis=0)):
        red, green, _ = colour(cheek)
        assert 5 < red - green < 70


def test_the_jaw_is_the_edge_of_the_face():
    identity, changed = person(hair_style="cropped"), []
    pose = Pose((150, 130), 60, yaw_deg=15)
    for background in (0, 255):
        frame = np.full((300, 300, 3), background, np.uint8)
        truth = draw_person(frame, identity, pose)
        changed.append(frame.astype(int))
    behind = np.abs(changed[0] - changed[1]).max(axis=2) > 128
    # between ear and neck the background begins at the jaw
    middle = truth.landmarks[[4, 5, 11, 12]].mean(axis=0)
    for jaw in truth.landmarks[[3, 13]]:
        outwards = (jaw - middle) / np.linalg.norm(jaw - middle)
        inside, outside = np.round(jaw - 3 * outwards).astype(int), np.round(jaw + 3 * outwards).astype(int)
        assert not behind[inside[1], inside[0]]
        assert behind[outside[1], outside[0]]


def test_inverse_map_inverts_project():
    rng = np.random.default_rng(0)
    rest = geometry.template()
    z = geometry.relief(rest, nose_height=0.31, depth=0.9)
    dv = np.full(geometry.TEXTURE_SIZE, 0.05, np.float32)
    turn, centre = geometry.rotation(25, -14, 12), np.array([150.0, 140.0])
    inner = rest[17:68] + rng.normal(0, 0.02, (51, 2))
    points = geometry.project(inner, z, dv, turn, 55.0, centre)
    map_x, map_y = geometry.inverse_map(z, dv, turn, 55.0, centre, (0, 0, 300, 300))
    nearest = np.round(points).astype(int)
    back = np.stack([m[nearest[:, 1], nearest[:, 0]] for m in (map_x, map_y)], axis=1)
    # a texel is three quarters of a pixel here, and points were rounded to whole pixels
    assert np.abs(back - geometry.texels(inner)).max() < 2.0


def test_mtcnn_finds_rendered_faces():
    from facenet_pytorch import MTCNN

    detector = MTCNN(keep_all=True, device="cpu")
    for seed in range(3):
        frame, truth = render_portrait(np.random.default_rng(seed), 240, 320)
        boxes, scores = detector.detect(frame)
        box = boxes[np.argmax(scores)]
        low, high = np.maximum(box[:2], truth.box[:2]), np.minimum(box[2:], truth.box[2:])
        shared = np.prod(np.clip(high - low, 0, None))
        union = np.prod(box[2:] - box[:2]) + np.prod(truth.box[2:] - truth.box[:2]) - shared
        assert scores.max() > 0.95
        assert shared / union > 0.6


@pytest.mark.parametrize("method", METHODS)
def test_a_manipulation_changes_its_mask_and_nothing_else(method):
    rng = np.random.default_rng(1)
    target, donor = (sample_clip(rng, sample_identity(rng), "one", 2, 25.0, (240, 320)) for _ in range(2))
    frame, truths = render_frame(target, 1)
    before = frame.copy()
    forgery = forge_frame(method, frame, truths[0].landmarks, 1, target, donor, [5])
    assert np.array_equal(frame, before)
    assert set(np.unique(forgery.mask)) == {0, 255}
    assert np.array_equal(forgery.frame[forgery.mask == 0], frame[forgery.mask == 0])
    inside = forgery.mask == 255
    assert np.abs(forgery.frame[inside].astype(int) - frame[inside]).mean() > 2
    x0, y0, x1, y1 = face_box(truths[0].landmarks)
    ys, xs = np.nonzero(forgery.mask)
    assert xs.min() > x0 - 8
    assert xs.max() < x1 + 8
    assert ys.min() > y0 - 8
    assert ys.max() < y1 + 8
    assert np.abs(forgery.landmarks - truths[0].landmarks).max() < 0.25 * (x1 - x0)


def test_faceforensics_tree(collections):
    base, manifests = collections
    root, n = base / "faceforensics", TINY.n_sources
    ids = [f"{number:03d}" for number in range(n)]
    splits = {name: json.loads((root / f"{name}.json").read_text()) for name in ("train", "val", "test")}
    flat = [i for pairs in splits.values() for pair in pairs for i in pair]
    assert sorted(flat) == ids
    both_ways = {name for pairs in splits.values() for a, b in pairs for name in (f"{a}_{b}.mp4", f"{b}_{a}.mp4")}
    expected = {"train.json", "val.json", "test.json"}
    expected |= {f"original_sequences/youtube/c23/videos/{i}.mp4" for i in ids}
    for method in ("Deepfakes", "Face2Face", "FaceSwap", "NeuralTextures"):
        for folder in ("c23", "masks"):
            expected |= {f"manipulated_sequences/{method}/{folder}/videos/{name}" for name in both_ways}
    assert set(manifests["faceforensics"]["files"]) == expected
    with pytest.raises(av.error.InvalidDataError):
        decode(root / "manipulated_sequences/Deepfakes/c23/videos/003_002.mp4")


def test_fakes_match_their_reals_and_masks(collections):
    base, _ = collections
    root, name = base / "faceforensics", "000_001"
    real = decode(root / "original_sequences/youtube/c23/videos/000.mp4")
    fake = decode(root / f"manipulated_sequences/FaceSwap/c23/videos/{name}.mp4")
    shown = decode(root / f"manipulated_sequences/FaceSwap/masks/videos/{name}.mp4")
    assert len(real) == len(fake) == len(shown) == TINY.n_frames
    with h5py.File(base / "faceforensics_truth" / "masks.h5") as file:
        path = f"manipulated_sequences/FaceSwap/c23/videos/{name}.mp4"
        (items,) = np.nonzero(file["masks/path"].asstr()[:] == path)
        assert file["masks/frame_index"][:][items].tolist() == list(range(TINY.n_frames))
        masks = [decode_png(BlobReader(file["masks"])[item]) for item in items]
    for a, b, picture, mask in zip(real, fake, shown, masks, strict=True):
        assert a.shape == b.shape == picture.shape == (*mask.shape, 3)
        assert np.mean((picture[..., 0] > 127) == (mask > 127)) > 0.99
        change = np.abs(a.astype(int) - b).mean(axis=2)
        assert change[mask > 0].mean() > 3 * change[mask == 0].mean()


def test_truth_has_a_row_per_person_and_frame(collections):
    base, _ = collections
    rows = truth_rows(base, "faceforensics")
    real = "original_sequences/youtube/c23/videos/{}.mp4"
    count = {name: sum(row["path"] == real.format(name) for row in rows) for name in ("000", "001", "002", "004")}
    n = TINY.n_frames
    assert count == {"000": 2 * n, "001": n, "002": 0, "004": n}
    leaving = [row["visible"] for row in rows if row["path"] == real.format("001")]
    assert leaving[0] > 0.9
    assert leaving[-1] < 0.9
    assert not any(row["manipulated"] for row in rows if row["path"].startswith("original_sequences"))
    faked = [row for row in rows if row["path"] == "manipulated_sequences/Deepfakes/c23/videos/000_001.mp4"]
    assert {(row["track_id"], row["manipulated"]) for row in faked} == {(0, True), (1, False)}
    assert all(len(row["landmarks"]) == 162 for row in rows)


def scene_clip(kind, n_frames=16, seed=2):
    rng = np.random.default_rng(seed)
    clip = sample_clip(rng, sample_identity(rng), kind, n_frames, 25.0, (240, 320))
    frames, truths = zip(*(render_frame(clip, index) for index in range(n_frames)), strict=True)
    return clip, frames, truths


@pytest.mark.parametrize("seed", range(3))
def test_people_who_cross_change_sides_and_one_hides_the_other(seed):
    _, _, truths = scene_clip("crossing", seed=seed)
    way = np.array([[truth[person].box[[0, 2]].mean() for truth in truths] for person in (0, 1)])
    assert np.sign(way[0, 0] - way[1, 0]) == -np.sign(way[0, -1] - way[1, -1])
    assert np.abs(way[:, 0] - way[:, -1]).min() > 320 / 3
    seen = np.array([[truth[person].visible for truth in truths] for person in (0, 1)])
    assert seen[0].min() == 1, "the first person stands in front"
    assert seen[1].min() < 0.4
    assert (seen[1, [0, 1, -2, -1]] > 0.95).all()
    assert truths[0][1].box[3] - truths[0][1].box[1] < 1.1 * (truths[0][0].box[3] - truths[0][0].box[1])


def test_what_is_hidden_shows_other_pixels():
    clip, frames, truths = scene_clip("crossing")
    alone = replace(clip, people=clip.people[1:])
    for index, (frame, truth) in enumerate(zip(frames, truths, strict=True)):
        x0, y0, x1, y1 = truth[1].box.astype(int)
        whole = render_frame(alone, index)[0][y0:y1, x0:x1].astype(int)
        hidden = (np.abs(whole - frame[y0:y1, x0:x1]).max(axis=2) > 4).mean()
        assert abs(1 - hidden - truth[1].visible) < 0.08


def test_a_cut_puts_another_person_into_the_same_place_of_another_room():
    clip, frames, truths = scene_clip("cut")
    (cut,) = clip.cuts
    assert 6 <= cut <= 10
    assert [set(truth) for truth in truths] == [{0}] * cut + [{1}] * (16 - cut)
    before, after = truths[cut - 1][0].box, truths[cut][1].box
    assert np.abs(before - after).max() < 0.25 * (before[2] - before[0])
    change = [np.abs(frames[i].astype(int) - frames[i - 1]).mean() for i in range(1, 16)]
    assert np.argmax(change) == cut - 1
    assert change[cut - 1] > 3 * np.median(change)


@pytest.mark.parametrize("n_frames", [2, 8, 24])
def test_a_sheet_hides_the_face_for_an_eighth_of_the_clip(n_frames):
    clip, frames, truths = scene_clip("hidden", n_frames)
    assert len(clip.hidden) == max(1, n_frames // 8)
    for index, truth in enumerate(truths):
        assert truth[0].visible == (0 if index in clip.hidden else 1)
        x0, y0, x1, y1 = truth[0].box.astype(int)
        spread = frames[index][y0:y1, x0:x1].std()
        assert (spread < 20) == (index in clip.hidden)


def test_truth_tells_scenes_and_that_a_fake_is_of_one_person(collections):
    base, manifests = collections
    rows, n = truth_rows(base, "dfdc"), TINY.n_frames
    paths = {path for path in manifests["dfdc"]["files"] if path.endswith(".mp4")}
    by_path = {path: [row for row in rows if row["path"] == path] for path in paths}
    cut = [found for found in by_path.values() if {row["scene"] for row in found} == {0, 1}]
    crossing = [found for found in by_path.values() if any(r["track_id"] == 1 and r["visible"] < 0.5 for r in found)]
    hidden = [found for found in by_path.values() if len(found) == n and sum(r["visible"] == 0 for r in found) == 1]
    for pair in (cut, crossing):
        real, fake = sorted(pair, key=lambda found: sum(row["manipulated"] for row in found))
        assert not any(row["manipulated"] for row in real)
        assert all(row["manipulated"] == (row["track_id"] == 0) for row in fake)
        assert [row["visible"] for row in real] == [row["visible"] for row in fake]
    assert all(row["scene"] == row["track_id"] for found in cut for row in found)
    assert len(crossing[0]) == 2 * n
    assert len(hidden) == 1
    youtube = [row for row in truth_rows(base, "celebdf") if row["path"].startswith("YouTube-real")]
    assert any(row["scene"] == 1 for row in youtube)


@pytest.mark.parametrize("layout", ["celebdf", "dfdc"])
def test_scenes_change_no_other_video(tmp_path, layout):
    few, many = (
        make_collection(layout, tmp_path / f"{n}", tmp_path / f"truth{n}", plain(n_scenes=n), 1)["files"]
        for n in (0, 2)
    )
    changed = {path for path in few if few[path] != many[path]}
    assert all(path.endswith("metadata.json") for path in changed)
    assert len(many) - len(few) == {"celebdf": 6, "dfdc": 10}[layout]


def test_people_of_celebdf_have_two_videos_each_and_there_are_four_at_least():
    def takes(n_sources):
        videos = plan_collection("celebdf", plain(n_sources=n_sources)).videos
        return sorted(Path(video.path).stem for video in videos if video.path.startswith("Celeb-real"))

    assert takes(12) == [f"id{person}_{take:04d}" for person in range(6) for take in range(2)]
    assert takes(6) == ["id0_0000", "id0_0001", "id1_0000", "id1_0001", "id2_0000", "id3_0000"]


def test_celebdf_list_says_1_for_real(collections):
    base, manifests = collections
    lines = [line.split(" ") for line in (base / "celebdf/List_of_testing_videos.txt").read_text().splitlines()]
    files = set(manifests["celebdf"]["files"])
    assert {path for _, path in lines} < files
    assert {label for label, path in lines if path.startswith("Celeb-synthesis/")} == {"0"}
    assert {label for label, path in lines if not path.startswith("Celeb-synthesis/")} == {"1"}
    for path in files:
        folder, _, name = path.partition("/")
        if folder == "Celeb-synthesis":
            target, _, take = name.split("_")
            assert f"Celeb-real/{target}_{take}" in files
    # cut in half with its index kept, a file opens and decodes short
    short = base / "celebdf/YouTube-real/00002.mp4"
    with av.open(str(short)) as container:
        assert container.streams.video[0].frames == TINY.n_frames
    assert 0 < count_until_broken(short) < TINY.n_frames


def test_dfdc_metadata_and_its_traps(collections):
    base, manifests = collections
    root, files = base / "dfdc", set(manifests["dfdc"]["files"])
    listed, originals = {}, set()
    for part in (0, 1):
        for name, entry in json.loads((root / f"dfdc_train_part_{part}/metadata.json").read_text()).items():
            listed[f"dfdc_train_part_{part}/{name}"] = entry
            if entry["label"] == "FAKE":
                originals.add(f"dfdc_train_part_{part}/{entry['original']}")
    videos = {path for path in files if path.startswith("dfdc_train") and path.endswith(".mp4")}
    assert len(set(listed) - videos) == 1, "one file is listed and absent"
    assert len(videos - set(listed)) == 1, "one file is there and not listed"
    assert len(originals - videos) == 1, "one fake names an original that is absent"
    reals = [entry for entry in listed.values() if entry["label"] == "REAL"]
    assert any("original" not in entry for entry in reals)
    assert any(entry.get("original", "") is None for entry in reals)
    header, *lines = (root / "test/labels.csv").read_text().splitlines()
    assert header == "filename,label"
    labels = {name: int(label) for name, label in (line.split(",") for line in lines)}
    details = json.loads((root / "test/metadata.json").read_text())
    assert {name: entry["is_fake"] for name, entry in details.items()} == labels
    assert {f"test/{name}" for name in labels} == {p for p in files if p.startswith("test/") and p.endswith(".mp4")}
    manipulated = {row["path"] for row in truth_rows(base, "dfdc") if row["manipulated"]}
    assert {f"test/{name}" for name, label in labels.items() if label} == {p for p in manipulated if "test/" in p}


def test_bytes_do_not_depend_on_threads(tmp_path):
    first, second = (
        make_collection("celebdf", tmp_path / str(threads), tmp_path / f"truth{threads}", PLAIN, threads)
        for threads in (1, 2)
    )
    assert first == second
    for path, entry in first["files"].items():
        assert hashlib.sha256((tmp_path / "2" / path).read_bytes()).hexdigest() == entry["sha256"]
    for name in ("truth.parquet", "masks.h5"):
        assert (tmp_path / "truth1" / name).read_bytes() == (tmp_path / "truth2" / name).read_bytes()


def test_another_seed_gives_other_pixels(tmp_path):
    one, other = (
        make_collection("celebdf", tmp_path / f"{seed}", tmp_path / f"truth{seed}", plain(seed=seed), 1)
        for seed in (0, 1)
    )
    path = "Celeb-real/id0_0000.mp4"
    assert one["files"][path]["sha256"] != other["files"][path]["sha256"]


def test_only_own_folders_are_replaced(tmp_path):
    root, truth = tmp_path / "root", tmp_path / "truth"
    make_collection("celebdf", root, truth, PLAIN, 1)
    (root / "leftover.mp4").write_bytes(b"half a file")
    assert "leftover.mp4" not in make_collection("celebdf", root, truth, PLAIN, 1)["files"]
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "thesis.txt").write_text("keep me")
    with pytest.raises(UserError, match="not made by this command"):
        make_collection("celebdf", foreign, truth, PLAIN, 1)
    assert (foreign / "thesis.txt").exists()


@pytest.mark.parametrize(
    ("layout", "changes", "message"),
    [
        ("ffpp", {}, "layout 'ffpp' is unknown"),
        ("faceforensics", {"n_sources": 7}, "n_sources is 7"),
        ("faceforensics", {"methods": ["FaceShifter"]}, 'found "FaceShifter"'),
        ("dfdc", {"extras": True}, "extras need at least"),
    ],
)
def test_errors_name_the_value_and_the_way_out(tmp_path, layout, changes, message):
    with pytest.raises(UserError, match=message):
        make_collection(layout, tmp_path / "root", tmp_path / "truth", plain(**changes), 1)
    with pytest.raises(UserError, match="lies inside the tree"):
        make_collection("celebdf", tmp_path / "root", tmp_path / "root" / "truth", PLAIN, 1)
