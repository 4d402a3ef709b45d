import io
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from affect.errors import InvalidFileError, MissingFileError
from affect.storage.checkpoints.read_weights import read_weights


class Malicious:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self):
        return os.mkdir, (str(self.target),)


@pytest.mark.parametrize("wrap", [lambda payload: payload, lambda payload: {"state_dict": {"a": payload}}])
@pytest.mark.parametrize("kind", ["zip", "legacy", "bare pickle"])
@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_pickled_code_is_refused_and_not_run(tmp_path: Path, wrap: Callable, kind: str):
    path, target = tmp_path / "evil.pth", tmp_path / "executed"
    if kind == "bare pickle":
        path.write_bytes(pickle.dumps(wrap(Malicious(target))))
    else:
        torch.save(wrap(Malicious(target)), path, _use_new_zipfile_serialization=kind == "zip")
    with pytest.raises(InvalidFileError, match=r"evil\.pth.*`(posix|nt)\.mkdir`, which no weights need: refused"):
        read_weights(path)
    assert not target.exists()
    # Check the test itself: without the protection, the file does run code.
    if kind == "bare pickle":
        pickle.loads(path.read_bytes())
    else:
        torch.load(path, weights_only=False)
    assert target.exists()


@pytest.mark.parametrize("content", [b"", b"hello world", b"<html>not found</html>", b"\x80\x02garbage", b"PK\x03\x04"])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_files_of_other_formats_are_refused(tmp_path: Path, content: bytes, suffix: str):
    path = tmp_path / f"weights{suffix}"
    path.write_bytes(content)
    with pytest.raises(InvalidFileError, match=path.name):
        read_weights(path)


@pytest.mark.parametrize("cut", [1, 100, 1000, 20_000, 39_990, 40_500])
@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors"])
def test_truncated_files_are_refused(tmp_path: Path, kind: str, cut: int):
    path = tmp_path / f"weights{'.safetensors' if kind == 'safetensors' else '.pth'}"
    save(kind, {"a": torch.randn(100, 100)}, path)
    path.write_bytes(path.read_bytes()[:-cut])
    with pytest.raises(InvalidFileError, match=path.name):
        read_weights(path)


def save(kind: str, content: object, path: Path) -> None:
    if kind == "safetensors":
        save_file(content, path)
    else:
        torch.save(content, path, _use_new_zipfile_serialization=kind == "zip")


@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors"])
def test_every_type_shape_and_view_is_read_as_it_was(tmp_path: Path, kind: str):
    base = torch.arange(24.0)
    tensors = {
        "float64": torch.randn(3, 4, dtype=torch.float64),
        "bfloat16": torch.randn(5).bfloat16(),
        "half": torch.randn(2, 3).half(),
        "float8": torch.randn(4).to(torch.float8_e4m3fn),
        "int64": torch.tensor(7),
        "uint8": torch.arange(9, dtype=torch.uint8),
        "bool": torch.tensor([True, False]),
        "complex": torch.randn(2, dtype=torch.complex64),
        "empty": torch.zeros(0, 3),
    }
    if kind != "safetensors":  # which has no views
        tensors |= {"view": base[4:10], "transposed": base.view(4, 6).T, "parameter": nn.Parameter(base[::3])}
    save(kind, tensors, tmp_path / "a.pt")
    found = read_weights(tmp_path / "a.pt").tensors
    assert list(found) == list(tensors) if kind != "safetensors" else set(found) == set(tensors)
    for name, value in tensors.items():
        assert found[name].dtype == value.dtype
        assert torch.equal(found[name].to(torch.complex64), value.detach().to(torch.complex64))
    if kind != "safetensors":
        assert found["transposed"].stride() == (1, 6)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_every_pickle_protocol_is_read(tmp_path: Path, protocol: int):
    torch.save({"state_dict": nn.Linear(2, 3).state_dict(), "é": {1, 2}}, tmp_path / "a.pt", pickle_protocol=protocol)
    assert set(read_weights(tmp_path / "a.pt").tensors) == {"weight", "bias"}


@pytest.mark.parametrize("kind", ["zip", "legacy"])
def test_what_checkpoints_hold_beside_their_weights_does_not_matter(tmp_path: Path, kind: str):
    network = nn.Linear(2, 2)
    optimizer = torch.optim.Adam(network.parameters())
    network(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    content = {
        "epoch": 3, "best": np.float64(0.5), "folder": Path("runs"), "options": SimpleNamespace(rate=0.1),
        "curve": np.arange(3.0), "device": torch.device("cpu"), "shape": torch.Size([2, 3]), "big": 1 << 70,
        "optimizer": optimizer.state_dict(), "state_dict": network.state_dict(), "bytes": b"\x00\xff", "set": {1.5},
    }  # fmt: skip
    save(kind, content, tmp_path / "a.pt")
    found = read_weights(tmp_path / "a.pt").tensors
    assert set(found) == {"weight", "bias"}
    assert torch.equal(found["weight"], network.weight)


@pytest.mark.parametrize("kind", ["zip", "legacy"])
def test_tensors_from_a_gpu_are_read_on_the_cpu(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.serialization, "location_tag", lambda storage: "cuda:0")
    save(kind, {"a": torch.arange(3.0)}, tmp_path / "a.pt")
    assert b"cuda:0" in (tmp_path / "a.pt").read_bytes()
    assert read_weights(tmp_path / "a.pt").tensors["a"].tolist() == [0, 1, 2]


class Normalise(nn.Module):
    """A module with a parameter, a buffer and one that its state dict leaves out."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.full((2,), 2.0))
        self.register_buffer("mean", torch.ones(2))
        self.register_buffer("cache", torch.zeros(2), persistent=False)
        self.register_parameter("absent", None)
        self.eps = 1e-3
        self.inside = nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.BatchNorm2d(2)), nn.ReLU())


@pytest.mark.parametrize("kind", ["zip", "legacy"])
@pytest.mark.parametrize("wrap", [lambda network: network, lambda network: {"epoch": 1, "model": network}])
@pytest.mark.filterwarnings("ignore:Couldn't retrieve source code")
def test_a_whole_network_is_read_as_its_state_dict(tmp_path: Path, kind: str, wrap: Callable):
    network = Normalise()
    save(kind, wrap(network), tmp_path / "a.pt")
    found = read_weights(tmp_path / "a.pt")
    expected = network.state_dict()
    assert list(found.tensors) == list(expected)
    assert all(torch.equal(value, expected[name]) for name, value in found.tensors.items())
    assert list(found.layers) == [name for name, _ in network.named_modules()]
    assert found.layers[""].kind.endswith("Normalise")
    assert found.layers[""].settings["eps"] == 1e-3
    assert found.layers["inside.1.0"].settings["num_features"] == 2


@pytest.mark.parametrize("content", [torch.zeros(3), {"epoch": 3}, {}, [torch.zeros(1)], nn.ReLU()])
def test_files_without_named_tensors_are_refused(tmp_path: Path, content: object):
    torch.save(content, tmp_path / "a.pth")
    with pytest.raises(InvalidFileError, match=r"a\.pth cannot be read as weights: it holds no state dict"):
        read_weights(tmp_path / "a.pth")


def test_odd_state_dicts_are_refused(tmp_path: Path):
    looped: dict[str, object] = {}
    looped["model"] = looped
    for number, content in enumerate([looped, {1: torch.zeros(2)}, {"model": {"model": {"a": 1}}}]):
        torch.save(content, tmp_path / f"{number}.pth")
        with pytest.raises(InvalidFileError, match=rf"{number}\.pth .*it holds no state dict"):
            read_weights(tmp_path / f"{number}.pth")


ODD: dict[str, Callable[[], Tensor]] = {
    "sparse": lambda: torch.eye(2).to_sparse(),
    "quantised": lambda: torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8),
    "meta": lambda: torch.zeros(2, device="meta"),
}


@pytest.mark.parametrize("kind", ODD)
@pytest.mark.filterwarnings("ignore:.*quantize")
def test_tensors_that_are_no_plain_numbers_are_named(tmp_path: Path, kind: str):
    torch.save({"a": torch.ones(1), "b.weight": ODD[kind]()}, tmp_path / "a.pth")
    with pytest.raises(InvalidFileError, match=r"a\.pth.*`b\.weight` is not a plain tensor \(torch\._utils\._rebuild"):
        read_weights(tmp_path / "a.pth")


@pytest.mark.filterwarnings("ignore:.*torch.jit")
def test_a_torchscript_program_is_named(tmp_path: Path):
    stream = io.BytesIO()
    torch.jit.save(torch.jit.script(nn.Linear(2, 2)), stream)
    (tmp_path / "a.pt").write_bytes(stream.getvalue())
    with pytest.raises(InvalidFileError, match=r"a\.pt.*TorchScript"):
        read_weights(tmp_path / "a.pt")


def test_a_missing_file_is_reported(tmp_path: Path):
    with pytest.raises(MissingFileError, match=r"none\.pth"):
        read_weights(tmp_path / "none.pth")
