import pytest
import timm
import torch

from affect.backbones import DEFAULT_ARCHITECTURE, Backbone, channels_last, input_statistics, split_outputs
from affect.errors import InvalidOptionError


def test_outputs_are_one_linear_layer_of_timms_pooled_features(tiny_architecture: str):
    torch.manual_seed(0)
    backbone = Backbone(tiny_architecture, 10).eval()
    torch.manual_seed(0)
    reference = timm.create_model(tiny_architecture, num_classes=0).eval()
    image = torch.randn(2, 3, 64, 64)
    features = backbone.forward_features(image)
    assert torch.equal(features, reference(image))
    assert features.shape == (2, backbone.num_features)
    expected = features @ backbone.classifier.weight.T + backbone.classifier.bias
    torch.testing.assert_close(backbone(image), expected)


@pytest.mark.parametrize("architecture", ["test_resnet", "mobilenetv3_small_050", "test_vit"])
def test_the_number_of_features_is_right_for_other_families(architecture: str):
    backbone = Backbone(architecture, 3).eval()
    image = torch.zeros(1, 3, 160, 160)
    assert backbone.forward_features(image).shape == (1, backbone.num_features)
    assert backbone(image).shape == (1, 3)


def test_without_outputs_the_features_come_through(tiny_architecture: str):
    backbone = Backbone(tiny_architecture, 0).eval()
    image = torch.randn(2, 3, 32, 32)
    assert torch.equal(backbone(image), backbone.forward_features(image))


def test_the_default_is_efficientnet_b0_with_imagenet_statistics():
    assert timm.is_model(DEFAULT_ARCHITECTURE)
    mean, std = input_statistics("mobilenetv3_small_050.lamb_in1k")
    assert mean == (0.485, 0.456, 0.406)
    assert std == (0.229, 0.224, 0.225)


def test_an_unknown_architecture_names_near_ones():
    with pytest.raises(InvalidOptionError, match="tf_efficientnet_b0"):
        Backbone("tf_eficientnet_b0", 3)


@pytest.mark.parametrize("use", [lambda name: Backbone(name, 3), input_statistics])
def test_an_unknown_weights_tag_names_the_known_ones(use):
    with pytest.raises(InvalidOptionError, match="ns_jft_in1k"):
        use("tf_efficientnet_b0.bogus")


def test_split_outputs():
    outputs = torch.arange(20.0).reshape(2, 10)
    logits, valence_arousal = split_outputs(outputs, 8)
    assert torch.equal(logits, outputs[:, :8])
    assert torch.equal(valence_arousal, outputs[:, 8:])
    assert split_outputs(outputs, 10)[1].shape == (2, 0)


def test_channels_last_changes_the_layout_not_the_values(tiny_architecture: str):
    backbone = Backbone(tiny_architecture, 2).eval()
    image = torch.randn(2, 3, 32, 32)
    before = backbone(image)
    weight = next(p for p in channels_last(backbone).parameters() if p.ndim == 4 and p.shape[1] > 1)
    assert weight.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(backbone(image), before, atol=1e-5, rtol=1e-5)
