"""`snakemake --report` of a finished run: one HTML file that holds everything."""

from __future__ import annotations

import base64
import csv
import json
import re

import pytest

from helpers.small_run import SMALL_CONFIG, snakemake

EXPERIMENTS = tuple(SMALL_CONFIG["experiments"])
PAGES = {"table": "eval.html", "missing videos": "missing.html", "outcomes": "videos.html"}
FIGURES = {
    "ROC": "roc.png",
    "precision–recall": "precision_recall.png",
    "scores": "scores.png",
    "metrics by threshold": "thresholds.png",
    "confusion": "confusion.png",
}


@pytest.fixture(scope="module")
def page(run, tmp_path_factory):
    """The report's HTML."""
    path = tmp_path_factory.mktemp("report") / "report.html"
    snakemake(run, "--report", str(path))
    return path.read_text()


@pytest.fixture(scope="module")
def results(page):
    """What the report shows: by experiment and what it is, the entry."""
    entries = _script_value(page, "results")
    return {(entry["labels"]["experiment"], entry["labels"]["what"]): entry for entry in entries.values()}


def _script_value(page: str, name: str):
    """A JSON value that the page's script assigns to a name."""
    begin = re.search(rf"<script[^>]*>\s*var {name} = ", page).end()
    return json.JSONDecoder().raw_decode(page, begin)[0]


def _content(entry) -> bytes:
    head, data = entry["data_uri"].split(",", 1)
    assert head.endswith("base64")
    return base64.b64decode(data)


def test_a_report_holds_the_tables_and_figures_of_every_experiment(run, results):
    assert set(results) == {(experiment, what) for experiment in EXPERIMENTS for what in (*PAGES, *FIGURES)}
    for (experiment, what), entry in results.items():
        folder = "tables" if what in PAGES else "figures"
        file = {**PAGES, **FIGURES}[what]
        assert _content(entry) == (run / "results" / experiment / folder / file).read_bytes()


def test_the_page_of_the_evaluation_shows_the_rows_of_eval_csv(run, results):
    with open(run / "results/small/eval.csv") as file:
        rows = list(csv.DictReader(file))
    shown = _content(results["small", "table"]).decode()
    lines = [re.findall(r"<td[^>]*>(.*?)</td>", line) for line in shown.splitlines() if "<td" in line]
    assert [line[:3] for line in lines] == [[row["experiment"], row["seed"], row["dataset"]] for row in rows]
    columns = re.findall(r"<th[^>]*>(.*?)</th>", shown)
    assert columns == list(rows[0])
    aucs = [line[columns.index("video_auc")] for line in lines]
    assert aucs == [f"{float(row['video_auc']):.4g}" if row["video_auc"] else "—" for row in rows]


def test_every_table_and_figure_has_a_caption_of_its_own(results):
    captions = {key: re.sub(r"<[^>]+>", "", entry["caption"]) for key, entry in results.items()}
    for (experiment, what), caption in captions.items():
        assert len(caption) > 100, (experiment, what)
        assert experiment in caption
        # nothing of the template is left over
        assert "{{" not in caption
        assert "snakemake." not in caption
    assert len(set(captions.values())) == len(captions)


def test_a_report_tells_the_workflow_the_rules_and_the_run_times(page):
    assert "From raw deepfake videos to evaluated detectors" in page
    for rule in ("sample_frames", "track_faces", "crop_faces", "train_detector", "evaluate_detector"):
        assert rule in page
    values = _script_value(page, "runtimes_spec")["data"]["values"]
    rules = {value["rule"] for value in values}
    assert {"track_faces", "crop_faces", "train_detector", "evaluate_detector"} <= rules
    assert all(value["runtime"] > 0 for value in values)


def test_a_report_needs_no_other_file_and_no_network(page):
    assert not re.search(r"<(script|img|iframe)[^>]+src\s*=\s*[\"']?(https?:)?//", page)
    assert not re.search(r"<link[^>]+href\s*=\s*[\"']?(https?:)?//", page)
