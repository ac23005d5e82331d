"""Write the stages' settings from their dataclasses into the schema: `python -m workflow.schemas.write_schema`.

The dataclasses are the only source; a test fails when the schema file says something else.
"""

from __future__ import annotations

import dataclasses
import types
import typing

import yaml

from workflow.config import SCHEMA_PATH, SYNTHETIC_PREDICTOR, read_schema

_JSON_TYPES = {
    int: "integer",
    float: "number",
    str: "string",
    bool: "boolean",
    types.NoneType: "null",
    list: "array",
    tuple: "array",
}


def stage_settings() -> dict[str, type]:
    """The dataclass of each stage, by its name in the config."""
    from detectors.evaluation.predict_distorted import RobustnessSettings
    from detectors.evaluation.settings import EvaluateSettings
    from detectors.families import FAMILIES
    from detectors.families.registry import detector_class
    from preprocess.crops import CropsSettings
    from preprocess.faces import FacesSettings
    from preprocess.frames import FramesSettings
    from preprocess.index import IndexSettings
    from preprocess.landmarks import LandmarksSettings
    from preprocess.masks import MasksSettings
    from preprocess.synthetic import SyntheticSettings

    return {
        "index": IndexSettings,
        "synthetic": SyntheticSettings,
        "frames": FramesSettings,
        "faces": FacesSettings,
        "crops": CropsSettings,
        "landmarks": LandmarksSettings,
        "masks": MasksSettings,
        "evaluate": EvaluateSettings,
        "robustness": RobustnessSettings,
        **{name: detector_class(name).Settings for name in FAMILIES},
    }


def settings_schema(cls: type) -> dict:
    """The schema of one dataclass of settings."""
    hints = typing.get_type_hints(cls)
    properties = {}
    for field in dataclasses.fields(cls):
        hint = hints[field.name]
        options = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
        names = list(dict.fromkeys(_JSON_TYPES[typing.get_origin(option) or option] for option in options))
        entry = {"type": names[0] if len(names) == 1 else names, "description": field.metadata["doc"]}
        if field.metadata["choices"]:
            entry["enum"] = list(field.metadata["choices"])
        if field.metadata["item_choices"]:
            entry |= {"items": {"enum": list(field.metadata["item_choices"])}, "minItems": 1}
        for limit in ("minimum", "maximum"):
            if field.metadata[limit] is not None:
                entry[limit] = field.metadata[limit]
        if field.metadata["pattern"]:
            entry["pattern"] = f"^{field.metadata['pattern']}$"
        default = field.default
        properties[field.name] = entry | {"default": list(default) if isinstance(default, tuple) else default}
    return {"type": "object", "additionalProperties": False, "properties": properties}


def current_schema() -> dict:
    """The schema with the settings as the dataclasses say now."""
    from detectors.families import FAMILIES

    schema = read_schema()
    experiment = schema["$defs"]["experiment"]
    experiment["properties"]["detector"]["enum"] = list(FAMILIES)
    # an experiment's settings are those of its detector
    experiment["allOf"] = [
        {
            "if": {"properties": {"detector": {"const": name}}, "required": ["detector"]},
            "then": {"properties": {"settings": {"$ref": f"#/$defs/{name}"}}},
        }
        for name in FAMILIES
    ]
    for name, cls in stage_settings().items():
        schema["$defs"][name] = settings_schema(cls)
    schema["$defs"]["landmarks"]["properties"]["predictor"] = {
        "type": "string",
        "description": "81-point shape predictor (dlib's .dat), or none to leave landmarks out",
        "default": SYNTHETIC_PREDICTOR,
    }
    return schema


if __name__ == "__main__":
    SCHEMA_PATH.write_text(yaml.safe_dump(current_schema(), sort_keys=False, width=120, allow_unicode=True))
