from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from scipy.stats import binomtest

from detectors.evaluation import perturbations as module
from detectors.evaluation.perturbations import errors_by_perturbation, read_perturbations, wilson_interval
from helpers.programs import run_program
from helpers.tiny_predictions import video_scores
from preprocess.datasets import LAYOUTS
from preprocess.datasets.dfdc import perturbations
from preprocess.running.cli import UserError
from preprocess.settings.index import IndexSettings
from preprocess.store.origin import Origin
from preprocess.store.schemas import INDEX, VIDEO_SCORES
from preprocess.store.tables import write_table


def told(augmentations) -> list[tuple[str, str]]:
    return perturbations(json.dumps({"augmentations": augmentations}))


@pytest.mark.parametrize(
    "augmentations",
    [
        {"augmenter": "blur", "distractor": "dots"},
        {"augmenters": ["Blur"], "distractors": ["dots", "dots"]},
        {"augmenter": {"blur": {"sigma": 2}}, "distractor": {"dots": {}}},
        {"blur": {"sigma": 2}, "dots": {"n": 3}, "rotation": None, "text": False},
        ["blur", "dots"],
        ["augmenter_blur", "distractor-dots"],
        [{"blur": 1.5}, {"text": None}, "dots"],
    ],
)
def test_perturbations_are_read_from_a_name_a_list_or_a_mapping(augmentations):
    assert told(augmentations) == [("augmenter", "blur"), ("distractor", "dots")]


def test_the_names_of_the_published_set_are_known_by_kind():
    augmenters = [
        *("blur", "brightness", "contrast", "frame_rate", "grey", "flip", "no_audio", "noise"),
        *("quality", "resolution", "rotation"),
    ]
    distractors = ["dog filter", "dots", "faces", "flower filter", "images", "shapes", "text"]
    assert told(augmenters) == [("augmenter", name) for name in sorted(augmenters)]
    assert told(distractors) == [("distractor", name.replace(" ", "_")) for name in sorted(distractors)]


@pytest.mark.parametrize("nothing", [{}, [], "none", None, {"augmenter": []}, {"augmenter": "none"}, ["None", ""]])
def test_a_video_of_which_nothing_is_told_has_no_perturbation(nothing):
    assert told(nothing) == []
    assert perturbations(None) == []
    assert perturbations('{"set": "train"}') == []


def test_a_name_of_unknown_kind_is_kept():
    assert told(["sepia"]) == [("other", "sepia")]


def test_perturbations_of_a_dfdc_tree_come_from_its_metadata(tmp_path):
    test = tmp_path / "test"
    test.mkdir()
    (test / "labels.csv").write_text("filename,label\na.mp4,1\nb.mp4,0\n")
    details = {"a.mp4": {"is_fake": 1, "augmentations": {"augmenter": ["noise"], "distractor": "text"}}}
    (test / "metadata.json").write_text(json.dumps(details | {"b.mp4": {"is_fake": 0, "augmentations": {}}}))
    videos = {video.path: video for video in LAYOUTS["dfdc"].find_videos(tmp_path, "d", IndexSettings())}
    assert perturbations(videos["test/a.mp4"].metadata) == [("augmenter", "noise"), ("distractor", "text")]
    assert perturbations(videos["test/b.mp4"].metadata) == []


@pytest.mark.parametrize(("n_wrong", "n"), [(0, 4), (0, 7), (1, 1), (10, 10), (3, 10), (17, 20), (250, 1000)])
def test_the_interval_is_scipys_wilson_interval(n_wrong, n):
    expected = binomtest(n_wrong, n).proportion_ci(method="wilson")
    low, high = wilson_interval(n_wrong, n)
    assert (low, high) == pytest.approx((expected.low, expected.high), abs=1e-12)
    assert low <= n_wrong / n <= high, "also to the last bit"


NAMED = {
    "d": {
        "d/r0": [],
        "d/r1": [("augmenter", "blur")],
        "d/r2": [("augmenter", "blur"), ("distractor", "dots")],
        "d/f0": [],
        "d/f1": [("augmenter", "blur")],
        "d/f2": [("augmenter", "noise")],
        "d/f3": [("augmenter", "blur"), ("augmenter", "noise")],
    }
}


ONE = {"d/r0": 0.1, "d/r1": 0.7, "d/r2": 0.2, "d/f0": 0.9, "d/f1": 0.4, "d/f2": 0.5, "d/f3": 0.1}


def test_errors_are_counted_per_perturbation_reals_and_fakes_apart():
    table = errors_by_perturbation(video_scores("e", "d", ONE), NAMED)
    of_seed = table[table["seed"] == 0].set_index(["kind", "perturbation", "class"])
    counts = {key: (row["n_wrong"], row["n_videos"]) for key, row in of_seed.iterrows()}
    assert counts == {
        ("all", "all", "real"): (1, 3),
        ("all", "all", "fake"): (2, 4),
        ("augmenter", "none", "real"): (0, 1),
        ("augmenter", "none", "fake"): (0, 1),
        ("augmenter", "blur", "real"): (1, 2),
        ("augmenter", "blur", "fake"): (2, 2),
        # a video with two perturbations counts in both, and a score at the threshold is a fake's
        ("augmenter", "noise", "fake"): (1, 2),
        ("distractor", "none", "real"): (1, 2),
        ("distractor", "none", "fake"): (2, 4),
        ("distractor", "dots", "real"): (0, 1),
    }
    blur = of_seed.loc["augmenter", "blur", "real"]
    assert blur["share_wrong"] == 0.5
    assert (blur["share_wrong_low"], blur["share_wrong_high"]) == pytest.approx(wilson_interval(1, 2))


def test_the_mean_is_over_the_seeds():
    scores = pd.concat([video_scores("e", "d", ONE), video_scores("e", "d", ONE | {"d/f1": 0.9, "d/f3": 0.9}, seed=7)])
    table = errors_by_perturbation(scores, NAMED).set_index(["seed", "kind", "perturbation", "class"])
    blur = table.xs(("augmenter", "blur", "fake"), level=("kind", "perturbation", "class"))
    assert blur["n_wrong"].to_dict() == {0: 2, 7: 0, "mean": 1}
    assert blur["n_videos"].to_dict() == {0: 2, 7: 2, "mean": 2}
    assert blur.loc["mean", "share_wrong_high"] == pytest.approx(wilson_interval(1, 2)[1])


def test_videos_without_a_prediction_are_counted_and_told():
    table = errors_by_perturbation(video_scores("e", "d", ONE, missing=("d/f3", "d/r1")), NAMED)
    blur = table[(table["perturbation"] == "blur") & (table["seed"] == 0)].set_index("class")
    assert blur["n_videos"].to_dict() == {"real": 2, "fake": 2}
    assert blur["n_videos_missing"].to_dict() == {"real": 1, "fake": 1}


def test_without_a_threshold_shares_are_not_defined():
    table = errors_by_perturbation(video_scores("e", "d", ONE).assign(threshold=np.nan), NAMED)
    assert len(table)
    assert table[["n_wrong", "share_wrong", "share_wrong_low", "share_wrong_high"]].isna().all(axis=None)


def test_scores_of_videos_that_the_index_does_not_hold_are_refused():
    with pytest.raises(UserError, match=r"data set 'd': the index does not hold 'd/f9' .* evaluate again"):
        errors_by_perturbation(video_scores("e", "d", ONE | {"d/f9": 0.5}), NAMED)


@pytest.fixture
def files(tmp_path):
    """Scores and index of two data sets, of which one names perturbations."""
    scores = pd.concat([video_scores("e", "d", ONE), video_scores("e", "p", {"p/r0": 0.2, "p/f0": 0.3})])
    table = pa.Table.from_pandas(scores, VIDEO_SCORES, preserve_index=False)
    write_table(tmp_path / "video_scores.parquet", table, VIDEO_SCORES, Origin("d+p", "evaluate", "{}", 1))
    for dataset, videos in (("d", NAMED["d"]), ("p", {"p/r0": None, "p/f0": None})):
        rows = [
            dict.fromkeys(INDEX.names)
            | {"video_id": video, "dataset": dataset}
            | ({} if names is None else {"metadata": json.dumps({"augmentations": [f"{k}_{n}" for k, n in names]})})
            for video, names in videos.items()
        ]
        write_table(tmp_path / f"{dataset}.parquet", rows, INDEX, Origin(dataset, "index", "{}", 1))
    return tmp_path


def test_a_data_set_that_names_no_perturbation_is_left_out(files):
    named = read_perturbations([files / "p.parquet", files / "d.parquet"])
    assert named == NAMED


def test_the_command_writes_the_table_its_page_and_the_figure(files, capsys):
    arguments = ["--scores", files / "video_scores.parquet", "--index", files / "d.parquet", files / "p.parquet"]
    arguments += ["--output", files / "out/perturbations.csv", "--figure", files / "out/figures/perturbations"]
    run_program(module.main, *arguments)
    table = pd.read_csv(files / "out/perturbations.csv")
    assert tuple(table.columns) == module.COLUMNS
    assert set(table["dataset"]) == {"d"}
    assert len(table) == 2 * 10
    assert "e: errors by perturbation" in (files / "out/tables/perturbations.html").read_text()
    first = (files / "out/figures/perturbations.png").read_bytes()
    assert (files / "out/figures/perturbations.svg").is_file()
    run_program(module.main, *arguments)
    assert (files / "out/figures/perturbations.png").read_bytes() == first
    assert "perturbations.csv" in capsys.readouterr().out


def test_without_any_named_perturbation_the_table_is_empty_and_the_figure_says_so(files):
    scores = pa.Table.from_pandas(
        video_scores("e", "p", {"p/r0": 0.2, "p/f0": 0.3}), VIDEO_SCORES, preserve_index=False
    )
    write_table(files / "of_p.parquet", scores, VIDEO_SCORES, Origin("p", "evaluate", "{}", 1))
    arguments = ["--scores", files / "of_p.parquet", "--index", files / "p.parquet"]
    arguments += ["--output", files / "p/perturbations.csv", "--figure", files / "p/perturbations"]
    run_program(module.main, *arguments)
    assert pd.read_csv(files / "p/perturbations.csv").empty
    assert "no test data set names" in (files / "p/perturbations.svg").read_text()
