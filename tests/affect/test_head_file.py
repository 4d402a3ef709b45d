from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from affect.errors import InvalidFileError, MissingFileError
from affect.head_file import HeadsSpec, load_heads, save_heads
from affect.heads import NETWORKS, create_heads


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


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="make mtl"):
        load_heads(tmp_path / "gone.safetensors")
    save_file({"x": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(InvalidFileError, match="not a heads file"):
        load_heads(tmp_path / "other.safetensors")
    (tmp_path / "cut.safetensors").write_bytes(b"\x10")
    with pytest.raises(InvalidFileError, match="not a whole"):
        load_heads(tmp_path / "cut.safetensors")
    spec = HeadsSpec("slice", "both", 20, 10, 16, "abc")
    save_heads(tmp_path / "wrong.safetensors", create_heads("slice", "both", 21, 10, 16), spec)
    with pytest.raises(InvalidFileError, match="does not hold"):
        load_heads(tmp_path / "wrong.safetensors")
