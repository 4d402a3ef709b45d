"""Weights from elsewhere are data: tensors are read, nothing is ever unpickled into code."""

import pickle
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from affect.errors import InvalidFileError, MissingFileError
from affect.storage.tensor_file import unusable_tensors

_CONTAINERS = ("state_dict", "model_state_dict", "model", "params_ema", "params")
_CLASSIFIERS = ("classifier", "fc", "head")
_COUNTER = "num_batches_tracked"
"""BatchNorm's batch counter: without use where it has a momentum, absent or of any type in files from elsewhere."""


@dataclass(frozen=True)
class ImportReport:
    """What became of the tensors of a weights file.

    Attributes:
        loaded: Names in the network that were filled.
        ignored: Classifier tensors of the file; a new task has its own classifier.
        unexpected: Other tensors of the file that the network has no place for.
        missing: Names in the network that the file lacks.
        mismatched: Names whose shapes differ, with both shapes.
        unusable: Names of tensors that would silently become others, such as integers for weights, with the reason.
    """

    loaded: list[str] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    mismatched: list[str] = field(default_factory=list)
    unusable: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        parts = [f"{len(self.loaded)} tensors loaded"]
        for name in ("missing", "unexpected", "mismatched", "unusable", "ignored"):
            keys = getattr(self, name)
            if keys:
                parts.append(f"{len(keys)} {name} ({', '.join(keys[:5])}{', ...' if len(keys) > 5 else ''})")
        return "; ".join(parts)


def read_state_dict(path: str | Path) -> dict[str, Tensor]:
    """Read the tensors of a `.safetensors` file or of a `.pt`/`.pth`/`.ckpt` state dict.

    A state dict one level down, under the usual names (`state_dict`, `model`, ...), is found.

    Raises:
        MissingFileError: If there is no such file.
        InvalidFileError: If the file is no such thing, is truncated, or holds pickled objects instead of tensors.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingFileError(f"no weights file at {path}")
    if path.suffix == ".safetensors":
        try:
            return load_file(path)
        except (
            Exception
        ) as error:  # OSError, SafetensorError, or KeyError for a type that PyTorch does not have
            raise InvalidFileError(
                f"{path} is not a whole safetensors file ({error}); fetch or write it again"
            ) from error
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise InvalidFileError(
            f"{path} is no PyTorch file, or holds pickled objects, which could run code and are not loaded. In an "
            "environment where you trust the file, save `model.state_dict()` from it with torch.save, and use that."
        ) from error
    except Exception as error:  # a damaged file can fail in any way: OSError, KeyError, EOFError, ...
        raise InvalidFileError(
            f"{path} cannot be read as a PyTorch file ({error!r}); is it complete?"
        ) from error
    for _ in _CONTAINERS:  # so deep at most: a pickled dict can contain itself
        if not isinstance(content, dict):
            break
        inner = next((content[key] for key in _CONTAINERS if isinstance(content.get(key), dict)), None)
        if inner is None:
            break
        content = inner
    tensors = (
        {key: value for key, value in content.items() if isinstance(key, str) and isinstance(value, Tensor)}
        if isinstance(content, dict)
        else {}
    )
    if not tensors:
        raise InvalidFileError(f"{path} holds no state dict: expected names mapped to tensors")
    return tensors


def load_encoder_weights(encoder: nn.Module, path: str | Path) -> ImportReport:
    """Fill an encoder from a weights file of any task, whatever its wrapper (`module.`, `encoder.`, ...).

    Args:
        encoder: The network to fill, in place.
        path: A state dict or safetensors file, such as that of a face-identification network.

    Returns:
        The report; nothing is missing, mismatched or unusable in it.

    Raises:
        MissingFileError: If there is no such file.
        InvalidFileError: If any tensor of the encoder would stay unfilled, or be filled from integers, NaN or
            infinity; the report is in the message.
    """
    found = read_state_dict(path)
    wanted = encoder.state_dict()
    found = _strip_wrapper(found, set(wanted))
    report = ImportReport()
    usable: dict[str, Tensor] = {}
    for key, value in found.items():
        if key not in wanted:
            is_classifier = key.split(".")[0] in _CLASSIFIERS
            (report.ignored if is_classifier else report.unexpected).append(key)
        elif key.endswith(_COUNTER) and value.dtype != wanted[key].dtype:
            report.ignored.append(key)
        elif value.shape != wanted[key].shape:
            report.mismatched.append(f"{key} {tuple(value.shape)} for {tuple(wanted[key].shape)}")
        else:
            usable[key] = value
            report.loaded.append(key)
    report.missing.extend(key for key in wanted if key not in found and not key.endswith(_COUNTER))
    report.unusable.extend(unusable_tensors(usable, wanted))
    if report.unusable:
        raise InvalidFileError(
            f"{path} cannot fill this encoder: {report}. Save its weights as finite floating-point numbers"
        )
    if report.missing or report.mismatched:
        raise InvalidFileError(f"{path} does not fit this encoder: {report}. Is it of another architecture?")
    encoder.load_state_dict(usable, strict=False)
    return report


def _strip_wrapper(found: dict[str, Tensor], wanted: set[str]) -> dict[str, Tensor]:
    """Drop the common prefix under which most of the wanted names stand."""
    prefixes = {""}
    for key in found:
        parts = key.split(".")
        prefixes.update(".".join(parts[:depth]) + "." for depth in range(1, min(len(parts), 4)))
    best = max(sorted(prefixes), key=lambda prefix: sum(prefix + name in found for name in wanted))
    return {key.removeprefix(best): value for key, value in found.items()}
