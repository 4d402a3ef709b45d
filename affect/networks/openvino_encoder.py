"""An exported encoder in OpenVINO: as fast as ONNX Runtime; in bfloat16 faster where the processor has that."""

import importlib
import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from affect.errors import InvalidOptionError
from affect.networks.batch_slices import cut_to_cache

_HINTS: Final = {"float32": "f32", "bfloat16": "bf16"}


def openvino_is_installed() -> bool:
    """Return whether the optional package is there (`pip install .[openvino]`)."""
    return importlib.util.find_spec("openvino") is not None


def has_bfloat16() -> bool:
    """Return whether OpenVINO computes in bfloat16 on this processor; elsewhere it falls back to float32 silently."""
    return "BF16" in _openvino().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


class OpenVinoEncoder:
    """Run an exported encoder on the CPU; each core takes a few images at a time.

    Args:
        path: The ONNX file.
        precision: `float32`, or `bfloat16` where the processor has it.
        num_threads: Cores to use; by default as many as PyTorch.

    Raises:
        InvalidOptionError: If the processor does not compute in the precision.
        RuntimeError: If OpenVINO cannot open the file.
    """

    def __init__(self, path: str | Path, precision: str = "float32", num_threads: int | None = None) -> None:
        openvino = _openvino()
        if precision != "float32" and not has_bfloat16():
            raise InvalidOptionError(f"OpenVINO does not compute in {precision} on this processor; use float32")
        self.num_threads = num_threads or torch.get_num_threads()
        self.network = openvino.Core().compile_model(
            os.fspath(path), "CPU",
            {
                "INFERENCE_PRECISION_HINT": _HINTS[precision],
                "INFERENCE_NUM_THREADS": self.num_threads, "NUM_STREAMS": self.num_threads,
            },
        )  # fmt: skip
        self._requests = openvino.AsyncInferQueue(self.network, self.num_threads)
        self._requests.set_callback(_keep_output)

    def __call__(self, image: Tensor) -> Tensor:
        """Compute features (B, D), float32, of normalised images (B, 3, H, W)."""
        slices = cut_to_cache(image.contiguous(), self.num_threads)
        features: list[Any] = [None] * len(slices)
        for place, part in enumerate(slices):
            self._requests.start_async({0: part.numpy()}, (features, place))
        self._requests.wait_all()
        return torch.from_numpy(np.concatenate(features))


def _keep_output(request: Any, place: tuple[list[Any], int]) -> None:
    features, row = place
    features[row] = request.get_output_tensor(0).data.copy()  # the request is used again for the next slice


def _openvino() -> ModuleType:
    """Import OpenVINO without the usage report that it sends on import; it does without the package that sends it."""
    reporter = "openvino_telemetry"
    if reporter in sys.modules:
        return importlib.import_module("openvino")
    sys.modules[reporter] = None  # type: ignore[assignment]  # importing it fails, as if it were not installed
    try:
        return importlib.import_module("openvino")
    finally:
        del sys.modules[reporter]
