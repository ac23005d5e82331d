"""Several experiments side by side: what sums up, what is not defined, what the heat map marks; their summary."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from detectors.evaluation import cross_evaluation, summarise
from detectors.evaluation.cross_evaluation import SUMMARY_COLUMNS, cross_table, draw_heat_map
from detectors.evaluation.eval_columns import EVAL_RULES
from detectors.evaluation.eval_table import read_eval_tables
from detectors.figures.tables import write_csv
from helpers.programs import run_program
from preprocess.running.cli import UserError


def row(experiment, dataset, domain="out", *, n=(0, 0), right=(np.nan, np.nan), auc=np.nan, seed="mean", **values):
    """A row of eval.csv: numbers of reals and fakes, and the share of each that is right, alike at both levels."""
    n_samples = n[0] + n[1]
    accuracy = np.nansum(np.multiply(n, right)) / n_samples
    of_level = {"specificity": right[0], "sensitivity": right[1], "accuracy": accuracy, "auc": auc}
    return {
        **dict.fromkeys(EVAL_RULES, np.nan),
        **{"experiment": experiment, "dataset": dataset, "domain": domain, "seed": seed, "type": "Fake+Real"},
        **{"n_faces": 10 * n_samples, "n_faces_fake": 10 * n[1], "n_videos": n_samples, "n_videos_fake": n[1]},
        "n_videos_missing": 0,
        **{f"{level}_{name}": value for level in ("frame", "video") for name, value in of_level.items()},
        **values,
    }


EVALUATIONS = pd.DataFrame(
    [
        row("ff", "ffpp", "in", n=(10, 30), right=(0.8, 0.9), auc=0.95),
        row("ff", "vox", n=(50, 0), right=(0.6, np.nan)),
        row("ff", "gan", n=(0, 20), right=(np.nan, 0.3)),
        row("ff", "celebdf", n=(10, 40), right=(0.9, 0.5), auc=0.7),
        row("multi", "ffpp", "in", n=(10, 30), right=(0.7, 0.7), auc=0.8),
        row("multi", "celebdf", "in", n=(10, 40), right=(0.5, 0.5), auc=0.6),
    ]
)


def cells(table, experiment, level="frame", metric="accuracy"):
    chosen = (table["level"] == level) & (table["metric"] == metric) & (table["experiment"] == experiment)
    return table[chosen].iloc[0]


@pytest.mark.parametrize("level", ["frame", "video"])
def test_accuracies_sum_up_by_hand(level):
    row = cells(cross_table(EVALUATIONS), "ff", level)
    right = {"ffpp": 8 + 27, "vox": 30, "gan": 6, "celebdf": 9 + 20}
    assert row["ALL (weighted)"] == pytest.approx(sum(right.values()) / 160)
    assert row["Real OOD"] == pytest.approx((30 + 9) / 60)
    assert row["Fake OOD"] == pytest.approx((6 + 20) / 60)
    assert row["OOD (mean)"] == pytest.approx(((30 + 9) / 60 + (6 + 20) / 60) / 2)
    assert row["OOD (weighted)"] == pytest.approx((30 + 6 + 29) / 120)
    assert row[["ffpp", "vox", "gan", "celebdf"]].tolist() == pytest.approx([35 / 40, 0.6, 0.3, 29 / 50])
    assert row["in_domain"] == "ffpp"


def test_the_published_mean_out_of_domain_is_that_of_reals_and_fakes():
    # study 1, UCF trained on a mix: Real OOD .916, Fake OOD .738, OOD .827
    table = cross_table(
        pd.DataFrame(
            [
                row("multi", "a", n=(300, 0), right=(0.916, np.nan)),
                row("multi", "b", n=(0, 100), right=(np.nan, 0.738)),
            ]
        )
    )
    assert round(cells(table, "multi")["OOD (mean)"], 3) == 0.827


def test_aucs_are_weighted_over_the_sets_that_have_one():
    row = cells(cross_table(EVALUATIONS), "ff", metric="auc")
    assert row["ALL (weighted)"] == pytest.approx((40 * 0.95 + 50 * 0.7) / 90)
    assert row["OOD (weighted)"] == pytest.approx(0.7)
    assert row[["Real OOD", "Fake OOD", "OOD (mean)", "vox", "gan"]].isna().all()


def test_what_was_not_tested_or_not_out_of_domain_is_empty():
    row = cells(cross_table(EVALUATIONS), "multi")
    assert row["in_domain"] == "ffpp+celebdf"
    assert row[["Real OOD", "Fake OOD", "OOD (mean)", "OOD (weighted)", "vox", "gan"]].isna().all()
    assert row["ALL (weighted)"] == pytest.approx((28 + 25) / 90)


@pytest.mark.parametrize("upright", [True, False])
def test_the_heat_map_shows_every_number_and_marks_what_is_in_domain(upright):
    experiments = 1 if upright else 6
    evaluations = pd.concat(
        [EVALUATIONS.assign(experiment=EVALUATIONS["experiment"] + str(i)) for i in range(experiments)]
    )
    table = cross_table(evaluations)
    figure = draw_heat_map(table)
    accuracy, auc = figure.axes[:2]
    assert accuracy.get_title() == "accuracy, frame level"
    assert auc.get_title() == "AUC, video level"
    columns = [*SUMMARY_COLUMNS, "ffpp", "vox", "gan", "celebdf"]
    down, across = (accuracy.get_yticklabels(), accuracy.get_xticklabels())[:: 1 if upright else -1]
    assert [label.get_text() for label in down] == columns
    assert [label.get_text() for label in across] == list(table["experiment"].unique())
    shown = accuracy.images[0].get_array()
    ff = cells(table, "ff0")[columns].to_numpy(float)
    np.testing.assert_allclose((shown[:, 0] if upright else shown[0]).filled(np.nan), ff)
    texts = [text.get_text() for text in accuracy.texts]
    assert texts.count("–") == int(np.isnan(shown.filled(np.nan)).sum())
    # of ff one data set, of multi two
    for axes in (accuracy, auc):
        assert len(axes.patches) == 3 * experiments


def seeds_of(name, dataset="ffpp", metrics=(), **columns):
    """Rows of three seeds, and of their mean, which a summary does not read."""
    rows = [
        row(name, dataset, n=(2, 2), right=(1, 1), auc=auc, seed=str(seed), **{key: v[i] for key, v in columns.items()})
        for i, (seed, auc) in enumerate(((0, 0.7), (10, 0.9), (28, 0.8)))
    ]
    return [*rows, row(name, dataset, n=(2, 2), right=(1, 1), auc=0.123)]


def test_summary_has_mean_deviation_best_and_its_interval():
    columns = {
        "video_eer": (0.3, 0.1, 0.2),
        "frame_eer": (0.3, 0.1, 0.2),
        "video_log_loss": (0.7, 0.5, 0.4),
        "video_auc_low": (0.6, 0.85, 0.7),
        "video_auc_high": (0.8, 0.95, 0.9),
        "video_accuracy": (0.8, 0.7, 0.9),
        "video_accuracy_low": (0.1, 0.2, 0.3),
        "video_f1": (0.8, np.nan, 0.9),
    }
    table = summarise.summarise(pd.DataFrame([*seeds_of("a", **columns), *seeds_of("b")]))
    assert table[["experiment", "dataset", "n_seeds"]].to_numpy().tolist() == [["a", "ffpp", 3], ["b", "ffpp", 3]]
    first = table.iloc[0]
    assert first["video_auc_mean"] == pytest.approx(0.8)
    assert first["video_auc_std"] == pytest.approx(0.1)
    assert first[["video_auc_best", "video_auc_best_low", "video_auc_best_high"]].tolist() == [0.9, 0.85, 0.95]
    assert first[["video_eer_mean", "video_eer_best"]].tolist() == pytest.approx([0.2, 0.1])  # the lowest
    assert first[["frame_eer_best", "video_log_loss_best"]].tolist() == [0.1, 0.4]
    # each metric has its own best seed
    assert first[["video_accuracy_best", "video_accuracy_best_low"]].tolist() == [0.9, 0.3]
    assert first[["video_f1_mean", "video_f1_std", "video_f1_best"]].isna().all()


def test_summary_of_one_seed_has_no_deviation():
    table = summarise.summarise(pd.DataFrame(seeds_of("a")[:1]))
    assert table["n_seeds"].tolist() == [1]
    assert table["video_auc_best"].tolist() == [0.7]
    assert table["video_auc_std"].isna().all()


def write_evaluations(folder):
    paths = []
    for experiment, rows in EVALUATIONS.groupby("experiment", sort=False):
        paths.append(folder / f"{experiment}.csv")
        write_csv(paths[-1], rows[list(EVAL_RULES)])
    return paths


def test_evaluations_are_read_in_their_order(tmp_path):
    paths = write_evaluations(tmp_path)
    table = read_eval_tables(paths)
    assert list(table["experiment"].unique()) == ["ff", "multi"]
    assert table.index.tolist() == list(range(len(EVALUATIONS)))
    assert table["video_auc"].tolist() == pytest.approx(EVALUATIONS["video_auc"].tolist(), nan_ok=True)
    with pytest.raises(UserError, match="of experiment 'ff', of which another file was named before"):
        read_eval_tables([paths[0], paths[0]])
    write_csv(tmp_path / "older.csv", EVALUATIONS[list(EVAL_RULES)].drop(columns="video_auc_predicted"))
    with pytest.raises(
        UserError, match=r"older.csv is .* an older version \(it lacks 'video_auc_predicted'\); make it"
    ):
        read_eval_tables([tmp_path / "older.csv"])
    write_csv(tmp_path / "empty.csv", EVALUATIONS.loc[:-1, list(EVAL_RULES)])
    with pytest.raises(UserError, match=r"empty.csv is no evaluation.* \(it has no row\); make it"):
        read_eval_tables([tmp_path / "empty.csv"])
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    for path in ("other.csv", "absent.csv"):
        with pytest.raises(UserError, match="is no evaluation"):
            read_eval_tables([tmp_path / path])


@pytest.mark.parametrize("module", [cross_evaluation, summarise])
def test_commands(module, tmp_path, monkeypatch):
    name = {cross_evaluation: "cross_eval", summarise: "summary"}[module]
    evaluations = EVALUATIONS if module is cross_evaluation else EVALUATIONS.assign(seed="7")
    monkeypatch.setitem(globals(), "EVALUATIONS", evaluations)
    arguments = ["--evaluations", *write_evaluations(tmp_path), "--output", tmp_path / f"{name}.csv"]
    if module is cross_evaluation:
        arguments += ["--figures", tmp_path / "figures"]
    run_program(module.main, *arguments)
    table = pd.read_csv(tmp_path / f"{name}.csv")
    assert set(table["experiment"]) == {"ff", "multi"}
    assert "multi" in (tmp_path / f"tables/{name}.html").read_text()
    if module is cross_evaluation:
        assert {path.name for path in (tmp_path / "figures").iterdir()} == {"cross_eval.png", "cross_eval.svg"}
