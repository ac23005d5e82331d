"""Figures of an evaluation: what the curves and matrices hold, and that each data set is shown."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import confusion_matrix

from detectors.evaluation.eval_table import make_eval_table
from detectors.evaluation.settings import EvaluateSettings
from detectors.figures import curves as curve_figures
from detectors.figures import thresholds as threshold_figures
from detectors.figures.thresholds import confusion, metrics_at_thresholds
from detectors.measures.metrics import detection_metrics
from detectors.measures.runs import DetectorRun
from helpers.tiny_predictions import random_scores


def make_run(dataset, seed, labels, scores):
    videos = pd.DataFrame({"video_id": [f"{dataset}/{i:03d}" for i in range(len(labels))], "label": labels})
    videos = videos.assign(score=scores, predicted=True)
    return DetectorRun("ucf", seed, dataset, "test", ("0",), "mean", labels, scores, len(labels), videos)


def make_evaluation(n_datasets, thresholds=0.4):
    """Two seeds on data sets of both classes, and on one of reals."""
    runs = []
    for number in range(n_datasets):
        for seed in (0, 1):
            labels, scores = random_scores(number, n=40)
            runs.append(make_run(str(number), seed, labels, scores * (1 - 0.1 * seed)))
    runs += [make_run("faces", seed, np.zeros(5, int), np.linspace(0, 0.8, 5)) for seed in (0, 1)]
    usual = {"compression": "c23", "split": "test", "status": "ok"}
    ledgers = {run.dataset: run.videos[["video_id", "label"]].assign(**usual) for run in runs}
    by_seed = {seed: {"frame": thresholds, "video": thresholds + 0.1 * seed} for seed in (0, 1)}
    settings = EvaluateSettings(n_bootstrap=5)
    return runs, make_eval_table(runs, ledgers, by_seed, experiment="ucf", train=["0"], settings=settings)


@pytest.mark.parametrize("seed", range(3))
def test_areas_under_the_curves_are_auc_and_ap(seed):
    labels, scores = random_scores(seed, n=400)
    metrics = detection_metrics(labels, scores, 0.5)
    roc = curve_figures.true_positive_rates(labels, scores)
    assert np.trapezoid(roc, curve_figures.GRID) == pytest.approx(metrics["auc"], abs=3e-3)
    assert curve_figures.precisions(labels, scores).mean() == pytest.approx(metrics["ap"], abs=3e-3)


def test_precision_at_recall_by_hand():
    # from the highest score down: fake, real, fake; recall .5, .5, 1 and precision 1, 1/2, 2/3
    precision = curve_figures.precisions(np.array([1, 0, 1]), np.array([0.9, 0.8, 0.3]))
    recall = curve_figures.GRID
    assert (precision[recall <= 0.5] == 1).all()
    assert precision[recall > 0.5] == pytest.approx(2 / 3)


@pytest.mark.parametrize("kind", ["both", "reals", "fakes"])
def test_metrics_at_thresholds_are_those_of_the_evaluation(kind):
    labels, scores = random_scores(0, n=40)
    if kind != "both":
        labels = np.full_like(labels, int(kind == "fakes"))
    at_grid = metrics_at_thresholds(labels, scores)
    for number in (0, 100, 250, 333, 500):
        expected = detection_metrics(labels, scores, threshold_figures.GRID[number])
        for name, values in at_grid.items():
            assert values[number] == pytest.approx(expected[name.lower()], nan_ok=True)


def test_confusion_is_that_of_sklearn():
    labels, scores = random_scores(1, n=40)
    run = make_run("ff", 0, labels, scores)
    assert confusion(run, 0.45).tolist() == confusion_matrix(labels, scores >= 0.45).tolist()
    assert np.isnan(confusion(run, np.nan)).all()


@pytest.mark.parametrize("n_datasets", [0, 2, 8])
@pytest.mark.parametrize("draw", [curve_figures.draw_roc, curve_figures.draw_precision_recall])
def test_every_data_set_of_two_classes_has_a_curve(draw, n_datasets):
    runs, table = make_evaluation(n_datasets)
    figure = draw(runs, table)
    assert len(figure.axes) == {0: 0, 2: 2, 8: 8}[n_datasets]  # none; frame and video level; a panel each
    metric = "auc" if draw is curve_figures.draw_roc else "ap"
    for number, axes in enumerate(figure.axes):
        thick = [line for line in axes.lines if line.get_linewidth() == 1.5]
        assert len(thick) == (n_datasets if n_datasets == 2 else 1)
        for order, line in enumerate(thick):
            if metric == "auc":
                assert tuple(line.get_xydata()[0]) == (0, 0)
                assert tuple(line.get_xydata()[-1]) == pytest.approx((1, 1))
            level = "frame" if axes.get_title() == "frame level" else "video"
            dataset = str(order if n_datasets == 2 else number)
            expected = table.loc[(table["dataset"] == dataset) & (table["seed"] == "mean"), f"{level}_{metric}"].item()
            assert np.trapezoid(line.get_ydata(), line.get_xdata()) == pytest.approx(expected, abs=0.03)
            assert (line.get_linestyle() == "-") == (dataset == "0")  # in domain


@pytest.mark.parametrize("n_datasets", [2, 8])
@pytest.mark.parametrize("draw", [curve_figures.draw_roc, curve_figures.draw_precision_recall])
def test_dotted_is_what_chance_gives(draw, n_datasets):
    """The diagonal of a ROC curve; the share of fakes as precision, for each data set."""
    runs, table = make_evaluation(n_datasets)
    shares = [random_scores(number, n=40)[0].mean() for number in range(n_datasets)]
    for number, axes in enumerate(draw(runs, table).axes):
        dotted = [np.ravel(line.get_ydata()).astype(float) for line in axes.lines if line.get_linestyle() == ":"]
        flat = [values[0] for values in dotted if np.ptp(values) == 0]
        if draw is curve_figures.draw_roc:
            assert not flat
            assert len(dotted) == 1
        else:
            assert flat == pytest.approx(shares if n_datasets == 2 else shares[number : number + 1])


@pytest.mark.parametrize("draw", [curve_figures.draw_roc, curve_figures.draw_precision_recall])
def test_lines_of_seeds_are_drawn_where_there_are_several(draw):
    runs, table = make_evaluation(8)
    for some, several in ((runs, True), ([run for run in runs if run.seed == 0], False)):
        texts = {text.get_text() for legend in draw(some, table).legends for text in legend.get_texts()}
        assert ("one seed" in texts) == several
        assert "the other data sets" in texts


@pytest.mark.parametrize(
    "draw", [threshold_figures.draw_scores, threshold_figures.draw_thresholds, threshold_figures.draw_confusion]
)
def test_every_data_set_has_a_panel(draw):
    runs, table = make_evaluation(2)
    figure = draw(runs, table)
    assert [axes.get_title().splitlines()[0] for axes in figure.axes] == ["0", "1", "faces"]
    if draw is not threshold_figures.draw_confusion:
        for axes in figure.axes:
            assert {line.get_xdata()[0] for line in axes.lines if len(line.get_xdata()) == 2} == {0.4, 0.5}


def test_confusion_panel_holds_shares_and_mean_numbers():
    runs, table = make_evaluation(1)
    both, reals = threshold_figures.draw_confusion(runs, table).axes
    counts = np.mean([confusion(run, threshold) for run, threshold in zip(runs[:2], (0.4, 0.5), strict=True)], axis=0)
    shares = counts / counts.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(both.images[0].get_array(), shares)
    assert [text.get_text().split("\n")[0] for text in both.texts] == [f"{100 * s:.1f} %" for s in shares.ravel()]
    # of the reals 0 .2 .4 .6 .8, three reach .4 and two .5
    assert [text.get_text() for text in reals.texts] == ["50.0 %\n2.5", "50.0 %\n2.5", "–", "–"]


@pytest.mark.parametrize("name", ["draw_scores", "draw_thresholds", "draw_confusion"])
def test_without_videos_or_threshold_a_panel_says_so(name):
    runs, table = make_evaluation(0, thresholds=np.nan)
    (axes,) = getattr(threshold_figures, name)(runs, table).axes
    told = [text.get_text() for text in axes.texts]
    if name == "draw_confusion":
        assert told == ["–"] * 4 + ["no threshold"]
    empty = [make_run("faces", seed, np.zeros(0, int), np.zeros(0)) for seed in (0, 1)]
    (axes,) = getattr(threshold_figures, name)(empty, table).axes
    assert any(text.get_text() for text in axes.texts)
