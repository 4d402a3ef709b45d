import logging
import shutil
import warnings
from pathlib import Path

import pytest
import torch

from affect.networks.backbone import Backbone
from affect.networks.onnx_encoder import OnnxEncoder, cached_export, export_encoder, onnx_is_installed

pytestmark = pytest.mark.skipif(not onnx_is_installed(), reason="needs the extra `export`")


@pytest.fixture(scope="module")
def encoder() -> torch.nn.Module:
    torch.manual_seed(0)
    return Backbone("test_efficientnet.r160_in1k", 0).encoder.eval()


@pytest.fixture(scope="module")
def file(encoder: torch.nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_encoder(encoder, 64, tmp_path_factory.mktemp("onnx") / "encoder.onnx")


@pytest.mark.parametrize("batch", [1, 2, 7])
@pytest.mark.parametrize("num_threads", [1, 3])
def test_features_are_the_same(encoder: torch.nn.Module, file: Path, batch: int, num_threads: int) -> None:
    image = torch.randn(batch, 3, 64, 64).to(memory_format=torch.channels_last)
    with torch.inference_mode():
        expected = encoder(image)
    torch.testing.assert_close(OnnxEncoder(file, num_threads)(image), expected, rtol=1e-4, atol=1e-5)


def test_the_export_is_one_file_with_named_outputs_and_prints_nothing(
    encoder: torch.nn.Module, tmp_path: Path, capfd: pytest.CaptureFixture
) -> None:
    logging.getLogger("torch.onnx").setLevel(logging.NOTSET)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        file = export_encoder(encoder, 64, tmp_path / "encoder.onnx")
    assert logging.getLogger("torch.onnx").level == logging.ERROR
    assert capfd.readouterr() == ("", "")
    assert [path.name for path in tmp_path.iterdir()] == ["encoder.onnx"]
    session = OnnxEncoder(file).session
    assert [value.name for value in (*session.get_inputs(), *session.get_outputs())] == ["image", "feature"]


def test_the_number_of_threads_does_not_change_a_bit(file: Path) -> None:
    image = torch.randn(12, 3, 64, 64)
    assert torch.equal(OnnxEncoder(file, 1)(image), OnnxEncoder(file, 4)(image))


def test_a_cached_export_is_exported_anew_only_if_absent_or_damaged(
    encoder: torch.nn.Module, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []

    def export(network: torch.nn.Module, size: int, path: Path) -> None:
        assert (network, size) == (encoder, 64)
        shutil.copy(file, path)

    monkeypatch.setattr("affect.networks.onnx_encoder.export_encoder", export)
    path = tmp_path / "new" / "encoder.onnx"
    image = torch.randn(2, 3, 64, 64)
    expected = OnnxEncoder(file)(image)

    def open_cache() -> str:
        assert torch.equal(OnnxEncoder(cached_export(encoder, 64, path, said.append))(image), expected)
        return said.pop() if said else ""

    assert open_cache() == "exporting the encoder to ONNX"
    assert open_cache() == ""
    flipped = bytearray(path.read_bytes())
    flipped[len(flipped) // 2] ^= 0x40  # within the weights: ONNX Runtime would take it
    for damaged in (bytes(flipped), b"", path.read_bytes()[:1000]):
        path.write_bytes(damaged)
        assert f"{path} is damaged" in open_cache()
        assert open_cache() == ""
    path.with_suffix(".sha256").unlink()
    assert "is damaged or has no digest" in open_cache()


def test_each_thread_of_the_pool_computes_alone_and_quietly(file: Path) -> None:
    encoder = OnnxEncoder(file)
    options = encoder.session.get_session_options()
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (1, 1)
    assert options.log_severity_level == 3
    assert encoder.session.get_providers() == ["CPUExecutionProvider"]
    assert encoder.num_threads == encoder.pool._max_workers == torch.get_num_threads()
