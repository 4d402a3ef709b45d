"""Networks pickled by four generations of timm; `old_checkpoints/write.py` has written them."""

import importlib.util
import lzma
from pathlib import Path

import numpy as np
import pytest
import torch

from affect.networks.import_network import import_network

FOLDER = Path(__file__).with_name("old_checkpoints")
NAMES = sorted(path.name.removesuffix(".pt.xz") for path in FOLDER.glob("*.pt.xz"))


def example_images() -> torch.Tensor:
    spec = importlib.util.spec_from_file_location("write", FOLDER / "write.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.example_images()


def test_there_is_a_file_of_every_generation() -> None:
    assert NAMES == ["timm-0.4.12", "timm-0.4.12-legacy", "timm-0.6.13", "timm-0.9.16", "timm-1.0.31"]


@pytest.mark.parametrize("name", NAMES)
def test_the_features_are_those_of_the_network_that_was_saved(tmp_path: Path, name: str) -> None:
    path = tmp_path / f"{name}.pt"
    path.write_bytes(lzma.decompress((FOLDER / f"{name}.pt.xz").read_bytes()))
    backbone, spec = import_network(path, "test_efficientnet")
    expected = np.load(FOLDER / f"{name}.npz")
    images = example_images().double()
    backbone.double()
    with torch.inference_mode():
        feature, outputs = backbone.forward_features(images).numpy(), backbone(images).numpy()
    assert np.ptp(expected["feature"]) > 0.5
    assert np.ptp(expected["feature"], 0).max() > 0.1
    assert np.abs(feature - expected["feature"]).max() < 1e-5
    assert np.abs(outputs - expected["outputs"]).max() < 1e-5
    assert spec.outputs[-2:] == ("Valence", "Arousal")
