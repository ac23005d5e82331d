"""The evaluation on small made tables: hand-worked rows, what is not defined, what was lost, what does not fit."""

import math

import numpy as np
import pandas as pd
import pytest

from detectors import evaluate as module
from detectors.evaluate import format_table
from detectors.evaluation.eval_columns import EVAL_RULES
from detectors.evaluation.eval_table import make_eval_table
from detectors.evaluation.outcomes import missing_videos, score_table
from detectors.evaluation.over_seeds import INTERVAL, METRIC
from detectors.evaluation.settings import EvaluateSettings
from detectors.evaluation.thresholds import choose_thresholds, complete_runs
from detectors.figures.experiment import FIGURES
from detectors.figures.tables import write_csv
from detectors.measures.metrics import bootstrap
from detectors.measures.runs import read_ledger, read_run, read_thresholds
from helpers.programs import run_program
from helpers.tiny_predictions import write_predictions
from preprocess.running.cli import UserError
from preprocess.running.settings import load_settings
from preprocess.store import schemas
from preprocess.store.origin import Origin
from preprocess.store.tables import write_table

# name: label and the scores of its samples; two faces in frame 0, then one a frame
VIDEOS = {
    "r0": (0, [0.1, 0.3, 0.2]),
    "r1": (0, [0.6, 0.6, 0.6]),
    "f0": (1, [0.9, 0.8, 0.7]),
    "f1": (1, [0.2, 0.5, 0.5]),
}
FRAMES = (0, 0, 10)

MEASURED, INTERVALS = ([name for name, rule in EVAL_RULES.items() if rule is kind] for kind in (METRIC, INTERVAL))


# at the equal error rate: .5 between the faces, .55 between the means .4 and .7, .625 between the highest .45 and .8
VALIDATION = {"r0": (0, [0.35, 0.4, 0.45]), "f0": (1, [0.55, 0.65, 0.9])}


class Store:
    """Writes predictions, validation and ledgers of an experiment, and reads them as the stage does."""

    def __init__(self, folder):
        self.folder = folder
        self.predictions, self.validation, self.ledgers = [], {}, {}

    def write(self, path, dataset, stage, seed, videos, made_by):
        rows = [
            {
                "sample_id": f"{dataset}/{name}#{frame}#{track}",
                "video_id": f"{dataset}/{name}",
                "dataset": dataset,
                "frame_index": frame,
                "track_id": track,
                "label": label,
                "compression": "c23",
                "split": "test",
                "score": score,
            }
            for name, (label, scores) in videos.items()
            for track, (frame, score) in enumerate(zip(FRAMES, scores, strict=True))
        ]
        made_by = {"experiment": "ucf", "seed": seed, "train": ["ff"]} | made_by
        write_predictions(path, rows, dataset=dataset, stage=stage, **made_by)

    def predict(self, dataset="ff", seed=0, videos=VIDEOS, validation=VALIDATION, **made_by):
        self.predictions.append(self.folder / f"{dataset}.{seed}.parquet")
        self.write(self.predictions[-1], dataset, "predict", seed, videos, made_by)
        self.validation[seed] = self.folder / f"validation.{seed}.parquet"
        self.write(self.validation[seed], "ff", "validate", seed, validation, made_by)

    def ledger(self, dataset="ff", videos=VIDEOS, **other_videos):
        rows = [{"video_id": f"{dataset}/{name}", "label": label} for name, (label, _) in videos.items()]
        rows += [{"video_id": f"{dataset}/{name}", **row} for name, row in other_videos.items()]
        usual = {"dataset": dataset, "compression": "c23", "split": "test", "status": "ok", "n_crops": 3}
        path = self.folder / f"{dataset}.ledger.parquet"
        write_table(path, [usual | row for row in rows], schemas.LEDGER, Origin(dataset, "samples", "{}", 1))
        self.ledgers[dataset] = path

    def read(self, **settings):
        settings = load_settings(EvaluateSettings, settings)
        ledgers = dict(map(read_ledger, self.ledgers.values()))
        runs = [read_run(path, settings.aggregation) for path in self.predictions]
        return complete_runs(runs, ledgers, settings.missing_score), ledgers

    def evaluate(self, experiment="ucf", train=("ff",), leaked=None, **settings):
        runs, ledgers = self.read(**settings)
        settings = load_settings(EvaluateSettings, settings)
        thresholds = choose_thresholds(runs, self.validation.values(), settings)
        return make_eval_table(
            runs, ledgers, thresholds, experiment=experiment, train=train, settings=settings, leaked=leaked
        )


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path)


def test_hand_worked_row(store):
    store.predict()
    store.ledger()
    table = store.evaluate()
    assert list(table) == list(EVAL_RULES)
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
    assert (row["frame_threshold"], row["video_threshold"]) == pytest.approx((0.5, 0.55))
    assert row[["n_videos_fake", "n_faces", "n_faces_fake"]].tolist() == [2, 12, 6]
    assert math.isnan(row["n_videos_leaked"])  # nobody has looked
    resampled = bootstrap([1, 1, 0, 0], [0.8, 0.4, 0.2, 0.6], 0.55, n_resamples=1000, seed=0)
    for metric in ("auc", "accuracy", "f1"):
        expected = np.percentile(resampled[metric], (2.5, 97.5))
        assert row[[f"video_{metric}_low", f"video_{metric}_high"]].tolist() == pytest.approx(list(expected))


def test_mean_over_seeds(store):
    better = VIDEOS | {"f1": (1, [0.7, 0.7, 0.7])}
    store.predict(seed=3)
    # the same between the faces, .65 between the videos
    store.predict(seed=1, videos=better, validation=VALIDATION | {"f0": (1, [0.55, 1, 1]), "r0": (0, [0.45] * 3)})
    store.ledger()
    table = store.evaluate()
    assert table["seed"].tolist() == [3, 1, "mean", "std", "best"]
    assert table["video_auc"].tolist() == [0.75, 1.0, 0.875, pytest.approx(np.std([0.75, 1], ddof=1)), 1]
    assert table["video_accuracy"].tolist()[:3] == [0.5, 1.0, 0.75]
    assert table["frame_threshold"].tolist() == pytest.approx([0.5, 0.5, 0.5, 0, 0.5])
    assert table["video_threshold"].tolist()[:2] == pytest.approx([0.55, 0.65])
    assert math.isnan(table["video_threshold"].iloc[2])  # no single threshold was used
    labels = [1, 1, 0, 0]
    resampled = [bootstrap(labels, [0.8, f1, 0.2, 0.6], 0.5, n_resamples=1000, seed=0)["auc"] for f1 in (0.4, 0.7)]
    assert table["video_auc_low"].iloc[2] == pytest.approx(np.percentile(np.mean(resampled, axis=0), 2.5))
    assert table[INTERVALS].iloc[3].isna().all()


def test_best_seed_is_that_of_the_highest_video_auc_with_its_own_interval(store):
    worse = VIDEOS | {"f0": (1, [0.3, 0.3, 0.3])}
    for seed, videos in ((0, worse), (5, VIDEOS), (9, VIDEOS)):
        store.predict(seed=seed, videos=videos)
    store.ledger()
    table = store.evaluate()
    assert table["seed"].tolist() == [0, 5, 9, "mean", "std", "best"]
    pd.testing.assert_series_equal(table.iloc[5].drop("seed"), table.iloc[1].drop("seed"), check_names=False)


def test_best_seed_on_one_class_is_that_of_the_highest_accuracy(store):
    fakes = {"f0": VIDEOS["f0"], "f1": VIDEOS["f1"]}
    store.predict("set", seed=0, videos=fakes)
    store.predict("set", seed=1, videos=fakes | {"f1": (1, [0.9] * 3)})
    store.ledger("set", videos=fakes)
    table = store.evaluate()
    assert table["video_accuracy"].tolist() == pytest.approx([0.5, 1, 0.75, np.std([0.5, 1], ddof=1), 1])
    # without a threshold there is nothing to choose by
    for seed in (0, 1):
        store.predict("set", seed, videos=fakes, validation={})
    store.predictions = store.predictions[:2]
    best = store.evaluate().iloc[-1]
    assert best["seed"] == "best"
    assert best[MEASURED].isna().all()
    assert best["n_videos"] == 2


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
    assert table["dataset"].tolist() == ["zoo"] * 5 + ["ff"] * 5 + ["art"] * 5
    assert table["domain"].tolist() == ["out"] * 5 + ["in"] * 5 + ["out"] * 5
    assert table["seed"].tolist() == [0, 1, "mean", "std", "best"] * 3


@pytest.mark.parametrize(
    ("label", "kind", "empty"),
    [
        (0, "Real", {"auc", "ap", "eer", "f1", "sensitivity", "precision", "recall"}),
        (1, "Fake", {"auc", "ap", "eer", "specificity", "real_precision", "real_recall"}),
    ],
)
def test_one_class_leaves_cells_empty(store, label, kind, empty):
    videos = {name: (label, scores) for name, (_, scores) in VIDEOS.items()}
    store.predict("set", videos=videos)
    store.ledger("set", videos=videos)
    table = store.evaluate()
    path = store.folder / "eval.csv"
    write_csv(path, table)
    cells = pd.read_csv(path, dtype=str, keep_default_na=False).iloc[-1]
    assert cells["type"] == kind
    found = {column for column in EVAL_RULES if cells[column] == ""}
    expected = {f"{level}_{metric}" for level in ("frame", "video") for metric in empty}
    expected |= {"n_videos_leaked", "video_auc_low", "video_auc_high", "video_auc_predicted"}
    assert found == expected | ({"video_f1_low", "video_f1_high"} if label == 0 else set())
    assert format_table(table).splitlines()[-1].count("—") == 3


def lose_videos(store):
    """Of 5 labelled videos seed 0 misses r2, seed 1 f1 too."""
    store.predict()
    store.predict(seed=1, videos={name: VIDEOS[name] for name in ("r0", "r1", "f0")})
    store.ledger(
        r2={"label": 0, "stage": "faces", "status": "no_face", "message": "no face in 3 frames", "n_crops": 0},
        r3={"label": 0, "split": "train", "status": "no_face"},
        left_out={"label": 1, "status": "unused", "message": "left out by downsample_fakes"},
        unknown={"label": None},
        elsewhere={"label": None, "split": "train"},
        elsewhere_too={"label": None, "split": "train"},
    )


def test_missing_videos_are_counted_and_listed(store):
    lose_videos(store)
    table = store.evaluate()
    assert table["n_videos"].tolist() == [5] * 5
    assert table["n_videos_fake"].tolist() == [2] * 5
    assert table["n_videos_missing"].tolist() == [1, 2, 2, 2, 2]
    assert table["n_frames"].tolist() == [8, 6, 7, 7, 6]
    missing = missing_videos(*store.read())
    assert missing["video_id"].tolist() == ["ff/f1", "ff/r2"]
    assert missing["stage"].tolist() == ["predict", "faces"]
    assert missing["status"].tolist() == ["ok", "no_face"]
    assert missing["message"][0].startswith("3 face crops are in the store")
    assert missing["message"][1] == "no face in 3 frames"


def test_videos_without_a_label_are_told_of_where_they_are_of_the_split(store, caplog):
    lose_videos(store)
    store.evaluate()
    assert "data set ff: 1 videos of split test have no label and are left out" in caplog.text


def test_missing_videos_are_scored_at_the_video_level(store):
    lose_videos(store)
    row = store.evaluate().iloc[0]
    # reals .2 .6 and .5 for the missing one, fakes .8 .4: wins of the fakes 3 + 1 of 6
    assert row["video_auc"] == pytest.approx(4 / 6)
    assert row["video_accuracy"] == pytest.approx(3 / 5)  # .5 is below the threshold: right
    assert row["video_log_loss"] == pytest.approx(-np.log([0.8, 0.4, 0.5, 0.8, 0.4]).mean())
    assert (row["video_auc_predicted"], row["video_accuracy_predicted"]) == (3 / 4, 2 / 4)
    assert row["frame_auc"] == pytest.approx(25.5 / 36)  # a missing video has no faces
    as_fake = store.evaluate(missing_score=1).iloc[0]
    assert as_fake["video_auc"] == pytest.approx(3 / 6)
    assert as_fake["video_accuracy"] == pytest.approx(2 / 5)
    assert (as_fake["video_auc_predicted"], as_fake["n_videos_missing"]) == (3 / 4, 1)


def test_missing_videos_can_be_left_out_of_the_metrics(store):
    lose_videos(store)
    table = store.evaluate(missing_score=None)
    assert table["video_auc"].iloc[0] == table["video_auc_predicted"].iloc[0] == 3 / 4
    assert table["n_videos_missing"].tolist() == [1, 2, 2, 2, 2]
    assert table["video_auc_low"].isna().tolist() == [False, False, True, True, False]  # the seeds saw other videos


def test_missing_score_out_of_range(store):
    store.predict()
    store.ledger()
    with pytest.raises(UserError, match="missing_score: found 2; the largest allowed value is 1"):
        store.read(missing_score=2)


def test_nothing_predicted_is_a_row_too(store):
    store.predict(videos={})
    store.ledger()
    row = store.evaluate(missing_score=None).iloc[0]
    assert (row["n_videos"], row["n_videos_missing"], row["n_frames"]) == (4, 4, 0)
    assert row["type"] == "Fake+Real"
    assert row[MEASURED].isna().all()
    scored = store.evaluate().iloc[0]
    assert (scored["video_auc"], scored["video_accuracy"], scored["n_videos_missing"]) == (0.5, 0.5, 4)
    assert math.isnan(scored["video_auc_predicted"])


@pytest.mark.parametrize(
    # of r0 r1 f0 f1, whose faces are .1 .3 | .2, .6 .6 | .6, .9 .8 | .7 and .2 .5 | .5
    ("aggregation", "scores", "threshold"),
    [
        ("mean", [0.2, 0.6, 0.8, 0.4], 0.55),
        ("max_then_mean", [0.25, 0.6, 0.8, 0.5], (0.425 + 0.775) / 2),
        ("confident", [0.15, 0.6, 0.85, 0.4], (0.375 + 0.775) / 2),
    ],
)
def test_scores_and_thresholds_follow_the_aggregation(store, aggregation, scores, threshold):
    store.predict(aggregation="mean")
    store.ledger()
    runs, _ = store.read(aggregation=aggregation)
    scored = runs[0].videos.set_index("video_id")["score"]
    assert scored[["ff/r0", "ff/r1", "ff/f0", "ff/f1"]].tolist() == pytest.approx(scores)
    assert store.evaluate(aggregation=aggregation)["video_threshold"].iloc[0] == pytest.approx(threshold)
    assert store.evaluate(aggregation=aggregation)["frame_threshold"].iloc[0] == pytest.approx(0.5)


def test_aggregation_is_the_detectors_own_unless_the_config_says_another(store):
    store.predict(aggregation="max_then_mean")
    store.ledger()
    runs, _ = store.read()
    assert runs[0].aggregation == "max_then_mean"
    assert store.evaluate()["video_threshold"].iloc[0] == pytest.approx((0.425 + 0.775) / 2)
    assert store.read(aggregation="mean")[0][0].aggregation == "mean"
    with pytest.raises(UserError, match=r"median.* allowed: detector, mean, max_then_mean, confident"):
        store.read(aggregation="median")


def test_leaked_videos_are_counted(store):
    store.predict("ff")
    store.predict("art")
    store.ledger("ff")
    store.ledger("art")
    table = store.evaluate(leaked={"ff": 3})
    assert table["n_videos_leaked"].tolist() == [3, 3, 0, 0]


def test_table_of_video_scores_has_every_video_of_every_run(store):
    lose_videos(store)
    runs, _ = store.read()
    table = score_table(runs, {0: {"video": 0.3}, 1: {"video": 0.4}})
    assert list(table) == schemas.VIDEO_SCORES.names
    assert table["seed"].tolist() == [0] * 5 + [1] * 5
    assert table["video_id"].tolist() == [f"ff/{name}" for name in ("f0", "f1", "r0", "r1", "r2")] * 2
    assert table["predicted"].tolist() == [True] * 4 + [False, True, False, True, True, False]
    assert table["score"].tolist() == pytest.approx([0.8, 0.4, 0.2, 0.6, 0.5, 0.8, 0.5, 0.2, 0.6, 0.5])
    assert set(table["threshold"][table["seed"] == 1]) == {0.4}


def test_compressions_are_named_and_their_videos_kept_apart(store):
    heavy = {f"{name}_c40": row for name, row in VIDEOS.items()}
    store.predict(videos=VIDEOS | heavy)
    store.ledger(**{name: {"label": label, "compression": "c40"} for name, (label, _) in heavy.items()})
    row = store.evaluate().iloc[0]
    assert row["compression"] == "c23+c40"
    assert row["n_videos"] == 8
    assert row["n_videos_missing"] == 0


def test_threshold_can_be_fixed(store):
    store.predict(validation={})
    store.ledger()
    assert math.isnan(store.evaluate()["video_accuracy"].iloc[0])
    store.validation = {}  # which is not read
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


def test_validation_absent_or_of_something_else(store):
    store.predict()
    store.ledger()
    of_seed = store.validation.pop(0)
    with pytest.raises(UserError, match=r"seed 0 has no file among --validation \(seeds \[\]\)"):
        store.evaluate()
    store.write(of_seed, "ff", "validate", 0, VALIDATION, {"experiment": "sbi"})
    store.validation[0] = of_seed
    with pytest.raises(UserError, match="is of experiment 'sbi', not 'ucf'"):
        store.evaluate()
    with pytest.raises(UserError, match="is no predictions file"):
        read_thresholds(store.ledgers["ff"])


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
    store.predict(videos={name: (label, [np.nan] * 3) for name, (label, _) in VIDEOS.items()})
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
    low, high = table[["video_auc_low", "video_auc_high"]].iloc[2]
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


def run_evaluate(store, out, *extra):
    options = ["--experiment", "ucf", "--train", "ff", "--predictions", *store.predictions]
    options += ["--validation", *store.validation.values(), "--ledgers", *store.ledgers.values()]
    run_program(module.main, *options, "--output", out / "eval.csv", "--figures", out / "figures", *extra)
    return {str(path.relative_to(out)): path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()}


def test_command_writes_the_same_bytes_again(store, capsys):
    store.predict("ff")
    store.ledger("ff")
    real = {name: VIDEOS[name] for name in ("r0", "r1")}
    store.predict("faces", videos=real)
    store.ledger("faces", videos=real, r2={"label": 0, "status": "no_face"})
    files = run_evaluate(store, store.folder / "a", "--settings", '{"n_bootstrap": 20}')
    tables = ("eval", "missing", "videos")
    tables_written = {f"{name}.csv" for name in tables} | {f"tables/{name}.html" for name in tables}
    assert set(files) == tables_written | {"video_scores.parquet", "record.json"} | {
        f"figures/{name}.{suffix}" for name in FIGURES for suffix in ("png", "svg")
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
    assert files == run_evaluate(store, store.folder / "b", "--settings", '{"n_bootstrap": 20}')
