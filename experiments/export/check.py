"""Check an exported file and show what it takes and gives.

python -m experiments.export.check file=FILE
"""

if __name__ == "__main__":  # before torch is imported
    from experiments.runtime.process_settings import prepare_process

    prepare_process()

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from affect.errors import InvalidFileError, MissingFileError
from experiments.export.export import FORMAT, summary_table
from experiments.runtime.command_line import run_experiment
from experiments.runtime.config.options import REQUIRED, option

_log = logging.getLogger("experiments.export.check")


@dataclass
class CheckConfig:
    """Options of the command."""

    file: str = option(REQUIRED, "ONNX file that `make export` wrote", path=True)


def check(config: CheckConfig) -> dict[str, Any]:
    """Check the graph against its description, and return the description.

    Raises:
        MissingFileError: If there is no such file.
        InvalidFileError: If it is damaged, was not written by `make export`, or gives other outputs than it says.
    """
    import onnx
    import onnxruntime

    path = Path(config.file)
    if not path.is_file():
        raise MissingFileError(f"no file {path}; `make export` writes one")
    try:
        onnx.checker.check_model(str(path), full_check=True)
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        entries = session.get_modelmeta().custom_metadata_map
        if entries.get("format") != FORMAT:
            raise ValueError(f"its format is {entries.get('format')!r}, not {FORMAT!r}")
        metadata = {key: json.loads(value) for key, value in entries.items() if key not in ("format", "architecture")}
        metadata["architecture"] = entries["architecture"]
        given, size = metadata["input"], metadata["input"]["size"]
        pixels = given["type"] == "uint8"
        zeros = np.zeros((3, size, size, 3) if pixels else (3, 3, size, size), np.uint8 if pixels else np.float32)
        found = dict(zip(metadata["outputs"], session.run(None, {given["name"]: zeros}), strict=True))
        for name, columns in metadata["outputs"].items():
            if len(found[name]) != 3 or (columns and found[name].shape[1] != len(columns)):
                raise ValueError(f"output {name} has the shape {found[name].shape}, not that of {columns}")
        table = summary_table(path, metadata)
    except Exception as error:  # onnx and onnxruntime raise errors without a common base class
        raise InvalidFileError(f"{path} is no intact file of `make export` ({error}); export again") from error
    _log.info(table)
    return metadata


def main() -> None:
    """Run from the command line."""
    run_experiment(CheckConfig, "export_check", check, default_recipe=None)


if __name__ == "__main__":
    main()
