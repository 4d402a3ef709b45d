"""A module's tensors and their description in one safetensors file; the basis of the backbone and heads files."""

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
from affect.storage.unusable_tensors import unusable_tensors

Spec = TypeVar("Spec")


def save_tensors(
    path: str | Path,
    module: nn.Module,
    file_format: str,
    spec: dict[str, Any],
    dtype: torch.dtype | None = None,
) -> None:
    """Write a module's state with its description, atomically; the same state and description give the same bytes.

    Args:
        path: File to write, `.safetensors`.
        module: The module.
        file_format: Name and version of the format.
        spec: Description from which the module can be rebuilt; JSON values.
        dtype: Type of the stored floating-point tensors; None keeps their own.
    """
    tensors: dict[str, Tensor] = {
        key: (value.to(dtype) if dtype and value.is_floating_point() else value).detach().cpu().contiguous()
        for key, value in module.state_dict().items()
    }
    metadata = {"format": file_format, "spec": json.dumps(spec)}
    write_bytes(path, _with_sorted_metadata(save(tensors, metadata=metadata)))


def _with_sorted_metadata(content: bytes) -> bytes:
    """Sort the metadata in a file's header, which safetensors writes in an order that changes from run to run."""
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode().ljust(size)
    return b"".join((len(text).to_bytes(8, "little"), text, memoryview(content)[8 + size :]))


def read_description(path: str | Path, spec: type[Spec], file_format: str, made_by: str) -> Spec:
    """Read the description in a file without its tensors.

    Args:
        path: The file.
        spec: Dataclass of the description, marked with `json_content`.
        file_format: Name and version of the format, for instance `mt-emotieffnet-heads/1`.
        made_by: How such a file is made, for the error message.

    Raises:
        MissingFileError: If there is no such file.
        InvalidFileError: If it has another format, or its description is incomplete or has values out of range.
    """
    path = Path(path)
    kind = file_format.removeprefix("mt-emotieffnet-").partition("/")[0]
    if not path.is_file():
        raise MissingFileError(f"no {kind} file at {path}; {made_by}")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise InvalidFileError(f"{path} is not a complete safetensors file ({error}); {made_by}") from error
    if metadata.get("format") != file_format:
        raise InvalidFileError(
            f"{path} is not a {kind} file: its format is {metadata.get('format')!r}, not {file_format!r}"
        )
    try:
        return parse_json(metadata.get("spec", ""), spec)
    except ValueError as error:
        raise InvalidFileError(f"{path}: its description is damaged: {error}; {made_by}") from error


def fill_module(module: nn.Module, path: str | Path, name: str) -> None:
    """Load the tensors of a file into a module.

    Args:
        module: The module, changed in place; floating-point tensors are converted to its type.
        path: The file.
        name: Name of the network that the file describes, for the error message.

    Raises:
        InvalidFileError: If the tensors do not fit the module or are unusable (see `unusable_tensors`).
    """
    try:
        tensors = load_file(path)
        if unusable := unusable_tensors(tensors, module.state_dict()):
            raise InvalidFileError(f"{path} holds unusable tensors: {'; '.join(unusable[:5])}; write the file again")
        module.load_state_dict(tensors)
    except (SafetensorError, OSError) as error:
        raise InvalidFileError(f"{path} is not a complete safetensors file ({error}); write it again") from error
    except RuntimeError as error:
        raise InvalidFileError(f"{path} does not contain the {name} that it describes: {error}") from error
