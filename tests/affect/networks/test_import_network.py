import re
import sys
import types
from collections.abc import Callable
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from affect.errors import InvalidFileError, InvalidOptionError
from affect.labels import BACKBONE_EXPRESSIONS, VALENCE_AROUSAL
from affect.networks import find_architecture
from affect.networks.backbone import Backbone, input_statistics
from affect.networks.backbone_file import load_backbone, save_backbone
from affect.networks.import_network import Outputs, import_network
from affect.networks.mobilefacenet import MobileFaceNet
from affect.storage.fingerprint import file_digest


@pytest.fixture
def network() -> nn.Module:
    """A network as other projects save it: timm's, with a classifier of eight expressions, valence and arousal."""
    torch.manual_seed(3)
    network = timm.create_model("test_efficientnet.r160_in1k", num_classes=10).train()
    with torch.no_grad():
        for _ in range(3):
            network(torch.randn(4, 3, 32, 32))
    return network.eval()


IMAGE = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))


def same_results(backbone: Backbone, network: nn.Module, image: Tensor = IMAGE) -> bool:
    with torch.inference_mode():
        return torch.allclose(backbone(image), network(image), atol=1e-5)


SAVED: dict[str, Callable[[nn.Module], object]] = {
    "whole network": lambda network: network,
    "whole network in a wrapper": lambda network: {"model": nn.DataParallel(network), "epoch": 3},
    "state dict": lambda network: network.state_dict(),
    "Lightning": lambda network: {"state_dict": {f"net.{k}": v for k, v in network.state_dict().items()}, "epoch": 1},
}


@pytest.mark.parametrize("kind", SAVED)
@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.filterwarnings("ignore:Couldn't retrieve source code")
def test_networks_give_the_results_that_they_gave_where_they_were_saved(
    tmp_path: Path, network: nn.Module, kind: str, zipped: bool
) -> None:
    path = tmp_path / "network.pt"
    torch.save(SAVED[kind](network), path, _use_new_zipfile_serialization=zipped)
    backbone, spec = import_network(path, "auto" if kind == "whole network" else "test_efficientnet")
    assert same_results(backbone, network)
    assert not backbone.training
    assert spec.outputs == (*BACKBONE_EXPRESSIONS, *VALENCE_AROUSAL)
    assert spec.expressions == BACKBONE_EXPRESSIONS
    assert spec.notes == {"imported_from": "network.pt", "imported_sha256": file_digest(path)}
    save_backbone(tmp_path / "backbone.safetensors", backbone, spec)
    again, _ = load_backbone(tmp_path / "backbone.safetensors")
    assert same_results(again, network)


def test_safetensors_and_other_names_of_the_classifier_are_taken(tmp_path: Path, network: nn.Module) -> None:
    for name in ("classifier.0", "fc", "head.fc", "emotions"):
        state = {key.replace("classifier", name): value for key, value in network.state_dict().items()}
        save_file(state, tmp_path / "a.safetensors")
        backbone, _ = import_network(tmp_path / "a.safetensors", "test_efficientnet.r160_in1k")
        assert same_results(backbone, network)


@pytest.mark.parametrize(
    ("count", "outputs", "expressions", "names"),
    [
        (8, Outputs(), BACKBONE_EXPRESSIONS, BACKBONE_EXPRESSIONS),
        (7, Outputs(), ("Anger", "Disgust", "Fear", "Happiness", "Neutral", "Sadness", "Surprise"), None),
        (2, Outputs(expressions=["Sad", "Glad"]), ("Sad", "Glad"), None),
        (4, Outputs(expressions=["Sad", "Glad"]), ("Sad", "Glad"), ("Sad", "Glad", "Valence", "Arousal")),
        (3, Outputs(names=["Sad", "Valence", "Arousal"]), ("Sad",), ("Sad", "Valence", "Arousal")),
        (3, Outputs(["Sad"], ["Sad", "Glad", "Age"]), ("Sad",), ("Sad", "Glad", "Age")),
        (8631, Outputs(keep=False), (), ()),
    ],
)
def test_outputs_have_the_published_order_or_the_names_given(
    tmp_path: Path, count: int, outputs: Outputs, expressions: tuple[str, ...], names: tuple[str, ...] | None
) -> None:
    torch.save(timm.create_model("test_efficientnet", num_classes=count), tmp_path / "a.pt")
    backbone, spec = import_network(tmp_path / "a.pt", outputs=outputs)
    assert spec.expressions == expressions
    assert spec.outputs == (expressions if names is None else names)
    assert backbone.num_outputs == len(spec.outputs)


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        (Outputs(), "12 outputs of unknown meaning.*expressions=.*classifier=false"),
        (Outputs(["a"] * 10), "12 outputs.*12 are named|two alike|no two alike"),
        (Outputs(["a", "b"]), "12 outputs, but 2 are named: a, b"),
        (Outputs(["b"], list("abcdefghijkl")), "not the first"),
    ],
)
def test_outputs_without_or_with_wrong_names_are_refused(tmp_path: Path, outputs: Outputs, message: str) -> None:
    torch.save(timm.create_model("test_efficientnet", num_classes=12), tmp_path / "a.pt")
    with pytest.raises(InvalidOptionError, match=message):
        import_network(tmp_path / "a.pt", outputs=outputs)


def test_size_and_statistics_are_the_architectures_or_those_given(tmp_path: Path, network: nn.Module) -> None:
    torch.save(network, tmp_path / "a.pt")
    _, spec = import_network(tmp_path / "a.pt")
    assert (spec.image_size, spec.mean, spec.std) == (160, *input_statistics("test_efficientnet"))
    _, spec = import_network(tmp_path / "a.pt", image_size=96, mean=[0.1, 0.2, 0.3], std=[0.4, 0.5, 0.6])
    assert (spec.image_size, spec.mean, spec.std) == (96, (0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    with pytest.raises(InvalidOptionError, match=r"a\.pt.*mean must be three numbers"):
        import_network(tmp_path / "a.pt", mean=[2, 2, 2])


def test_everything_that_does_not_fit_is_listed(tmp_path: Path, network: nn.Module) -> None:
    state = network.state_dict()
    state["bn1.weight"] = torch.ones(3)
    del state["conv_head.weight"]
    torch.save(state, tmp_path / "a.pt")
    with pytest.raises(
        InvalidFileError, match=r"a\.pt .*2 faults: conv_head\.weight is missing; bn1\.weight \(3,\) for"
    ):
        import_network(tmp_path / "a.pt", "test_efficientnet")
    state = {**network.state_dict(), "extra.weight": torch.ones(4)}
    torch.save(state, tmp_path / "b.pt")
    with pytest.raises(
        InvalidFileError, match=r"b\.pt: beside the encoder.*extra\.weight \(4,\).*not one linear layer"
    ):
        import_network(tmp_path / "b.pt", "test_efficientnet")
    import_network(tmp_path / "b.pt", "test_efficientnet", Outputs(keep=False))


def test_settings_of_a_whole_network_must_be_todays(tmp_path: Path, network: nn.Module) -> None:
    torch.save(network, tmp_path / "good.pt")
    network.bn1.eps = 0.5
    network.conv_stem.stride = (1, 1)
    torch.save(network, tmp_path / "a.pt")
    with pytest.raises(InvalidFileError, match=r"conv_stem has stride \(1, 1\), not \(2, 2\); bn1 has eps 0\.5, not"):
        import_network(tmp_path / "a.pt", "test_efficientnet")
    for module in network.modules():
        if isinstance(module, nn.SiLU):
            module.__class__ = nn.ReLU
    network.bn1.eps, network.conv_stem.stride = 1e-5, (2, 2)
    torch.save(network, tmp_path / "b.pt")
    with pytest.raises(InvalidFileError, match="its activations are relu, not silu"):
        import_network(tmp_path / "b.pt", "test_efficientnet")


def test_architectures_with_the_same_names_and_shapes_are_told_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    groups = [group for group in find_architecture.CANDIDATES if "resnet18" in group or "efficientnet_lite0" in group]
    monkeypatch.setattr(find_architecture, "CANDIDATES", groups)
    for name in ("tf_efficientnet_lite0", "efficientnet_lite0"):
        network = timm.create_model(name, num_classes=8)
        network.pretrained_cfg = network.default_cfg = {}  # as if the network did not say what it is
        torch.save(network, tmp_path / "whole.pt")
        assert import_network(tmp_path / "whole.pt")[0].architecture.startswith(name)
    torch.save(network.state_dict(), tmp_path / "state.pt")
    with pytest.raises(
        InvalidOptionError, match=r"fits 2 architectures.*tf_efficientnet_lite0, efficientnet_lite0.*architecture="
    ):
        import_network(tmp_path / "state.pt")


def test_the_nearest_architecture_is_named_if_none_fits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(find_architecture, "CANDIDATES", [("resnet18",), ("mobilefacenet",)])
    torch.save({"a.weight": torch.zeros(2, 2)}, tmp_path / "a.pt")
    with pytest.raises(InvalidFileError, match=r"none of 2 .* the nearest is resnet18.*architecture="):
        import_network(tmp_path / "a.pt")


@pytest.mark.parametrize("wrapper", ["", "module.", "output_layer"])
def test_a_face_identification_checkpoint_of_mobilefacenet_is_recognised(tmp_path: Path, wrapper: str) -> None:
    torch.manual_seed(0)
    network = MobileFaceNet().eval()
    state = {wrapper.partition("output_layer")[0] + key: value for key, value in network.state_dict().items()}
    if wrapper == "output_layer":
        state = {re.sub("^(conv_6_dw|linear|bn)[.]", r"output_layer.\1.", key): value for key, value in state.items()}
    torch.save(state, tmp_path / "a.pth")
    backbone, spec = import_network(tmp_path / "a.pth")
    image = torch.randn(1, 3, 112, 112)
    assert same_results(backbone, network, image)
    assert (spec.architecture, spec.image_size, spec.outputs) == ("mobilefacenet", 112, ())


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.filterwarnings("ignore:Couldn't retrieve source code")
def test_a_whole_mobilefacenet_of_a_module_that_is_not_here_is_imported(
    tmp_path: Path, zipped: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Emotions(MobileFaceNet):
        """The network with a classifier, as its author's module defines it."""

        def __init__(self) -> None:
            super().__init__()
            self.classifier = nn.Linear(512, 10)

        def forward(self, x: Tensor) -> Tensor:
            return self.classifier(super().forward(x))

    author = types.ModuleType("mobilefacenet")
    author.MobileFaceNet = Emotions  # type: ignore[attr-defined]
    Emotions.__module__, Emotions.__qualname__ = "mobilefacenet", "MobileFaceNet"
    monkeypatch.setitem(sys.modules, "mobilefacenet", author)
    torch.manual_seed(0)
    network = Emotions().eval()
    torch.save(network, tmp_path / "mbf.pt", _use_new_zipfile_serialization=zipped)
    monkeypatch.delitem(sys.modules, "mobilefacenet")
    backbone, spec = import_network(tmp_path / "mbf.pt")
    assert same_results(backbone, network, torch.randn(2, 3, 112, 112))
    assert (spec.architecture, spec.outputs[-2:]) == ("mobilefacenet", ("Valence", "Arousal"))
    assert (spec.image_size, spec.mean, spec.std) == (112, (0.5,) * 3, (0.5,) * 3)
