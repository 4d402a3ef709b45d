"""State dicts from files of unknown origin: only tensors are read; pickled objects could run code and are refused."""

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch
from safetensors.torch import load_file
from torch import Tensor

from affect.errors import InvalidFileError, MissingFileError

_CONTAINERS: Final = ("state_dict", "model_state_dict", "model", "params_ema", "params")
"""Keys under which files keep a state dict beside other things, in order of preference."""


def read_state_dict(path: str | Path) -> dict[str, Tensor]:
    """Read the tensors of a `.safetensors` file, or of a state dict in a `.pt`, `.pth` or `.ckpt` file.

    The state dict may be nested under the usual keys (`state_dict`, `model`, ...).

    Raises:
        MissingFileError: If there is no such file.
        InvalidFileError: If the file has another format, is truncated, or holds pickled objects instead of tensors.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingFileError(f"no weights file at {path}")
    if path.suffix == ".safetensors":
        try:
            return load_file(path)
        except Exception as error:  # OSError, SafetensorError, or KeyError for a type that PyTorch does not have
            raise InvalidFileError(
                f"{path} is not a complete safetensors file ({error}); fetch or write it again"
            ) from error
    content = _innermost(_load_without_code(path))
    tensors = {key: value for key, value in content.items() if isinstance(key, str) and isinstance(value, Tensor)}
    if not tensors:
        raise InvalidFileError(f"{path} holds no state dict: expected a dictionary from names to tensors")
    return tensors


def _load_without_code(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise InvalidFileError(
            f"{path} is not a PyTorch file, or holds pickled objects, which could run code and are not loaded. In an "
            "environment where you trust the file, save `model.state_dict()` from it with torch.save, and use that."
        ) from error
    except Exception as error:  # a damaged file can fail in any way: OSError, KeyError, EOFError, ...
        raise InvalidFileError(f"{path} cannot be read as a PyTorch file ({error!r}); is it complete?") from error


def _innermost(content: Any) -> dict[Any, Any]:
    """Return the innermost dictionary under the usual keys; an empty one if the content is not a dictionary."""
    for _ in _CONTAINERS:  # a limit, since a pickled dictionary can contain itself
        if not isinstance(content, dict):
            return {}
        inner = next((content[key] for key in _CONTAINERS if isinstance(content.get(key), dict)), None)
        if inner is None:
            return content
        content = inner
    return content


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
