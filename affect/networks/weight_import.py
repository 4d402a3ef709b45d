"""Encoders are filled from weights files of other projects and tasks."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor, nn

from affect.errors import InvalidFileError
from affect.storage.state_dict import read_state_dict, unusable_tensors

_CLASSIFIERS = ("classifier", "fc", "head")
_COUNTER = "num_batches_tracked"
"""BatchNorm's batch counter: without use where it has a momentum, absent or of any type in files from elsewhere."""


@dataclass(frozen=True)
class ImportReport:
    """Use of the tensors of a weights file.

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
    return fill_encoder(encoder, _strip_wrapper(read_state_dict(path), set(encoder.state_dict())), path)


def fill_encoder(encoder: nn.Module, found: Mapping[str, Tensor], path: str | Path) -> ImportReport:
    """Fill an encoder from tensors under its names; arguments, result and errors as for `load_encoder_weights`."""
    wanted = encoder.state_dict()
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
