"""Which files are right, and why the others are not: a matter of what they were made from, not of their times.

A file is right when the book (`workflow.made`) says of it, as it lies there, that it was made by its rule with the
parameters of now, from files with the content of now. `judge` goes through the tasks of a plan from the raw folders to
the results. Where something is made again, what was made from it is outdated too, unless the book remembers what came
out when it was made from the same: the same comes out again.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any

from workflow.made import Books, Made

# Stands for the content of a file that is not there and of which nothing is known: it makes nothing outdated.
_ANY = "any"
# A few of many are named.
_NAMED = 3


@dataclass(frozen=True)
class Task:
    """A job of the plan: what it would be made from.

    Attributes:
        rule: Name of its rule.
        params: Parameters that decide its results, as JSON has them.
        inputs: Files that decide its results, in the order of the rule.
        outputs: Files that it writes.
        places: Parameters that decide nothing, as long as the same lies there.
        defaults: By parameter with settings as JSON, what settings have when nobody sets them.
    """

    rule: str
    params: Mapping[str, Any]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    places: Mapping[str, str] = field(default_factory=dict)
    defaults: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def judge(
    tasks: Iterable[Task],
    books: Books,
    unknown: Callable[[Task], str | None] = lambda task: None,
    moved: Callable[[Task, Made], str | None] = lambda task, made: None,
) -> dict[tuple[str, ...], str]:
    """Why tasks have to run that have run before.

    Args:
        tasks: Of a plan, each after those whose files it reads.
        books: What is known of the files.
        unknown: Says why a task has to run of whose files no book tells; None: they are taken as they are.
        moved: Says why a task has to run whose places are others; None: what lies there is the same.

    Returns:
        By the outputs of a task, what is wrong with them, in a few words. Tasks that are right are absent, and so are
        those of whose files there is none, and on which nothing stands: whether they are needed is for others to say.
    """
    verdicts: dict[tuple[str, ...], str] = {}
    absent: dict[str, Task] = {}
    read: dict[str, str] = {}
    expected: dict[str, str | None] = {}
    found = functools.cache(books.fingerprint)  # a disc is asked once about a file
    for task in tasks:
        made = books.of(task.outputs[0])
        there = [path for path in task.outputs if found(path) is not None]
        if made is not None:
            wrong = _wrong(task, made, there, found, expected) or (moved(task, made) if there else None)
        else:
            wrong = (_gone(task, there) or _again(task, expected) or unknown(task)) if there else None
        if there and wrong:
            verdicts[task.outputs] = wrong
        if not there:
            absent |= dict.fromkeys(task.outputs, task)
        elif made is not None:
            read |= dict.fromkeys(task.inputs, there[0])
        if wrong:
            made = _recalled(task, books, found, expected)
        for path in task.outputs:
            content = made.outputs.get(path) if made else None
            expected[path] = content or (None if wrong else found(path) or _ANY)
    for path, task in absent.items():
        if path in read:
            verdicts[task.outputs] = f"{path} is absent, though {read[path]} was made from it"
    return verdicts


def _recalled(
    task: Task, books: Books, found: Callable[[str], str | None], expected: Mapping[str, str | None]
) -> Made | None:
    """What came out when a task was last made from what it is to be made from now."""
    inputs = [[path, (expected[path] if path in expected else found(path)) or ""] for path in task.inputs]
    return books.recall(task.rule, dict(task.params), inputs) if all(content for _, content in inputs) else None


def _wrong(
    task: Task,
    made: Made,
    there: list[str],
    found: Callable[[str], str | None],
    expected: Mapping[str, str | None],
) -> str | None:
    """What is wrong with the files of a task, against what the book says of them."""
    if there and (gone := _gone(task, there)):
        return gone
    if strange := [path for path in there if made.outputs.get(path) != found(path)]:
        return f"{_some(strange)} changed since the job wrote it"
    if made.rule != task.rule:
        return f"made by the rule {made.rule}"
    return other_params(made.params, task.params, task.defaults) or _other_inputs(task, made, found, expected)


def _gone(task: Task, there: list[str]) -> str | None:
    """Which files of a task are absent, where others are there."""
    gone = [path for path in task.outputs if path not in there]
    return f"{_some(gone)} missing" if gone else None


def other_params(
    made: Mapping[str, Any], wanted: Mapping[str, Any], defaults: Mapping[str, Mapping[str, Any]]
) -> str | None:
    """How parameters differ, key by key; a setting that is new, at its default, makes no difference."""
    differences = []
    for name in sorted({*made, *wanted}):
        one, other = _settings(made.get(name)), _settings(wanted.get(name))
        if one == other:
            continue
        if not (isinstance(one, dict) and isinstance(other, dict)):
            differences.append(_difference(name, one, other))
            continue
        usual = defaults.get(name, {})
        for key in sorted({*one, *other}):
            before, now = one.get(key, usual.get(key)), other.get(key, usual.get(key))
            if before != now:
                differences.append(_difference(key, before, now))
    return "; ".join(differences) or None


def _settings(value: Any) -> Any:
    """Settings, where a text is JSON of some; else the value."""
    if isinstance(value, str) and value.startswith("{"):
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value


def _difference(name: str, before: Any, now: Any) -> str:
    return f"{name} was {json.dumps(before)}, is {json.dumps(now)}"


def _other_inputs(
    task: Task, made: Made, found: Callable[[str], str | None], expected: Mapping[str, str | None]
) -> str | None:
    """How the files differ from which something was made and would be made."""
    if again := _again(task, expected):
        return again
    known = dict(made.inputs)
    contents = {path: expected.get(path) or found(path) or "" for path in task.inputs}
    now = [(_key(path), known.get(path, "") if content == _ANY else content) for path, content in contents.items()]
    before = [(_key(path), content) for path, content in made.inputs]
    if now == before:
        return None
    had, has = dict(before), dict(now)
    changed = [name for name in has if name in had and had[name] != has[name]]
    if changed:
        return f"{_some(changed)} changed since"
    if added := [name for name in has if name not in had]:
        return f"made without {_some(added, '')}"
    if removed := [name for name in had if name not in has]:
        return f"made also from {_some(removed, '')}"
    return "made from the same files in another order"


def _again(task: Task, expected: Mapping[str, str | None]) -> str | None:
    """Which files of a task will be others, nobody knows what."""
    again = [path for path in task.inputs if path in expected and expected[path] is None]
    return f"{_some(again)} made again" if again else None


def _key(path: str) -> str:
    """A file's name in comparisons: one from outside the folder counts by its content, wherever it lies."""
    path = str(PurePath(path))
    return path if path.split("/")[0] in ("data", "results") else "a file of your own"


def _some(paths: list[str], verb: str = "is") -> str:
    named = ", ".join(paths[:_NAMED]) + (f" and {len(paths) - _NAMED} more" if len(paths) > _NAMED else "")
    return f"{named} {'are' if verb == 'is' and len(paths) > 1 else verb}".strip()
