from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from affect.errors import InvalidFileError, MissingFileError
from affect.networks.head_file import MAX_WIDTH, HeadsSpec, load_heads, save_heads
from affect.networks.heads import NETWORKS, create_heads

SPEC = HeadsSpec("slice", "both", 4, 2, 128, "abc")


@pytest.mark.parametrize("network", NETWORKS)
def test_the_file_gives_the_same_heads_back(tmp_path: Path, network: str) -> None:
    spec = HeadsSpec(network, "both", 20, 10, 16, "abc")  # type: ignore[arg-type]
    heads = create_heads(spec.network, spec.inputs, 20, 10, 16)
    save_heads(tmp_path / "heads.safetensors", heads, spec)
    loaded, found = load_heads(tmp_path / "heads.safetensors")
    assert found == spec
    feature = torch.randn(3, 30)
    for task, values in heads(feature).items():
        assert torch.equal(values, loaded(feature)[task])


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"network": "joined"}, "network must be one of"),
        ({"inputs": "all"}, "network must be one of"),
        ({"num_features": -1}, "widths must lie"),
        ({"num_outputs": -1}, "widths must lie"),
        ({"num_hidden": MAX_WIDTH + 1}, "widths must lie"),
    ],
)
def test_a_description_out_of_range_is_refused(change: dict, reason: str) -> None:
    fields = {
        "network": "slice",
        "inputs": "both",
        "num_features": MAX_WIDTH,
        "num_outputs": 0,
        "num_hidden": 0,
    }
    assert HeadsSpec(**fields, features_from="abc").num_features == 2**15
    with pytest.raises(ValueError, match=reason):
        HeadsSpec(**{**fields, **change}, features_from="abc")


def test_loaded_heads_are_in_evaluation_mode(tmp_path: Path) -> None:
    save_heads(tmp_path / "a.safetensors", create_heads("slice", "both", 4, 2), SPEC)
    assert not load_heads(tmp_path / "a.safetensors")[0].training


def test_a_head_without_any_input_is_named(tmp_path: Path) -> None:
    spec = replace(SPEC, num_outputs=0)  # `slice` shows valence/arousal the outputs
    save_heads(tmp_path / "a.safetensors", create_heads("slice", "both", 4, 2), spec)
    with pytest.raises(InvalidFileError, match=r"a\.safetensors: its description is damaged: a head sees"):
        load_heads(tmp_path / "a.safetensors")


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="make mtl"):
        load_heads(tmp_path / "gone.safetensors")
    save_file({"x": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(InvalidFileError, match="not a heads file"):
        load_heads(tmp_path / "other.safetensors")
    (tmp_path / "cut.safetensors").write_bytes(b"\x10")
    with pytest.raises(InvalidFileError, match="not a complete"):
        load_heads(tmp_path / "cut.safetensors")
    spec = HeadsSpec("slice", "both", 20, 10, 16, "abc")
    save_heads(tmp_path / "wrong.safetensors", create_heads("slice", "both", 21, 10, 16), spec)
    with pytest.raises(InvalidFileError, match="does not contain the heads that it describes"):
        load_heads(tmp_path / "wrong.safetensors")
