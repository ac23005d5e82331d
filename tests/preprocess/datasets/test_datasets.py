"""Published trees, with the traps that each of them holds. The adapters never open a video: empty files do."""

import json
from collections import Counter

import pytest

from preprocess.datasets import LAYOUTS
from preprocess.datasets.downsample import left_out_fakes
from preprocess.datasets.raw import RawVideo
from preprocess.running.cli import UserError
from preprocess.settings.index import IndexSettings

FF = "faceforensics"


def touch(root, *paths):
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()


def write_json(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


def find(layout, root, **settings):
    """The videos by their id without the data set's name, which is `d`."""
    videos = LAYOUTS[layout].find_videos(root, "d", IndexSettings(**settings))
    found = {video.video_id.removeprefix("d/"): video for video in videos}
    assert len(found) == len(videos)
    assert {video.source_id for video in videos} <= {video.video_id for video in videos} | {None}
    return found


# --- FaceForensics++ ---------------------------------------------------------------------------


def write_splits(folder, train=(("000", "003"),), val=(("001", "002"),), test=(("004", "005"),)):
    for name, pairs in (("train", train), ("val", val), ("test", test)):
        write_json(folder / f"{name}.json", [list(pair) for pair in pairs])


@pytest.fixture
def ff_root(tmp_path):
    ids = [f"00{number}" for number in range(6)]
    fakes = ["000_003", "003_000", "001_002", "002_001", "004_005", "005_004"]
    for compression in ("c23", "c40"):
        touch(tmp_path, *(f"original_sequences/youtube/{compression}/videos/{name}.mp4" for name in ids))
        for method in ("Deepfakes", "FaceShifter"):
            touch(tmp_path, *(f"manipulated_sequences/{method}/{compression}/videos/{name}.mp4" for name in fakes))
    touch(tmp_path, *(f"manipulated_sequences/Deepfakes/masks/videos/{name}.mp4" for name in fakes))
    touch(
        tmp_path,
        "original_sequences/actors/raw/videos/01__walking_outside.mp4",
        "original_sequences/actors/raw/videos/02__walking_outside.mp4",
        "manipulated_sequences/DeepFakeDetection/raw/videos/01_02__walking_outside__0XUW13RW.mp4",
        "manipulated_sequences/DeepFakeDetection/masks/videos/01_02__walking_outside__0XUW13RW.mp4",
    )
    write_splits(tmp_path)
    return tmp_path


def test_faceforensics_keeps_same_named_videos_apart(ff_root):
    videos = find(FF, ff_root)
    assert len(videos) == 2 * (6 + 6 + 6) + 3
    fake = videos["FaceShifter/c40/003_000"]
    assert fake.path == "manipulated_sequences/FaceShifter/c40/videos/003_000.mp4"
    assert (fake.label, fake.method, fake.compression) == (1, "FaceShifter", "c40")
    assert (videos["real/c40/003"].label, videos["real/c40/003"].method) == (0, "real")


def test_faceforensics_fakes_come_from_their_target_in_the_same_compression(ff_root):
    videos = find(FF, ff_root)
    fake = videos["Deepfakes/c23/003_000"]
    assert fake.source_id == "d/real/c23/003"
    assert fake.identities == ("003", "000")
    groups = {video.source_group for name, video in videos.items() if name.endswith(("/003", "/003_000"))}
    assert groups == {"003"}


def test_faceforensics_masks_are_shared_by_compressions_and_absent_for_faceshifter(ff_root):
    videos = find(FF, ff_root)
    mask = "manipulated_sequences/Deepfakes/masks/videos/003_000.mp4"
    assert videos["Deepfakes/c23/003_000"].mask_path == videos["Deepfakes/c40/003_000"].mask_path == mask
    assert videos["FaceShifter/c23/003_000"].mask_path is None
    assert videos["real/c23/003"].mask_path is None


@pytest.mark.parametrize("folder", [".", "splits"])
def test_faceforensics_official_splits_hold_for_reals_and_both_directions_of_a_pair(ff_root, folder):
    (ff_root / "splits").mkdir()
    for name in ("train", "val", "test"):
        (ff_root / f"{name}.json").rename(ff_root / folder / f"{name}.json")
    videos = find(FF, ff_root)
    splits = {name: video.split for name, video in videos.items() if "/c23/" in name}
    for split, ids in (("train", ("000", "003")), ("val", ("001", "002")), ("test", ("004", "005"))):
        for one, other in (ids, ids[::-1]):
            assert splits[f"real/c23/{one}"] == splits[f"FaceShifter/c23/{one}_{other}"] == split


def test_faceforensics_fakes_across_splits_or_outside_them_have_none(ff_root):
    folder = "manipulated_sequences/Deepfakes/c23/videos"
    touch(ff_root, f"{folder}/000_001.mp4", f"{folder}/000_999.mp4", f"{folder}/odd name.mp4")
    touch(ff_root, "original_sequences/youtube/c23/videos/999.mp4")
    videos = find(FF, ff_root)
    for name in ("Deepfakes/c23/000_001", "Deepfakes/c23/000_999", "Deepfakes/c23/odd name", "real/c23/999"):
        assert videos[name].split is None, name
    assert videos["Deepfakes/c23/000_001"].source_id == "d/real/c23/000"
    assert videos["Deepfakes/c23/odd name"].source_id is None


def test_deepfakedetection_is_all_test_and_pairs_by_target_and_scene(ff_root):
    for name in ("train", "val", "test"):
        (ff_root / f"{name}.json").unlink()
    videos = find(FF, ff_root, methods=["DeepFakeDetection"])
    assert set(videos) == {
        "real/raw/01__walking_outside",
        "real/raw/02__walking_outside",
        "DeepFakeDetection/raw/01_02__walking_outside__0XUW13RW",
    }
    assert {video.split for video in videos.values()} == {"test"}
    fake = videos["DeepFakeDetection/raw/01_02__walking_outside__0XUW13RW"]
    assert fake.source_id == "d/real/raw/01__walking_outside"
    assert fake.source_group == videos["real/raw/01__walking_outside"].source_group
    assert fake.identities == ("01", "02")
    assert fake.mask_path == "manipulated_sequences/DeepFakeDetection/masks/videos/01_02__walking_outside__0XUW13RW.mp4"


def test_faceforensics_takes_the_methods_and_compressions_asked_for(ff_root):
    videos = find(FF, ff_root, methods=["Deepfakes"], compressions=["c23"])
    assert {(video.method, video.compression) for video in videos.values()} == {("real", "c23"), ("Deepfakes", "c23")}
    assert not any(name.startswith("real/c23/01__") for name in videos)
    assert {video.label for video in find(FF, ff_root, methods=[]).values()} == {0}


def test_faceforensics_videos_that_the_splits_name_are_listed_when_absent(ff_root):
    absent = "manipulated_sequences/FaceShifter/c23/videos/005_004.mp4"
    (ff_root / absent).unlink()
    (ff_root / "original_sequences/youtube/c23/videos/001.mp4").unlink()
    videos = find(FF, ff_root)
    assert videos["FaceShifter/c23/005_004"].path == absent
    assert videos["real/c23/001"].split == "val"
    assert videos["real/c23/001"].named_by == "the split lists"


def test_faceforensics_passes_over_hidden_files_and_other_kinds(ff_root):
    touch(ff_root, "original_sequences/youtube/c23/videos/._000.mp4", "original_sequences/youtube/c23/videos/notes.txt")
    assert len([name for name in find(FF, ff_root) if name.startswith("real/c23/")]) == 6


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"methods": ["FaceSwap"]}, "'FaceSwap'.*found: DeepFakeDetection, Deepfakes, FaceShifter"),
        ({"methods": ["Deepfakes"], "compressions": ["raw"]}, "'raw'.*found: c23, c40"),
        ({"label": "fake"}, "'label'.*no use"),
    ],
)
def test_faceforensics_names_what_is_asked_for_and_not_there(ff_root, settings, message):
    with pytest.raises(UserError, match=message):
        find(FF, ff_root, **settings)


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        ([["000", "../../secret"]], "secret"),
        ([["000"]], "expected a pair"),
        ([[71, 54]], "expected a pair"),
        ([["000", "003"]], "'000' is also in train.json"),
        ({"000": "003"}, "expected a list of pairs"),
    ],
)
def test_faceforensics_refuses_broken_split_lists(ff_root, pairs, message):
    write_json(ff_root / "test.json", pairs)
    with pytest.raises(UserError, match=message):
        find(FF, ff_root)


def test_faceforensics_says_which_split_list_is_absent(ff_root):
    (ff_root / "val.json").unlink()
    with pytest.raises(UserError, match=r"val\.json is neither in"):
        find(FF, ff_root)


# --- Celeb-DF ----------------------------------------------------------------------------------


@pytest.fixture
def celeb_root(tmp_path):
    touch(
        tmp_path,
        "Celeb-real/id0_0000.mp4",
        "Celeb-real/id1_0000.mp4",
        "YouTube-real/00170.mp4",
        "Celeb-synthesis/id0_id1_0000.mp4",
        "Celeb-synthesis/id1_id0_0000.mp4",
        "Celeb-synthesis/id0_id1_0007.mp4",
    )
    lines = ["1 YouTube-real/00170.mp4", "0 Celeb-synthesis/id1_id0_0000.mp4", "1 Celeb-real/id9_0000.mp4", ""]
    (tmp_path / "List_of_testing_videos.txt").write_text("\r\n".join(lines))
    return tmp_path


def test_celebdf_reads_one_as_real_and_trains_on_the_rest(celeb_root):
    videos = find("celebdf", celeb_root)
    labels = {name: (video.label, video.split) for name, video in videos.items()}
    assert labels == {
        "real/original/id0_0000": (0, "train"),
        "real/original/id1_0000": (0, "train"),
        "real/original/00170": (0, "test"),
        "real/original/id9_0000": (0, "test"),  # on the list, not in the tree
        "Celeb-synthesis/original/id0_id1_0000": (1, "train"),
        "Celeb-synthesis/original/id1_id0_0000": (1, "test"),
        "Celeb-synthesis/original/id0_id1_0007": (1, "train"),
    }


def test_celebdf_fakes_come_from_the_first_person_of_the_same_take(celeb_root):
    videos = find("celebdf", celeb_root)
    fake = videos["Celeb-synthesis/original/id1_id0_0000"]
    assert fake.source_id == "d/real/original/id1_0000"
    assert fake.source_group == videos["real/original/id1_0000"].source_group
    assert fake.identities == ("id1", "id0")
    assert videos["real/original/id1_0000"].identities == ("id1",)
    orphan = videos["Celeb-synthesis/original/id0_id1_0007"]
    assert (orphan.source_id, orphan.source_group) == (None, "id0_0007")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("0 Celeb-real/id0_0000.mp4", "1 is real"),
        ("1 Celeb-synthesis/id0_id1_0000.mp4", "1 is real"),
        ("1 ../../etc/passwd", "leads out"),
        ("1 /etc/passwd", "leads out"),
        ("1 Other/x.mp4", "expected"),
        ("real Celeb-real/id0_0000.mp4", "expected"),
        ("1", "line 1, names ''"),
    ],
)
def test_celebdf_refuses_a_list_that_contradicts_the_tree(celeb_root, line, message):
    (celeb_root / "List_of_testing_videos.txt").write_text(line)
    with pytest.raises(UserError, match=message) as caught:
        find("celebdf", celeb_root)
    assert "List_of_testing_videos.txt" in str(caught.value)


def test_celebdf_needs_its_test_list(celeb_root):
    (celeb_root / "List_of_testing_videos.txt").unlink()
    with pytest.raises(UserError, match=r"List_of_testing_videos\.txt"):
        find("celebdf", celeb_root)


# --- DFDC --------------------------------------------------------------------------------------


@pytest.fixture
def dfdc_root(tmp_path):
    part0, part10 = "dfdc_train_part_0", "dfdc_train_part_10"
    touch(tmp_path, *(f"{part0}/{name}.mp4" for name in ("real", "null", "fake", "unlisted")), f"{part10}/far.mp4")
    write_json(
        tmp_path / part0 / "metadata.json",
        {
            "real.mp4": {"label": "REAL", "split": "train"},
            "null.mp4": {"label": "REAL", "split": "train", "original": None},
            "fake.mp4": {"label": "FAKE", "split": "train", "original": "real.mp4"},
            "orphan.mp4": {"label": "FAKE", "split": "train", "original": "gone.mp4"},
        },
    )
    write_json(tmp_path / part10 / "metadata.json", {"far.mp4": {"label": "FAKE", "original": "null.mp4", "note": 1}})
    touch(tmp_path, "test/a.mp4", "test/b.mp4", "test/unlisted.mp4")
    (tmp_path / "test/labels.csv").write_text("filename,label\na.mp4,1\nb.mp4,0\nabsent.mp4,1\n")
    write_json(tmp_path / "test/metadata.json", {"a.mp4": {"is_fake": 1, "augmentations": {"blur": {"sigma": 2}}}})
    return tmp_path


def test_dfdc_train_parts_and_test_set(dfdc_root):
    found = {name: (video.label, video.split) for name, video in find("dfdc", dfdc_root).items()}
    assert found == {
        "real/original/dfdc_train_part_0/real": (0, "train"),
        "real/original/dfdc_train_part_0/null": (0, "train"),
        "DFDC/original/dfdc_train_part_0/fake": (1, "train"),
        "DFDC/original/dfdc_train_part_0/orphan": (1, "train"),  # in the metadata, not in the folder
        "unlabelled/original/dfdc_train_part_0/unlisted": (None, "train"),  # the other way round
        "DFDC/original/dfdc_train_part_10/far": (1, "train"),
        "DFDC/original/test/a": (1, "test"),
        "real/original/test/b": (0, "test"),
        "DFDC/original/test/absent": (1, "test"),
        "unlabelled/original/test/unlisted": (None, "test"),
    }


def test_dfdc_originals_are_found_in_any_part_or_are_null(dfdc_root):
    videos = find("dfdc", dfdc_root)
    assert videos["DFDC/original/dfdc_train_part_0/fake"].source_id == "d/real/original/dfdc_train_part_0/real"
    far = videos["DFDC/original/dfdc_train_part_10/far"]
    assert far.source_id == "d/real/original/dfdc_train_part_0/null"
    assert far.source_group == videos["real/original/dfdc_train_part_0/null"].source_group
    orphan = videos["DFDC/original/dfdc_train_part_0/orphan"]
    assert (orphan.source_id, orphan.source_group) == (None, "dfdc_train_part_0/gone")


def test_dfdc_keeps_what_else_the_metadata_say(dfdc_root):
    videos = find("dfdc", dfdc_root)
    assert json.loads(videos["DFDC/original/test/a"].metadata) == {"augmentations": {"blur": {"sigma": 2}}}
    assert json.loads(videos["DFDC/original/dfdc_train_part_10/far"].metadata) == {"note": 1}
    assert videos["real/original/test/b"].metadata is None
    assert videos["DFDC/original/dfdc_train_part_0/fake"].metadata is None


def test_dfdc_preview(tmp_path):
    touch(tmp_path, "method_A/1/x.mp4", "method_A/1/unlisted.mp4", "method_B/1/x.mp4", "original_videos/1/x.mp4")
    write_json(
        tmp_path / "dataset.json",
        {
            "method_A/1/x.mp4": {"label": "fake", "set": "train", "augmentations": ["flip"]},
            "method_B/1/x.mp4": {"label": "fake", "set": "test"},
            "original_videos/1/x.mp4": {"label": "real", "set": "train"},
        },
    )
    videos = find("dfdc", tmp_path)
    assert {name: (video.label, video.method, video.split) for name, video in videos.items()} == {
        "method_A/original/method_A/1/x": (1, "method_A", "train"),
        "method_B/original/method_B/1/x": (1, "method_B", "test"),
        "real/original/original_videos/1/x": (0, "real", "train"),
        "unlabelled/original/method_A/1/unlisted": (None, None, None),
    }
    assert json.loads(videos["method_A/original/method_A/1/x"].metadata) == {"augmentations": ["flip"]}
    assert "method_A/original/method_A/1/x" not in find("dfdc", tmp_path, methods=["method_B"])


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"../../etc/passwd": {"label": "FAKE"}}, "leads out"),
        ({"/etc/passwd": {"label": "FAKE"}}, "leads out"),
        ({"a.mp4": {"label": "FAKE", "original": "../b.mp4"}}, "a.mp4, original.*leads out"),
        ({"a.mp4": {"label": "FAKE", "original": 7}}, "a.mp4, original"),
        ({"a.mp4": {"label": "maybe"}}, "expected a label"),
        ({"a.mp4": "FAKE"}, "expected a label"),
        ({"a.mp4": {"label": "FAKE", "split": "private"}}, "'private'; allowed: train, val, test"),
        ([], "expected"),
        ({"a\ud800.mp4": {"label": "FAKE"}}, "UTF-8"),
    ],
)
def test_dfdc_refuses_broken_metadata_and_names_the_file(tmp_path, entry, message):
    root = tmp_path / "root"
    write_json(root / "dfdc_train_part_0/metadata.json", entry)
    with pytest.raises(UserError, match=message) as caught:
        find("dfdc", root)
    assert "dfdc_train_part_0/metadata.json" in str(caught.value)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ("a.mp4,1\n", "expected filename,label"),
        ("filename,label\na.mp4,FAKE\n", "'FAKE'"),
        ("filename,label\na.mp4,1\na.mp4,0\n", "line 3"),
        ("filename,label\na.mp4,0\n", "test/metadata.json has"),
        ("filename,label\n../x.mp4,0\n", "leads out"),
    ],
)
def test_dfdc_refuses_broken_test_labels(dfdc_root, labels, message):
    (dfdc_root / "test/labels.csv").write_text(labels)
    with pytest.raises(UserError, match=message):
        find("dfdc", dfdc_root)


@pytest.mark.parametrize("absent", ["dfdc_train_part_0/metadata.json", "test/labels.csv"])
def test_dfdc_needs_its_labels(dfdc_root, absent):
    (dfdc_root / absent).unlink()
    with pytest.raises(UserError, match=absent.split("/")[1]):
        find("dfdc", dfdc_root)


# --- any videos, any images --------------------------------------------------------------------


@pytest.mark.parametrize(("layout", "suffix"), [("videos", ".mp4"), ("images", ".PNG")])
def test_folders_real_and_fake_label_what_is_in_them(tmp_path, layout, suffix):
    touch(tmp_path, f"real/a/0{suffix}", f"fake/0{suffix}", f"elsewhere/0{suffix}", "real/a/notes.txt", "real/._0.mp4")
    videos = find(layout, tmp_path)
    assert {name: (video.label, video.method, video.kind) for name, video in videos.items()} == {
        f"real/original/real/a/0{suffix}": (0, "real", layout[:-1]),
        f"d/original/fake/0{suffix}": (1, "d", layout[:-1]),
        f"unlabelled/original/elsewhere/0{suffix}": (None, None, layout[:-1]),
    }


def test_one_label_for_the_whole_set(tmp_path):
    touch(tmp_path, "a.jpg", "deep/er/Größe 人.jpeg")
    videos = find("images", tmp_path, label="fake")
    assert set(videos) == {"d/original/a.jpg", "d/original/deep/er/Größe 人.jpeg"}
    assert {video.label for video in videos.values()} == {1}
    assert {video.label for video in find("images", tmp_path, label="real").values()} == {0}


def test_the_held_out_share_is_about_right_and_stays_when_files_are_added(tmp_path):
    touch(tmp_path, *(f"{number:03d}.mp4" for number in range(400)))
    before = find("videos", tmp_path, label="real")
    test = {name for name, video in before.items() if video.split == "test"}
    assert 0.25 < len(test) / 400 < 0.35
    # fixed for ever: another hash would move test videos into the training split
    assert [number for number in range(20) if f"real/original/{number:03d}.mp4" in test] == [8, 12, 16, 17, 18]
    touch(tmp_path, *(f"new_{number:03d}.mp4" for number in range(100)))
    after = find("videos", tmp_path, label="real")
    assert {name for name in before if after[name].split == "test"} == test
    for share, split in ((0, "train"), (1, "test")):
        assert {video.split for video in find("videos", tmp_path, label="real", test_share=share).values()} == {split}


def test_shares_of_val_and_test_are_drawn_and_a_larger_one_only_takes_from_training(tmp_path):
    touch(tmp_path, *(f"{number:03d}.png" for number in range(300)))

    def splits(share):
        return {name: video.split for name, video in find("images", tmp_path, label="real", test_share=share).items()}

    drawn = splits([0.1, 0.2])
    counts = Counter(drawn.values())
    assert 0.05 < counts["val"] / 300 < 0.15
    assert 0.14 < counts["test"] / 300 < 0.26
    # what a share of test alone holds out
    assert {name for name, split in splits(0.2).items() if split == "test"} == {
        name for name, split in drawn.items() if split == "test"
    }
    assert all(split == "train" or splits([0.3, 0.2])[name] == split for name, split in drawn.items())


def test_label_must_be_known_and_unambiguous(tmp_path):
    touch(tmp_path, "one/a.mp4")
    with pytest.raises(UserError, match="label: fake"):
        find("videos", tmp_path)
    touch(tmp_path, "real/a.mp4", "fake/a.mp4")
    with pytest.raises(UserError, match="would label all"):
        find("videos", tmp_path, label="fake")


def test_links_inside_the_root_are_read_once_and_links_out_of_it_refused(tmp_path):
    root = tmp_path / "root"
    touch(root, "a/0.mp4")
    (root / "b").symlink_to(root / "a")
    (root / "loop").symlink_to(root)
    assert set(find("videos", root, label="real")) == {"real/original/a/0.mp4"}
    touch(tmp_path, "outside/secret.mp4")
    (root / "c").symlink_to(tmp_path / "outside")
    with pytest.raises(UserError, match=r"c is a link to .*outside"):
        find("videos", root, label="real")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_root_without_videos_says_what_was_looked_for(tmp_path, layout):
    with pytest.raises(UserError, match="looked for") as caught:
        find(layout, tmp_path, **({"label": "real"} if layout in ("videos", "images") else {}))
    assert str(tmp_path) in str(caught.value)


def fake(source_group, name, split="train", label=1):
    """A fake, or whatever `label` says, as a layout lists it."""
    return RawVideo(
        video_id=f"d/swap/original/{name}",
        path=f"{name}.mp4",
        label=label,
        method="swap",
        compression="original",
        split=split,
        source_group=source_group,
    )


def kept_names(videos, factor, seed=0):
    left_out = left_out_fakes(videos, factor=factor, seed=seed)
    return {video.video_id.rsplit("/")[-1] for video in videos if video.video_id not in left_out}


def test_downsampling_takes_one_fake_in_factor_of_every_group():
    groups = {f"g{number}": [fake(f"g{number}", f"{number}_{k}") for k in range(number)] for number in range(1, 24)}
    kept = kept_names([video for videos in groups.values() for video in videos], factor=5)
    for number in range(1, 24):
        n_kept = sum(name.startswith(f"{number}_") for name in kept)
        assert n_kept in (number // 5, -(-number // 5)), "n / 5, rounded up or down"


@pytest.mark.parametrize("group_size", [1, 3, 5, 7])
def test_every_fake_is_taken_with_the_same_chance(group_size):
    n_groups, factor = 6000, 5
    videos = [fake(f"g{group}", f"{group}_{k}") for group in range(n_groups) for k in range(group_size)]
    kept = kept_names(videos, factor)
    for k in range(group_size):  # whichever place it has in its group
        share = sum(name.endswith(f"_{k}") for name in kept) / n_groups
        assert abs(share - 1 / factor) < 4 * (0.2 * 0.8 / n_groups) ** 0.5


def test_downsampling_of_one_group_depends_on_no_other_and_on_no_order():
    of_group = [fake("g", f"g_{k}") for k in range(7)]
    others = [fake(f"h{k}", f"h_{k}") for k in range(50)]
    alone = kept_names(of_group, 3)
    assert {name for name in kept_names(others + of_group[::-1], 3) if name.startswith("g")} == alone
    assert kept_names(of_group, 3) == alone
    assert len({frozenset(kept_names(of_group, 3, seed)) for seed in range(20)}) > 5, "a seed draws others"


def test_downsampling_leaves_test_val_reals_and_the_unlabelled_alone():
    videos = [fake("g", f"{split}{k}", split) for split in ("val", "test", None) for k in range(9)]
    videos += [fake("g", f"real{k}", label=0) for k in range(9)] + [fake("g", f"unknown{k}", label=None) for k in "ab"]
    assert len(kept_names(videos, 5)) == len(videos)
    train = [fake("g", f"train{k}") for k in range(9)]
    assert len(kept_names(train, 1)) == 9
    assert len(kept_names(train, 1000)) <= 1


def test_downsampling_draws_the_same_for_ever():
    # another hash would change the training set of every study
    assert sorted(kept_names([fake("g", f"g_{k}") for k in range(10)], 5)) == ["g_2", "g_4"]
