"""Running command lines in the process of the tests."""

from __future__ import annotations

from collections.abc import Callable

import pytest


def run_program(main: Callable[[], None], *arguments: object) -> None:
    """Run the command line of a module in this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["program", *map(str, arguments)])
        main()
