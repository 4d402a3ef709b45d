import sys

import pytest
import timm
import torch
from timm.models._builder import resolve_pretrained_cfg

from affect.errors import InvalidOptionError, MissingFileError
from affect.networks.backbone import (
    DEFAULT_ARCHITECTURE,
    Backbone,
    channels_last,
    input_statistics,
    resolve_architecture,
)


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


def test_channels_last_changes_the_layout_not_the_values(tiny_architecture: str):
    backbone = Backbone(tiny_architecture, 2).eval()
    image = torch.randn(2, 3, 32, 32)
    before = backbone(image)
    weight = next(p for p in channels_last(backbone).parameters() if p.ndim == 4 and p.shape[1] > 1)
    assert weight.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(backbone(image), before, atol=1e-5, rtol=1e-5)


DEPRECATED = timm.models.get_deprecated_models()


@pytest.mark.filterwarnings("ignore:Mapping deprecated model name")
def test_deprecated_names_have_the_statistics_of_the_network_that_timm_builds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    built: list[dict] = []

    def stop_at_the_build(network: type, variant: str, pretrained: bool, **arguments: object) -> None:
        config = resolve_pretrained_cfg(variant, pretrained_cfg=arguments.get("pretrained_cfg"))
        built.append(config[0] if isinstance(config, tuple) else config)
        raise InterruptedError

    # Each module of timm builds its networks with this function; what it is given names the network and its weights.
    for name, module in list(sys.modules.items()):
        if name.startswith("timm.models.") and hasattr(module, "build_model_with_cfg"):
            monkeypatch.setattr(module, "build_model_with_cfg", stop_at_the_build)
    differing = 0
    refused = []
    for name in DEPRECATED:
        try:
            statistics = input_statistics(name)
        except InvalidOptionError:
            refused.append(name)
            continue
        with pytest.raises(InterruptedError):
            timm.create_model(name)
        assert statistics == (tuple(built[-1].mean), tuple(built[-1].std)), name
        differing += statistics[0] != (0.485, 0.456, 0.406)
    assert len(built) > 200
    assert differing > 50
    for name in refused:  # those timm itself cannot build any more: their new name has weights of another tag
        with pytest.raises(RuntimeError, match="Invalid pretrained tag"):
            timm.get_pretrained_cfg(DEPRECATED[name], allow_unregistered=False)


@pytest.mark.filterwarnings("error:Mapping deprecated model name")
def test_a_deprecated_name_builds_the_network_under_its_current_name() -> None:
    backbone = Backbone("tf_efficientnet_b0_ap", 0)
    assert backbone.architecture == "tf_efficientnet_b0.ap_in1k"
    assert input_statistics("tf_efficientnet_b0_ap") == ((0.5,) * 3, (0.5,) * 3)
    assert resolve_architecture(backbone.architecture) == backbone.architecture
    with pytest.raises(InvalidOptionError, match=r"renamed tf_efficientnet_b0_ap to tf_efficientnet_b0\.ap_in1k"):
        Backbone("tf_efficientnet_b0_ap.ns_jft_in1k", 0)


def test_a_name_that_timm_has_removed_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timm.models, "get_deprecated_models", lambda: {"test_resnet": None})
    with pytest.raises(InvalidOptionError, match="has removed the architecture 'test_resnet'"):
        input_statistics("test_resnet")


def test_weights_that_do_not_exist_or_cannot_be_fetched_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    without = next(name for name in timm.list_models() if not timm.models.is_model_pretrained(name))
    with pytest.raises(InvalidOptionError, match=f"publishes no weights of {without}"):
        Backbone(without, 0, hub_weights=True)

    def offline(*arguments: object, **options: object) -> None:
        raise OSError("no connection")

    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(MissingFileError, match=r"weights of test_resnet cannot be fetched \(no connection\)"):
        Backbone("test_resnet", 0, hub_weights=True)


@pytest.mark.parametrize("hub_weights", [False, True])
def test_weights_are_fetched_if_asked_for_and_no_classifier_is_built(
    monkeypatch: pytest.MonkeyPatch, hub_weights: bool
) -> None:
    asked: list[tuple] = []

    def create(architecture: str, pretrained: bool, num_classes: int) -> torch.nn.Module:
        asked.append((architecture, pretrained, num_classes))
        network = torch.nn.Identity()
        network.num_features = 7  # no width of its own before the classifier
        return network

    monkeypatch.setattr(timm, "create_model", create)
    assert Backbone("test_resnet.r160_in1k", 0, hub_weights).num_features == 7
    assert asked == [("test_resnet.r160_in1k", hub_weights, 0)]
