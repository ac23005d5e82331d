"""Settings of a stage: a frozen dataclass whose fields carry their default and their documentation.

The dataclass is the only place where a default stands; the schema of `config.yaml` repeats it for
editors and error messages, and a test holds the two together.
"""

from __future__ import annotations

import dataclasses
import json
import re
import types
import typing
from typing import Any, TypeVar

from preprocess.running.cli import UserError

S = TypeVar("S")


def setting(
    default: Any,
    doc: str,
    *,
    choices: tuple | None = None,
    item_choices: tuple | None = None,
    minimum: float | None = None,
    maximum: float | None = None,
    pattern: str | None = None,
) -> Any:
    """A dataclass field with its documentation, and the values that it allows.

    Args:
        default: Value when the user says nothing.
        doc: One sentence for the user: when to change it.
        choices: The allowed values, where they can be listed.
        item_choices: The allowed items of a list.
        minimum: The smallest allowed number.
        maximum: The largest allowed number.
        pattern: Regular expression that a text must match from beginning to end.
    """
    limits = {"choices": choices, "item_choices": item_choices, "minimum": minimum, "maximum": maximum}
    return dataclasses.field(default=default, metadata={"doc": doc, "pattern": pattern} | limits)


def other_default(cls: type, name: str, default: Any, doc: str | None = None) -> Any:
    """A setting of another dataclass with another default; it allows the same values.

    Args:
        cls: Settings that have it, usually the parent.
        name: Of the setting.
        default: Value when the user says nothing.
        doc: Where there is something else to say than there.

    Raises:
        KeyError: The dataclass has no such setting.
    """
    metadata = {field.name: field.metadata for field in dataclasses.fields(cls)}[name]
    return dataclasses.field(default=default, metadata=metadata | ({"doc": doc} if doc else {}))


def load_settings(cls: type[S], text: str | dict | None) -> S:
    """Build a stage's settings from JSON (or a dict); what is not named keeps its default.

    Raises:
        UserError: Text that is not a JSON object, an unknown key, a value of the wrong type or
            outside the allowed values; the message names the key, the value and what is allowed.
    """
    if isinstance(text, dict):
        values = text
    else:
        try:
            values = json.loads(text) if text else {}
        except json.JSONDecodeError as error:
            raise UserError(f"settings are not valid JSON ({error}): {text!r}") from error
        if not isinstance(values, dict):
            raise UserError(f"settings must be a JSON object such as {{}}, found {text!r}")
    fields = {field.name: field for field in dataclasses.fields(cls)}
    hints = typing.get_type_hints(cls)
    for key, value in values.items():
        if key not in fields:
            raise UserError(f"{cls.__name__}: unknown setting {key!r}; allowed: {', '.join(sorted(fields))}")
        _check(f"{cls.__name__}.{key}", value, hints[key], fields[key].metadata)
    return cls(**values)


def settings_json(settings: Any) -> str:
    """A dataclass or a dict of settings as sorted JSON: the same settings always give the same text."""
    values = dataclasses.asdict(settings) if dataclasses.is_dataclass(settings) else settings
    return json.dumps(values, sort_keys=True, ensure_ascii=False)


def _check(name: str, value: Any, hint: Any, metadata: typing.Mapping) -> None:
    options = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    allowed = tuple(typing.get_origin(option) or option for option in options)
    fits = isinstance(value, allowed) or (float in allowed and isinstance(value, int))
    if not fits or (isinstance(value, bool) and bool not in allowed):
        names = " or ".join("null" if option is type(None) else option.__name__ for option in allowed)
        raise UserError(f"{name}: expected {names}, found {value!r}")
    if metadata.get("choices") and value not in metadata["choices"]:
        raise UserError(f"{name}: found {value!r}; allowed: {', '.join(map(repr, metadata['choices']))}")
    if metadata.get("item_choices") and isinstance(value, list):
        for item in value:
            if item not in metadata["item_choices"]:
                allowed = ", ".join(map(repr, metadata["item_choices"]))
                raise UserError(f"{name}: found {item!r} in the list; allowed: {allowed}")
    minimum, maximum = metadata.get("minimum"), metadata.get("maximum")
    if minimum is not None and isinstance(value, int | float) and value < minimum:
        raise UserError(f"{name}: found {value!r}; the smallest allowed value is {minimum}")
    if maximum is not None and isinstance(value, int | float) and value > maximum:
        raise UserError(f"{name}: found {value!r}; the largest allowed value is {maximum}")
    if metadata.get("pattern") and isinstance(value, str) and not re.fullmatch(metadata["pattern"], value):
        raise UserError(f"{name}: found {value!r}; {metadata['doc']}")
