"""The columns of eval.csv and their rules over the seeds: whoever adds one is led to every place that it needs."""

from __future__ import annotations

import math
import re
import zlib
from pathlib import Path

import numpy as np
import pytest

from detectors.evaluation.eval_columns import EVAL_COLUMNS, EVAL_RULES
from detectors.evaluation.over_seeds import (
    ALIKE,
    COUNT,
    INTERVAL,
    METRIC,
    SEED,
    THRESHOLD,
    best_row,
    mean_row,
    std_row,
)
from detectors.evaluation.summarise import SUMMED_UP
from detectors.figures.tables import table_of
from detectors.measures.metrics import A_FAKE, A_REAL, METRICS
from preprocess.store import versions

DOCS = Path(__file__).parents[3] / "docs/evaluation.md"


def tables_of_section(heading: str) -> list[list[list[str]]]:
    """The cells of the tables of a section, without their headers."""
    section = re.search(rf"^## {heading}\n(.*?)^## ", DOCS.read_text(), re.S | re.M)[1]
    tables = re.findall(r"(?:^\|.*\n)+", section, re.M)
    return [[[cell.strip() for cell in row.split("|")[1:-1]] for row in table.splitlines()[2:]] for table in tables]


def names_in(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def test_the_documentation_tells_of_every_column_and_of_no_other():
    columns, metrics = tables_of_section("Columns")
    of_level = [name for row in metrics for name in names_in(row[0])]
    told = []
    for name in (name for row in columns for name in names_in(row[0])):
        told += [name.replace("…", metric) for metric in of_level] if name.endswith("…") else [name]
    assert sorted(told) == sorted(EVAL_RULES)


def test_the_documentation_tells_what_each_metric_needs():
    words = {"both classes": {A_REAL, A_FAKE}, "any sample": set()}
    for names, _, defined_with in tables_of_section("Columns")[1]:
        needs = [need for need in defined_with.split(", ") if need and "called" not in need]
        expected = set().union(*(words.get(need, {need}) for need in needs))
        for name in names_in(names):
            if name != "threshold":
                assert METRICS[name].needs == expected, name


def test_columns_are_those_of_the_version():
    """The workflow makes a table again whose version changes; without that, old tables would lack a new column."""
    header = ",".join(column.name for column in EVAL_COLUMNS)
    found = (versions.EVALUATE, len(EVAL_COLUMNS), zlib.crc32(header.encode()))
    assert found == (2, 48, 3123036029), (
        "the columns of eval.csv changed: raise versions.EVALUATE, then write here what is found"
    )


def test_no_two_columns_have_one_name():
    assert len(EVAL_RULES) == len(EVAL_COLUMNS)


def test_a_metric_is_summed_up_or_named_here():
    left_out = {name for name, rule in EVAL_RULES.items() if rule is METRIC} - set(SUMMED_UP)
    assert len(set(SUMMED_UP)) == len(SUMMED_UP)
    assert set(SUMMED_UP) <= set(EVAL_RULES)
    assert left_out == {
        # two names for one number
        *(f"{level}_{name}" for level in ("frame", "video") for name in ("sensitivity", "specificity")),
        *("frame_ap", "frame_f1", "frame_log_loss", "video_auc_predicted", "video_accuracy_predicted"),
    }


RULES = {
    "seed": SEED,
    "name": ALIKE,
    "leaked": ALIKE,
    "n": COUNT,
    "auc": METRIC,
    "threshold": THRESHOLD,
    "low": INTERVAL,
}


def seeds(*values, threshold=(0.5, 0.5, 0.5)):
    return [
        {"seed": number, "name": "a", "leaked": math.nan, "n": n, "auc": auc, "threshold": level, "low": 0.1}
        for number, (n, auc), level in zip((7, 3, 5), values, threshold, strict=True)
    ]


def test_rows_over_the_seeds_by_hand():
    rows = seeds((1, 0.5), (1, 0.8), (2, 0.8), threshold=(0.4, 0.5, 0.6))
    table = [mean_row(RULES, rows), std_row(RULES, rows), best_row(RULES, rows, "auc")]
    assert [list(row) for row in table] == [list(RULES)] * 3
    assert [row["seed"] for row in table] == ["mean", "std", "best"]
    assert {row["name"] for row in table} == {"a"}
    assert [row["n"] for row in table] == [2, 2, 1], "rounded up"
    assert [row["auc"] for row in table] == pytest.approx([0.7, math.sqrt(0.03), 0.8])
    assert [row["threshold"] for row in table] == pytest.approx([math.nan, 0.1, 0.5], nan_ok=True)
    assert [row["low"] for row in table] == pytest.approx([math.nan, math.nan, 0.1], nan_ok=True)
    assert all(math.isnan(row["leaked"]) for row in table)


def test_without_a_value_for_each_seed_none_is_the_best_and_there_is_no_mean():
    rows = seeds((1, 0.5), (1, math.nan), (2, 0.8))
    mean, best = mean_row(RULES, rows), best_row(RULES, rows, "auc")
    assert math.isnan(mean["auc"])
    assert mean["threshold"] == 0.5, "all agree"
    assert (best["seed"], best["name"], best["n"]) == ("best", "a", 2)
    assert np.isnan([best["auc"], best["threshold"], best["low"]]).all()


@pytest.mark.parametrize(
    ("column", "value", "found"), [("name", "b", r"\['a', 'b', 'a'\]"), ("leaked", 3, r"\[nan, 3, nan\]")]
)
def test_a_rule_that_does_not_fit_is_told_of_with_the_column(column, value, found):
    rows = seeds((1, 0.5), (1, 0.8), (2, 0.8))
    rows[1][column] = value
    with pytest.raises(ValueError, match=f"column '{column}': the seeds do not have it alike, found {found}"):
        mean_row(RULES, rows)


@pytest.mark.parametrize("row", [{"a": 1}, {"a": 1, "b": 2, "c": 3}, {"a": 1, "c": 3}])
def test_a_row_with_a_forgotten_or_an_unknown_column_is_refused(row):
    absent, unknown = ["b"] * ("b" not in row), ["c"] * ("c" in row)
    with pytest.raises(ValueError, match=re.escape(f"lacks {absent}, and the table has no column for its {unknown}")):
        table_of([{"a": 0, "b": 0}, row], ["a", "b"])
    assert list(table_of([{"b": 0, "a": 1}], ["a", "b"])) == ["a", "b"]
