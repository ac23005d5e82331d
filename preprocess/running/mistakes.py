"""The words for what is wrong with settings: the key, the value found, what is allowed, and the nearest name.

Pydantic finds the mistakes. Its own words are for programmers, and it reports a union once for each of its types.
"""

from __future__ import annotations

import difflib
import json
import types
import typing
from collections.abc import Iterable, Iterator
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

_NAMES = {
    int: "integer",
    float: "number",
    str: "string",
    bool: "boolean",
    types.NoneType: "null",
    list: "list",
    tuple: "list",
    dict: "mapping",
}
_LIMITS = {
    "greater_than_equal": ("ge", "the smallest allowed value is"),
    "less_than_equal": ("le", "the largest allowed value is"),
}


class Contradictions(ValueError):
    """Values that are right one by one and do not go together; `args[0]` is a list of sentences."""


class _Place(NamedTuple):
    """Where a mistake is.

    Attributes:
        path: Keys and positions down to the value.
        value: What stands there.
        annotation: What is declared of it.
        doc: Its description, or that of the nearest field above.
        block: What is declared of the mapping or list that it stands in.
    """

    path: tuple
    value: Any
    annotation: Any
    doc: str | None
    block: Any


def described(error: ValidationError, cls: type[BaseModel], values: Any, place: str = "") -> list[str]:
    """A line for each mistake.

    Args:
        error: What pydantic found.
        cls: The model that the values are for.
        values: What was validated.
        place: Where the values stand; comes before the name of each key.
    """
    found: dict[tuple, list[tuple[Any, _Place]]] = {}
    for detail in error.errors(include_url=False):
        at = _locate(cls, values, detail["loc"], place)
        found.setdefault(at.path, []).append((detail, at))
    lines = []
    for path, details in found.items():
        # of a union, the branch that the value comes nearest to; its mistake may lie deeper in the value
        nearest_first = sorted(details, key=lambda pair: _distance(pair[0]["type"]))
        deeper = any(other[: len(path)] == path for other in found if other != path)
        for detail, at in nearest_first[:1] if _is_union(details[0][1].annotation) else nearest_first:
            if not (deeper and _is_of_type(detail["type"])):
                lines += _sentences(detail, at)
    return list(dict.fromkeys(lines))


def nearest(name: object, allowed: Iterable[object]) -> str:
    """The end of a sentence about a wrong name: what it may be meant for, and all that are allowed."""
    names = [str(choice) for choice in allowed]
    close = difflib.get_close_matches(str(name), names, 1)
    hint = f"; did you mean {close[0]!r}?" if close else ";"
    return f"{hint} allowed: {', '.join(names) or 'none'}"


def _locate(cls: type[BaseModel], values: Any, location: tuple, place: str) -> _Place:
    """Follow a location of pydantic, which names the branches of unions too, through the values."""
    at = _Place((place,) if place else (), values, cls, None, None)
    for part in location:
        in_mapping = isinstance(at.value, dict) and part in at.value
        if in_mapping or (isinstance(at.value, list | tuple) and isinstance(part, int)):
            annotation, doc = _inside(at.annotation, part)
            at = _Place((*at.path, part), at.value[part], annotation, doc or at.doc, at.annotation)
    return at


def _inside(annotation: Any, key: Any) -> tuple[Any, str | None]:
    """What is declared of a key of a mapping, or of a position in a list, and its description."""
    for branch in _branches(annotation):
        if isinstance(branch, type) and issubclass(branch, BaseModel):
            field = branch.model_fields.get(key)
            return (field.annotation, field.description) if field else (None, None)
        if typing.get_origin(branch) in (dict, list, tuple):
            return typing.get_args(branch)[1 if typing.get_origin(branch) is dict else 0], None
    return None, None


def _branches(annotation: Any) -> Iterator[Any]:
    """The types of a union, without what is annotated to them."""
    if typing.get_origin(annotation) is Annotated:
        yield from _branches(typing.get_args(annotation)[0])
    elif _is_union(annotation):
        for branch in typing.get_args(annotation):
            yield from _branches(branch)
    else:
        yield annotation


def _is_union(annotation: Any) -> bool:
    return isinstance(annotation, types.UnionType) or typing.get_origin(annotation) is typing.Union


def _is_of_type(kind: str) -> bool:
    return kind.endswith("_type")


def _distance(kind: str) -> int:
    """How far a value is from what a branch allows: beyond a limit, another word, or of another type."""
    return 2 if _is_of_type(kind) else 1 if kind in ("literal_error", "string_pattern_mismatch") else 0


def _sentences(detail: Any, at: _Place) -> list[str]:
    kind, key, block = detail["type"], _dotted(at.path), _dotted(at.path[:-1])
    if isinstance(reason := detail.get("ctx", {}).get("error"), Contradictions):
        return [_dotted((*at.path, sentence)) for sentence in reason.args[0]]
    if kind == "missing":
        _, doc = _inside(at.annotation, detail["loc"][-1])
        return [f"{key}: {detail['loc'][-1]!r} is missing" + (f": {doc}" if doc else "")]
    if kind == "invalid_key" or detail["loc"][-1:] == ("[key]",):
        return [_of_key(block, at)]
    if kind == "extra_forbidden":
        return [f"{block}: unknown key {at.path[-1]!r}{nearest(at.path[-1], _keys(at.block))}"]
    found = f"{key}: found {json.dumps(at.value, ensure_ascii=False, default=str)}"
    if kind in _LIMITS:
        name, words = _LIMITS[kind]
        return [f"{found}; {words} {detail['ctx'][name]:.15g}"]
    branches = list(_branches(at.annotation))
    if kind == "literal_error" and all(_is_listed(branch) for branch in branches):
        choices = ["null" if choice is None else choice for branch in branches for choice in _choices(branch)]
        return [f"{found}{nearest(at.value, choices)}"]
    if _is_of_type(kind):
        names = dict.fromkeys(_type_name(branch) for branch in branches)
        return [f"{found}; expected {' or '.join(names)}"]
    return [f"{found}; {at.doc or detail['msg']}"]


def _of_key(block: str, at: _Place) -> str:
    """What is wrong with a key itself."""
    key = at.path[-1]
    if not isinstance(key, str):
        # YAML reads {threshold: 0,5} as two keys, the second a number
        return f"{block}: found the key {key!r}, which is no text; quote a name, write decimals as 0.5"
    names = next(typing.get_args(branch)[0] for branch in _branches(at.block) if typing.get_origin(branch) is dict)
    allowed = next(part.description for part in typing.get_args(names) if isinstance(part, FieldInfo))
    return f"{block}: found the name {key!r}; expected {allowed}"


def _keys(annotation: Any) -> list[str]:
    """Names of the fields of a model."""
    models = [branch for branch in _branches(annotation) if isinstance(branch, type) and issubclass(branch, BaseModel)]
    return sorted(name for model in models for name in model.model_fields)


def _is_listed(branch: Any) -> bool:
    """Whether all values of a type can be listed."""
    return branch is types.NoneType or typing.get_origin(branch) is Literal


def _choices(branch: Any) -> tuple:
    return (None,) if branch is types.NoneType else typing.get_args(branch)


def _type_name(branch: Any) -> str:
    """What YAML and JSON call a type."""
    if typing.get_origin(branch) is Literal:
        return _NAMES[type(typing.get_args(branch)[0])]
    return _NAMES.get(typing.get_origin(branch) or branch, "mapping")


def _dotted(path: tuple) -> str:
    return ".".join(map(str, path)) or "(top)"
