"""What every stage's command line shares: errors that a user can act on, and progress."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from tqdm import tqdm

from preprocess.running import system_errors
from preprocess.running.orphans import end_with_snakemake

T = TypeVar("T")
log = logging.getLogger("preprocess")

# Seconds between two plain progress lines in a log file.
LOG_INTERVAL_SECONDS = 15.0
# Seconds that one video may take in one stage: enough for hours of 1080p.
VIDEO_SECONDS = 1800


class UserError(Exception):
    """A mistake that the user can mend. The message names the thing, the value found and the way out."""


def run_command(main: Callable[[], None]) -> None:
    """Run a stage's `main`, print a `UserError` as one line without a traceback, and set the exit code.

    Exit code 0: done; 1: a mistake, or a refusal of the system, that the message explains; 130 and 143: interrupted
    and asked to end, temporary files removed; 129: the Snakemake that started it has gone; anything else is a bug with
    its traceback.
    """
    end_with_snakemake()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    logging.basicConfig(level=os.environ.get("LOG_LEVEL", "INFO"), format="%(asctime)s %(levelname)s %(message)s")
    try:
        main()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    except Exception as error:
        message = system_errors.describe(error)
        if message is None:
            raise
        print(f"error: {message}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


def progress(items: Iterable[T], *, total: int, description: str, unit: str = "video") -> Iterator[T]:
    """Yield the items with a tqdm bar on a terminal, or with a plain line every 15 s in a log.

    Args:
        items: What to go through.
        total: How many there are.
        description: What is being done, in two or three words.
        unit: What one item is; the rate is given in it.
    """
    if sys.stderr.isatty():
        yield from tqdm(items, total=total, desc=description, unit=unit, smoothing=0.1)
        return
    begin = last = time.monotonic()
    done = 0
    for item in items:
        yield item
        done += 1
        now = time.monotonic()
        if now - last >= LOG_INTERVAL_SECONDS:
            log.info("%s: %d of %d %ss, %.2f %s/s", description, done, total, unit, done / (now - begin), unit)
            last = now
    seconds = max(time.monotonic() - begin, 1e-9)
    log.info("%s: %d of %d %ss in %.1f s, %.2f %s/s", description, done, total, unit, seconds, done / seconds, unit)


def add_worker_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what every stage that reads raw files takes: `--workers` and `--video-seconds`."""
    parser.add_argument("--workers", type=int, default=1, help="videos worked on side by side, each in a process")
    parser.add_argument(
        "--video-seconds",
        type=float,
        default=VIDEO_SECONDS,
        help="time after which a video is given up, as one that a decoder never returns from (default: %(default)g)",
    )
