"""Tensors with a description of them in one safetensors file: what our own file formats have in common."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from affect.atomic import write_bytes
from affect.errors import InvalidFileError, MissingFileError


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


def read_description(path: str | Path, file_format: str, made_by: str) -> dict[str, Any]:
    """Read a file's description without its tensors.

    Args:
        path: The file.
        file_format: Name and version of the format, for instance `mt-emotieffnet-heads/1`.
        made_by: What makes such a file, for the error message.

    Raises:
        MissingFileError: If there is no such file.
        InvalidFileError: If it is not a file of this format.
    """
    path = Path(path)
    kind = file_format.removeprefix("mt-emotieffnet-").partition("/")[0]
    if not path.is_file():
        raise MissingFileError(f"no {kind} file at {path}; {made_by}")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
    except SafetensorError as error:
        raise InvalidFileError(f"{path} is not a whole safetensors file ({error})") from error
    if metadata.get("format") != file_format:
        raise InvalidFileError(
            f"{path} is not a {kind} file: its format is {metadata.get('format')!r}, not {file_format!r}"
        )
    return json.loads(metadata["spec"])
