import os
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from affect.errors import InvalidFileError, MissingFileError
from affect.storage.state_dict import read_state_dict, unusable_tensors

WEIGHT, COUNT, FLAG = torch.zeros(2), torch.zeros(2, dtype=torch.int64), torch.zeros(2, dtype=torch.bool)


class Malicious:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self):
        return os.mkdir, (str(self.target),)


@pytest.mark.parametrize("wrap", [lambda payload: payload, lambda payload: {"state_dict": {"a": payload}}])
@pytest.mark.parametrize("plain", [True, False])
@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_pickled_code_is_refused_and_not_run(tmp_path: Path, wrap: Callable, plain: bool):
    path, target = tmp_path / "evil.pth", tmp_path / "executed"
    if plain:
        path.write_bytes(pickle.dumps(wrap(Malicious(target))))
    else:
        torch.save(wrap(Malicious(target)), path)
    with pytest.raises(InvalidFileError, match=r"evil\.pth"):
        read_state_dict(path)
    assert not target.exists()
    # Check the test itself: without the protection, the file does run code.
    if plain:
        pickle.loads(path.read_bytes())
    else:
        torch.load(path, weights_only=False)
    assert target.exists()


def test_the_message_about_a_pickled_network_contains_a_remedy(tmp_path: Path):
    torch.save(nn.Linear(2, 2), tmp_path / "whole.pt")
    with pytest.raises(InvalidFileError, match=r"whole\.pt.*state_dict"):
        read_state_dict(tmp_path / "whole.pt")


@pytest.mark.parametrize("content", [b"", b"hello world", b"<html>not found</html>", b"\x80\x02garbage", b"PK\x03\x04"])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_files_of_other_formats_are_refused(tmp_path: Path, content: bytes, suffix: str):
    path = tmp_path / f"weights{suffix}"
    path.write_bytes(content)
    with pytest.raises(InvalidFileError, match=path.name):
        read_state_dict(path)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_truncated_files_are_refused(tmp_path: Path, suffix: str):
    path = tmp_path / f"weights{suffix}"
    tensors = {"a": torch.randn(100, 100)}
    (save_file if suffix == ".safetensors" else torch.save)(tensors, path)
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(InvalidFileError, match=path.name):
        read_state_dict(path)


@pytest.mark.parametrize("content", [torch.zeros(3), {"epoch": 3}, {}, [torch.zeros(1)]])
def test_files_without_named_tensors_are_refused(tmp_path: Path, content: object):
    torch.save(content, tmp_path / "a.pth")
    with pytest.raises(InvalidFileError, match=r"a\.pth holds no state dict"):
        read_state_dict(tmp_path / "a.pth")


def test_odd_state_dicts_are_refused(tmp_path: Path):
    looped: dict[str, object] = {}
    looped["model"] = looped
    for number, content in enumerate([looped, {1: torch.zeros(2)}, {"model": {"model": {"a": 1}}}]):
        torch.save(content, tmp_path / f"{number}.pth")
        with pytest.raises(InvalidFileError, match=rf"{number}\.pth holds no state dict"):
            read_state_dict(tmp_path / f"{number}.pth")


def test_a_missing_file_is_reported(tmp_path: Path):
    with pytest.raises(MissingFileError, match=r"none\.pth"):
        read_state_dict(tmp_path / "none.pth")


@pytest.mark.parametrize(
    ("name", "found", "wanted", "reason"),
    [
        ("weight", WEIGHT.to("meta"), WEIGHT, "is not a plain tensor (float32, torch.strided, on meta)"),
        ("weight", COUNT, WEIGHT, "is int64, not floating-point numbers of 16 bits or more"),
        ("running_var", torch.tensor([-1e-3, 1]), WEIGHT, "holds a negative variance"),
        ("running_var", torch.zeros(2), WEIGHT, None),
        ("weight", torch.tensor([-1.0, 1]), WEIGHT, None),
        ("weight", WEIGHT.half(), WEIGHT, None),
        ("count", WEIGHT, COUNT, "is float32, not int64"),
        ("count", WEIGHT.to(torch.complex64), COUNT, "is complex64, not int64"),
        ("count", FLAG, COUNT, "is bool, not int64"),
        ("count", COUNT.int(), COUNT, None),
        ("flag", COUNT, FLAG, "is int64, not bool"),
        ("flag", WEIGHT.to(torch.complex64), FLAG, "is complex64, not bool"),
        ("flag", FLAG, FLAG, None),
    ],
)
def test_tensors_of_another_kind_are_listed(name: str, found: Tensor, wanted: Tensor, reason: str | None) -> None:
    assert unusable_tensors({name: found}, {name: wanted}) == ([f"{name} {reason}"] if reason else [])


def test_reasons_are_sorted_and_names_on_one_side_only_are_ignored() -> None:
    bad = torch.full((2,), torch.nan)
    found = {"c": bad, "a": bad, "b": WEIGHT, "only here": bad}
    wanted = {"a": WEIGHT, "b": WEIGHT, "c": WEIGHT, "only there": WEIGHT}
    reason = "holds NaN or infinity as float32"
    assert unusable_tensors(found, wanted) == [f"a {reason}", f"c {reason}"]
