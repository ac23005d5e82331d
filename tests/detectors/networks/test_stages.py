"""Backbones cut into stages: the same network, with places in between."""

from __future__ import annotations

import pytest
import timm
import torch

from detectors.families.lav.stages import StagedBackbone
from preprocess.running.cli import UserError


@pytest.mark.parametrize("name", ["test_resnet", "test_efficientnet", "mobilenetv3_small_050", "legacy_xception"])
def test_stages_one_after_another_give_the_feature_maps_of_timm(name):
    staged = StagedBackbone(name, pretrained=False, stride=32).eval()
    whole = timm.create_model(name, features_only=True).eval()
    images = torch.randn(1, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        for own, other in zip(staged.parameters(), whole.parameters(), strict=True):
            other.copy_(own)
        maps, expected = staged(images), whole(images)
    assert torch.allclose(maps[-1], expected[-1], atol=1e-5)
    assert [stage_map.shape[1] for stage_map in maps] == staged.channels
    assert [round(96 / stage_map.shape[-1]) for stage_map in maps] == staged.strides


def test_xception_has_three_entry_stages_two_middle_ones_and_the_exit():
    xception = StagedBackbone("legacy_xception", pretrained=False, stride=32)
    assert xception.strides == [4, 8, 16, 16, 16, 32]
    assert xception.channels == [128, 256, 728, 728, 728, 2048]
    assert [len(stage) for stage in xception.stages[3:5]] == [4, 4]
    light = StagedBackbone("xception_light", pretrained=False, stride=32)
    assert [len(stage) for stage in light.stages[3:5]] == [2, 2]


def test_a_smaller_stride_leaves_the_stages_behind_it_out():
    assert StagedBackbone("test_resnet", pretrained=False, stride=8).strides == [2, 4, 8]
    assert StagedBackbone("legacy_xception", pretrained=False, stride=16).strides == [4, 8, 16, 16, 16]


def test_what_cannot_be_cut_is_named():
    with pytest.raises(UserError, match="'xception41' cannot be cut into stages"):
        StagedBackbone("xception41", pretrained=False, stride=32)
    with pytest.raises(UserError, match="'test_resnet' has no features at stride 64; allowed: "):
        StagedBackbone("test_resnet", pretrained=False, stride=64)


def test_weights_of_a_file_reach_every_stage(tmp_path):
    for name in ("test_resnet", "test_efficientnet"):
        trained = timm.create_model(name)
        torch.save(trained.state_dict(), tmp_path / "weights.pth")
        staged = StagedBackbone(name, pretrained=str(tmp_path / "weights.pth"), stride=32)
        known = list(trained.parameters())
        for own in staged.parameters():
            assert any(own.shape == value.shape and torch.equal(own, value) for value in known)
