"""Weights by their published name: fetched with a line in the log, or refused with advice."""

import hashlib
import io
import json
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import timm
import torch

from affect.networks.backbone_file import load_backbone
from affect.networks.published import PUBLISHED
from affect.networks.published_files import published_path
from affect.storage.download import DownloadError
from experiments.runtime.config.options import ConfigError
from experiments.runtime.published_networks import resolve_weights
from tests.file_server import FileServer

B0 = "tf_efficientnet_b0.ns_jft_in1k"


@pytest.fixture
def identities(
    file_server: FileServer, tiny_architecture: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> torch.nn.Module:
    """A tiny network with a classifier of people, published as `vggface2`; the cache is empty."""
    torch.manual_seed(5)
    network = timm.create_model(tiny_architecture, num_classes=7)
    file = io.BytesIO()
    torch.save(network.state_dict(), file)
    content = file.getvalue()
    digest = hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest()
    published = replace(PUBLISHED["vggface2"], architecture=tiny_architecture, git_digest=digest)
    monkeypatch.setitem(PUBLISHED, "vggface2", published)
    monkeypatch.setenv("MT_EMOTIEFFNET_CACHE", str(tmp_path / "user cache"))
    monkeypatch.setenv("MT_EMOTIEFFNET_MIRROR", file_server.url)
    file_server.answers[published.path] = content
    return network


def test_weights_are_fetched_by_name_and_the_transfer_is_logged(
    identities: torch.nn.Module, tiny_architecture: str, file_server: FileServer, capsys: pytest.CaptureFixture[str]
) -> None:
    path = resolve_weights("vggface2", tiny_architecture, "model.weights")
    assert path == str(published_path(PUBLISHED["vggface2"]))
    printed = capsys.readouterr().out
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
    assert "model.weights= takes a weights file, demo_data/face_weights.safetensors (learnt from drawn" in message
    assert "none (random weights)" in message


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
