import logging
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import timm
import torch
from torch import nn

from affect.errors import InvalidFileError
from affect.networks import find_architecture
from affect.networks.import_network import import_network
from affect.networks.mobilefacenet import MobileFaceNet

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.usefixtures("_few_candidates")]


@pytest.fixture
def _few_candidates(monkeypatch: pytest.MonkeyPatch) -> None:
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    monkeypatch.setattr(find_architecture, "CANDIDATES", [("test_efficientnet",), ("mobilefacenet",)])


def trained(network: nn.Module, size: int) -> nn.Module:
    """Give a network statistics and biases, so that nothing is folded to zero."""
    torch.manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d | nn.BatchNorm1d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.5, 0.5)
        elif isinstance(module, nn.PReLU):
            nn.init.uniform_(module.weight, 0.1, 0.4)
    network.train()
    with torch.no_grad():
        for _ in range(3):
            network(torch.randn(4, 3, size, size))
    return network.eval()


def export(network: nn.Module, size: int, path: Path, dynamo: bool) -> None:
    torch.onnx.export(
        network, (torch.zeros(2, 3, size, size),), path, dynamo=dynamo, external_data=False, input_names=["input"],
        output_names=["output"], verbose=False, **({} if dynamo else {"opset_version": 11}),
    )  # fmt: skip


@pytest.mark.parametrize("dynamo", [False, True], ids=["opset 11", "dynamo"])
@pytest.mark.parametrize("kind", ["timm", "mobilefacenet"])
def test_an_exported_network_is_imported_with_the_results_of_onnx_runtime(
    tmp_path: Path, kind: str, dynamo: bool
) -> None:
    network: nn.Module
    if kind == "timm":
        size, network = 64, timm.create_model("test_efficientnet", num_classes=10)
    else:
        size, network = 112, nn.Sequential(MobileFaceNet(), nn.Linear(512, 10))
    export(trained(network, size), size, tmp_path / "a.onnx", dynamo)
    names = [initializer.name for initializer in onnx.load(tmp_path / "a.onnx").graph.initializer]
    assert not any(name.endswith("bn1.running_var") for name in names)  # folded
    backbone, spec = import_network(tmp_path / "a.onnx")
    image = torch.randn(2, 3, size, size)
    (expected,) = onnxruntime.InferenceSession(tmp_path / "a.onnx").run(None, {"input": image.numpy()})
    with torch.inference_mode():
        assert np.abs(backbone(image).numpy() - expected).max() < 1e-4 * np.abs(expected).max()
    assert spec.outputs[-1] == "Arousal"


def test_an_exported_network_with_other_strides_is_refused(tmp_path: Path) -> None:
    network = timm.create_model("test_efficientnet", num_classes=8)
    network.blocks[1][0].conv_exp.stride = (1, 1)
    export(trained(network, 64), 64, tmp_path / "a.onnx", False)
    with pytest.raises(InvalidFileError, match=r"a\.onnx .*1\.0\.conv_exp has strides \[1, 1\], not \[2, 2\]"):
        import_network(tmp_path / "a.onnx", "test_efficientnet")


def test_weights_in_other_files_and_of_false_sizes_are_refused(tmp_path: Path) -> None:
    network = timm.create_model("test_efficientnet", num_classes=8).eval()
    export(network, 64, tmp_path / "a.onnx", False)
    model = onnx.load(tmp_path / "a.onnx")
    tensor = model.graph.initializer[0]
    tensor.dims[:] = [1 << 40]
    (tmp_path / "b.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(InvalidFileError, match=r"b\.onnx.*1099511627776 elements in"):
        import_network(tmp_path / "b.onnx", "test_efficientnet")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../etc/passwd")
    (tmp_path / "c.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(InvalidFileError, match=r"c\.onnx.*in another file, which is not opened"):
        import_network(tmp_path / "c.onnx", "test_efficientnet")
    (tmp_path / "d.onnx").write_bytes((tmp_path / "a.onnx").read_bytes()[:-5000])
    with pytest.raises(InvalidFileError, match=r"d\.onnx"):
        import_network(tmp_path / "d.onnx", "test_efficientnet")
