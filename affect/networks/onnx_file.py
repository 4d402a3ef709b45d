"""Networks as ONNX files: one file, any batch, with a description in the metadata and no trace of the machine."""

import copy
import json
import logging
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn

OPSET: Final = 18


def write_onnx(
    network: nn.Module,
    example: Tensor,
    path: str | Path,
    input_name: str,
    output_names: Sequence[str],
    metadata: Mapping[str, Any] | None = None,
) -> None:
    """Export a network to a path as it is given; callers make the write atomic.

    Args:
        network: In evaluation mode, on the CPU; it is not changed.
        example: An input of two or more images; the number of images stays open.
        path: File to write.
        input_name: Name of the input.
        output_names: Names of the outputs, in order.
        metadata: Entries of `metadata_props`: text as it is, other values as JSON.

    Raises:
        onnx.checker.ValidationError: If the graph is not valid ONNX.
    """
    import onnx

    network = copy.deepcopy(network).to(memory_format=torch.contiguous_format)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            network, (example,), dynamo=True, input_names=[input_name], output_names=list(output_names),
            dynamic_shapes=({0: torch.export.Dim("batch")},), opset_version=OPSET, verbose=False,
        )  # fmt: skip
    assert program is not None
    model = program.model_proto
    for part in (model.graph, *model.graph.node, *model.graph.value_info, *model.graph.input, *model.graph.output):
        del part.metadata_props[:]  # stack traces with the paths of this machine
    for node in model.graph.node:
        node.doc_string = ""
    onnx.helper.set_model_props(
        model,
        {key: value if isinstance(value, str) else json.dumps(value) for key, value in (metadata or {}).items()},
    )
    onnx.checker.check_model(model, full_check=True)
    Path(path).write_bytes(model.SerializeToString())
