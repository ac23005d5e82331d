"""Write what the models of the config say, for editors and for readers: `python -m workflow.schemas.write_schema`.

`workflow/schemas/config.schema.yaml` is a JSON schema of `config.yaml`, docs/settings.md has a table of each block.
Both are made from the models alone; a test fails when they say something else.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml
from pydantic.json_schema import models_json_schema

from detectors.evaluation.settings import EvaluateSettings, RobustnessSettings
from detectors.families import FAMILIES
from detectors.interface.settings import DetectorSettings, NetworkSettings
from preprocess.running.settings import Settings
from preprocess.settings.index import IndexSettings
from preprocess.settings.synthetic import SyntheticSettings
from workflow.config_model import STAGE_SETTINGS, Config, Dataset, Experiment, StageBlocks, Study

ROOT = Path(__file__).parents[2]
SCHEMA = ROOT / "workflow/schemas/config.schema.yaml"
PAGE = ROOT / "docs/settings.md"

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_INTRODUCTION = """\
# Every setting

Written by `make schema` from the models that check the config; change those. What is not named keeps its default.
Mistakes are reported before anything runs, each with what is allowed.
"""
_DETECTORS: list[type[Settings]] = list(
    dict.fromkeys([DetectorSettings, NetworkSettings, *(family.settings for family in FAMILIES.values())])
)


def _declared() -> dict[str, dict]:
    """What the models declare, by name of the class."""
    models: list[type[Settings]] = [Config, *_DETECTORS]
    return models_json_schema([(cls, "validation") for cls in models])[1]["$defs"]


def config_schema() -> dict:
    """The JSON schema of `config.yaml`."""
    blocks = _tidy(_declared())
    for cls in _DETECTORS:
        _refer_to_parents(cls, blocks)
    experiment = blocks[Experiment.__name__]
    experiment |= {
        "if": {"required": ["ensemble"]},
        "else": {"required": ["detector", "train"]},
        # the settings of an experiment are those of its detector
        "allOf": [
            {
                "if": {"properties": {"detector": {"const": name}}, "required": ["detector"]},
                "then": {"properties": {"settings": {"$ref": f"#/$defs/{family.settings.__name__}"}}},
            }
            for name, family in FAMILIES.items()
        ],
    }
    config = blocks.pop(Config.__name__)
    return {"$schema": _DIALECT, "title": "config.yaml", **config, "$defs": blocks}


def _tidy(node: Any) -> Any:
    """Without the titles, which repeat the names; a name that fits no pattern is none."""
    if isinstance(node, list):
        return [_tidy(item) for item in node]
    if not isinstance(node, dict):
        return node
    tidy = {key: _tidy(value) for key, value in node.items() if not (key == "title" and isinstance(value, str))}
    return tidy | ({"additionalProperties": False} if "patternProperties" in tidy else {})


def _refer_to_parents(cls: type[Settings], blocks: dict[str, dict]) -> None:
    """Say once what detectors have in common."""
    properties = blocks[cls.__name__]["properties"]
    for name, declared in properties.items():
        for parent in _DETECTORS:
            inherited = blocks[parent.__name__]["properties"].get(name)
            if parent is not cls and issubclass(cls, parent) and inherited == declared:
                properties[name] = {"$ref": f"#/$defs/{parent.__name__}/properties/{name}"}
                break


def settings_page() -> str:
    """docs/settings.md: a table of the keys of each block; what a detector inherits stands in the tables of all."""
    blocks = _declared()
    stages = [name for name in StageBlocks.model_fields if name != "max_lost_share"]
    tables: list[tuple[str, type[Settings], tuple[type[Settings], ...]]] = [
        ("config.yaml", Config, ()),
        ("datasets", Dataset, ()),
        ("experiments", Experiment, ()),
        ("studies", Study, ()),
        ("index, of a data set", IndexSettings, ()),
        ("synthetic, of a data set", SyntheticSettings, ()),
        *((f"{stage}, of all data sets or of one", STAGE_SETTINGS[stage], ()) for stage in stages),
        ("evaluate, of all experiments or of one", EvaluateSettings, ()),
        ("robustness", RobustnessSettings, ()),
        ("settings of every detector", DetectorSettings, ()),
        ("settings of every network", NetworkSettings, (DetectorSettings,)),
        *(
            (f"settings of `detector: {name}`", family.settings, (DetectorSettings, NetworkSettings))
            for name, family in FAMILIES.items()
        ),
    ]
    parts = [_INTRODUCTION]
    for title, cls, above in tables:
        inherited = [blocks[parent.__name__]["properties"] for parent in above if issubclass(cls, parent)]
        rows = [
            f"| `{name}` | {_default(declared)} | {_allowed(declared, blocks)} | {_doc(declared, blocks)} |"
            for name, declared in blocks[cls.__name__]["properties"].items()
            if declared not in [properties.get(name) for properties in inherited]
        ]
        parts.append("\n".join([f"## {title}\n", "| key | default | allowed | |\n|---|---|---|---|", *rows, ""]))
    return "\n".join(parts)


def _doc(declared: dict, blocks: dict[str, dict]) -> str:
    """What is said of a key, or of the block that it holds."""
    block = blocks.get(declared.get("$ref", "").rpartition("/")[2], {})
    return declared.get("description") or block.get("description", "")


def _default(declared: dict) -> str:
    return f"`{json.dumps(declared['default'], ensure_ascii=False)}`" if "default" in declared else ""


def _allowed(declared: dict, blocks: dict[str, dict]) -> str:
    """What may be written, in a few words."""
    if "$ref" in declared:
        target = blocks[declared["$ref"].rpartition("/")[2]]
        return _allowed(target, blocks)
    if "anyOf" in declared:
        return " or ".join(_allowed(branch, blocks) for branch in declared["anyOf"])
    if choices := declared.get("enum") or [declared[key] for key in ("const",) if key in declared]:
        return ", ".join(f"`{choice}`" for choice in choices)
    kind = {"array": "list", "object": "mapping"}.get(declared["type"], declared["type"])
    if kind == "list":
        return f"list of {_allowed(declared['items'], blocks)}"
    low, high = declared.get("minimum"), declared.get("maximum")
    limits = f" {low} to {high}" if None not in (low, high) else f" ≥ {low}" if low is not None else ""
    return kind + limits


def main() -> None:
    """Write both."""
    text = yaml.safe_dump(config_schema(), sort_keys=False, width=120, allow_unicode=True, default_flow_style=None)
    SCHEMA.write_text(text)
    PAGE.write_text(settings_page())


if __name__ == "__main__":
    main()
