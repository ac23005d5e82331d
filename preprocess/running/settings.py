"""What settings are: pydantic models whose fields carry type, default, limits and one sentence for the user.

The models are the only place where these stand. The schema of `config.yaml`, the tables of docs/settings.md and the
messages about mistakes are made from them.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Annotated, Any, TypeVar

# looking for plugins of pydantic reads the metadata of every installed package, 0.1 s
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidatorFunctionWrapHandler,
    field_validator,
    model_validator,
)

from preprocess.running.cli import UserError
from preprocess.running.mistakes import Contradictions, described

S = TypeVar("S", bound="Settings")

Share = Annotated[float, Field(ge=0, le=1)]


class Settings(BaseModel):
    """What all settings have in common: unknown names and values of another type are refused, nothing can be changed.

    A field is written `n_frames: int = Field(32, ge=1, description="Frames of a video.")`; where the values can be
    listed, its type is a `Literal` of them. Rules across fields go into `contradictions`.
    """

    # built when first used: planning knows more models than it needs
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, defer_build=True)

    def contradictions(self) -> Iterator[str]:
        """Values that do not go together, a sentence for each; it begins with the name of a field and a colon."""
        yield from ()

    @classmethod
    def defaults(cls) -> dict[str, Any]:
        """What every field is when the user says nothing."""
        return {name: field.default for name, field in cls.model_fields.items()}

    @model_validator(mode="after")
    def _values_go_together(self: S) -> S:
        if told := list(self.contradictions()):
            raise Contradictions(told)
        return self

    @field_validator("*", mode="wrap")
    @classmethod
    def _as_written(cls, value: Any, validate: ValidatorFunctionWrapHandler) -> Any:
        # 1 stays 1 where decimals are allowed: reruns hang on the text that the settings make
        valid = validate(value)
        return value if type(value) is int else valid


def other_default(parent: type[Settings], name: str, default: Any, doc: str | None = None) -> Any:
    """A field of other settings with another default; it has the same limits. The type is to be written again.

    Args:
        parent: Settings that have it.
        name: Of the field.
        default: Value when the user says nothing.
        doc: Where there is something else to say than there.

    Raises:
        KeyError: There is no such field.
    """
    field = parent.model_fields[name]
    limits = {
        kind: getattr(limit, kind)
        for limit in field.metadata
        for kind in ("ge", "le", "multiple_of")
        if hasattr(limit, kind)
    }
    return Field(default, description=doc or field.description, **limits)


def load_settings(cls: type[S], text: str | dict | None) -> S:
    """Build settings from JSON (or a dict); what is not named keeps its default.

    Raises:
        UserError: Text that is not a JSON object, an unknown key, a value of the wrong type or outside the allowed
            values, values that do not go together; a line for each names the key, the value and what is allowed.
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
    try:
        return cls.model_validate(values)
    except ValidationError as error:
        raise UserError("\n".join(described(error, cls, values, cls.__name__))) from error


def mistakes(cls: type[Settings], values: Any, place: str = "") -> list[str]:
    """What is wrong with values for these settings, a line for each mistake.

    Args:
        cls: The settings.
        values: As they are read from YAML or JSON.
        place: Where they stand, before the name of each key.
    """
    try:
        cls.model_validate(values)
    except ValidationError as error:
        return described(error, cls, values, place)
    return []


def settings_json(settings: Settings | dict) -> str:
    """Settings as sorted JSON: the same settings always give the same text."""
    return json.dumps(dict(settings), sort_keys=True, ensure_ascii=False)
