"""Encoders are filled from weights files of other projects and tasks."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor, nn

from affect.errors import InvalidFileError
from affect.storage.checkpoints.read_weights import read_weights
from affect.storage.unusable_tensors import unusable_tensors

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
        prefix: What stands before the network's names in the file.
    """

    loaded: list[str] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    mismatched: list[str] = field(default_factory=list)
    unusable: list[str] = field(default_factory=list)
    prefix: str = ""

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
        path: Any file that `read_weights` takes, such as that of a face-identification network.

    Returns:
        The report; nothing is missing, mismatched or unusable in it.

    Raises:
        MissingFileError: If there is no such file.
        InvalidFileError: If any tensor of the encoder would stay unfilled, or be filled from integers, NaN or
            infinity; the report is in the message.
    """
    return fill_encoder(encoder, usual_names(read_weights(path).tensors), path)


def fill_encoder(encoder: nn.Module, found: Mapping[str, Tensor], path: str | Path) -> ImportReport:
    """Fill an encoder from tensors; arguments, result and errors as for `load_encoder_weights`."""
    report = match_tensors(found, encoder.state_dict())
    usable = {key: found[report.prefix + key if report.prefix + key in found else key] for key in report.loaded}
    report.unusable.extend(unusable_tensors(usable, encoder.state_dict()))
    if report.unusable:
        raise InvalidFileError(
            f"{path} cannot fill this encoder: {report}. Save its weights as finite floating-point numbers"
        )
    if report.missing or report.mismatched:
        raise InvalidFileError(f"{path} does not fit this encoder: {report}. Is it of another architecture?")
    encoder.load_state_dict(usable, strict=False)
    return report


def match_tensors(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> ImportReport:
    """Compare the names and shapes in a file with those of a network, whatever wrapper is around the names.

    Args:
        found: Tensors of the file.
        wanted: State of the network; it may be on the meta device.

    Returns:
        The report, whose names are those without the wrapper; nothing is looked for in the values.
    """
    prefix = wrapper_of(found, wanted)
    report = ImportReport(prefix=prefix)
    for name, value in found.items():
        key = name.removeprefix(prefix)
        if key not in wanted:
            is_classifier = key.split(".")[0] in _CLASSIFIERS
            (report.ignored if is_classifier else report.unexpected).append(key)
        elif key.endswith(_COUNTER) and value.dtype != wanted[key].dtype:
            report.ignored.append(key)
        elif value.shape != wanted[key].shape:
            report.mismatched.append(f"{key} {tuple(value.shape)} for {tuple(wanted[key].shape)}")
        else:
            report.loaded.append(key)
    present = {name.removeprefix(prefix) for name in found}
    report.missing.extend(key for key in wanted if key not in present and not key.endswith(_COUNTER))
    return report


def usual_names(found: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a file's tensors with the names that an architecture's other implementations have given to them.

    Some of MobileFaceNet have its last layers in a module of their own.
    """
    return {name.replace("output_layer.", "", 1): value for name, value in found.items()}


def wrapper_of(found: Mapping[str, Tensor], wanted: Collection[str]) -> str:
    """Return the common prefix under which most of the wanted names stand in a file, such as `module.`."""
    prefixes = {""}
    for key in found:
        parts = key.split(".")
        prefixes.update(".".join(parts[:depth]) + "." for depth in range(1, min(len(parts), 4)))
    return max(sorted(prefixes), key=lambda prefix: sum(prefix + name in found for name in wanted))
