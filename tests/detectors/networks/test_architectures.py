"""Networks of the studies in timm's registry: what they are made of, their attention map, and their weights."""

from __future__ import annotations

import pytest
import timm
import torch
from torch import nn

from detectors.networks import backbones
from detectors.networks.architectures import AttentionGate, attention_map
from detectors.networks.backbones import Backbone, ClassificationNetwork
from preprocess.running.cli import UserError

NAMES = ["xception_midway", "xception_light", "efficientnet_autoatt_b4", "efficientnet_autoatt_b0"]


def n_weights(module):
    return sum(parameter.numel() for parameter in module.parameters())


def images(n=2, size=64):
    return torch.randn(n, 3, size, size, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def xceptions():
    return {name: timm.create_model(name) for name in ("legacy_xception", "xception_midway", "xception_light")}


def test_the_middle_blocks_of_midway_are_grouped_with_a_1x1_shortcut(xceptions):
    midway, xception = xceptions["xception_midway"], xceptions["legacy_xception"]
    blocks = [dict(midway.named_children())[f"block{number}"] for number in range(4, 12)]
    for block in blocks:
        grouped = [conv for conv in block.rep.modules() if isinstance(conv, nn.Conv2d) and conv.kernel_size == (3, 3)]
        assert [(conv.groups, conv.weight.shape) for conv in grouped] == [(364, (728, 2, 3, 3))] * 3
        assert block.skip.weight.shape == (728, 728, 1, 1)
    # per block: a second input for each of three times 728 kernels, the shortcut, and its batch normalisation
    more = 3 * 728 * 9 + 728 * 728 + 2 * 728
    assert n_weights(midway) - n_weights(xception) == 8 * more
    outside = [name for name in dict(xception.named_children()) if name not in {f"block{n}" for n in range(4, 12)}]
    assert all(n_weights(getattr(midway, name)) == n_weights(getattr(xception, name)) for name in outside)


def test_each_output_of_a_grouped_convolution_reads_two_channels(xceptions):
    conv = xceptions["xception_midway"].block5.rep[1].conv1
    channels = torch.zeros(1, 728, 5, 5)
    channels[:, 6] = 1
    changed = (conv(channels) != 0).flatten(2).any(dim=2).nonzero()[:, 1]
    assert changed.tolist() == [6, 7]


def test_light_lacks_four_of_the_eight_middle_blocks(xceptions):
    light, xception = xceptions["xception_light"], xceptions["legacy_xception"]
    assert n_weights(xception) - n_weights(light) == 4 * n_weights(xception.block4)
    kept = [number for number in range(1, 13) if n_weights(getattr(light, f"block{number}"))]
    assert len(kept) == 8
    assert {1, 2, 3, 12} < set(kept)


@pytest.mark.parametrize("name", NAMES)
def test_any_family_takes_it_by_name_whole_and_cut_and_every_parameter_learns(name):
    whole = ClassificationNetwork(name, pretrained=False, stride=32, n_classes=2, dropout=0.0)
    assert whole(images()).shape == (2, 2)
    cut = Backbone(name, pretrained=False, stride=16)
    assert cut(images()).shape == (2, cut.channels, 4, 4)
    whole(images(4)).square().sum().backward()
    assert [key for key, value in whole.named_parameters() if value.grad is None or not value.grad.any()] == []


def test_the_attention_map_multiplies_the_features_of_stride_8():
    torch.manual_seed(0)
    network = timm.create_model("efficientnet_autoatt_b4").eval()
    gate = network.blocks[2][-1]
    assert isinstance(gate, AttentionGate)
    assert gate.conv.weight.shape == (1, 56, 1, 1)
    assert attention_map(network, images(1, 224)).shape == (1, 1, 28, 28)

    features = torch.randn(2, 56, 4, 4)
    assert torch.allclose(gate(features), features / 2)  # an untrained map is even
    nn.init.normal_(gate.conv.weight, std=0.1)
    seen = gate.map(features)
    assert 0 < seen.min() < seen.max() < 1
    assert torch.allclose(gate(features), features * seen)
    gate.conv.bias.data.fill_(-100)
    assert gate(features).abs().max() < 1e-6  # what the map closes does not pass


def test_the_attention_map_is_found_in_the_whole_network_and_in_a_cut_one():
    torch.manual_seed(0)
    cut = Backbone("efficientnet_autoatt_b0", pretrained=False, stride=16).eval()
    (gate,) = (module for module in cut.modules() if isinstance(module, AttentionGate))
    nn.init.normal_(gate.conv.weight)
    some = images()
    features = Backbone("efficientnet_autoatt_b0", pretrained=False, stride=8).eval()
    features.load_state_dict({key: value for key, value in cut.state_dict().items() if key in features.state_dict()})
    of_cut = attention_map(cut, some)
    assert of_cut.shape == (2, 1, 8, 8)
    assert of_cut.std() > 0
    assert torch.equal(of_cut, attention_map(features, some))
    with pytest.raises(ValueError, match="no attention gate"):
        attention_map(nn.Conv2d(3, 3, 1), some)


def test_weights_of_efficientnet_fill_the_attentive_one_but_for_its_gate(tmp_path):
    torch.manual_seed(1)
    plain = timm.create_model("tf_efficientnet_b0")
    torch.save(plain.state_dict(), tmp_path / "weights.pth")
    options = {"pretrained": str(tmp_path / "weights.pth"), "stride": 32, "n_classes": 2, "dropout": 0.0}
    state = ClassificationNetwork("efficientnet_autoatt_b0", **options).body.state_dict()
    gate = {key for key in state if key not in plain.state_dict()}
    assert gate == {"blocks.2.2.conv.weight", "blocks.2.2.conv.bias"}
    assert all(torch.equal(value, plain.state_dict()[key]) for key, value in state.items() if key not in gate)
    # a checkpoint of its own brings its gate
    own = timm.create_model("efficientnet_autoatt_b0")
    nn.init.normal_(own.blocks[2][2].conv.weight)
    torch.save(own.state_dict(), tmp_path / "weights.pth")
    loaded = timm.create_model(
        "efficientnet_autoatt_b0", pretrained=True, pretrained_cfg_overlay={"file": options["pretrained"]}
    )
    assert all(torch.equal(value, own.state_dict()[key]) for key, value in loaded.state_dict().items())


def test_weights_of_xception_fill_the_light_one_and_not_midway(tmp_path, xceptions):
    torch.save(xceptions["legacy_xception"].state_dict(), tmp_path / "weights.pth")
    options = {"pretrained": str(tmp_path / "weights.pth"), "stride": 32, "n_classes": 2, "dropout": 0.0}
    state = ClassificationNetwork("xception_light", **options).body.state_dict()
    assert all(torch.equal(value, xceptions["legacy_xception"].state_dict()[key]) for key, value in state.items())
    with pytest.raises(UserError, match="is no checkpoint of the backbone 'xception_midway'"):
        ClassificationNetwork("xception_midway", **options)


def test_weights_that_cannot_be_had_are_an_error_and_never_random_ones(monkeypatch):
    with pytest.raises(UserError, match="no pretrained weights for the backbone 'xception_midway'"):
        Backbone("xception_midway", pretrained=True, stride=16)
    monkeypatch.setattr(backbones, "_cached_file", lambda config: None)
    monkeypatch.setattr(backbones, "getproxies", dict)
    monkeypatch.setattr(backbones, "_reachable", lambda host: False)
    with pytest.raises(UserError, match=r"create_model\('tf_efficientnet_b4.aa_in1k'.*timm/tf_efficientnet_b4.aa_in1k"):
        Backbone("efficientnet_autoatt_b4", pretrained=True, stride=16)
