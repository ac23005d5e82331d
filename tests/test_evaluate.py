"""The evaluation on small made tables: hand-worked rows, what is not defined, what was lost, what does not fit."""

import json
import math

import numpy as np
import pandas as pd
import pytest

from detectors import evaluate as module
from detectors.evaluate import (
    COLUMNS,
    EvaluateSettings,
    evaluate,
    format_table,
    missing_videos,
)
from detectors.metrics import bootstrap_auc
from detectors.runs import read_ledger, read_run
from preprocess import schemas
from preprocess.cli import UserError
from preprocess.store import Origin, write_table

# name: label and the scores of its samples; two faces in frame 0, then one a frame
VIDEOS = {
    "r0": (0, [0.1, 0.3, 0.2]),
    "r1": (0, [0.6, 0.6, 0.6]),
    "f0": (1, [0.9, 0.8, 0.7]),
    "f1": (1, [0.2, 0.5, 0.5]),
}
FRAMES = (0, 0, 10)


class Store:
    """Writes predictions and ledgers of an experiment, and reads them as the stage does."""

    def __init__(self, folder):
        self.folder = folder
        self.predictions, self.ledgers = [], {}

    def predict(self, dataset="ff", seed=0, videos=VIDEOS, compression="c23", shift=0.0, **made_by):
        made_by = {
            "experiment": "ucf",
            "seed": seed,
            "split": "test",
            "train": ["ff"],
            "frame_threshold": 0.5,
            "video_threshold": 0.55,
        } | made_by
        rows = [
            {
                "sample_id": f"{dataset}/{name}#{frame}#{track}",
                "video_id": f"{dataset}/{name}",
                "dataset": dataset,
                "frame_index": frame,
                "track_id": track,
                "label": label,
                "compression": compression,
                "split": "test",
                "score": score + shift,
            }
            for name, (label, scores) in videos.items()
            for track, (frame, score) in enumerate(zip(FRAMES, scores, strict=True))
        ]
        path = self.folder / f"{dataset}.{seed}.parquet"
        write_table(path, rows, schemas.PREDICTIONS, Origin(dataset, "predict", json.dumps(made_by), 1))
        self.predictions.append(path)

    def ledger(self, dataset="ff", videos=VIDEOS, **other_videos):
        rows = [{"video_id": f"{dataset}/{name}", "label": label} for name, (label, _) in videos.items()]
        rows += [{"video_id": f"{dataset}/{name}", **row} for name, row in other_videos.items()]
        usual = {"dataset": dataset, "compression": "c23", "split": "test", "status": "ok", "n_crops": 3}
        path = self.folder / f"{dataset}.ledger.parquet"
        write_table(path, [usual | row for row in rows], schemas.LEDGER, Origin(dataset, "samples", "{}", 1))
        self.ledgers[dataset] = path

    def read(self):
        return [read_run(path) for path in self.predictions], dict(map(read_ledger, self.ledgers.values()))

    def evaluate(self, experiment="ucf", train=("ff",), **settings):
        return evaluate(*self.read(), experiment=experiment, train=train, settings=EvaluateSettings(**settings))


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path)


def test_hand_worked_row(store):
    store.predict()
    store.ledger()
    table = store.evaluate()
    assert tuple(table.columns) == COLUMNS
    row = table.iloc[0]
    assert row[["experiment", "seed", "dataset", "type", "domain", "split", "compression"]].tolist() == [
        *("ucf", 0, "ff", "Fake+Real", "in", "test", "c23")
    ]
    assert row[["n_videos", "n_videos_missing", "n_frames"]].tolist() == [4, 0, 8]  # 12 faces in 8 frames
    # video scores: reals .2 .6, fakes .8 .4; from .55: one of each class is right
    assert row["video_auc"] == 3 / 4
    assert row["video_accuracy"] == row["video_sensitivity"] == row["video_specificity"] == 1 / 2
    assert row["video_eer"] == pytest.approx(1 / 2)
    assert row["video_log_loss"] == pytest.approx(-np.log([0.8, 0.4, 0.8, 0.4]).mean())
    # faces: reals .1 .3 .2 .6 .6 .6, fakes .9 .8 .7 .2 .5 .5: wins of the fakes 18 + 1.5 + 3 + 3 of 36
    assert row["frame_auc"] == pytest.approx(25.5 / 36)
    assert row["frame_sensitivity"] == pytest.approx(5 / 6)  # from .5
    assert row["frame_specificity"] == pytest.approx(1 / 2)
    assert (row["frame_threshold"], row["video_threshold"]) == (0.5, 0.55)
    expected = np.percentile(
        bootstrap_auc([1, 1, 0, 0], [0.8, 0.4, 0.2, 0.6], n_resamples=1000, seed=0), module.INTERVAL_PERCENT
    )
    assert row[["video_auc_low", "video_auc_high"]].tolist() == pytest.approx(list(expected))


def test_mean_over_seeds(store):
    better = VIDEOS | {"f1": (1, [0.7, 0.7, 0.7])}
    store.predict(seed=3)
    store.predict(seed=1, videos=better, video_threshold=0.65)
    store.ledger()
    table = store.evaluate()
    assert table["seed"].tolist() == [3, 1, "mean"]
    assert table["video_auc"].tolist() == [0.75, 1.0, 0.875]
    assert table["video_accuracy"].tolist() == [0.5, 1.0, 0.75]
    assert table["frame_threshold"].tolist() == [0.5] * 3
    assert table["video_threshold"].tolist()[:2] == [0.55, 0.65]
    assert math.isnan(table["video_threshold"].iloc[2])  # no single threshold was used
    labels = [1, 1, 0, 0]
    resampled = [bootstrap_auc(labels, [0.8, f1, 0.2, 0.6], n_resamples=1000, seed=0) for f1 in (0.4, 0.7)]
    assert table["video_auc_low"].iloc[2] == pytest.approx(np.percentile(np.mean(resampled, axis=0), 2.5))


def test_mean_of_one_seed_is_its_row(store):
    store.predict()
    store.ledger()
    table = store.evaluate()
    pd.testing.assert_series_equal(
        table.iloc[0].drop("seed"), table.iloc[1].drop("seed"), check_names=False, check_index_type=False
    )


def test_data_sets_keep_their_order_and_domain(store):
    for seed in (0, 1):
        for dataset in ("zoo", "ff", "art"):
            store.predict(dataset, seed)
    for dataset in ("art", "ff", "zoo"):
        store.ledger(dataset)
    table = store.evaluate()
    assert table["dataset"].tolist() == ["zoo"] * 3 + ["ff"] * 3 + ["art"] * 3
    assert table["domain"].tolist() == ["out"] * 3 + ["in"] * 3 + ["out"] * 3
    assert table["seed"].tolist() == [0, 1, "mean"] * 3


@pytest.mark.parametrize(
    ("label", "kind", "empty"),
    [(0, "Real", {"auc", "ap", "eer", "f1", "sensitivity"}), (1, "Fake", {"auc", "ap", "eer", "specificity"})],
)
def test_one_class_leaves_cells_empty(store, label, kind, empty):
    videos = {name: (label, scores) for name, (_, scores) in VIDEOS.items()}
    store.predict("set", videos=videos)
    store.ledger("set", videos=videos)
    table = store.evaluate()
    path = store.folder / "eval.csv"
    module.write_csv(path, table)
    cells = pd.read_csv(path, dtype=str, keep_default_na=False).iloc[-1]
    assert cells["type"] == kind
    found = {column for column in COLUMNS if cells[column] == ""}
    assert found == {f"{level}_{metric}" for level in ("frame", "video") for metric in empty} | {
        *("video_auc_low", "video_auc_high")
    }
    assert format_table(table).splitlines()[-1].count("—") == 3


def test_missing_videos_are_counted_and_listed(store):
    store.predict()
    store.predict(seed=1, videos={name: VIDEOS[name] for name in ("r0", "r1", "f0")})
    store.ledger(
        r2={"label": 0, "stage": "faces", "status": "no_face", "message": "no face in 3 frames", "n_crops": 0},
        r3={"label": 0, "split": "train", "status": "no_face"},
        unknown={"label": None},
    )
    table = store.evaluate()
    assert table["n_videos"].tolist() == [5, 5, 5]
    assert table["n_videos_missing"].tolist() == [1, 2, 2]
    assert table["n_frames"].tolist() == [8, 6, 7]
    assert table["video_auc_low"].isna().tolist() == [False, False, True]  # the seeds saw other videos
    missing = missing_videos(*store.read())
    assert missing["video_id"].tolist() == ["ff/f1", "ff/r2"]
    assert missing["stage"].tolist() == ["predict", "faces"]
    assert missing["status"].tolist() == ["ok", "no_face"]
    assert missing["message"][0].startswith("3 face crops are in the store")
    assert missing["message"][1] == "no face in 3 frames"


def test_nothing_predicted_is_a_row_too(store):
    store.predict(videos={})
    store.ledger()
    row = store.evaluate().iloc[0]
    assert (row["n_videos"], row["n_videos_missing"], row["n_frames"]) == (4, 4, 0)
    assert row["type"] == "Fake+Real"
    assert row[list(module.MEASURED)].isna().all()


def test_compressions_are_named_and_their_videos_kept_apart(store):
    heavy = {f"{name}_c40": row for name, row in VIDEOS.items()}
    store.predict(videos=VIDEOS | heavy)
    store.ledger(**{name: {"label": label, "compression": "c40"} for name, (label, _) in heavy.items()})
    row = store.evaluate().iloc[0]
    assert row["compression"] == "c23+c40"
    assert row["n_videos"] == 8
    assert row["n_videos_missing"] == 0


def test_threshold_can_be_fixed(store):
    store.predict(frame_threshold=None, video_threshold=None)
    store.ledger()
    assert math.isnan(store.evaluate()["video_accuracy"].iloc[0])
    row = store.evaluate(threshold=0.3).iloc[0]
    assert (row["frame_threshold"], row["video_threshold"]) == (0.3, 0.3)
    assert (row["video_sensitivity"], row["video_specificity"]) == (1, 0.5)


@pytest.mark.parametrize("threshold", ["best", 1.5])
def test_unknown_threshold(store, threshold):
    store.predict()
    store.ledger()
    with pytest.raises(UserError, match=str(threshold)):
        store.evaluate(threshold=threshold)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"experiment": "sbi"}, "of experiment 'ucf', not 'sbi'"),
        ({"train": ["ff", "dfdc"]}, r"trained on \['ff'\], but --train says \['dfdc', 'ff'\]"),
    ],
)
def test_predictions_of_something_else(store, arguments, message):
    store.predict()
    store.ledger()
    with pytest.raises(UserError, match=message):
        store.evaluate(**arguments)


def test_seed_absent_from_one_data_set(store):
    store.predict("ff", 0)
    store.predict("ff", 1)
    store.predict("dfdc", 0)
    store.ledger("ff")
    store.ledger("dfdc")
    with pytest.raises(UserError, match=r"'dfdc' has predictions of the seeds \[0\], data set 'ff' of \[0, 1\]"):
        store.evaluate()


def test_ledger_absent_or_of_another_date(store):
    store.predict()
    with pytest.raises(UserError, match="'ff' has no ledger"):
        store.evaluate()
    store.ledger(videos={name: VIDEOS[name] for name in ("r0", "f0", "f1")})
    with pytest.raises(UserError, match=r"'ff/r1' is not a labelled video of the split 'test' .*1 such"):
        store.evaluate()
    store.ledger(videos=VIDEOS | {"r1": (1, [])})
    with pytest.raises(UserError, match="'ff/r1' has another label"):
        store.evaluate()


def test_scores_that_are_no_probabilities(store):
    store.predict(shift=np.nan)
    with pytest.raises(UserError, match=r"12 of 12 scores of data set 'ff', seed 0"):
        store.read()


def test_file_that_is_no_predictions_file(store):
    store.ledger()
    with pytest.raises(UserError, match="is no predictions file"):
        read_run(store.ledgers["ff"])
    with pytest.raises(UserError, match="cannot read the table"):
        read_run(store.folder / "absent.parquet")


def test_table_for_a_person(store):
    for seed in (0, 1):
        store.predict(seed=seed)
    store.ledger()
    table = store.evaluate()
    header, rule, row = format_table(table).splitlines()
    low, high = table[["video_auc_low", "video_auc_high"]].iloc[-1]
    expected = {
        "data set": "ff",
        "type": "Fake+Real",
        "domain": "in",
        "videos (missing)": "4 (0)",
        "frame AUC": "0.708",
        "video AUC [": f"0.750 [{low:.3f}, {high:.3f}]",
        "video EER": "0.500",
        "video accuracy": "0.500",
        "video AUC of": "0.750 to 0.750",
    }
    for name, cell in expected.items():
        assert row[header.index(name) :].startswith(cell)
        assert rule[header.index(name) :].startswith("--")


def run_main(store, monkeypatch, out, *extra):
    arguments = ["evaluate", "--experiment", "ucf", "--train", "ff", "--predictions", *map(str, store.predictions)]
    arguments += ["--ledgers", *map(str, store.ledgers.values()), "--output", str(out / "eval.csv")]
    monkeypatch.setattr("sys.argv", [*arguments, "--figures", str(out / "figures"), *extra])
    module.main()
    return {str(path.relative_to(out)): path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()}


def test_command_writes_the_same_bytes_again(store, monkeypatch, capsys):
    store.predict("ff")
    store.ledger("ff")
    real = {name: VIDEOS[name] for name in ("r0", "r1")}
    store.predict("faces", videos=real)
    store.ledger("faces", videos=real, r2={"label": 0, "status": "no_face"})
    files = run_main(store, monkeypatch, store.folder / "a", "--settings", '{"n_bootstrap": 20}')
    tables = ("eval", "missing", "videos")
    assert set(files) == {f"{name}.csv" for name in tables} | {f"tables/{name}.html" for name in tables} | {
        f"figures/{name}.{suffix}" for name in ("roc", "scores") for suffix in ("png", "svg")
    }
    printed = capsys.readouterr().out
    assert str(store.folder / "a" / "eval.csv") in printed
    assert "2 (1)" not in printed
    assert "3 (1)" in printed
    assert files["missing.csv"].decode().splitlines() == [
        *("video_id,dataset,stage,status,message", "faces/r2,faces,,no_face,")
    ]
    outcomes = [line.split(",") for line in files["videos.csv"].decode().splitlines()]
    of_faces = dict(zip(outcomes[0], outcomes[2], strict=True))
    told = {key: of_faces[key] for key in ("dataset", "split", "n_videos", "n_real", "n_fake", "ok", "no_face")}
    assert list(told.values()) == ["faces", "test", "3", "3", "0", "2", "1"]
    assert files == run_main(store, monkeypatch, store.folder / "b", "--settings", '{"n_bootstrap": 20}')


@pytest.mark.parametrize("n_datasets", [0, 2, 9])
def test_figures_show_a_curve_for_every_data_set_of_two_classes(store, n_datasets):
    from detectors.figures import draw_roc, draw_scores

    for seed in (0, 1):
        for dataset in map(str, range(n_datasets)):
            store.predict(dataset, seed)
        store.predict("faces", seed, videos={"r0": VIDEOS["r0"]})
    for dataset in map(str, range(n_datasets)):
        store.ledger(dataset)
    store.ledger("faces", videos={"r0": VIDEOS["r0"]})
    runs, ledgers = store.read()
    table = evaluate(runs, ledgers, experiment="ucf", train=["ff"], settings=EvaluateSettings(n_bootstrap=5))
    roc, scores = draw_roc(runs, table), draw_scores(runs, table)
    assert len(scores.axes) == n_datasets + 1
    assert len(roc.axes) == {0: 0, 2: 2, 9: 9}[n_datasets]  # none; frame and video level; a panel each
    for axes in roc.axes:
        thick = [line for line in axes.lines if line.get_linewidth() == 1.5]
        assert len(thick) == (n_datasets if n_datasets == 2 else 1)
        for line in thick:
            assert tuple(line.get_xydata()[0]) == (0, 0)
            assert tuple(line.get_xydata()[-1]) == (1, 1)
            area = np.trapezoid(line.get_ydata(), line.get_xdata())
            level = "frame" if axes.get_title() == "frame level" else "video"
            assert area == pytest.approx(table[f"{level}_auc"].iloc[0], abs=2e-3)
