"""Tensors that would silently become others when a network is filled with them."""

from collections.abc import Mapping

import torch
from torch import Tensor


def unusable_tensors(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> list[str]:
    """List tensors that PyTorch would copy into a network without an error, although their values would be wrong.

    Args:
        found: Tensors of a file.
        wanted: The network's own; names that only one side has are ignored.

    Returns:
        Sorted names with the reason: tensors of another kind than the network's (integers, booleans, less than 16 bits,
        quantised, sparse), NaN or infinity in the network's type, negative variances.
    """
    reasons = ((name, _fault(name, found[name], wanted[name])) for name in found.keys() & wanted.keys())
    return sorted(f"{name} {reason}" for name, reason in reasons if reason)


def _fault(name: str, found: Tensor, wanted: Tensor) -> str | None:
    kind, wanted_kind = (str(tensor.dtype).removeprefix("torch.") for tensor in (found, wanted))
    if found.layout != torch.strided or found.is_quantized or found.device.type == "meta":
        return f"is not a plain tensor ({kind}, {found.layout}, on {found.device})"
    if wanted.is_floating_point():
        if not found.is_floating_point() or found.element_size() < 2:
            return f"is {kind}, not floating-point numbers of 16 bits or more"
        values = found.to(wanted.dtype)
        if not bool(torch.isfinite(values).all()):
            return f"holds NaN or infinity as {wanted_kind}"
        if name.endswith("running_var") and bool((values < 0).any()):
            return "holds a negative variance"
    elif found.is_floating_point() or found.is_complex() or (found.dtype == torch.bool) != (wanted.dtype == torch.bool):
        return f"is {kind}, not {wanted_kind}"
    return None
