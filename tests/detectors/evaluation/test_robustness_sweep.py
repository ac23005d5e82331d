"""The robustness sweep: drawing videos, scoring them distorted, measuring and drawing what is lost."""

from __future__ import annotations

from dataclasses import replace

import matplotlib
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from detectors.data.samples import Samples, TextColumn
from detectors.ensemble import make_ensemble
from detectors.evaluation import predict_distorted, robustness
from detectors.evaluation.distortions import DISTORTIONS, STRENGTHS
from detectors.evaluation.predict_distorted import draw_videos
from detectors.evaluation.robustness import COLUMNS, draw_robustness, measure_robustness, read_distorted_runs
from detectors.evaluation.settings import RobustnessSettings
from detectors.families.registry import load_detector
from detectors.interface.detector import Detector
from detectors.interface.predictions import predict_samples
from detectors.interface.settings import DetectorSettings
from detectors.measures.metrics import detection_metrics
from detectors.measures.runs import make_run
from helpers.programs import run_program
from helpers.short_run import predict_on_cpu, train_on_cpu
from helpers.tiny_predictions import MADE_BY
from helpers.tiny_store import make_store
from preprocess.store.origin import read_origin
from preprocess.store.schemas import DISTORTED_PREDICTIONS
from preprocess.store.tables import write_table

N_FRAMES = 3
ON_CPU = {"batch_size": 8, "workers": 0, "device": "cpu"}


class StripeMeter(Detector):
    """Calls a face fake by the fine stripes that the fakes of the tiny store have."""

    def fit(self, training):
        raise NotImplementedError

    def score(self, images: torch.Tensor) -> torch.Tensor:
        images = images.float()
        second = (images[..., 4:, :] - 2 * images[..., 2:-2, :] + images[..., :-4, :]).abs().mean(dim=(1, 2, 3))
        return torch.sigmoid((second - 40) / 5)


@pytest.fixture(scope="module")
def meter():
    return StripeMeter(DetectorSettings(size=40, margin=0.0), ["real", "stripes"]).eval()


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """6 videos a split, 3 crops each."""
    return make_store(tmp_path_factory.mktemp("store"), methods=("real", "stripes"), n_frames=N_FRAMES)


@pytest.fixture(scope="module")
def trained(store, tmp_path_factory):
    """A tiny trained detector."""
    folder = tmp_path_factory.mktemp("trained")
    settings = {"backbone": "resnet10t", "backbone_stride": 8, "pretrained": False, "size": 32, "epochs": 1}
    train_on_cpu("classifier", settings | {"batch_size": 8}, [store.samples], folder)
    return folder


def test_the_crops_as_they_are_get_the_plain_predictions(store, trained):
    """Distortion `none` is the code and the numbers of `detectors.predict`, bit for bit."""
    options = {"checkpoint": trained / "detector.ckpt", "samples": store.samples, "data": store.data, "device": "cpu"}
    plain = predict_on_cpu(trained, store.samples)
    settings = RobustnessSettings(distortions=["contrast", "video_compression"], strengths=[2, 5], max_samples=None)
    table = predict_distorted.predict_dataset(**options, settings=settings, output=trained / "distorted.parquet")
    assert table.schema.equals(DISTORTED_PREDICTIONS)
    frame = pq.read_table(trained / "distorted.parquet").to_pandas()
    none = frame[frame["distortion"] == "none"]
    assert none["strength"].unique().tolist() == [0]
    assert none["sample_id"].tolist() == plain["sample_id"].tolist()
    assert none["score"].tolist() == plain["score"].tolist()
    runs = frame.groupby(["distortion", "strength"]).size()
    expected = [("contrast", 2), ("contrast", 5), ("none", 0), ("video_compression", 2), ("video_compression", 5)]
    assert runs.index.tolist() == expected
    assert set(runs) == {len(plain)}
    assert not np.array_equal(frame.loc[frame["strength"] == 5, "score"][: len(plain)], none["score"])


def test_scores_do_not_depend_on_batches_or_loader_workers(store, meter):
    samples = Samples.read([store.samples])
    settings = RobustnessSettings(distortions=["gaussian_noise", "video_compression"], strengths=[3])
    one = predict_distorted.predict_distorted(meter, samples, store.data, settings, **ON_CPU)
    other = predict_distorted.predict_distorted(
        meter, samples, store.data, settings, batch_size=5, workers=2, device="cpu"
    )
    assert one.keys() == other.keys() == {("none", 0), ("gaussian_noise", 3), ("video_compression", 3)}
    for key in one:
        assert np.array_equal(one[key], other[key])


def test_a_detector_of_fine_traces_loses_what_blur_takes_and_keeps_what_contrast_leaves(store, meter):
    samples = Samples.read([store.samples])
    settings = RobustnessSettings(distortions=["gaussian_blur", "contrast"], strengths=[1, 5])
    scores = predict_distorted.predict_distorted(meter, samples, store.data, settings, **ON_CPU)
    separation = {
        key: values[samples.label == 1].min() - values[samples.label == 0].max() for key, values in scores.items()
    }
    assert separation["none", 0] > 0.5
    assert separation["contrast", 1] > 0.2
    assert separation["gaussian_blur", 5] < 0.1


def labelled(n_real: int, n_fake: int, n_crops: int) -> Samples:
    """Samples of some videos; of labels and videos nothing else is read."""
    names = [f"d/real/{i}" for i in range(n_real)] + [f"d/fake/{i}" for i in range(n_fake)]
    codes = np.repeat(np.arange(len(names), dtype=np.int32), n_crops)
    text, number = TextColumn(("x",), np.zeros(len(codes), np.int32)), np.zeros(len(codes), np.int32)
    texts = dict.fromkeys(("dataset", "shard", "method", "split", "source_group"), text)
    numbers = dict.fromkeys(("crop_row", "frame_index", "track_id"), number)
    label = (codes >= n_real).astype(np.int8)
    return Samples(**texts, **numbers, video_id=TextColumn(tuple(names), codes), label=label)


def test_videos_are_drawn_whole_and_as_many_real_as_fake():
    samples = labelled(10, 50, 4)
    rows = draw_videos(samples, 50, seed=0)
    drawn = samples[rows]
    videos, counts = np.unique(drawn.video_id.codes, return_counts=True)
    assert set(counts) == {4}
    assert len(rows) == 48
    assert int((videos < 10).sum()) == 6
    assert not np.array_equal(rows, draw_videos(samples, 50, seed=1))
    assert np.array_equal(rows, draw_videos(samples, 50, seed=0))


def test_the_draw_goes_on_with_the_larger_class_and_takes_at_least_one_of_each():
    assert np.bincount(labelled(2, 9, 3)[draw_videos(labelled(2, 9, 3), 24, 0)].label).tolist() == [6, 18]
    assert np.bincount(labelled(2, 9, 3)[draw_videos(labelled(2, 9, 3), 1, 0)].label).tolist() == [3, 3]
    assert len(draw_videos(labelled(2, 9, 3), None, 0)) == 33
    assert len(draw_videos(labelled(0, 9, 3), 12, 0)) == 12


def test_the_draw_does_not_change_with_the_order_of_the_rows():
    samples = labelled(6, 6, 2)
    order = np.random.default_rng(0).permutation(len(samples))
    drawn = samples.video_id.codes[draw_videos(samples, 12, 3)]
    shuffled = samples[order]
    assert set(drawn) == set(shuffled.video_id.codes[draw_videos(shuffled, 12, 3)])


def distorted_runs(seed: int, dataset: str = "d", fakes: bool = True) -> dict:
    """Runs whose fakes lose 1/8 with every strength of blur and nothing with contrast."""
    runs = {}
    plain = np.array([8, 16, 24, 32, 40, 48, 56, 62]) / 64 + seed / 512
    labels = np.repeat([0, 1], 4) if fakes else np.zeros(8, int)
    for name, strengths in (("none", [0]), ("gaussian_blur", STRENGTHS), ("contrast", STRENGTHS)):
        for strength in strengths:
            scores = plain - labels * strength / 8 * (name == "gaussian_blur")
            samples = pd.DataFrame({"video_id": [f"v{i}" for i in range(8)], "frame_index": 0, "label": labels})
            runs[name, strength] = make_run(samples.assign(score=scores), dataset, MADE_BY | {"seed": seed})
    return runs


THRESHOLDS = {seed: {"frame": 0.5, "video": 0.5} for seed in (0, 5)}


def test_every_strength_has_a_row_per_seed_and_their_mean():
    distorted = [distorted_runs(seed, dataset) for dataset in ("d", "other") for seed in (0, 5)]
    table = measure_robustness(distorted, THRESHOLDS, train=["d"])
    assert list(table) == list(COLUMNS)
    assert len(table) == 2 * 3 * (1 + 2 * 5)
    assert table.groupby("dataset")["domain"].unique().map(list).to_dict() == {"d": ["in"], "other": ["out"]}
    of_d = table[(table["dataset"] == "d") & (table["distortion"] == "gaussian_blur")]
    by_strength = of_d[of_d["seed"] == "mean"].set_index("strength")
    # blurred by 3, the fakes lie at 16, 24, 32 and 38: 10 of 16 pairs are in order and 3 are ties
    assert by_strength.loc[3, "video_auc"] == pytest.approx(11.5 / 16)
    assert by_strength["amount"].tolist() == list(DISTORTIONS["gaussian_blur"].amounts)
    assert of_d[(of_d["seed"] == 0) & (of_d["strength"] == 3)]["video_accuracy"].item() == 5 / 8
    metrics = detection_metrics(*distorted[1]["gaussian_blur", 2].of_level("frame"), 0.5)
    row = of_d[(of_d["seed"] == 5) & (of_d["strength"] == 2)].iloc[0]
    assert (row["frame_auc"], row["frame_accuracy"]) == pytest.approx((metrics["auc"], metrics["accuracy"]))
    contrast = table[(table["distortion"] == "contrast") & (table["seed"] == "mean")]
    assert set(contrast["video_auc"]) == {1.0}
    assert by_strength["n_videos"].tolist() == [8] * 5


def test_counts_of_the_mean_row_are_means_rounded_up():
    one, other = distorted_runs(0), distorted_runs(5)
    one["none", 0] = replace(one["none", 0], labels=np.ones(5, int), scores=np.ones(5))
    table = measure_robustness([one, other], THRESHOLDS, train=["d"])
    counts = table.loc[table["distortion"] == "none", ["seed", "n_videos", "n_videos_fake", "n_faces"]]
    assert counts.to_numpy().tolist() == [[0, 8, 4, 5], [5, 8, 4, 8], ["mean", 8, 4, 7]]
    assert counts["n_faces"].dtype == np.int64, "written without a decimal point"


def test_what_is_not_defined_stays_empty():
    table = measure_robustness([distorted_runs(0, fakes=False)], {0: {"frame": np.nan, "video": np.nan}}, train=[])
    assert table[["frame_auc", "video_auc", "frame_accuracy", "video_accuracy"]].isna().all(axis=None)


def test_lines_of_the_figure_are_the_mean_video_auc():
    table = measure_robustness([distorted_runs(seed) for seed in (0, 5)], THRESHOLDS, train=["d"])
    with matplotlib.rc_context():
        figure = draw_robustness(table)
    titles = [axes.get_title() for axes in figure.axes]
    assert titles == ["gaussian blur", "contrast"]
    blur = table[(table["seed"] == "mean") & (table["distortion"] == "gaussian_blur")]
    line = figure.axes[0].lines[0]
    assert line.get_xdata().tolist() == [0, 1, 2, 3, 4, 5]
    assert line.get_ydata().tolist() == [1.0, *blur["video_auc"]]


def test_a_person_reads_the_mean_video_auc_by_data_set_and_distortion():
    distorted = [distorted_runs(seed, name) for name in ("one", "two") for seed in (0, 5)]
    table = measure_robustness(distorted, THRESHOLDS, train=["one"])
    lines = robustness.format_table(table).splitlines()
    assert [line.split()[0] for line in lines] == [
        "one:",
        "gaussian_blur",
        "contrast",
        "two:",
        "gaussian_blur",
        "contrast",
    ]
    assert lines[0] == "one: video AUC 1.000 as it is"
    mean = table[(table["seed"] == "mean") & (table["dataset"] == "one") & (table["distortion"] == "gaussian_blur")]
    assert [float(value) for value in lines[1].split()[1:]] == pytest.approx(mean["video_auc"].tolist(), abs=6e-4)


def test_many_data_sets_are_drawn_with_their_mean():
    distorted = [distorted_runs(0, f"set{i}") for i in range(9)]
    table = measure_robustness(distorted, THRESHOLDS, train=["set0"])
    axes = draw_robustness(table).axes[0]
    assert len([line for line in axes.lines if len(line.get_xdata()) == 6]) == 9 + 2


def test_the_commands_go_from_the_detector_to_the_table_and_its_figure(store, trained, capsys):
    options = ["--checkpoint", trained / "detector.ckpt", "--samples", store.samples, "--data", store.data]
    options += ["--settings", '{"distortions": ["jpeg"], "strengths": [1, 3], "max_samples": 6}', "--device", "cpu"]
    run_program(predict_distorted.main, *options, "--output", trained / "robust.parquet")
    runs = read_distorted_runs(trained / "robust.parquet")
    assert list(runs) == [("none", 0), ("jpeg", 1), ("jpeg", 3)]
    assert {len(run.videos) for run in runs.values()} == {2}
    options = ["--train", "tiny", "--predictions", trained / "robust.parquet", "--figure", trained / "figures/robust"]
    options += ["--validation", trained / "validation.parquet", "--output", trained / "robustness.csv"]
    run_program(robustness.main, *options)
    table = pd.read_csv(trained / "robustness.csv")
    assert len(table) == 2 * 3
    assert set(table["n_faces"]) == {6}
    assert table["video_accuracy"].notna().all()
    for path in ("tables/robustness.html", "figures/robust.png", "figures/robust.svg"):
        assert (trained / path).is_file()
    assert "tiny: video AUC" in capsys.readouterr().out


def test_the_detector_that_is_swept_is_the_one_of_the_file(store, trained):
    detector, _ = load_detector(trained / "detector.ckpt")
    samples = Samples.read([store.samples])
    rows = np.flatnonzero(samples.split.equals("test"))
    scores = predict_distorted.predict_distorted(
        detector, samples[rows], store.data, RobustnessSettings(distortions=["jpeg"], strengths=[4]), **ON_CPU
    )
    assert np.array_equal(scores["none", 0], predict_samples(detector, samples[rows], store.data, **ON_CPU))
    assert not np.array_equal(scores["jpeg", 4], scores["none", 0])


def test_an_ensemble_averages_what_its_members_say_of_the_distorted_crops(store, trained, tmp_path):
    options = {"checkpoint": trained / "detector.ckpt", "samples": store.samples, "data": store.data, "device": "cpu"}
    settings = RobustnessSettings(distortions=["jpeg"], strengths=[1, 5], max_samples=None)
    table = predict_distorted.predict_dataset(**options, settings=settings, output=tmp_path / "one.parquet")
    # another member, to which every distorted face looks more real, in another order
    scores = table["score"].to_numpy() * (1 - np.array(table["strength"]) / 10)
    other = table.set_column(table.column_names.index("score"), "score", pa.array(scores, pa.float32()))
    order = pa.array(np.random.default_rng(0).permutation(len(table)))
    write_table(
        tmp_path / "two.parquet", other.take(order), DISTORTED_PREDICTIONS, read_origin(tmp_path / "one.parquet")
    )
    make_ensemble("both", [tmp_path / "one.parquet", tmp_path / "two.parquet"], tmp_path / "both.parquet")
    one, both = read_distorted_runs(tmp_path / "one.parquet"), read_distorted_runs(tmp_path / "both.parquet")
    assert list(both) == list(one) == [("none", 0), ("jpeg", 1), ("jpeg", 5)]
    for key, run in both.items():
        assert run.experiment == "both"
        assert run.scores == pytest.approx(one[key].scores * (1 - key[1] / 20), abs=1e-6)
