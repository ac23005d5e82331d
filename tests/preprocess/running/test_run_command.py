"""How a command ends: what it says, and the code that a shell sees."""

from __future__ import annotations

import errno
import logging
import os
import signal
from types import SimpleNamespace

import pytest

from preprocess.running import cli
from preprocess.running.cli import UserError, progress, run_command


def raising(error: BaseException):
    def main() -> None:
        raise error

    return main


@pytest.fixture(autouse=True)
def _signals_stay():
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (UserError("name the file"), 1, "error: name the file\n"),
        (OSError(errno.ENOSPC, "x", "/a/b"), 1, "error: cannot write /a/b: No space left on device"),
        (MemoryError(), 1, "error: memory ran out (MemoryError)"),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_a_mistake_and_an_interruption_have_their_codes(error, code, said, capsys):
    with pytest.raises(SystemExit) as ended:
        run_command(raising(error))
    assert ended.value.code == code
    assert capsys.readouterr().err.startswith(said)


def test_a_command_that_is_asked_to_end_ends_as_shells_expect():
    with pytest.raises(SystemExit) as ended:
        run_command(lambda: os.kill(os.getpid(), signal.SIGTERM))
    assert ended.value.code == 143, "128 and the number of the signal"


def test_progress_is_told_every_15_seconds_and_at_the_end(monkeypatch, caplog):
    clock = iter([100.0, 106.0, 115.0, 118.0, 129.9, 130.0])
    monkeypatch.setattr(cli, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    with caplog.at_level(logging.INFO):
        assert list(progress("abcd", total=4, description="read letters", unit="letter")) == list("abcd")
    # after 15 s, and not again 14.9 s later
    assert caplog.messages == [
        "read letters: 2 of 4 letters, 0.13 letter/s",
        "read letters: 4 of 4 letters in 30.0 s, 0.13 letter/s",
    ]
