"""Tables as CSV files, as HTML pages, which a report shows where it would only offer a file, and as lines of text."""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd

from preprocess.running.text_columns import align_columns
from preprocess.store.atomic import atomic_path

# More would make the report slow to open; the CSV file beside has all of them.
MAX_ROWS = 1000
# A cell of more characters is broken into lines.
LONG_TEXT = 60

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>{title}</title>
<style>
body {{ font: 14px/1.4 system-ui, sans-serif; margin: 1.5em; color: #111; background: #fff; }}
h1 {{ font-size: 1.2em; }}
table {{ border-collapse: collapse; font-variant-numeric: tabular-nums; white-space: nowrap; }}
th, td {{ padding: 0.25em 0.7em; text-align: right; border-bottom: 1px solid #ddd; }}
th {{ border-bottom: 2px solid #111; vertical-align: bottom; }}
td.text, th.text {{ text-align: left; }}
span.long {{ display: inline-block; min-width: 24em; white-space: normal; overflow-wrap: anywhere; }}
</style>
</head>
<body>
<h1>{title}</h1>
{body}
{note}</body>
</html>
"""


def table_of(rows: Sequence[dict], columns: Iterable[str]) -> pd.DataFrame:
    """Rows as a table.

    Args:
        rows: By column.
        columns: In their order.

    Raises:
        ValueError: A row lacks a column, or has one more: whoever added a column has forgotten a place.
    """
    columns = list(columns)
    for row in rows:
        absent, unknown = [name for name in columns if name not in row], [name for name in row if name not in columns]
        if absent or unknown:
            raise ValueError(f"a row lacks {absent}, and the table has no column for its {unknown}")
    return pd.DataFrame(rows, columns=columns)


def write_csv(path: str | Path, table: pd.DataFrame) -> None:
    """Write a table as CSV with six significant digits and empty cells for what is not defined."""
    with atomic_path(path) as temporary:
        table.to_csv(temporary, index=False, float_format="%.6g", na_rep="", lineterminator="\n")


def write_csv_and_page(path: Path, title: str, table: pd.DataFrame) -> None:
    """Write a table as CSV, and before it as an HTML page of the same name in the folder `tables` beside it.

    The page needs no other file and shows at most `MAX_ROWS`: numbers with four significant digits, whole ones with
    separators, `—` for what is not defined.

    Args:
        path: CSV file to write.
        title: Heading of the page.
        table: What to write.
    """
    with atomic_path(path.parent / "tables" / f"{path.stem}.html") as temporary:
        temporary.write_text(_page(title, table, path.name))
    write_csv(path, table)


def text_table(rows: Sequence[Sequence[str]]) -> str:
    """Rows of texts as lines with aligned columns, the first row, the header, underlined.

    The last column may be long: its line is as wide as its header.
    """
    header, *body = rows
    widths = [max(len(row[column]) for row in rows) for column in range(len(header) - 1)] + [len(header[-1])]
    return "\n".join(align_columns([header, ["-" * width for width in widths], *body]))


def decimals(value: float) -> str:
    """A score or metric with three decimals, `—` where it is not defined."""
    return "—" if math.isnan(value) else f"{value:.3f}"


def _page(title: str, table: pd.DataFrame, csv_name: str) -> str:
    is_text = [not pd.api.types.is_numeric_dtype(table[name]) for name in table]
    rows = [_row("th", table.columns, is_text)]
    rows += [_row("td", map(_cell, row), is_text) for row in table.head(MAX_ROWS).itertuples(index=False)]
    note = ""
    if len(table) > MAX_ROWS:
        note = f"<p>The first {MAX_ROWS:,} of {len(table):,} rows; all of them are in {html.escape(csv_name)}.</p>\n"
    elif table.empty:
        note = "<p>No rows.</p>\n"
    body = "<table>\n" + "\n".join(rows) + "\n</table>"
    return _PAGE.format(title=html.escape(title), body=body, note=note)


def _cell(value: object) -> str:
    if pd.isna(value):
        return "—"
    if isinstance(value, float):
        return f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _row(tag: str, cells: Iterable[str], is_text: list[bool]) -> str:
    parts = []
    for cell, text in zip(cells, is_text, strict=True):
        kind = ' class="text"' if text else ""
        shown = html.escape(cell)
        if len(cell) > LONG_TEXT:
            shown = f'<span class="long">{shown}</span>'
        parts.append(f"<{tag}{kind}>{shown}</{tag}>")
    return f"<tr>{''.join(parts)}</tr>"
