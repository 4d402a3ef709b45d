"""Tensors with a description of them in one safetensors file: what our own file formats have in common."""

import json
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor, nn

from affect.errors import InvalidFileError, MissingFileError
from affect.storage.atomic_write import write_bytes
from affect.storage.json_file import parse_json
from affect.storage.state_dict import unusable_tensors

Spec = TypeVar("Spec")


def save_tensors(
    path: str | Path,
    module: nn.Module,
    file_format: str,
    spec: dict[str, Any],
    dtype: torch.dtype | None = None,
) -> None:
    """Write a module's state with its description atomically.

    Args:
        path: File to write, `.safetensors`.
        module: What is saved.
        file_format: Name and version of the format.
        spec: What is needed to rebuild the module; plain JSON values.
        dtype: Store floating-point tensors in this type; by default as they are.
    """
    tensors: dict[str, Tensor] = {
        key: (value.to(dtype) if dtype and value.is_floating_point() else value).detach().cpu().contiguous()
        for key, value in module.state_dict().items()
    }
    write_bytes(path, save(tensors, metadata={"format": file_format, "spec": json.dumps(spec)}))


def read_description(path: str | Path, spec: type[Spec], file_format: str, made_by: str) -> Spec:
    """Read a file's description without its tensors.

    Args:
        path: The file.
        spec: Dataclass of the description, marked with `json_content`.
        file_format: Name and version of the format, for instance `mt-emotieffnet-heads/1`.
        made_by: What makes such a file, for the error message.

    Raises:
        MissingFileError: If there is no such file.
        InvalidFileError: If it is not a file of this format, or its description is incomplete or out of range.
    """
    path = Path(path)
    kind = file_format.removeprefix("mt-emotieffnet-").partition("/")[0]
    if not path.is_file():
        raise MissingFileError(f"no {kind} file at {path}; {made_by}")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise InvalidFileError(f"{path} is not a whole safetensors file ({error}); {made_by}") from error
    if metadata.get("format") != file_format:
        raise InvalidFileError(
            f"{path} is not a {kind} file: its format is {metadata.get('format')!r}, not {file_format!r}"
        )
    try:
        return parse_json(metadata.get("spec", ""), spec)
    except ValueError as error:
        raise InvalidFileError(f"{path}: its description is damaged: {error}; {made_by}") from error


def fill_module(module: nn.Module, path: str | Path, name: str) -> None:
    """Fill a module with a file's tensors.

    Args:
        module: The module, in place; floating-point tensors are converted to its type.
        path: A file whose description was read.
        name: What the file describes, for the error message.

    Raises:
        InvalidFileError: If the tensors do not fit, are integers where weights belong, or hold NaN or infinity.
    """
    try:
        tensors = load_file(path)
        if unusable := unusable_tensors(tensors, module.state_dict()):
            raise InvalidFileError(
                f"{path} holds unusable tensors: {'; '.join(unusable[:5])}; write the file again"
            )
        module.load_state_dict(tensors)
    except (SafetensorError, OSError) as error:
        raise InvalidFileError(f"{path} is not a whole safetensors file ({error}); write it again") from error
    except RuntimeError as error:
        raise InvalidFileError(f"{path} does not hold the {name} that it describes: {error}") from error
