import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from affect.errors import InvalidOptionError, MissingFileError
from affect.networks import engines
from affect.networks.backbone import Backbone
from affect.networks.engines import EngineError, open_engine, probe_batch, relative_deviation
from affect.networks.onnx_encoder import onnx_is_installed
from affect.networks.openvino_encoder import OpenVinoEncoder, has_bfloat16, openvino_is_installed
from tests.affect.networks.test_batch_norm_folding import trained

SIZE = 64
needs_onnx = pytest.mark.skipif(not onnx_is_installed(), reason="needs the extra `export`")
needs_openvino = pytest.mark.skipif(
    not (onnx_is_installed() and openvino_is_installed()), reason="needs the extras `export` and `openvino`"
)


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    torch.manual_seed(0)
    backbone = Backbone("test_efficientnet.r160_in1k", 0).eval()
    trained(backbone.encoder)
    return backbone


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Export once for all tests."""
    return tmp_path_factory.mktemp("cache")


@pytest.mark.parametrize(
    "choice",
    ["torch", pytest.param("onnx", marks=needs_onnx), pytest.param("openvino", marks=needs_openvino)],
)
@pytest.mark.parametrize("batch", [1, 7])
def test_every_engine_gives_the_encoders_features(backbone: Backbone, cache: Path, choice: str, batch: int) -> None:
    engine = open_engine(backbone, SIZE, cache, choice)
    assert (engine.name, engine.precision) == (choice, "float32")
    image = torch.randn(batch, 3, SIZE, SIZE).to(memory_format=torch.channels_last)
    with torch.inference_mode():
        torch.testing.assert_close(engine(image), backbone.forward_features(image), rtol=1e-4, atol=1e-5)
        probe = probe_batch(SIZE)
        assert engine.deviation == relative_deviation(backbone.encoder(probe), engine(probe)) < 1e-5


def only(monkeypatch: pytest.MonkeyPatch, *installed: str) -> None:
    monkeypatch.setattr(engines, "onnx_is_installed", lambda: "onnx" in installed)
    monkeypatch.setattr(engines, "openvino_is_installed", lambda: "openvino" in installed)


@needs_openvino
def test_auto_takes_the_first_that_is_installed_and_agrees(
    backbone: Backbone, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    open_engine(backbone, SIZE, cache, "onnx")
    assert open_engine(backbone, SIZE, cache, on_message=said.append).name == "onnx"
    assert open_engine(backbone, SIZE, cache, num_images=engines.EXPORT_PAYS_FROM).name == "onnx"
    assert open_engine(backbone, SIZE, cache, num_images=engines.EXPORT_PAYS_FROM - 1).name == "torch"
    assert said == []
    right = engines.OnnxEncoder

    def wrong(path: Path) -> object:
        encode = right(path)
        return lambda image: encode(image) * (1 + 2e-4)

    monkeypatch.setattr(engines, "OnnxEncoder", wrong)
    assert open_engine(backbone, SIZE, cache, on_message=said.append).name == "openvino"
    (message,) = said
    assert message.startswith("engine=onnx: its features in float32 deviate from PyTorch's by 2.0e-04")
    with pytest.raises(EngineError, match=r"deviate .* use engine=torch"):
        open_engine(backbone, SIZE, cache, "onnx")
    only(monkeypatch, "openvino")
    assert open_engine(backbone, SIZE, cache).name == "torch"


def test_features_that_are_no_numbers_do_not_pass_for_equal(
    backbone: Backbone, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    only(monkeypatch, "onnx")
    monkeypatch.setattr(engines, "cached_export", lambda encoder, size, path, on_message: path)
    monkeypatch.setattr(engines, "OnnxEncoder", lambda path: lambda image: torch.full((4, 256), torch.nan))
    assert open_engine(backbone, SIZE, cache, "auto").name == "torch"


def test_an_engine_that_is_not_installed_is_named(
    backbone: Backbone, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    only(monkeypatch)
    with pytest.raises(MissingFileError, match=r"pip install '\.\[export\]'"):
        open_engine(backbone, SIZE, cache, "onnx")
    with pytest.raises(MissingFileError, match=r"pip install '\.\[export,openvino\]'"):
        open_engine(backbone, SIZE, cache, "openvino")
    assert open_engine(backbone, SIZE, cache, "auto").name == "torch"
    with pytest.raises(ValueError, match="engine must be"):
        open_engine(backbone, SIZE, cache, "tpu")


class Undescribable(nn.Module):
    """Decides by values, which no exported graph can."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 4)

    def forward(self, image: Tensor) -> Tensor:
        pooled = image.mean((2, 3))
        return self.layer(pooled if pooled[0].sum() > 0 else -pooled)


@needs_onnx
def test_a_network_that_cannot_be_exported_runs_in_pytorch(backbone: Backbone, tmp_path: Path) -> None:
    network = Backbone(backbone.architecture, 0).eval()
    network.encoder = Undescribable()
    said: list[str] = []
    assert open_engine(network, 8, tmp_path, on_message=said.append).name == "torch"
    assert any("engine=onnx cannot run this network" in message for message in said)
    with pytest.raises(EngineError, match="engine=onnx cannot run this network"):
        open_engine(network, 8, tmp_path, "onnx")


def test_pytorch_in_bfloat16_is_near(backbone: Backbone, cache: Path) -> None:
    engine = open_engine(backbone, SIZE, cache, "torch", "bfloat16")
    assert engine(probe_batch(SIZE)).dtype == torch.float32
    assert 1e-4 < engine.deviation < engines.TOLERANCE["bfloat16"]
    with pytest.raises(EngineError, match="float32 only"):
        open_engine(backbone, SIZE, cache, "onnx", "bfloat16")


@needs_openvino
def test_openvino_in_bfloat16_is_near_or_refused(backbone: Backbone, cache: Path) -> None:
    if has_bfloat16():
        engine = open_engine(backbone, SIZE, cache, "openvino", "bfloat16")
        assert 1e-4 < engine.deviation < engines.TOLERANCE["bfloat16"]
    else:
        with pytest.raises(InvalidOptionError, match="does not compute in bfloat16 on this processor"):
            open_engine(backbone, SIZE, cache, "openvino", "bfloat16")
        assert open_engine(backbone, SIZE, cache, "auto", "bfloat16").name == "torch"


@needs_openvino
def test_the_number_of_threads_does_not_change_openvinos_features(backbone: Backbone, cache: Path) -> None:
    open_engine(backbone, SIZE, cache, "onnx")
    (path,) = cache.glob("*.onnx")
    image = torch.randn(12, 3, SIZE, SIZE)
    one, three = (OpenVinoEncoder(path, num_threads=number)(image) for number in (1, 3))
    torch.testing.assert_close(one, three, rtol=1e-5, atol=1e-6)


@needs_openvino
def test_openvino_reports_nothing_to_its_maker(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from affect.networks import openvino_encoder\n"
        "openvino_encoder.has_bfloat16()\n"
        "assert 'openvino' in sys.modules\n"
        "assert not any(name.startswith('openvino_telemetry') for name in sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={"HOME": str(tmp_path), "PYTHONPATH": "."})
    assert list(tmp_path.iterdir()) == []


def test_one_cached_file_per_network_and_size(
    backbone: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    only(monkeypatch, "onnx")
    asked: list[Path] = []

    def cached(encoder: nn.Module, size: int, path: Path, on_message: object) -> Path:
        asked.append(path)
        return path

    monkeypatch.setattr(engines, "cached_export", cached)
    for network, size in ((backbone, 64), (backbone, 96), (Backbone(backbone.architecture, 0).eval(), 64)):
        monkeypatch.setattr(engines, "OnnxEncoder", lambda path, network=network: network.encoder)
        open_engine(network, size, tmp_path / "cache", "auto")
        open_engine(network, size, tmp_path / "cache", "onnx")
    assert len(asked) == 6
    assert len(set(asked)) == 3
    assert {path.parent for path in asked} == {tmp_path / "cache"}
