"""Collections and files of strangers: nothing outside the root is read, nothing in them is run, names do no harm."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import struct
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from detectors.families.registry import load_detector
from detectors.networks.backbones import Backbone
from helpers.finished_run import start_snakemake
from helpers.fork_server import run_python
from helpers.short_run import train_on_cpu
from helpers.small_run import ROOT, TINY_UCF
from helpers.tiny_store import make_store
from helpers.tiny_videos import write_video
from preprocess.face.shape_predictor import ShapePredictor
from preprocess.index import index_videos
from preprocess.running.cli import UserError
from preprocess.settings.index import IndexSettings
from preprocess.store.tables import read_rows
from preprocess.video.outcomes import OK, UNREADABLE
from workflow.config import check_config

HARMLESS = {"label": "FAKE", "split": "train"}


# --- paths -------------------------------------------------------------------------------------


def write(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))


@pytest.fixture
def tree(tmp_path):
    """A function that makes a good tree of a layout, with videos that open; a secret video lies beside it."""
    video = write_video(tmp_path / "secret.mp4")
    root = tmp_path / "root"

    def put(*paths: str) -> None:
        for path in paths:
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(video, root / path)

    def make(layout: str) -> Path:
        match layout:
            case "faceforensics":
                put("original_sequences/youtube/c23/videos/000.mp4")
                put(*(f"manipulated_sequences/F2F/{kind}/videos/000_001.mp4" for kind in ("c23", "masks")))
                for number, split in enumerate(("train", "val", "test")):
                    write(root / f"{split}.json", [[f"{number}00", f"{number}01"]])
                write(root / "train.json", [["000", "001"]])
            case "celebdf":
                put("Celeb-real/id0_0000.mp4", "Celeb-synthesis/id0_id1_0000.mp4")
                write(root / "List_of_testing_videos.txt", "1 Celeb-real/id0_0000.mp4\n")
            case "dfdc":
                put("dfdc_train_part_0/a.mp4")
                write(root / "dfdc_train_part_0/metadata.json", {"a.mp4": HARMLESS})
            case "videos":
                put("real/a.mp4", "fake/b.mp4")
        return root

    return make


def index(layout: str, root: Path) -> dict[str, dict]:
    return {row["path"]: row for row in index_videos("d", layout, root, 1, IndexSettings())}


CLIMBING = ("../../etc/passwd", "../secret.mp4", "/etc/passwd", "dfdc_train_part_0/../../secret.mp4", "a/../../b.mp4")


@pytest.mark.parametrize("entry", CLIMBING)
@pytest.mark.parametrize("what", ["video", "original", "test video", "preview", "Celeb-DF's list"])
def test_a_list_that_names_a_path_out_of_the_root_is_refused_by_name(tree, entry, what):
    root = tree("celebdf" if what == "Celeb-DF's list" else "dfdc")
    layout, named = "dfdc", "metadata.json"
    match what:
        case "video":
            write(root / "dfdc_train_part_0/metadata.json", {entry: HARMLESS})
        case "original":
            write(root / "dfdc_train_part_0/metadata.json", {"a.mp4": HARMLESS | {"original": entry}})
        case "test video":
            named = "labels.csv"
            write(root / "test/labels.csv", f"filename,label\n{entry},1\n")
        case "preview":
            named = "dataset.json"
            write(root / named, {entry: {"label": "fake", "set": "train"}})
        case _:
            layout, named = "celebdf", "List_of_testing_videos.txt"
            write(root / named, f"0 {entry}\n")
    with pytest.raises(UserError, match="leads out") as caught:
        index(layout, root)
    assert named in str(caught.value)
    assert repr(entry) in str(caught.value)


@pytest.mark.parametrize("entry", CLIMBING)
def test_a_split_list_names_ids_and_no_paths(tree, entry):
    root = tree("faceforensics")
    write(root / "train.json", [[entry, "001"]])
    with pytest.raises(UserError, match=r"train\.json.*expected a pair of ids"):
        index("faceforensics", root)


VIDEOS = {
    "faceforensics": "manipulated_sequences/F2F/c23/videos/000_001.mp4",
    "celebdf": "Celeb-synthesis/id0_id1_0000.mp4",
    "dfdc": "dfdc_train_part_0/a.mp4",
    "videos": "fake/b.mp4",
}


@pytest.mark.parametrize("relative", [False, True])
@pytest.mark.parametrize("layout", VIDEOS)
def test_a_video_that_is_a_link_out_of_the_root_is_a_row_with_the_reason(tree, layout, relative):
    root = tree(layout)
    link = root / VIDEOS[layout]
    link.unlink()
    secret = root.parent / "secret.mp4"
    link.symlink_to(os.path.relpath(secret, link.parent) if relative else secret)
    rows = index(layout, root)
    row = rows.pop(VIDEOS[layout])
    assert row["status"] == UNREADABLE
    assert f"{VIDEOS[layout]} is a link to {secret}, which lies outside {root}" in row["message"]
    assert (row["codec"], row["checksum"], row["n_bytes"]) == (None, None, None)
    assert {other["status"] for other in rows.values()} <= {OK, "missing"}


def test_a_mask_that_is_a_link_out_of_the_root_is_not_used(tree, caplog):
    root = tree("faceforensics")
    assert index("faceforensics", root)[VIDEOS["faceforensics"]]["mask_path"]
    mask = root / "manipulated_sequences/F2F/masks/videos/000_001.mp4"
    mask.unlink()
    mask.symlink_to(root.parent / "secret.mp4")
    row = index("faceforensics", root)[VIDEOS["faceforensics"]]
    assert (row["status"], row["mask_path"], row["mask_checksum"]) == (OK, None, None)
    assert "the mask is not used" in caplog.text


@pytest.mark.parametrize(
    ("layout", "place"),
    [
        ("faceforensics", "manipulated_sequences/F2F/c23/videos"),
        ("faceforensics", "manipulated_sequences/F2F/masks/videos"),
        ("faceforensics", "train.json"),
        ("celebdf", "Celeb-synthesis"),
        ("celebdf", "List_of_testing_videos.txt"),
        ("dfdc", "dfdc_train_part_0"),
        ("dfdc", "dfdc_train_part_0/metadata.json"),
        ("videos", "fake"),
    ],
)
def test_a_folder_or_a_list_that_is_a_link_out_of_the_root_is_refused(tree, layout, place):
    root = tree(layout)
    elsewhere = root.parent / "elsewhere"
    (root / place).rename(elsewhere)
    (root / place).symlink_to(elsewhere)
    with pytest.raises(UserError, match="which lies outside"):
        index(layout, root)


def test_the_root_may_be_a_link_and_links_may_lead_to_places_inside_it(tree):
    root = tree("celebdf")
    link = root / "Celeb-synthesis/id0_id2_0000.mp4"
    link.symlink_to("id0_id1_0000.mp4")
    (root.parent / "link").symlink_to(root)
    assert {row["status"] for row in index("celebdf", root.parent / "link").values()} == {OK}


# --- files that would run code -----------------------------------------------------------------


class Evil:
    """Pickled, it makes a file where it is loaded."""

    def __init__(self, mark: Path):
        self.mark = mark

    def __reduce__(self):
        return os.system, (f"touch '{self.mark}'",)


@pytest.fixture
def mark(tmp_path):
    """The file that would be made."""
    return tmp_path / "executed"


def test_the_trap_works(mark):
    pickle.loads(pickle.dumps(Evil(mark)))
    assert mark.exists()


@pytest.mark.parametrize("raw", [False, True])
def test_a_detector_runs_no_code_when_it_is_loaded(tmp_path, mark, raw):
    path = tmp_path / "detector.ckpt"
    if raw:
        path.write_bytes(pickle.dumps({"state_dict": Evil(mark)}))
    else:
        torch.save({"detector": "ucf", "state_dict": {}, "methods": Evil(mark)}, path)
    with pytest.raises(
        UserError, match=r"cannot read the detector .*: it is no detector, or not whole\. Train it again$"
    ):
        load_detector(path)
    assert not mark.exists()


def test_weights_of_a_backbone_run_no_code_when_they_are_loaded(tmp_path, mark):
    path = tmp_path / "weights.pth"
    torch.save({"state_dict": {"conv1.weight": Evil(mark)}}, path)
    with pytest.raises(UserError, match=r"weights\.pth"):
        Backbone("test_resnet", pretrained=str(path), stride=16)
    assert not mark.exists()


def test_a_checkpoint_of_a_training_runs_no_code_when_it_goes_on(tmp_path, mark):
    store, folder = make_store(tmp_path), tmp_path / "seed0"
    train_on_cpu("ucf", TINY_UCF, [store.samples], folder)
    last = folder / "logs/checkpoints/last.ckpt"
    torch.save({"history": [], "state_dict": {}, "epoch": Evil(mark)}, last)
    with pytest.raises(UserError, match=r"last\.ckpt"):
        train_on_cpu("ucf", TINY_UCF, [store.samples], folder)
    assert not mark.exists()


def test_a_config_runs_no_code(tmp_path, mark):
    (tmp_path / "config.yaml").write_text(f'datasets: !!python/object/apply:os.system ["touch {mark}"]\n')
    done = start_snakemake(tmp_path, "--dry-run")
    assert done.returncode != 0
    done = run_python([sys.executable, "-m", "workflow.verify", "--config", str(tmp_path / "config.yaml")], cwd=ROOT)
    assert done.returncode == 1
    assert "error: cannot read the config" in done.stderr
    assert not mark.exists()


def test_predictors_that_claim_impossible_lengths_are_refused_at_once(tmp_path):
    """dlib's integers: a control byte with their length and sign, then their bytes."""

    def integer(value: int) -> bytes:
        return bytes([8 | (0x80 if value < 0 else 0)]) + struct.pack("<Q", abs(value))

    path = tmp_path / "hostile.dat"
    rng = np.random.default_rng(0)
    for length in (-2, -(2**40), -(2**63) + 2, 2**62, 0):
        for rest in (b"", integer(2**60), integer(10_000) * 50, rng.bytes(5000)):
            path.write_bytes(integer(1) + integer(length) + integer(-1) + rest)
            with pytest.raises(UserError, match="not a dlib shape predictor"):
                ShapePredictor.load(path)
    for _ in range(100):
        path.write_bytes(integer(1) + rng.bytes(int(rng.integers(200))))
        with pytest.raises(UserError, match="not a dlib shape predictor"):
            ShapePredictor.load(path)


# --- names -------------------------------------------------------------------------------------

# a folder and files whose names a shell, Snakemake or a format string would take for something else
HOSTILE_FOLDER = 'it\'s "raw"; $(touch pwned) `touch pwned` & | > pwned {x} {{y}} %s\n* ~ \\ ü'
HOSTILE_NAMES = (
    "$(touch pwned)",
    "`touch pwned`",
    "; touch pwned;",
    "' touch pwned '",
    '"; touch pwned; "',
    "two\nlines",
    "--help",
    "{wildcards.shard}",
    "{",
    "%d %s",
    "a\\b",
    "&& touch pwned",
    "# no comment",
    "*",
)


def test_names_with_shell_characters_do_no_harm_in_the_workflow(tmp_path):
    raw = tmp_path / HOSTILE_FOLDER
    run = tmp_path / "a run; $(touch pwned)"
    run.mkdir()
    video = write_video(tmp_path / "video.mp4")
    for name in HOSTILE_NAMES:
        for label in ("real", "fake"):
            (raw / label).mkdir(parents=True, exist_ok=True)
            shutil.copy(video, raw / label / f"{name}.mp4")
    predictor = tmp_path / "it's a $(touch pwned) \"; predictor\n.dat"
    predictor.write_text("no predictor")
    config = {
        "datasets": {"d": {"layout": "videos", "root": str(raw), "n_shards": 1}},
        "landmarks": {"predictor": "none"},
        "max_lost_share": 1,
    }
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    done = start_snakemake(run, "data/samples/d.parquet")
    assert done.returncode == 0, done.stdout[-4000:]
    ledger = read_rows(run / "data/samples/d.ledger.parquet")
    assert {row["path"] for row in ledger} == {f"{label}/{n}.mp4" for label in ("real", "fake") for n in HOSTILE_NAMES}
    # noise has no face; each file was opened by its own name
    assert {row["status"] for row in ledger} == {"no_face"}

    config["landmarks"]["predictor"] = str(predictor)
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    done = start_snakemake(run, "data/samples/d.parquet")
    assert done.returncode == 1
    assert f"error: {predictor} (12 bytes) is not a dlib shape predictor" in done.stdout
    assert list(tmp_path.rglob("pwned*")) == []
    assert not (ROOT / "pwned").exists()


def test_a_predictor_whose_path_snakemake_would_take_for_a_pattern_is_refused(tmp_path):
    predictor = tmp_path / "{shard}.dat"
    predictor.touch()
    dataset = {"layout": "videos", "root": "r", "n_shards": 1, "landmarks": {"predictor": str(predictor)}}
    with pytest.raises(UserError, match=r"landmarks\.predictor.*braces.*rename"):
        check_config({"datasets": {"d": dataset}})


@pytest.mark.parametrize("name", ["a b", "../x", "$(touch pwned)", "x;y", "x/y", "", "-x", "{x}"])
def test_names_of_data_sets_and_experiments_are_letters_and_digits(name):
    dataset = {"layout": "videos", "root": "r", "n_shards": 1, "landmarks": {"predictor": "none"}}
    experiment = {"detector": "ucf", "train": ["d"], "test": ["d"], "seeds": [0]}
    check_config({"datasets": {"d": dataset}, "experiments": {"e": experiment}})
    with pytest.raises(UserError, match="letters, digits"):
        check_config({"datasets": {name: dataset}})
    with pytest.raises(UserError, match="letters, digits"):
        check_config({"datasets": {"d": dataset}, "experiments": {name: experiment}})
