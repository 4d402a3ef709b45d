import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from affect.errors import InvalidFileError
from affect.networks.head_file import load_heads
from affect.storage.safetensors_file import save_tensors


def test_a_file_without_a_description_is_refused(tmp_path: Path) -> None:
    save_file({"x": torch.zeros(1)}, tmp_path / "a.safetensors", {"format": "mt-emotieffnet-heads/1"})
    with pytest.raises(InvalidFileError, match=r"a\.safetensors: its description is damaged: it is not JSON"):
        load_heads(tmp_path / "a.safetensors")


def test_the_same_network_gives_the_same_bytes(tmp_path: Path) -> None:
    network = torch.nn.Linear(2, 3)
    spec = {"name": 'é " \\ 𝄞', "b": 1}
    save_tensors(tmp_path / "a.safetensors", network, "mt-emotieffnet-heads/1", spec)
    content = (tmp_path / "a.safetensors").read_bytes()
    size = int.from_bytes(content[:8], "little")
    assert size % 8 == 0, "the numbers are aligned"
    header = json.loads(content[8 : 8 + size])
    # safetensors orders metadata by chance; sorted, the file does not depend on it.
    assert list(header["__metadata__"]) == ["format", "spec"]
    with safe_open(tmp_path / "a.safetensors", "pt") as file:
        assert file.metadata() == {"format": "mt-emotieffnet-heads/1", "spec": json.dumps(spec)}
    assert torch.equal(load_file(tmp_path / "a.safetensors")["weight"], network.weight)
