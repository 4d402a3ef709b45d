"""Weights of an exported network in which BatchNorm is folded into convolutions and names are lost."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from affect.networks.backbone import create_encoder, native_image_size
from affect.networks.batch_norm_folding import norms_after
from affect.networks.weight_import import wrapper_of
from affect.storage.checkpoints.weights import Operation, Weights


def unfold(weights: Weights, architecture: str) -> tuple[dict[str, Tensor], list[str]]:
    """Give the layers of an ONNX file the names that they have in an architecture, in the order of computation.

    A BatchNorm that is folded away is filled so that it adds the convolution's bias and changes nothing else. Every
    layer's kind, shape, stride, padding, dilation and groups must be equal, and its name where the file has kept it.

    Args:
        weights: Content of the ONNX file.
        architecture: Name of the architecture.

    Returns:
        A state dict of the encoder, with the classifier if the file has one; and what does not fit.
    """
    encoder = create_encoder(architecture).eval()
    example = torch.zeros(1, 3, native_image_size(architecture), native_image_size(architecture))
    layers = _in_order(encoder, example)
    operations = list(weights.operations)
    if len(operations) - len(layers) not in (0, 1):
        return {}, [f"{len(operations)} layers for {len(layers)} and a classifier"]
    pairs = [*norms_after(nn.Conv2d, encoder, example), *norms_after(nn.Linear, encoder, example)]
    norms = {id(layer): name for layer, name in pairs}
    wanted = encoder.state_dict()
    prefix = wrapper_of(weights.tensors, wanted)
    state = {name: weights.tensors[prefix + name] for name in wanted if prefix + name in weights.tensors}
    used = {name for operation in operations for name in operation.names} | {prefix + name for name in state}
    faults = [
        f"{name} {tuple(value.shape)} is unexpected"
        for name, value in weights.tensors.items()
        if name not in used and value.is_floating_point() and value.numel() > 1
    ]
    for (name, layer), operation in zip(layers, operations[: len(layers)], strict=True):
        faults += [f"{name} {fault}" for fault in _differences(layer, operation)]
        known = operation.names[0].removeprefix(prefix)
        if known in wanted and known != f"{name}.weight":
            faults.append(f"{name} stands where {known} is computed")
        state[f"{name}.weight"] = operation.weight
        bias, norm = operation.bias, norms.get(id(layer))
        if norm is not None and f"{norm}.running_var" not in state:
            state.update(_folded_norm(norm, encoder.get_submodule(norm), bias))
        elif bias is not None:
            state[f"{name}.bias"] = bias
        elif f"{name}.bias" in wanted and operation.kind in ("Conv", "Gemm"):  # a bias of zeros is left out
            state.setdefault(f"{name}.bias", torch.zeros(len(operation.weight)))
    faults += [
        f"{name} is missing" for name in wanted if name not in state and not name.endswith("num_batches_tracked")
    ]
    faults += [f"{name} is unexpected" for name in state if name not in wanted]
    for operation in operations[len(layers) :]:
        state["classifier.weight"] = operation.weight
        if operation.bias is not None:
            state["classifier.bias"] = operation.bias
    return state, faults


def _in_order(encoder: nn.Module, example: Tensor) -> list[tuple[str, Any]]:
    order: list[tuple[str, Any]] = []
    handles = [
        module.register_forward_pre_hook(lambda module, inputs, name=name: order.append((name, module)))
        for name, module in encoder.named_modules()
        if isinstance(module, nn.Conv2d | nn.Linear | nn.PReLU)
    ]
    with torch.inference_mode():
        encoder(example)
    for handle in handles:
        handle.remove()
    return order


def _differences(layer: Any, operation: Operation) -> Iterator[str]:
    kind = {nn.Linear: ("Gemm", "MatMul"), nn.PReLU: ("PRelu",)}.get(type(layer), ("Conv",))
    if operation.kind not in kind:
        yield f"is computed by {operation.kind}"
    if operation.weight.shape != layer.weight.shape:
        yield f"has the shape {tuple(operation.weight.shape)}, not {tuple(layer.weight.shape)}"
    if isinstance(layer, nn.Conv2d):
        padding = [*layer.padding, *layer.padding]
        expected: dict[str, Any] = {
            "strides": layer.stride,
            "group": layer.groups,
            "dilations": layer.dilation,
            "pads": padding,
        }
        defaults: dict[str, Any] = {"strides": [1, 1], "group": 1, "dilations": [1, 1], "pads": [0, 0, 0, 0]}
        for setting, value in expected.items():
            found = operation.settings.get(setting, defaults[setting])
            if _as_list(found) != _as_list(value):
                yield f"has {setting} {_as_list(found)}, not {_as_list(value)}"
        if operation.settings.get("auto_pad", b"NOTSET") != b"NOTSET":
            yield "pads by itself"


def _as_list(value: int | Sequence[int]) -> list[int]:
    return [value] if isinstance(value, int) else list(value)


def _folded_norm(name: str, norm: Any, bias: Tensor | None) -> dict[str, Tensor]:
    """Return the state of a BatchNorm that adds a bias: mean 0, variance and epsilon together 1."""
    zeros = torch.zeros(norm.num_features)
    return {
        f"{name}.weight": torch.ones(norm.num_features),
        f"{name}.bias": zeros if bias is None else bias,
        f"{name}.running_mean": zeros,
        f"{name}.running_var": torch.full((norm.num_features,), 1 - norm.eps),
    }
