"""Tables as files and as text: what a cell says of a number, a text, and of nothing."""

from __future__ import annotations

import math
import re

import numpy as np
import pandas as pd
import pytest

from detectors.figures.tables import LONG_TEXT, MAX_ROWS, decimals, text_table, write_csv, write_csv_and_page


def page(tmp_path, table: pd.DataFrame) -> str:
    write_csv_and_page(tmp_path / "t.csv", "a <title>", table)
    return (tmp_path / "tables/t.html").read_text()


def cells(text: str, tag: str = "td") -> list[str]:
    return re.findall(rf"<{tag}[^>]*>(.*?)</{tag}>", text)


def test_a_csv_has_six_digits_and_nothing_for_what_is_not_defined(tmp_path):
    table = pd.DataFrame({"name": ["x", None], "value": [0.123456789, np.nan], "count": [1234567, 0]})
    write_csv(tmp_path / "t.csv", table)
    assert (tmp_path / "t.csv").read_bytes() == b"name,value,count\nx,0.123457,1234567\n,,0\n"


def test_a_cell_of_a_page(tmp_path):
    table = pd.DataFrame(
        {"name": ["<b>", None], "value": [0.123456, np.nan], "count": [1234567, 0], "yes": [True, False]}
    )
    text = page(tmp_path, table)
    assert cells(text, "th") == ["name", "value", "count", "yes"]
    assert cells(text) == ["&lt;b&gt;", "0.1235", "1,234,567", "True", "—", "—", "0", "False"]
    # texts stand on the left, numbers on the right
    assert '<th class="text">name</th><th>value</th><th>count</th>' in text
    assert '<td class="text">&lt;b&gt;</td><td>0.1235</td>' in text
    assert text.count("a &lt;title&gt;") == 2
    assert "<p>" not in text


@pytest.mark.parametrize("length", [LONG_TEXT, LONG_TEXT + 1])
def test_a_long_text_is_broken(tmp_path, length):
    assert LONG_TEXT == 60
    text = page(tmp_path, pd.DataFrame({"name": ["x" * length]}))
    assert ('<span class="long">' in text) == (length > 60)


@pytest.mark.parametrize("n_rows", [0, MAX_ROWS, MAX_ROWS + 234])
def test_a_page_shows_a_thousand_rows_and_says_so(tmp_path, n_rows):
    text = page(tmp_path, pd.DataFrame({"number": np.arange(n_rows)}))
    assert len(cells(text)) == min(n_rows, 1000)
    notes = re.findall("<p>(.*)</p>", text)
    assert (
        notes
        == {
            0: ["No rows."],
            1000: [],
            1234: ["The first 1,000 of 1,234 rows; all of them are in t.csv."],
        }[n_rows]
    )
    assert len(pd.read_csv(tmp_path / "t.csv")) == n_rows


def test_lines_have_aligned_columns_and_an_underlined_header():
    assert text_table(
        [["a", "second", "note"], ["long text", "1", "any length of it"], ["x", "22", ""]]
    ).splitlines() == [
        "a          second  note",
        "---------  ------  ----",
        "long text  1       any length of it",
        "x          22",
    ]


def test_decimals():
    assert (decimals(0.98765), decimals(1.0), decimals(math.nan)) == ("0.988", "1.000", "—")
