"""The record of a layout is the one place for what it implies: whatever depends on that agrees with it."""

from __future__ import annotations

import importlib
import re
from typing import get_args

import pytest

from helpers.small_run import ROOT
from preprocess.datasets import LAYOUTS
from preprocess.settings.synthetic import Method
from preprocess.synthetic import methods, trees

ROW = re.compile(r"^\| (`\w+`(?:, `\w+`)*) \| .* \| (.*) \|$", re.MULTILINE)


def layouts(text: str) -> list[str]:
    return re.findall(r"`(\w+)`", text)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_finds_videos(layout):
    assert callable(importlib.import_module(LAYOUTS[layout].module).find_videos)


def test_collections_are_rendered_in_the_layouts_that_say_so():
    assert set(trees.LAYOUTS) == {name for name, layout in LAYOUTS.items() if layout.rendered}


def test_every_method_of_the_settings_can_be_rendered():
    assert set(get_args(Method)) <= set(methods.METHODS)


def test_readme_lists_every_layout_and_says_which_splits_are_official():
    table = (ROOT / "README.md").read_text().partition("| layout | tree | split |\n")[2].partition("\n\n")[0]
    rows = [(name, split) for names, split in ROW.findall(table) for name in layouts(names)]
    assert [name for name, _ in rows] == list(LAYOUTS)
    assert {name for name, split in rows if split.startswith("official")} == {
        name for name, layout in LAYOUTS.items() if layout.official_splits
    }


def test_the_page_on_leaks_lists_published_collections():
    text = (ROOT / "docs/evaluation.md").read_text()
    published = re.search(r"data sets with the same layout among ([^,]+(?:, `\w+`)*), such as", text)[1]
    assert layouts(published) == [name for name, layout in LAYOUTS.items() if layout.published]
    own = re.search(r"In the layouts\s+([^.]*?) names mean nothing", text)[1]
    assert layouts(own) == [name for name, layout in LAYOUTS.items() if not layout.published]
