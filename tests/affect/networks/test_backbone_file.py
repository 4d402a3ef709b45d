import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from affect.errors import InvalidFileError, MissingFileError
from affect.networks.backbone import Backbone
from affect.networks.backbone_file import (
    MAX_IMAGE_SIZE,
    BackboneSpec,
    load_backbone,
    read_spec,
    save_backbone,
)


@pytest.fixture
def spec(tiny_architecture: str) -> BackboneSpec:
    return BackboneSpec(
        tiny_architecture, 32, (0.5, 0.4, 0.3), (0.2, 0.2, 0.1), ("Anger", "Fear"), ("Anger", "Fear", "Valence"),
        {"recipe": "demo", "figures": {"f1": 0.5}},
    )  # fmt: skip


@pytest.fixture
def backbone(tiny_architecture: str) -> Backbone:
    torch.manual_seed(0)
    network = Backbone(tiny_architecture, 3)
    network(torch.randn(4, 3, 32, 32))  # moves the statistics away from their defaults
    return network


def test_a_round_trip_keeps_every_bit_and_the_spec(tmp_path: Path, backbone: Backbone, spec: BackboneSpec):
    path = tmp_path / "new" / "backbone.safetensors"
    save_backbone(path, backbone, spec)
    found, read = load_backbone(path)
    assert read == read_spec(path) == spec
    assert not found.training
    assert all(torch.equal(value, found.state_dict()[key]) for key, value in backbone.state_dict().items())
    image = torch.randn(2, 3, 32, 32)
    assert torch.equal(found(image), backbone.eval()(image))


def test_float16_halves_the_file_and_comes_back_as_float32(tmp_path: Path, backbone: Backbone, spec: BackboneSpec):
    save_backbone(tmp_path / "whole.safetensors", backbone, spec)
    save_backbone(tmp_path / "half.safetensors", backbone, spec, torch.float16)
    sizes = [(tmp_path / f"{name}.safetensors").stat().st_size for name in ("whole", "half")]
    assert sizes[1] < 0.6 * sizes[0]
    stored = load_file(tmp_path / "half.safetensors")
    assert {value.dtype for value in stored.values()} == {torch.float16, torch.int64}
    found, _ = load_backbone(tmp_path / "half.safetensors")
    for key, value in backbone.state_dict().items():
        assert found.state_dict()[key].dtype == value.dtype
        torch.testing.assert_close(found.state_dict()[key], value, atol=1e-3, rtol=1e-3)
    assert backbone.classifier.weight.dtype == torch.float32  # the network itself is left as it is


def test_a_network_in_channels_last_order_can_be_saved(tmp_path: Path, backbone: Backbone, spec: BackboneSpec):
    save_backbone(tmp_path / "a.safetensors", backbone.to(memory_format=torch.channels_last), spec)
    found, _ = load_backbone(tmp_path / "a.safetensors")
    assert all(torch.equal(value, found.state_dict()[key]) for key, value in backbone.state_dict().items())


def test_the_spec_must_name_each_output(tmp_path: Path, tiny_architecture: str, spec: BackboneSpec):
    with pytest.raises(ValueError, match="3 outputs, the network has 4"):
        save_backbone(tmp_path / "a.safetensors", Backbone(tiny_architecture, 4), spec)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("low", "high", "wrong"),
    [
        ({"image_size": 1}, {"image_size": MAX_IMAGE_SIZE}, {"image_size": MAX_IMAGE_SIZE + 1}),
        ({"mean": (0.0,) * 3}, {"mean": (1.0,) * 3}, {"mean": (0.5, 0.5, 1.01)}),
        ({"std": (1e-6,) * 3}, {"std": (1.0,) * 3}, {"std": (0.5, 0.5, 1.01)}),
        ({"mean": (0.5,) * 3}, {"std": (0.5,) * 3}, {"mean": (0.5,) * 4}),
    ],
)
def test_values_at_the_ends_of_their_range_are_taken(spec: BackboneSpec, low: dict, high: dict, wrong: dict):
    for inside in (low, high):
        replace(spec, **inside)
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} must"):
        replace(spec, **wrong)


def test_the_error_of_a_missing_file_names_the_command_that_makes_one(tmp_path: Path):
    with pytest.raises(MissingFileError, match="make pretrain"):
        load_backbone(tmp_path / "none.safetensors")


def test_other_files_are_refused_by_name(tmp_path: Path, backbone: Backbone, spec: BackboneSpec):
    path = tmp_path / "a.safetensors"
    save_file({"x": torch.zeros(1)}, path)
    with pytest.raises(InvalidFileError, match=r"a\.safetensors is not a backbone file"):
        read_spec(path)
    path.write_bytes(b"no tensors here")
    with pytest.raises(InvalidFileError, match=r"a\.safetensors is not a complete safetensors file"):
        read_spec(path)
    save_backbone(path, backbone, spec)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InvalidFileError, match=r"a\.safetensors is not a complete safetensors file"):
        load_backbone(path)


def test_tensors_that_do_not_fit_the_named_architecture_are_refused(
    tmp_path: Path, backbone: Backbone, spec: BackboneSpec
):
    path = tmp_path / "a.safetensors"
    save_backbone(path, backbone, spec)
    tensors = load_file(path)
    tensors.pop("classifier.bias")
    metadata = {"format": "mt-emotieffnet-backbone/1", "spec": json.dumps(asdict(spec))}
    save_file(tensors, path, metadata)
    with pytest.raises(InvalidFileError, match=r"(?s)does not contain the test_efficientnet.*classifier\.bias"):
        load_backbone(path)
