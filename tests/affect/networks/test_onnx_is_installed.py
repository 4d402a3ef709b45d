"""Apart from the other tests of ONNX, which are skipped without the packages."""

import importlib.util

import pytest

from affect.networks.onnx_encoder import onnx_is_installed

PACKAGES = {"onnx", "onnxscript", "onnxruntime"}


@pytest.mark.parametrize("absent", [None, *sorted(PACKAGES)])
def test_all_three_packages_are_needed(absent: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name if name in PACKAGES - {absent} else None)
    assert onnx_is_installed() is (absent is None)
