"""Weights by their published name: fetched with a line in the log, or refused with advice."""

import hashlib
import json
import logging
from collections.abc import Callable
from pathlib import Path

import pytest
import timm
import torch

from affect.errors import UserError
from affect.networks.backbone_file import load_backbone
from affect.networks.published import PUBLISHED
from affect.networks.published_files import published_path
from affect.storage.download import DownloadError
from experiments.mtl.config import MtlConfig
from experiments.mtl.train import mtl
from experiments.runtime.backbone_choice import find_backbone, resolve_backbone
from experiments.runtime.config.load import load_config
from experiments.runtime.config.options import ConfigError
from experiments.runtime.published_networks import resolve_weights
from tests.file_server import FileServer

B0 = "tf_efficientnet_b0.ns_jft_in1k"


@pytest.fixture
def identities(publish: Callable[..., None], tiny_architecture: str) -> torch.nn.Module:
    """A tiny network with a classifier of people, its state dict published as `vggface2`."""
    torch.manual_seed(5)
    network = timm.create_model(tiny_architecture, num_classes=7)
    publish("vggface2", network.state_dict(), architecture=tiny_architecture)
    return network


def test_weights_are_fetched_by_name_and_the_transfer_is_logged(
    identities: torch.nn.Module, tiny_architecture: str, file_server: FileServer, capsys: pytest.CaptureFixture[str]
) -> None:
    path = resolve_weights("vggface2", tiny_architecture, "model.weights")
    assert path == str(published_path(PUBLISHED["vggface2"]))
    printed, errors = capsys.readouterr()
    assert errors == "", "there is no bar where there is no terminal"
    assert f"fetching vggface2 from {file_server.url}/pretrained_faces/state_vggface2_enet0_new.pt\n" in printed
    assert "MB/s)\n" in printed
    assert resolve_weights("vggface2", tiny_architecture, "model.weights") == path
    assert capsys.readouterr().out == "", "there was nothing to fetch"
    assert len(file_server.requests) == 1


@pytest.mark.usefixtures("no_figures")
def test_stage_1_starts_from_weights_by_name(
    identities: torch.nn.Module, run_pretrain: Callable[..., dict[str, float]], tmp_path: Path
) -> None:
    run_pretrain(tmp_path, "model.weights=vggface2", "stages.everything.epochs=0", "stages.classifier.epochs=1")
    latest = tmp_path / "pretrain" / "latest"
    backbone, _ = load_backbone(latest / "backbone.safetensors")
    for name, value in backbone.encoder.named_parameters():  # the encoder was frozen
        assert torch.equal(value, identities.get_parameter(name)), name
    provenance = json.loads((latest / "provenance.json").read_text())
    content = published_path(PUBLISHED["vggface2"]).read_bytes()
    assert provenance["weights_sha256"] == hashlib.sha256(content).hexdigest()
    assert provenance["weights_from_drawn_faces"] is False
    assert "weights: vggface2\n" in (latest / "config.yaml").read_text()


def test_without_a_network_the_ways_out_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MT_EMOTIEFFNET_CACHE", str(tmp_path))
    with pytest.raises(DownloadError) as error:
        resolve_weights("vggface2", B0, "model.weights")
    message = str(error.value)
    assert message.startswith(f"model.weights=vggface2: {tmp_path}/published/state_vggface2_enet0_new.pt is missing")
    assert "model.weights= takes a weights file, packaged:efficientnet-lite0" in message
    assert "demo_data/face_weights.safetensors (learnt from drawn faces), or none (random weights)" in message


def test_weights_of_another_architecture_are_refused_before_they_are_fetched() -> None:
    with pytest.raises(
        ConfigError, match=r"model\.weights=vggface2 has the weights of tf_efficientnet_b0\.ns_jft_in1k"
    ):
        resolve_weights("vggface2", "tf_efficientnet_b2.ns_jft_in1k", "model.weights")


def test_an_unknown_word_is_refused_with_the_nearest_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"weights=vggface: there is no such file or folder.*nearest names are vgg"):
        resolve_weights("vggface", B0, "weights")
    monkeypatch.chdir(tmp_path)
    Path("vggface").touch()
    for other in ("none", "hub", "vggface", "x/absent.pth", "absent.pth", str(tmp_path)):
        assert resolve_weights(other, B0, "weights") == other


def test_a_broken_transfer_is_not_reported_as_done(
    identities: torch.nn.Module, tiny_architecture: str, file_server: FileServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    file_server.answers.clear()
    with pytest.raises(DownloadError, match="404"):
        resolve_weights("vggface2", tiny_architecture, "model.weights")
    assert "MB/s" not in caplog.text


@pytest.fixture
def whole_network(publish: Callable[..., None], tiny_architecture: str) -> Callable[[str, int], torch.nn.Module]:
    """Return a function that publishes a tiny network as whole pickle, as the published ones are."""

    def make(name: str, num_outputs: int) -> torch.nn.Module:
        torch.manual_seed(num_outputs)
        network = timm.create_model(tiny_architecture, num_classes=num_outputs)
        publish(name, network, architecture=tiny_architecture, image_size=32)
        return network.eval()

    return make


@pytest.mark.parametrize(("name", "num_outputs"), [("enet_b0_8_va_mtl", 10), ("enet_b2_7", 7)])
def test_a_backbone_by_name_computes_what_the_published_network_does(
    whole_network: Callable[[str, int], torch.nn.Module], file_server: FileServer, name: str, num_outputs: int
) -> None:
    published = whole_network(name, num_outputs)
    path = resolve_backbone(name)
    backbone, spec = load_backbone(path)
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(backbone(images), published(images), atol=1e-5, rtol=0)
    assert spec.outputs == PUBLISHED[name].outputs
    assert spec.expressions == PUBLISHED[name].expressions
    assert (spec.image_size, spec.mean, spec.std) == (32, *PUBLISHED[name].statistics)
    assert "Apache-2.0" in spec.notes["licence"]
    assert "raw.githubusercontent.com" in spec.notes["published_at"], "the address, not that of a mirror"

    content = Path(path).read_bytes()
    assert resolve_backbone(name) == path
    Path(path).write_bytes(content[:-1] + b"x")
    assert resolve_backbone(name) == path
    assert Path(path).read_bytes() == content, "what is made from the file is made again, with the same bytes"
    assert len(file_server.requests) == 1


def test_a_network_without_outputs_is_no_backbone() -> None:
    with pytest.raises(ConfigError, match="no outputs; stage 1 starts from it: `make pretrain WEIGHTS=vggface2`"):
        resolve_backbone("vggface2")


def test_without_a_network_the_ways_to_a_backbone_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MT_EMOTIEFFNET_CACHE", str(tmp_path))
    with pytest.raises(DownloadError, match=r"^backbone=enet_b2_8: .*/enet_b2_8\.pt is missing .*make import"):
        resolve_backbone("enet_b2_8")
    with pytest.raises(ConfigError, match=r"backbone=enet_b2: .*no published network.*nearest names are enet_b2_[78]"):
        resolve_backbone("enet_b2")


def test_a_published_file_that_holds_another_network_is_refused(
    publish: Callable[..., None], tiny_architecture: str
) -> None:
    publish("enet_b2_8", timm.create_model(tiny_architecture, num_classes=5), architecture=tiny_architecture)
    with pytest.raises(UserError, match="5 outputs, but 8 are named"):
        resolve_backbone("enet_b2_8")


@pytest.mark.parametrize(("name", "num_outputs"), [("enet_b0_8_va_mtl", 10), ("enet_b2_7", 7)])
def test_stage_2_takes_a_published_network(
    whole_network: Callable[[str, int], torch.nn.Module], words: Callable[..., list[str]], tmp_path: Path, name: str,
    num_outputs: int, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr("experiments.mtl.train.draw_figures", lambda *arguments: {})
    whole_network(name, num_outputs)
    more = "heads.epochs.expression=1", "heads.epochs.valence_arousal=1", "heads.epochs.action_units=1"
    metrics = mtl(load_config(MtlConfig, "mtl", words(f"backbone={name}", *more), "demo"))
    assert "val/mtl_score" in metrics
    run = tmp_path / "runs" / "mtl" / "latest"
    provenance = json.loads((run / "provenance.json").read_text())
    assert provenance["backbone"] == resolve_backbone(name)
    digest = provenance["backbone_sha256"]
    assert find_backbone(name, digest, run) == resolve_backbone(name), "a run is found again by the name"
