"""The faces of stage 3 before training: as they are, plainly enlarged, or upscaled with Real-ESRGAN."""

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Final

from experiments.config import TrainerConfig
from experiments.synthetic_config import PreparationConfig
from experiments.upscaling import upscale_tree

METHODS: Final = ("real-esrgan", "lanczos", "none")


def prepare_faces(source: Path, config: PreparationConfig, trainer: TrainerConfig) -> Path:
    """Return the folder of prepared faces: the source itself, or its enlarged copy, made where it is missing.

    Raises:
        ValueError: If the method is unknown.
    """
    if config.method not in METHODS:
        raise ValueError(f"preparation.method must be one of {METHODS}, not {config.method!r}")
    if config.method == "none":
        return source
    options = config.upscaling
    if config.method == "lanczos":
        options = replace(options, engine="lanczos")
    # Made with other settings, a copy gets another place; from a changed source, the manifest tells, and it is redone.
    settings = (
        f"{source.resolve()} {options.engine} {options.weights} {options.outscale} {options.face_enhancer}"
    )
    name = f"{source.name}-{config.method}-{hashlib.sha256(settings.encode()).hexdigest()[:8]}"
    return upscale_tree(source, Path(config.folder) / name, replace(options, rebuild=True), trainer)
