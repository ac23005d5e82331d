"""Files scored by hand get what the pipeline gives them, and none is dropped."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
import yaml
from PIL import Image

from detectors.families.classifier import Classifier, ClassifierSettings
from detectors.families.temporal import Temporal, TemporalSettings
from detectors.score import main, score_faces
from detectors.scoring.config import stage_settings
from detectors.scoring.loose_files import FileFaces, list_files
from detectors.scoring.scores import verdicts
from detectors.scoring.trained import Decision, TrainedSeed, find_seeds
from helpers.grey_videos import grey_frames, write_video
from helpers.programs import run_program
from helpers.short_run import predict_on_cpu, save_untrained
from helpers.tiny_store import make_store
from preprocess.crops import CropsSettings, crop_shard
from preprocess.faces import FacesSettings, track_shard
from preprocess.frames import FramesSettings, sample_shard
from preprocess.index import index_videos
from preprocess.running.cli import UserError
from preprocess.samples import sample_table
from preprocess.settings.index import IndexSettings
from preprocess.store.crop_file import CropReader, write_crops
from preprocess.store.origin import Origin
from preprocess.store.schemas import INDEX, SAMPLES
from preprocess.store.tables import read_table, write_table
from preprocess.synthetic import render_portrait

FRAMES = FramesSettings(n_frames=4)
THRESHOLD = 0.5


@pytest.fixture(scope="module")
def portrait():
    return render_portrait(np.random.default_rng(3), 180, 240)[0]


@pytest.fixture(scope="module")
def files(portrait, tmp_path_factory):
    """A folder with two videos, one with a cut between two people, a photo, a picture of nobody, and broken files."""
    folder = tmp_path_factory.mktemp("files")
    other, _ = render_portrait(np.random.default_rng(18), 180, 240)
    write_video(folder / "one.mp4", np.stack([np.roll(portrait, shift, axis=1) for shift in range(8)]))
    write_video(folder / "two.mp4", np.stack([portrait] * 4 + [other] * 4))
    Image.fromarray(portrait).save(folder / "photo.png")
    Image.fromarray(grey_frames(1)[0]).save(folder / "nobody.png")
    (folder / "broken.mp4").write_bytes(b"no video")
    (folder / "notes.txt").write_text("neither a video nor an image")
    return folder


@pytest.fixture(scope="module")
def project(files, tmp_path_factory):
    """Results of a detector with random weights, and the pipeline's own predictions for the videos of `files`."""
    root = tmp_path_factory.mktemp("project")
    settings = ClassifierSettings(backbone="test_resnet", pretrained=False, size=64)
    torch.manual_seed(0)
    detector = Classifier(settings, ["real", "swap"]).eval()
    trained = root / "results/mine/seed4"
    save_untrained(trained, "classifier", detector, train="d", experiment="mine", seed=4)
    (root / "config.yaml").write_text(
        yaml.safe_dump(
            {
                "frames": {"n_frames": FRAMES.n_frames},
                "evaluate": {"threshold": 0.9},
                "experiments": {
                    "mine": {"evaluate": {"threshold": "validation"}},
                    "both": {"ensemble": ["mine", "mine"], "evaluate": {"threshold": 0.7}},
                },
            }
        )
    )

    raw = root / "raw"
    raw.mkdir()
    for name in ("one.mp4", "two.mp4"):
        (raw / name).write_bytes((files / name).read_bytes())
    videos = index_videos("d", "videos", raw, 1, IndexSettings(label="real", test_share=1.0))
    frames = sample_shard(videos, raw, FRAMES, workers=1)
    faces = track_shard(videos, frames, raw, FacesSettings(), device="cpu", workers=1)
    crops_file = root / "data/crops/d/0000.h5"
    write_crops(crops_file, crop_shard(videos, faces, raw, CropsSettings(), workers=1), Origin("d", "crops", "{}", 1))
    with CropReader(crops_file) as crops:
        nothing = np.zeros(len(crops), bool), np.full(len(crops), "unknown", object)
        samples = sample_table(crops, pa.Table.from_pylist(videos, schema=INDEX), "0000", *nothing)
    samples_file = root / "data/samples/d.parquet"
    write_table(samples_file, samples, SAMPLES, Origin("d", "samples", "{}", 1))
    predict_on_cpu(trained, samples_file)
    return root


def score(project, folder, *arguments: object) -> SimpleNamespace:
    """Run the command in the project's folder; returns what it printed, its CSV and its JSON."""
    options = ["--csv", folder / "s.csv", "--json", folder / "s.json", "--device", "cpu"]
    printed = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(printed):
        patch.chdir(project)
        try:
            run_program(main, *arguments, *options)
            error = None
        except UserError as raised:
            error = str(raised)
    with open(folder / "s.csv") as file:
        rows = list(csv.DictReader(file))
    document = json.loads((folder / "s.json").read_text())
    return SimpleNamespace(printed=printed.getvalue(), rows=rows, json=document, error=error)


@pytest.fixture(scope="module")
def done(project, files, tmp_path_factory):
    """The command run on all files, with annotated copies in `folder`."""
    folder = tmp_path_factory.mktemp("scores")
    annotated = folder / "annotated"
    ran = score(project, folder, "mine", files, files / "absent.mp4", files / "one.mp4", "--annotate", annotated)
    return SimpleNamespace(**vars(ran), folder=annotated)


def test_a_video_gets_the_scores_of_the_pipeline(project, done):
    predicted = read_table(project / "results/mine/seed4/predictions/d.parquet").to_pandas()
    assert len(predicted) == 8, "four frames of each video hold a face"
    found = {file["path"].rpartition("/")[2]: file for file in done.json["files"]}
    for name in ("one", "two"):
        file = found[f"{name}.mp4"]
        of_video = predicted[predicted["video_id"].str.contains(f"/{name}")].sort_values(["track_id", "frame_index"])
        faces = [(track["track_id"], face) for track in file["tracks"] for face in track["faces"]]
        assert [(track, face["frame_index"]) for track, face in faces] == list(
            zip(of_video["track_id"], of_video["frame_index"], strict=True)
        )
        for side in ("x0", "y0", "x1", "y1"):
            assert [face[side] for _, face in faces] == of_video[side].tolist()
        assert [face["score"] for _, face in faces] == of_video["score"].tolist()
        assert file["score"] == pytest.approx(of_video["score"].astype(float).mean(), abs=1e-12)


def test_every_file_has_a_row_and_says_why_it_has_no_score(done):
    assert done.error is None
    rows = {row["path"].rpartition("/")[2]: row for row in done.rows if not row["track_id"]}
    assert list(rows) == ["broken.mp4", "nobody.png", "one.mp4", "photo.png", "two.mp4", "absent.mp4"]
    statuses = {name: row["status"] for name, row in rows.items()}
    assert statuses == {
        **{"broken.mp4": "unreadable", "nobody.png": "no_face", "absent.mp4": "missing"},
        **dict.fromkeys(("one.mp4", "photo.png", "two.mp4"), "ok"),
    }
    for name, row in rows.items():
        assert bool(row["message"]) == (statuses[name] != "ok")
        assert bool(row["score"]) == bool(row["verdict"]) == (statuses[name] == "ok")
        assert name in done.printed
    tracks = [row for row in done.rows if row["track_id"]]
    assert [(row["path"].rpartition("/")[2], row["track_id"], row["n_faces"]) for row in tracks] == [
        ("one.mp4", "0", "4"),
        ("photo.png", "0", "1"),
        ("two.mp4", "0", "2"),
        ("two.mp4", "1", "2"),
    ]
    assert "track 1" in done.printed, "a file of several tracks lists them"
    assert "3 of 6 files" in done.printed
    assert done.json["threshold"] == THRESHOLD


def test_it_fails_when_nothing_could_be_scored_after_telling_why(project, files, tmp_path):
    failed = score(project, tmp_path, "both", files / "broken.mp4", files / "absent.mp4")
    assert "none of the 2 files" in failed.error
    assert "unreadable: cannot be opened as a video" in failed.printed
    assert [row["status"] for row in failed.rows] == ["unreadable", "missing"]
    assert [row["experiment"] for row in failed.json["detectors"]] == ["mine", "mine"], "the members of the ensemble"
    assert failed.json["threshold"] == 0.7, "of the ensemble's own evaluation"


def test_sampling_follows_the_options_then_the_data_set_then_the_config(done):
    config = {"datasets": {"few": {"frames": {"n_frames": 2}}}, "frames": {"n_frames": 5, "mode": "clip"}}
    assert stage_settings({}, None, {}).frames == FramesSettings()
    assert stage_settings(config, None, {}).frames == FramesSettings(n_frames=5, mode="clip")
    assert stage_settings(config, "few", {}).frames == FramesSettings(n_frames=2, mode="clip")
    assert stage_settings(config, "few", {"frames": {"n_frames": 3}}).frames == FramesSettings(n_frames=3, mode="clip")
    assert done.json["settings"]["frames"]["n_frames"] == FRAMES.n_frames, "of the project's config.yaml"


def test_a_score_at_or_above_the_threshold_is_fake(done):
    assert verdicts(pd.Series([0.1, 0.5, np.nan]), 0.5).tolist() == ["real", "fake", ""]
    assert verdicts(pd.Series([0.1, 0.5]), np.nan).tolist() == ["", ""], "without a threshold there is no verdict"
    for row in done.rows:
        if row["score"]:
            assert row["verdict"] == ("fake" if float(row["score"]) >= THRESHOLD else "real")


def test_annotated_files_have_the_size_and_length_of_the_originals(portrait, done):
    folder = done.folder
    assert sorted(path.name for path in folder.iterdir()) == ["one.mp4", "photo.png", "two.mp4"]
    with av.open(str(folder / "two.mp4")) as container:
        assert container.streams.video[0].codec_context.name == "h264"
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert (len(frames), *frames[0].shape) == (8, 180, 240, 3)
    picture = np.asarray(Image.open(folder / "photo.png"))
    assert picture.shape == portrait.shape
    changed = (picture != portrait).any(axis=2)
    assert 0 < changed.mean() < 0.2, "a frame and a label are drawn, the rest stays"


def test_several_seeds_are_averaged(tmp_path):
    samples, _ = make_store(tmp_path, splits=("test",), n_groups=1, methods=("real",))
    (video_id,) = set(read_table(samples)["video_id"].to_pylist())
    row = {"video_id": video_id, "status": "ok", "message": "", "n_tracks": 1, "n_crops": 2, "n_frames_sampled": 2}
    found = FileFaces([Path("a.mp4")], tmp_path, samples, [row], [row])
    trained = [SimpleNamespace(detector=_Constant(value)) for value in (0.8, 0.2)]
    scores = score_faces(trained, found, Decision("mean", 0.5))
    assert scores.files["score"].tolist() == pytest.approx([0.5])
    assert scores.files["verdict"].tolist() == ["fake"]
    assert score_faces(trained, found, Decision("mean")).files["verdict"].tolist() == [""], "no threshold, no verdict"


def test_a_detector_of_clips_scores_a_track_as_one(tmp_path):
    samples, _ = make_store(tmp_path, splits=("test",), n_groups=1, n_frames=4, methods=("real",))
    (video_id,) = set(read_table(samples)["video_id"].to_pylist())
    row = {"video_id": video_id, "status": "ok", "message": "", "n_tracks": 1, "n_crops": 4, "n_frames_sampled": 4}
    found = FileFaces([Path("a.mp4")], tmp_path, samples, [row], [row])
    settings = TemporalSettings(backbone="test_resnet", pretrained=False, size=64, n_frames=3)
    scores = score_faces([SimpleNamespace(detector=Temporal(settings, ["real", "x"]).eval())], found, Decision("mean"))
    assert scores.faces["score"].nunique() == 1
    assert len(scores.faces) == 4
    assert scores.files["score"].tolist() == pytest.approx([scores.faces["score"][0]])


class _Constant(Classifier):
    def __init__(self, value: float):
        super().__init__(ClassifierSettings(backbone="test_resnet", pretrained=False, size=64), ["real", "x"])
        self.value = value

    def score(self, images):
        return torch.full((len(images),), self.value)


def test_seeds_are_found_by_name_and_number(project):
    results = project / "results"
    checkpoint, validation = (results / "mine/seed4" / name for name in ("detector.ckpt", "validation.parquet"))
    of_seed = TrainedSeed((checkpoint,), validation)
    assert find_seeds("mine", results) == find_seeds(str(checkpoint), results) == [of_seed]
    of_ensemble = TrainedSeed((checkpoint, checkpoint), results / "both/seed4/validation.parquet")
    assert find_seeds("both", results, members=["mine", "mine"]) == [of_ensemble]
    with pytest.raises(UserError, match=r"no trained seed 3; trained are: 4"):
        find_seeds("mine", results, 3)
    for member, seeds in (("a", (1, 2, 10)), ("b", (2, 3, 10))):
        for seed in seeds:
            (results / member / f"seed{seed}").mkdir(parents=True)
            (results / member / f"seed{seed}/detector.ckpt").touch()
    in_common = find_seeds("ab", results, members=["a", "b"], all_seeds=True)
    assert [one.validation.parent.name for one in in_common] == ["seed2", "seed10"], "by number"
    assert find_seeds("ab", results, members=["a", "b"]) == in_common[:1]
    assert in_common[0].checkpoints == tuple(results / name / "seed2/detector.ckpt" for name in "ab")
    with pytest.raises(UserError, match=r"the members of 'no' \(a, mine\) have no trained seed in common"):
        find_seeds("no", results, members=["a", "mine"])
    for name in "ab":
        shutil.rmtree(results / name)
    with pytest.raises(UserError, match=r"'other' is neither .* trained are: mine"):
        find_seeds("both", results, members=["mine", "other"])


def test_files_of_folders_are_listed_once_and_hidden_ones_are_not(files, tmp_path):
    (tmp_path / "._one.mp4").touch()
    (tmp_path / "empty").mkdir()
    listed = list_files([files / "two.mp4", files, tmp_path, files / "notes.txt"])
    assert [path.name for path in listed] == [
        *("two.mp4", "broken.mp4", "nobody.png", "one.mp4", "photo.png"),
        *(tmp_path.name, "notes.txt"),
    ]
