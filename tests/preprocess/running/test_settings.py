"""Settings: what is refused and in which words, and that the same settings give the same text."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Annotated, Literal

import pytest
from pydantic import Field, ValidationError

from preprocess.running.cli import UserError
from preprocess.running.settings import Settings, Share, load_settings, mistakes, other_default, settings_json
from preprocess.settings.frames import FramesSettings
from preprocess.settings.index import IndexSettings
from preprocess.settings.synthetic import SyntheticSettings


class Lens(Settings):
    """Settings of every kind."""

    kind: Literal["wide", "long"] = Field("wide", description="What it is for.")
    blades: Literal[5, 7] | None = Field(None, description="Of the aperture.")
    focal_mm: float = Field(50.0, ge=8, le=800, description="Focal length.")
    filters: list[Literal["red", "grey"]] = Field([], description="In their order.")
    mount: Annotated[float, Field(ge=0)] | Annotated[str, Field(pattern="^M[0-9]+$")] = Field(
        42.0, description="millimetres, or a thread such as M42"
    )
    zoom: bool = Field(False, description="Whether it has one.")
    elements: int = Field(6, ge=1, description="Glasses.")
    groups: int = Field(4, ge=1, description="Glasses that are cemented count once.")

    def contradictions(self) -> Iterator[str]:
        if self.groups > self.elements:
            yield f"groups: found {self.groups} of {self.elements} elements"
        if self.zoom and self.kind == "wide":
            yield "zoom: found with kind wide"


class LongLens(Lens):
    """With defaults of its own."""

    focal_mm: float = other_default(Lens, "focal_mm", 200.0)
    elements: int = other_default(Lens, "elements", 9, "Glasses, many.")


class Camera(Settings):
    """Holds others."""

    lens: Lens = Field(default_factory=Lens)
    spare: dict[Annotated[str, Field(pattern="^[a-z]+$", description="small letters")], Lens] = Field(
        {}, description="by name"
    )
    serial: str = Field(description="number on the case")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ("{", "not valid JSON"),
        ("[1]", "JSON object"),
        ('{"n_frame": 1}', "unknown key 'n_frame'; did you mean 'n_frames'? allowed: mode, n_frames, stride"),
        ('{"n_frames": 0}', "FramesSettings.n_frames: found 0; the smallest allowed value is 1"),
        ('{"n_frames": true}', "found true; expected integer"),
        ('{"mode": "all"}', 'found "all"; allowed: uniform, stride, clip'),
    ],
)
def test_a_wrong_setting_is_explained(settings, said):
    with pytest.raises(UserError) as caught:
        load_settings(FramesSettings, settings)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("values", "lines"),
    [
        ({"kind": "wid"}, ["kind: found \"wid\"; did you mean 'wide'? allowed: wide, long"]),
        ({"blades": 6}, ["blades: found 6; allowed: 5, 7, null"]),
        ({"focal_mm": 7.5}, ["focal_mm: found 7.5; the smallest allowed value is 8"]),
        ({"focal_mm": 801}, ["focal_mm: found 801; the largest allowed value is 800"]),
        ({"focal_mm": float("nan")}, ["focal_mm: found NaN; the largest allowed value is 800"]),
        ({"focal_mm": "50"}, ['focal_mm: found "50"; expected number']),
        ({"elements": 6.0}, ["elements: found 6.0; expected integer"]),
        ({"zoom": 1}, ["zoom: found 1; expected boolean"]),
        ({"filters": "red"}, ['filters: found "red"; expected list']),
        ({"filters": ["red", "blue"]}, ['filters.1: found "blue"; allowed: red, grey']),
        # of a union, what the value comes nearest to
        ({"mount": -1}, ["mount: found -1; the smallest allowed value is 0"]),
        ({"mount": "42"}, ['mount: found "42"; millimetres, or a thread such as M42']),
        ({"mount": None}, ["mount: found null; expected number or string"]),
        ({"groups": 7}, ["groups: found 7 of 6 elements"]),
        ({"groups": 7, "zoom": True}, ["groups: found 7 of 6 elements", "zoom: found with kind wide"]),
        # YAML reads {zoom: 0,5} as two keys
        ({5: None}, ["(top): found the key 5, which is no text; quote a name, write decimals as 0.5"]),
        ({"elements": 0, "groups": 0, "x": 1}, ["elements: ", "groups: ", "(top): unknown key 'x'; allowed: blades, "]),
    ],
)
def test_every_mistake_has_a_line_with_place_value_and_what_is_allowed(values, lines):
    found = mistakes(Lens, values)
    assert [line[: len(start)] for line, start in zip(found, lines, strict=True)] == lines


def test_a_mistake_deep_inside_has_its_whole_place():
    values = {"lens": {"blade": 5}, "spare": {"a": {"elements": 0}, "A": {}, 7: {}}, "serial": "1"}
    assert mistakes(Camera, values, "cameras.one") == [
        "cameras.one.lens: unknown key 'blade'; did you mean 'blades'? allowed: "
        "blades, elements, filters, focal_mm, groups, kind, mount, zoom",
        "cameras.one.spare.a.elements: found 0; the smallest allowed value is 1",
        "cameras.one.spare: found the name 'A'; expected small letters",
        "cameras.one.spare: found the key 7, which is no text; quote a name, write decimals as 0.5",
    ]
    assert mistakes(Camera, {"lens": {"groups": 9}}) == [
        "lens.groups: found 9 of 6 elements",
        "(top): 'serial' is missing: number on the case",
    ]
    assert mistakes(Camera, {"lens": None, "serial": ""}) == ["lens: found null; expected mapping"]


@pytest.mark.parametrize("values", [{"focal_mm": 8}, {"focal_mm": 800}, {"mount": "M42"}, {"groups": 6}, {"blades": 7}])
def test_values_at_the_limit_are_allowed(values):
    assert mistakes(Lens, values) == []


def test_all_mistakes_of_a_stage_are_told_at_once():
    with pytest.raises(UserError) as caught:
        load_settings(FramesSettings, {"n_frames": 0, "stride": 0})
    assert len(str(caught.value).splitlines()) == 2


def test_settings_cannot_be_changed_and_are_checked_when_made():
    with pytest.raises(ValidationError):
        Lens().zoom = True
    with pytest.raises(ValidationError):
        Lens(elements=0)


def test_settings_round_trip_sorted():
    text = settings_json(FramesSettings(n_frames=3))
    assert list(json.loads(text)) == sorted(json.loads(text))
    assert load_settings(FramesSettings, text) == FramesSettings(n_frames=3)


def test_numbers_stay_as_they_are_written():
    """Reruns hang on the text: 50 must not become 50.0."""
    assert settings_json(load_settings(Lens, '{"focal_mm": 50}')) == settings_json({**dict(Lens()), "focal_mm": 50})
    assert '"focal_mm": 50.0' in settings_json(load_settings(Lens, '{"focal_mm": 50.0}'))


def test_defaults_are_what_the_models_have():
    assert Lens.defaults() == dict(Lens())


def test_another_default_keeps_what_a_setting_says_and_allows():
    assert (LongLens().focal_mm, LongLens().elements) == (200, 9)
    assert Lens().focal_mm == 50
    of_parent, of_child = Lens.model_fields, LongLens.model_fields
    assert of_child["focal_mm"].description == of_parent["focal_mm"].description
    assert of_child["elements"].description == "Glasses, many."
    assert mistakes(LongLens, {"focal_mm": 7, "elements": 0}) == mistakes(Lens, {"focal_mm": 7, "elements": 0})
    assert mistakes(LongLens, {"focal_mm": 801}) == mistakes(Lens, {"focal_mm": 801}) != []
    with pytest.raises(KeyError):
        other_default(Lens, "weight", 1)


@pytest.mark.parametrize(
    ("settings", "right", "wrong", "said"),
    [
        (
            IndexSettings,
            {"test_share": 1},
            {"test_share": 1.5},
            "test_share: found 1.5; the largest allowed value is 1",
        ),
        (IndexSettings, {"test_share": [0.5, 0.5]}, {"test_share": [0.5, 0.6]}, "found [0.5, 0.6]; the shares of val"),
        (
            IndexSettings,
            {"test_share": [0, 1]},
            {"test_share": [0.2]},
            "found [0.2]; For the layouts videos and images",
        ),
        (IndexSettings, {"splits": ["test"]}, {"splits": ["tests"]}, "splits.0: found \"tests\"; did you mean 'test'?"),
        (
            SyntheticSettings,
            {"n_sources": 10},
            {"n_sources": 9},
            "n_sources: found 9, but extras need at least 10; raise n_sources or set extras to false",
        ),
        (SyntheticSettings, {"n_sources": 4, "extras": False}, {"n_sources": 3, "extras": False}, "n_sources: found 3"),
    ],
)
def test_rules_of_the_stages(settings, right, wrong, said):
    assert mistakes(settings, right) == []
    (line,) = mistakes(settings, wrong)
    assert said in line


def test_the_shares_of_val_and_test():
    assert IndexSettings().val_and_test_share == (0, 0.3)
    assert IndexSettings(test_share=[0.1, 0.2]).val_and_test_share == (0.1, 0.2)


def test_share_is_from_nothing_to_everything():
    class Part(Settings):
        share: Share = Field(0.5, description="Of all.")

    assert [mistakes(Part, {"share": share}) == [] for share in (-0.01, 0, 1, 1.01)] == [False, True, True, False]
