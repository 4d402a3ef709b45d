"""The faces of stage 3 before training: as they are, plainly enlarged, or upscaled with Real-ESRGAN."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

from affect.errors import InvalidOptionError
from experiments.config import TrainerConfig
from experiments.synthetic_config import METHODS, PreparationConfig
from experiments.upscaling import build_upscaler, upscale_tree


def prepare_faces(source: Path, config: PreparationConfig, trainer: TrainerConfig) -> Path:
    """Return the folder of prepared faces: the source itself, or its enlarged copy, made where it is missing.

    Raises:
        InvalidOptionError: If the method is unknown.
    """
    if config.method not in METHODS:
        raise InvalidOptionError(f"preparation.method must be one of {METHODS}, not {config.method!r}")
    if config.method == "none":
        return source
    options = config.upscaling
    if config.method == "lanczos":
        options = replace(options, engine="lanczos")
    # The name tells the upscaler and the folder, so that copies made otherwise stand side by side; the manifest tells
    # whether the folder has changed since, and the copy is redone.
    upscaler = build_upscaler(options, trainer.accelerator)
    identity = json.dumps([str(source.resolve()), upscaler.describe()], sort_keys=True)
    name = f"{source.name}-{config.method}-{hashlib.sha256(identity.encode()).hexdigest()[:8]}"
    return upscale_tree(source, Path(config.folder) / name, replace(options, rebuild=True), trainer, upscaler)
