"""UCF: its parts by numbers worked out by hand, the flow of gradients, and the part that predicts."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from detectors.families.ucf import (
    Decoder,
    Ucf,
    UcfSettings,
    adain,
    normalise,
    permutation_within_halves,
    swap_halves,
)
from detectors.networks.backbones import Backbone
from detectors.networks.losses import triplet_loss
from helpers.tiny_batches import learn, random_images, untaught
from preprocess.running.cli import UserError

METHODS = ["real", "swap", "reenact"]
SETTINGS = UcfSettings(backbone="test_resnet", pretrained=False, backbone_stride=16, size=64, channels=32)


def make_batch(n_pairs=4, size=64):
    images = random_images(2 * n_pairs, size)
    return {"fake": images[:n_pairs], "real": images[n_pairs:], "method": torch.arange(n_pairs) % 2 + 1}


def make_ucf(settings=SETTINGS, **options):
    torch.manual_seed(0)
    return Ucf(settings, METHODS, **options)


def test_adain_takes_the_statistics_of_the_style():
    content, style = torch.randn(2, 5, 8, 8) * 3 + 1, torch.randn(2, 5, 4, 4) * 0.5 - 2
    out = adain(content, style)
    assert torch.allclose(out.mean((2, 3)), style.mean((2, 3)), atol=1e-4)
    assert torch.allclose(out.std((2, 3), correction=0), style.std((2, 3), correction=0), rtol=1e-3)
    # the pattern stays the content's
    correlation = torch.corrcoef(torch.stack([out[0, 0].flatten(), content[0, 0].flatten()]))[0, 1]
    assert correlation > 0.9999


def test_permutation_and_partners_stay_in_their_halves():
    torch.manual_seed(0)
    order = permutation_within_halves(10)
    assert sorted(order[:5].tolist()) == list(range(5))
    assert sorted(order[5:].tolist()) == list(range(5, 10))
    assert order.tolist() != list(range(10))
    assert swap_halves(torch.arange(6)).tolist() == [3, 4, 5, 0, 1, 2]


@pytest.mark.parametrize(("stride", "features"), [(32, 8), (16, 8), (8, 14), (4, 16)])
def test_decoder_gives_back_the_size_of_the_input(stride, features):
    decoder = Decoder(32, stride, dropout=0.3)
    content = torch.randn(2, 32, features, features)
    size = (features * stride, features * stride)
    pixels = decoder(content, decoder.style_maps(torch.randn(2, 32, features, features)), size)
    assert pixels.shape == (2, 3, *size)
    assert pixels.abs().max() <= 1
    assert sum(scale == 2 for scale in decoder._scales) == {32: 3, 16: 2, 8: 1, 4: 0}[stride]


def test_paper_configuration_has_the_paper_shapes():
    model = Ucf(UcfSettings(pretrained=False), METHODS).eval()
    with torch.no_grad():
        features = model.features(torch.zeros(1, 3, 256, 256, dtype=torch.uint8))
    assert features.content.shape == (1, 512, 8, 8)
    assert features.common.shape == features.specific.shape == (1, 256, 8, 8)
    convs = [layer.out_channels for layer in model.decoder.content_convs.modules() if isinstance(layer, nn.Conv2d)]
    assert convs == [256, 256, 128, 128, 64, 64]
    assert model.specific_head.layers[-1].out_features == 3
    assert model.crops_per_item == 2
    assert model.window.size == 256


def test_total_is_the_weighted_sum_and_reconstruction_the_four_distances():
    model = make_ucf().eval()
    batch = make_batch()
    losses = model.losses(batch)
    weighted = losses["common"] + 0.1 * losses["specific"] + 0.3 * losses["reconstruction"]
    assert losses["total"].item() == pytest.approx((weighted + 0.05 * losses["contrastive"]).item(), rel=1e-6)
    f = model.features(torch.cat([batch["fake"], batch["real"]]))
    fake, real = slice(0, 4), slice(4, 8)
    expected = 0
    for target, content_of, style_of in (
        (fake, fake, fake),
        (real, real, real),
        (fake, fake, real),
        (real, real, fake),
    ):
        style = model.decoder.style_maps(torch.cat([f.specific[style_of], f.common[style_of]], dim=1))
        pixels = model.decoder(f.content[content_of], style, (64, 64))
        images = batch["fake"] if target is fake else batch["real"]
        expected += (pixels - normalise(images)).abs().mean().item()
    assert losses["reconstruction"].item() == pytest.approx(expected, rel=1e-4)


def test_fakes_come_first_and_are_labelled_fake_reals_are_labelled_real():
    """Each loss against the outputs that it is of: rows 0 to 3 are the fakes of a batch of four pairs."""
    model, batch = make_ucf().eval(), make_batch()
    losses = model.losses(batch)
    f = model.features(torch.cat([batch["fake"], batch["real"]]))
    common_logits, common_vectors = model.common_head(f.common)
    specific_logits, specific_vectors = model.specific_head(f.specific)
    is_fake, method = torch.tensor([1] * 4 + [0] * 4), torch.tensor([1, 2, 1, 2] + [0] * 4)
    correct = common_logits.log_softmax(1)[range(8), is_fake]
    assert losses["common"].item() == pytest.approx(-correct.mean().item(), rel=1e-5)
    correct = specific_logits.log_softmax(1)[range(8), method]
    assert losses["specific"].item() == pytest.approx(-correct.mean().item(), rel=1e-5)
    # the margin of Yan et al., ICCV 2023, is 3
    expected = triplet_loss(common_vectors, is_fake, margin=3.0) + triplet_loss(specific_vectors, method, margin=3.0)
    assert losses["contrastive"].item() == pytest.approx(expected.item(), rel=1e-5)


def test_pixels_are_normalised_with_mean_and_deviation_of_one_half():
    """As DeepfakeBench does (x / 255, then (x - 0.5) / 0.5), to what tanh can give back."""
    assert normalise(torch.tensor([0, 51, 255], dtype=torch.uint8)).tolist() == pytest.approx([-1, -0.6, 1], abs=1e-7)


def test_the_defaults_are_those_of_the_paper():
    """Yan et al., ICCV 2023: the weights of the losses; the dropouts are those of its code."""
    settings = UcfSettings()
    weights = (settings.specific_weight, settings.reconstruction_weight, settings.contrastive_weight)
    assert weights == (0.1, 0.3, 0.05)
    assert (settings.contrastive_margin, settings.permute_probability) == (3.0, 0.7)
    assert (settings.channels, settings.dropout, settings.decoder_dropout) == (512, 0.2, 0.3)
    assert (settings.learning_rate, settings.weight_decay, settings.batch_size) == (2e-4, 5e-4, 16)


def test_permutation_changes_only_the_reconstruction():
    settings = SETTINGS.model_copy(update={"dropout": 0.0, "decoder_dropout": 0.0, "permute_probability": 0.0})
    losses = []
    for probability in (0.0, 1.0):
        model = make_ucf(settings.model_copy(update={"permute_probability": probability})).train()
        with torch.no_grad():
            # fresh weights hardly pass the style on
            for parameter in [*model.common_branch.parameters(), *model.decoder.parameters()]:
                parameter.mul_(3)
        losses.append(model.losses(make_batch()))
    plain, permuted = losses
    for name in ("common", "specific", "contrastive"):
        assert plain[name].item() == permuted[name].item()
    assert plain["reconstruction"].item() != pytest.approx(permuted["reconstruction"].item(), rel=1e-4)


def test_every_parameter_learns():
    model = make_ucf().train()
    # residual branches start from zero, so their first layers get no gradient in the first step
    learn(model, model.optimizer(), make_batch(), 2)
    assert untaught(model) == []


def test_prediction_builds_only_the_common_path_and_scores_the_same():
    model = make_ucf().eval()
    predictor = Ucf(SETTINGS, METHODS, prediction_only=True).eval()
    assert {name for name, _ in predictor.named_children()} == {"forgery_encoder", "common_branch", "common_head"}
    predictor.load_state_dict({key: model.state_dict()[key] for key in predictor.state_dict()})
    images = make_batch()["fake"]
    with torch.no_grad():
        logits, _ = model.common_head(model.features(images).common)
        assert torch.equal(predictor.score(images), logits.softmax(1)[:, 1])
        assert torch.equal(predictor.score(images), model.score(images))


def test_fakes_score_high_after_a_few_steps_on_eight_pairs():
    batch = make_batch(n_pairs=8, size=32)
    # fakes carry fine stripes, reals do not
    batch["real"] = nn.functional.avg_pool2d(batch["real"].float(), 9, 1, 4).byte()
    stripes = torch.where(torch.arange(32) // 2 % 2 == 0, 25, -25)[None, None, :, None]
    batch["fake"] = (nn.functional.avg_pool2d(batch["fake"].float(), 9, 1, 4) + stripes).clamp(0, 255).byte()
    model = make_ucf(SETTINGS.model_copy(update={"size": 32, "backbone_stride": 8})).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    first = learn(model, optimizer, batch)
    losses = learn(model, optimizer, batch, 39)
    for name, loss in losses.items():
        assert loss.item() < first[name].item(), name
    assert losses["common"].item() < 0.2
    with torch.no_grad():
        model.eval()
        assert model.score(batch["fake"]).min() > model.score(batch["real"]).max()


def test_backbone_mistakes_are_explained(tmp_path):
    with pytest.raises(UserError, match="legacy_xception"):
        Backbone("legacy_xceptoin", pretrained=False, stride=32)
    with pytest.raises(UserError, match="no features at stride 8; allowed"):
        Backbone("vit_tiny_patch16_224", pretrained=False, stride=8)
    with pytest.raises(UserError, match="does not exist"):
        Backbone("test_resnet", pretrained=str(tmp_path / "none.pth"), stride=8)
    torch.save({"conv1.weight": torch.zeros(1)}, tmp_path / "wrong.pth")
    with pytest.raises(UserError, match="is no checkpoint of the backbone"):
        Backbone("test_resnet", pretrained=str(tmp_path / "wrong.pth"), stride=8)


def test_pretrained_never_means_random(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    for variable in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr("detectors.networks.backbones._reachable", lambda host: False)
    with pytest.raises(UserError, match=r"legacy_xception.* cannot be reached.*pretrained: false"):
        Backbone("legacy_xception", pretrained=True, stride=32)


def test_pretrained_weights_of_a_file_are_loaded(tmp_path):
    import timm

    torch.manual_seed(1)
    whole = timm.create_model("test_resnet")
    torch.save(whole.state_dict(), tmp_path / "weights.pth")
    backbone = Backbone("test_resnet", pretrained=str(tmp_path / "weights.pth"), stride=8)
    state = whole.state_dict()
    assert len(backbone.body.state_dict()) > 5
    # names of list-like models have underscores where the whole model has dots
    loaded = {
        key.replace("_", ".", 1) if key not in state else key: value
        for key, value in backbone.body.state_dict().items()
    }
    assert all(torch.equal(value, state[key]) for key, value in loaded.items())
