"""Running command lines in the process of the tests."""

from __future__ import annotations

import contextlib
import importlib
import io
from collections.abc import Callable

import pytest


def run_program(main: Callable[[], None], *arguments: object) -> None:
    """Run the command line of a module in this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["program", *map(str, arguments)])
        main()


def required_arguments(program: str) -> str:
    """What a module asks for when its command line is called with nothing, as it lists it."""
    said = io.StringIO()
    with contextlib.redirect_stderr(said), pytest.raises(SystemExit, match="2"):
        run_program(importlib.import_module(program).main)
    _, asked, required = said.getvalue().rpartition("the following arguments are required: ")
    assert asked
    return required.removesuffix("\n")
