"""The backbone file: a network's tensors with what is needed to use them, in one safetensors file.

Every stage reads it and none needs the code that trained it.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import torch

from affect.errors import InvalidFileError, InvalidOptionError
from affect.networks.backbone import Backbone
from affect.storage.json_file import json_content
from affect.storage.safetensors_file import fill_module, read_description, save_tensors

FORMAT: Final = "mt-emotieffnet-backbone/1"
MAX_IMAGE_SIZE: Final = 1 << 14


@json_content
@dataclass(frozen=True)
class BackboneSpec:
    """Architecture, inputs and outputs of a network.

    Attributes:
        architecture: timm name of the encoder.
        image_size: Side of the square input in pixels, 1 to MAX_IMAGE_SIZE.
        mean: Channel means for normalisation, three numbers in [0, 1], RGB.
        std: Channel standard deviations for normalisation, three numbers in (0, 1], RGB.
        expressions: Names of the first outputs, logits, in order; empty without any.
        outputs: Names of all outputs in order: the expressions, then for instance Valence and Arousal.
        notes: Anything else worth keeping (recipe, figures reached); plain JSON values.

    Raises:
        ValueError: If a value is out of range, two outputs have one name, or the expressions are not the first outputs.
    """

    architecture: str
    image_size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    expressions: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    notes: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not 1 <= self.image_size <= MAX_IMAGE_SIZE:
            raise ValueError(f"image_size must lie between 1 and {MAX_IMAGE_SIZE}, got {self.image_size}")
        if len(self.mean) != 3 or not all(0 <= value <= 1 for value in self.mean):
            raise ValueError(f"mean must be three numbers in [0, 1], got {self.mean}")
        if len(self.std) != 3 or not all(0 < value <= 1 for value in self.std):
            raise ValueError(f"std must be three numbers in (0, 1], got {self.std}")
        if len(set(self.outputs)) != len(self.outputs) or not all(self.outputs):
            raise ValueError(f"outputs must have a name each, no two alike, got {self.outputs}")
        if tuple(self.outputs[: len(self.expressions)]) != tuple(self.expressions):
            raise ValueError(f"expressions {self.expressions} are not the first of the outputs {self.outputs}")


def save_backbone(path: str | Path, backbone: Backbone, spec: BackboneSpec, dtype: torch.dtype | None = None) -> None:
    """Write a network atomically.

    Args:
        path: File to write, `.safetensors`.
        backbone: The network; its outputs must be those that `spec` names.
        spec: What the file says of it.
        dtype: Store floating-point tensors in this type (float16 halves the file); by default as they are.

    Raises:
        ValueError: If the spec names another number of outputs than the network has.
    """
    if len(spec.outputs) != backbone.num_outputs:
        raise ValueError(f"the spec names {len(spec.outputs)} outputs, the network has {backbone.num_outputs}")
    save_tensors(path, backbone, FORMAT, asdict(spec), dtype)


def read_spec(path: str | Path) -> BackboneSpec:
    """Read what a backbone file says of its network, without reading the tensors.

    Raises:
        MissingFileError: If there is no such file.
        InvalidFileError: If it is not a backbone file of this format, or its description is out of range.
    """
    return read_description(path, BackboneSpec, FORMAT, "`make pretrain` writes one to runs/pretrain/latest/")


def load_backbone(path: str | Path) -> tuple[Backbone, BackboneSpec]:
    """Rebuild a network from its file, in float32, on the CPU and in evaluation mode.

    Raises:
        MissingFileError: If there is no such file.
        InvalidFileError: If it is not a backbone file, timm does not know its architecture, or its tensors do not fit
            that or are no finite floating-point numbers.
    """
    spec = read_spec(path)
    try:
        backbone = Backbone(spec.architecture, len(spec.outputs))
    except InvalidOptionError as error:
        raise InvalidFileError(f"{path}: {error}") from error
    fill_module(backbone, path, spec.architecture)
    return backbone.eval(), spec
