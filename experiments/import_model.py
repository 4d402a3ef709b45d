"""Make a backbone file of another project's network, without running anything in its file.

    python -m experiments.import_model FILE [key=value ...]

FILE is a whole network or a state dict of torch.save, a Lightning checkpoint, safetensors, or ONNX.
"""

if __name__ == "__main__":  # before torch is imported
    from experiments.runtime.process_settings import prepare_process

    prepare_process()

import logging
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from affect.networks.backbone_file import MAX_IMAGE_SIZE, BackboneSpec, save_backbone
from affect.networks.import_network import Outputs, import_network
from experiments.runtime.command_line import run_experiment
from experiments.runtime.config.options import REQUIRED, ConfigError, option

_log = logging.getLogger("experiments.import_model")

FOLDER: Final = Path("runs/imported")
"""Where networks go without `output=`, each in a folder of its name."""


@dataclass
class ImportConfig:
    """Options of the command."""

    source: str = option(REQUIRED, "file of the network; may stand first, without `source=`", path=True)
    output: str | None = option(
        None, "backbone file to write; null: runs/imported/<name of the file>/backbone.safetensors", path=True
    )
    overwrite: bool = option(False, "replace the output if it exists")
    architecture: str = option(
        "auto", "timm name of the architecture, or mobilefacenet; auto: the one that the tensors fit"
    )
    expressions: list[str] | None = option(
        None, "names of its expressions in order; null: AffectNet's in alphabetical order (8), without Contempt (7)"
    )
    outputs: list[str] | None = option(
        None, "names of all its outputs in order, expressions first; null: the expressions, then Valence and Arousal"
    )
    classifier: bool = option(True, "keep its classifier; false: features only, for instance of a face network")
    image_size: int | None = option(
        None, "side of its images in pixels; null: the architecture's", ge=1, le=MAX_IMAGE_SIZE
    )
    mean: list[float] | None = option(
        None, "channel means that its images are normalised with; null: the architecture's", ge=0, le=1, length=3
    )
    std: list[float] | None = option(
        None, "channel standard deviations; null: the architecture's", gt=0, le=1, length=3
    )  # fmt: skip


def import_model(config: ImportConfig) -> tuple[Path, BackboneSpec]:
    """Import the network; return the file written, and what it says.

    Raises:
        ConfigError: If the output exists.
        UserError: As `import_network`.
    """
    output = Path(config.output or FOLDER / Path(config.source).stem / "backbone.safetensors")
    if output.exists() and not config.overwrite:
        raise ConfigError(f"{output} exists: give another output=, or overwrite=true")
    backbone, spec = import_network(
        config.source,
        config.architecture,
        Outputs(config.expressions, config.outputs, config.classifier),
        config.image_size,
        config.mean,
        config.std,
    )
    output.parent.mkdir(parents=True, exist_ok=True)
    save_backbone(output, backbone, spec)
    _log.info(
        "%s: %s, %d features, images of %d px normalised with mean %s and standard deviation %s, outputs: %s",
        output, spec.architecture, backbone.num_features, spec.image_size, list(spec.mean), list(spec.std),
        ", ".join(spec.outputs) or "none",
    )  # fmt: skip
    return output, spec


def main() -> None:
    """Run from the command line."""
    if len(sys.argv) > 1 and "=" not in sys.argv[1] and not sys.argv[1].startswith("-"):
        sys.argv[1] = f"source={sys.argv[1]}"
    run_experiment(ImportConfig, "import_model", import_model, default_recipe=None)


if __name__ == "__main__":
    main()
