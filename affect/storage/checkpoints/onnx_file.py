"""Initialisers of an ONNX file, and the layers that compute with them; the graph is not run."""

import math
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from affect.errors import InvalidFileError, MissingFileError
from affect.storage.checkpoints.weights import Operation, Weights

_LAYERS: Final = ("Conv", "Gemm", "MatMul", "PRelu")


def read_onnx(path: Path) -> Weights:
    """Read the weights of an ONNX file.

    Raises:
        InvalidFileError: If it is damaged, or keeps its weights in other files.
        MissingFileError: If the package `onnx` is not installed.
    """
    try:
        import onnx
    except ImportError as error:
        raise MissingFileError(f"{path}: reading ONNX needs an optional package: pip install '.[export]'") from error
    try:
        graph = onnx.load(path, load_external_data=False).graph
    except Exception as error:  # protobuf's errors have no base class
        raise InvalidFileError(f"it is no complete ONNX file ({error!s:.100})") from error
    tensors = {initializer.name: _tensor(initializer) for initializer in graph.initializer}
    operations = []
    for node in graph.node:
        if node.op_type not in _LAYERS or len(node.input) < 2 or node.input[1] not in tensors:
            continue
        settings = {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}
        weight = tensors[node.input[1]]
        if node.op_type == "MatMul" or (node.op_type == "Gemm" and not settings.get("transB")):
            weight = weight.T
        elif node.op_type == "PRelu":
            weight = weight.flatten()
        bias = tensors.get(node.input[2]) if len(node.input) > 2 else None
        operations.append(Operation(node.op_type, tuple(node.input[1:3]), weight, bias, settings))
    return Weights(tensors, operations=tuple(operations))


def _tensor(initializer: Any) -> Tensor:
    """Return an initialiser; what `onnx` makes of it is no larger than the bytes that the file has for it."""
    from onnx import TensorProto, numpy_helper

    name = f"{initializer.name[:80]!r}"
    if initializer.data_location == TensorProto.EXTERNAL:
        raise InvalidFileError(f"its initialiser {name} is in another file, which is not opened; save it as one file")
    count = math.prod(initializer.dims)
    if not 0 <= count <= 8 * initializer.ByteSize():  # 4-bit types, and a byte at least for every other number
        raise InvalidFileError(f"its initialiser {name} has {count} elements in {initializer.ByteSize()} bytes")
    try:
        return torch.from_numpy(np.array(numpy_helper.to_array(initializer)))
    except Exception as error:  # of many kinds: ValueError, TypeError, KeyError
        raise InvalidFileError(f"its initialiser {name} is damaged ({error!s:.100})") from error
