from pathlib import Path

import pytest
import torch

from affect.backbones import Backbone
from affect.onnx_encoder import OnnxEncoder, export_encoder, onnx_is_installed

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


def test_the_number_of_threads_does_not_change_a_bit(file: Path) -> None:
    image = torch.randn(12, 3, 64, 64)
    assert torch.equal(OnnxEncoder(file, 1)(image), OnnxEncoder(file, 4)(image))
