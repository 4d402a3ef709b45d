import argparse

import pytest
import torch
from safetensors.torch import save_file

from affect.errors import InvalidFileError
from affect.super_resolution.checkpoints import build_network, network_digest, read_network
from affect.super_resolution.networks import RRDBNet, SRVGGNetCompact
from affect.super_resolution.realesrgan_engine import reference_network


@pytest.mark.parametrize("scale", [4, 2, 1])
def test_rrdbnet_is_recognised_from_the_published_class_state(small_rrdb, tmp_path, scale):
    network = small_rrdb(scale)
    path = tmp_path / "official.pth"
    torch.save({"params_ema": reference_network(network).state_dict()}, path)
    found = read_network(path)
    assert isinstance(found, RRDBNet)
    assert found.scale == scale
    assert len(found.body) == 2
    assert not found.training
    image = torch.rand(1, 3, 8, 8)
    torch.testing.assert_close(found(image), network(image))


def test_compact_network_is_recognised(small_srvgg, tmp_path):
    path = tmp_path / "official.pth"
    torch.save({"params": reference_network(small_srvgg).state_dict()}, path)
    found = read_network(path)
    assert isinstance(found, SRVGGNetCompact)
    assert (found.scale, found.num_features, len(found.body)) == (3, 8, 7)


def test_averaged_parameters_are_preferred(small_srvgg, tmp_path):
    state = small_srvgg.state_dict()
    zeros = {name: torch.zeros_like(value) for name, value in state.items()}
    torch.save({"params": zeros, "params_ema": state}, tmp_path / "both.pth")
    assert network_digest(read_network(tmp_path / "both.pth")) == network_digest(small_srvgg)


def test_the_digest_is_of_the_values_not_of_the_file(small_srvgg, tmp_path):
    state = small_srvgg.state_dict()
    torch.save({"params": state}, tmp_path / "a.pth")
    save_file({name: value.contiguous() for name, value in state.items()}, tmp_path / "b.safetensors")
    digest = network_digest(read_network(tmp_path / "a.pth"))
    assert network_digest(read_network(tmp_path / "b.safetensors")) == digest
    state["body.0.bias"][0] += 1e-3
    assert network_digest(build_network(state)) != digest


def test_other_files_are_refused(small_rrdb, tmp_path):
    path = tmp_path / "bad.pth"
    torch.save({"params": {"fc.weight": torch.zeros(2, 2)}}, path)
    with pytest.raises(InvalidFileError, match=r"bad.pth: not a network of Real-ESRGAN"):
        read_network(path)
    state = small_rrdb(4).state_dict()
    del state["body.1.rdb2.conv3.bias"]
    torch.save({"params": state}, path)
    with pytest.raises(InvalidFileError, match=r"bad.pth: does not fit RRDBNet.*\n.*body.1.rdb2.conv3.bias"):
        read_network(path)
    state = small_rrdb(4).state_dict()
    state["conv_first.weight"] = torch.zeros(16, 5, 3, 3)
    torch.save({"params": state}, path)
    with pytest.raises(InvalidFileError, match="5 input channels"):
        read_network(path)


def test_pickled_objects_are_no_weights(tmp_path):
    path = tmp_path / "object.pth"
    torch.save({"params": argparse.Namespace(x=1)}, path)
    with pytest.raises(InvalidFileError, match="holds no state dict"):
        read_network(path)


def test_a_truncated_file_is_reported(small_srvgg, tmp_path):
    path = tmp_path / "cut.pth"
    torch.save({"params": small_srvgg.state_dict()}, path)
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(InvalidFileError, match=r"cut.pth:? cannot be read"):
        read_network(path)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda value: value.to(torch.int8), "is int8, not floating-point"),
        (lambda value: value * float("nan"), "NaN or infinity"),
    ],
)
def test_unusable_weights_are_refused(small_rrdb, tmp_path, change, reason):
    state = small_rrdb(4).state_dict()
    torch.save({"params": {**state, "conv_last.weight": change(state["conv_last.weight"])}}, tmp_path / "a.pth")
    with pytest.raises(
        InvalidFileError, match=rf"a\.pth: unusable weights of Real-ESRGAN: conv_last\.weight .*{reason}"
    ):
        read_network(tmp_path / "a.pth")
    torch.save({"params": {key: value.half() for key, value in state.items()}}, tmp_path / "a.pth")
    read_network(tmp_path / "a.pth")


def test_impossible_block_numbers_are_refused(small_srvgg):
    state = small_srvgg.state_dict()
    with pytest.raises(InvalidFileError, match="no consecutive parameters"):
        build_network({**state, "body.999999999.weight": state["body.0.weight"]})
