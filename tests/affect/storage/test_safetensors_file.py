from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from affect.errors import InvalidFileError
from affect.networks.head_file import load_heads


def test_a_file_without_a_description_is_refused(tmp_path: Path) -> None:
    save_file({"x": torch.zeros(1)}, tmp_path / "a.safetensors", {"format": "mt-emotieffnet-heads/1"})
    with pytest.raises(InvalidFileError, match=r"a\.safetensors: its description is damaged: it is not JSON"):
        load_heads(tmp_path / "a.safetensors")
