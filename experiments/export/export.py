"""Write a network for use without this suite: an ONNX file and a model card.

    python -m experiments.export run=RUN | backbone=NETWORK [key=value ...]

A run of stage 1 or 3, or `backbone=`, gives the network alone; a run of stage 2 the whole system of single frames. The
file gets its name only after ONNX Runtime has given PyTorch's values on probe images.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from rich.table import Table
from torch import Tensor, nn

from affect.errors import MissingFileError, UserError
from affect.networks.engines import probe_batch
from affect.networks.onnx_encoder import onnx_is_installed
from affect.networks.onnx_file import OPSET, write_onnx
from affect.storage.atomic_write import atomic_path, write_json, write_text
from affect.storage.fingerprint import file_digest
from experiments.export.emotiefflib import EmotiEffLibNetwork
from experiments.export.model_card import describe_model, markdown
from experiments.export.system import System, load_system
from experiments.runtime.command_line import run_experiment
from experiments.runtime.config.options import ConfigError, option
from experiments.runtime.provenance import describe_environment
from experiments.runtime.run_folder import FINISHED, RunFolder, link_latest

FORMAT: Final = "mt-emotieffnet-onnx/1"
TOLERANCE: Final = 1e-5
"""Largest accepted difference from PyTorch, times the largest value of an output if that exceeds 1."""
_log = logging.getLogger(__name__)


class ExportError(UserError):
    """What was exported does not give the network's values; no file is written."""


@dataclass
class ExportConfig:
    """Options of the command."""

    run: str | None = option(None, "finished run of stage 1, 2 or 3", path=True)
    backbone: str | None = option(None, "in place of run=: a backbone file or a run folder of stage 1", path=True)
    input: str = option(
        "uint8", "input of the graph: uint8 RGB images (B, S, S, 3), or float: normalised images (B, 3, S, S)",
        choices=("uint8", "float"),
    )  # fmt: skip
    format: str = option(
        "onnx", "layout of the file: onnx, or emotiefflib for that package's recogniser (the network alone)",
        choices=("onnx", "emotiefflib"),
    )  # fmt: skip
    output: str | None = option(
        None, "ONNX file to write, with the card beside it; null: model.onnx in a new run folder", path=True
    )
    output_dir: str = option("runs", "folder in which run folders are created", path=True)


def export(config: ExportConfig) -> Path:
    """Write the files and return the path of the ONNX file.

    Raises:
        ConfigError: If the options contradict each other, or the layout cannot hold the network.
        ExportError: If ONNX Runtime gives other values than PyTorch.
        StorageError: If a file cannot be written.
    """
    if not onnx_is_installed():
        raise MissingFileError("export needs extra packages: pip install '.[export]'")
    system = load_system(config.run, config.backbone)
    network, name, metadata = build(system, config)
    if config.output:
        path = Path(config.output)
        write_checked(network, system.spec.image_size, path, metadata)
        write_card(path, system, metadata)
    else:
        place = RunFolder(config.output_dir, "export", None, is_first=True)
        try:
            path = place.path / f"{name}.onnx"
            write_checked(network, system.spec.image_size, path, metadata)
            write_card(path, system, metadata)
            write_json(place.path / FINISHED, {**describe_environment(0, "cpu"), "digests": system.digests})
            link_latest(place.path)
        finally:
            place.remove_if_useless()
            place.release()
    for part in system.left_out:
        _log.warning("not in the graph: %s", part)
    _log.info(summary_table(path, metadata))
    return path


def build(system: System, config: ExportConfig) -> tuple[nn.Module, str, dict[str, Any]]:
    """Return the network to export, the name of its file, and its metadata.

    Raises:
        ConfigError: If emotiefflib cannot use the network.
    """
    spec, calibrator = system.spec, system.calibrator
    metadata: dict[str, Any] = {
        "format": FORMAT,
        "architecture": spec.architecture,
        "input": {
            "name": "image", "type": "uint8", "layout": "NHWC", "colour": "RGB", "size": spec.image_size,
            "range": "0 to 255; the graph normalises", "resize": "antialiased bilinear",
        },
        "mean": spec.mean, "std": spec.std, "opset": OPSET, "sha256": system.digests,
        "left_out": system.left_out, "smoothing": system.smoothing,
    }  # fmt: skip
    normalised = {"type": "float32", "layout": "NCHW", "range": "normalised: (value / 255 - mean) / std"}
    if config.format == "emotiefflib":
        if system.heads is not None:
            raise ConfigError("format=emotiefflib holds a network alone; give backbone= or a run of stage 1")
        flat = EmotiEffLibNetwork(system.backbone, spec).eval()
        metadata["input"] |= {**normalised, "name": "input", "normalised_by": "emotiefflib"}
        metadata["outputs"] = {"output": flat.columns}
        return flat, flat.name, metadata
    network = system.network(config.input == "uint8")
    if config.input == "float":
        metadata["input"] |= normalised
    metadata["outputs"] = network.outputs
    if system.heads is not None:
        units, expressions = network.outputs["action_units"], network.outputs["expression"]
        metadata["thresholds"] = dict(zip(units, calibrator.thresholds, strict=True))
        metadata["log_bias"] = dict(zip(expressions, calibrator.log_bias, strict=True))
    return network, "model", metadata


def write_checked(network: nn.Module, image_size: int, path: Path, metadata: Mapping[str, Any]) -> None:
    """Export atomically; the file gets its name once ONNX Runtime has given PyTorch's values.

    Raises:
        ExportError: If a value differs by more than TOLERANCE.
        StorageError: If the file cannot be written.
    """
    image = probe_batch(image_size)
    if metadata["input"]["type"] == "uint8":
        image = (image * 64 + 128).clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous()
    with atomic_path(path) as temporary:
        write_onnx(network, image, temporary, metadata["input"]["name"], list(metadata["outputs"]), metadata)
        compare(network, image, temporary, list(metadata["outputs"]))


def compare(network: nn.Module, image: Tensor, file: Path, names: Sequence[str]) -> None:
    """Compare an exported file with its network on images, one by one and as a batch."""
    import onnxruntime

    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    (entry,) = session.get_inputs()
    with torch.inference_mode():
        expected = network(image)
    expected = expected if isinstance(expected, tuple) else (expected,)
    pixels = image.numpy()
    whole = session.run(None, {entry.name: pixels})
    rows = [session.run(None, {entry.name: row[None]}) for row in pixels]
    single = [np.concatenate(parts) for parts in zip(*rows, strict=True)]
    for name, wanted, *found in zip(names, expected, whole, single, strict=True):
        if name == "action_unit_decisions":
            continue  # follow from the probabilities; at a threshold the last bit decides
        for values in found:
            difference = _difference(wanted.numpy(), values)
            if not difference <= TOLERANCE:
                raise ExportError(
                    f"{file.name}: output {name} of ONNX Runtime differs from PyTorch's by {difference:.1e}, more than "
                    f"{TOLERANCE:.0e}; no file is written"
                )


def _difference(wanted: NDArray, found: NDArray) -> float:
    return float(np.abs(wanted - found).max(initial=0) / max(1.0, float(np.abs(wanted).max(initial=0))))


def write_card(path: Path, system: System, metadata: Mapping[str, Any]) -> None:
    """Write the model card beside the file, as JSON and as Markdown."""
    card = describe_model(system, {**metadata, "file": path.name, "file_sha256": file_digest(path)})
    write_json(path.with_name(f"{path.stem}_card.json"), card)
    write_text(path.with_name(f"{path.stem}_card.md"), markdown(card))


def summary_table(path: Path, metadata: Mapping[str, Any]) -> Table:
    """Build a table of what a file takes and gives."""
    table = Table("", "", title=str(path), title_justify="left", show_header=False)
    given = metadata["input"]
    table.add_row("network", str(metadata["architecture"]))
    table.add_row("input", f"{given['name']}: {given['type']} {given['layout']} {given['colour']}, {given['size']} px")
    for name, columns in metadata["outputs"].items():
        table.add_row(name, columns if isinstance(columns, str) else ", ".join(columns) or "pooled features")
    table.add_row("left out", "; ".join(metadata["left_out"]) or "nothing")
    table.add_row("opset", str(metadata["opset"]))
    return table


def main() -> None:
    """Run from the command line."""
    run_experiment(ExportConfig, "export", export, default_recipe=None)
