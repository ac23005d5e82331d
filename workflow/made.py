"""What every file of the store and of the results was made from: the books `data/.made.jsonl`, `results/.made.jsonl`.

A job that has ended well adds a line: its rule and parameters, the fingerprints of the files that it read, and of those
that it wrote. The book lies with the files, so it is moved, copied and shared with them; and it speaks of contents, so
that the times of files, `touch` and copying change nothing. A file whose fingerprint is not the one in the book is
another file, which nobody knows.

Only the main process of a run writes, and one run has the folder (`workflow.run_guard`).
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from preprocess.store import checksum
from preprocess.store.atomic import atomic_path

BOOK = ".made.jsonl"

# Up to this size a file without a checksum of its own is read whenever it is asked for; a larger one only when its size
# or its time are not those in the book.
_ALWAYS_READ_BYTES = 1_000_000
# Entries about a file that are kept when a book is written anew: settings that return find what was made with them.
_KEPT_ENTRIES = 4
_SPARE_LINES = 200
_DIGITS = 32


@dataclass(frozen=True)
class Made:
    """What a job made, and from what.

    Attributes:
        rule: Name of its rule.
        params: Its parameters, as JSON has them.
        inputs: Pairs of path and fingerprint, in the order of the rule.
        outputs: Fingerprint of each file that it wrote, by path.
        stats: Size and time (`st_mtime_ns`) of these as they were written.
        places: Parameters that decide nothing, as long as the same lies there: the root of a collection.
    """

    rule: str
    params: dict
    inputs: list[list[str]]
    outputs: dict[str, str]
    stats: dict[str, list[int]]
    places: dict[str, str]


class Books:
    """The books of one folder in which the workflow runs.

    Args:
        folder: Holds `data` and `results`; all paths are relative to it.
    """

    def __init__(self, folder: Path = Path()):
        self._folder = folder
        self._made: dict[str, Made] = {}
        self._past: dict[str, Made] = {}
        self._seen: dict[str, tuple[tuple[int, int], str]] = {}
        self._n_lines: dict[Path, int] = {}
        for path in (folder / name / BOOK for name in ("data", "results")):
            if not path.exists():
                continue
            self._n_lines[path] = 0
            for line in path.read_text().splitlines():
                self._n_lines[path] += 1
                try:
                    made = Made(**json.loads(line))
                except (ValueError, TypeError):  # the last line of a run that was killed, or of another version
                    continue
                self._remember(made)

    def _remember(self, made: Made) -> None:
        self._made |= dict.fromkeys(made.outputs, made)
        key = _key(made.rule, made.params, made.inputs)
        self._past.pop(key, None)
        self._past[key] = made  # the latest comes last

    def recall(self, rule: str, params: dict, inputs: list[list[str]]) -> Made | None:
        """The last entry of a job with the same parameters and inputs, also when its files have been replaced since."""
        return self._past.get(_key(rule, params, inputs))

    def of(self, output: str) -> Made | None:
        """The last entry about a file."""
        return self._made.get(output)

    def fingerprint(self, path: str) -> str | None:
        """What tells a file's content from any other: its own checksum, or that of its bytes; None: it is not there."""
        try:
            found = os.stat(self._folder / path)
        except OSError:
            return None
        stat = (found.st_size, found.st_mtime_ns)
        seen = self._seen.get(path)
        if seen is None or seen[0] != stat:
            seen = self._seen[path] = (stat, self._read(path, stat))
        return seen[1]

    def _read(self, path: str, stat: tuple[int, int]) -> str:
        file = self._folder / path
        if file.is_dir():
            return ""
        if file.suffix in (".parquet", ".h5"):
            own = checksum.recorded(file)
            if own is not None:
                return own[:_DIGITS]
        made = self.of(path)
        if stat[0] > _ALWAYS_READ_BYTES and made is not None and tuple(made.stats.get(path, ())) == stat:
            return made.outputs[path]
        return checksum.file_sha256(file)[:_DIGITS]

    def add(
        self, rule: str, params: dict, inputs: Iterable[str], outputs: Iterable[str], places: dict[str, str]
    ) -> None:
        """Enter what a job has made, from what lies there now; the arguments are as in `Made`.

        Raises:
            OSError: The book cannot be written.
        """
        outputs = list(outputs)
        stats = {path: os.stat(self._folder / path) for path in outputs}
        made = Made(
            rule=rule,
            params=params,
            inputs=[[path, self.fingerprint(path) or ""] for path in inputs],
            outputs={path: self.fingerprint(path) or "" for path in outputs},
            stats={path: [stat.st_size, stat.st_mtime_ns] for path, stat in stats.items()},
            places=places,
        )
        self._remember(made)
        book = self._folder / Path(outputs[0]).parts[0] / BOOK
        line = json.dumps(asdict(made), sort_keys=True) + "\n"
        # one write to the end of the file: a killed run leaves whole lines, but perhaps for the last
        handle = os.open(book, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        try:
            if os.lseek(handle, 0, os.SEEK_END) and not _ends_a_line(book):
                line = "\n" + line
            os.write(handle, line.encode())
        finally:
            os.close(handle)
        self._n_lines[book] = self._n_lines.get(book, 0) + 1

    def tidy(self) -> None:
        """Write those books anew of which most lines tell of files that have been made again since, twice or more."""
        for book, n_lines in self._n_lines.items():
            kept: Counter[str] = Counter()
            entries = []
            for made in reversed(self._past.values()):
                first = next(iter(made.outputs))
                if self._folder / Path(first).parts[0] == book.parent and kept[first] < _KEPT_ENTRIES:
                    kept[first] += 1
                    entries.append(json.dumps(asdict(made), sort_keys=True) + "\n")
            if n_lines > 2 * len(entries) + _SPARE_LINES:
                with atomic_path(book) as temporary:
                    temporary.write_text("".join(reversed(entries)))
                self._n_lines[book] = len(entries)


def _key(rule: str, params: dict, inputs: list[list[str]]) -> str:
    return json.dumps([rule, params, inputs], sort_keys=True)


def _ends_a_line(path: Path) -> bool:
    with open(path, "rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read() == b"\n"
