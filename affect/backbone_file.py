"""The backbone file: a network's tensors with what is needed to use them, in one safetensors file.

Every stage reads it and none needs the code that trained it.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import torch
from safetensors.torch import load_file

from affect.backbones import Backbone
from affect.errors import InvalidFileError
from affect.tensor_file import read_description, save_tensors

FORMAT: Final = "mt-emotieffnet-backbone/1"


@dataclass(frozen=True)
class BackboneSpec:
    """How a network was built and what it expects and gives.

    Attributes:
        architecture: timm name of the encoder.
        image_size: Side of the square input in pixels.
        mean: Channel means for normalisation, in [0, 1], RGB.
        std: Channel standard deviations for normalisation, RGB.
        expressions: Names of the first outputs, logits, in order; empty without any.
        outputs: Names of all outputs in order: the expressions, then for instance Valence and Arousal.
        notes: Anything else worth keeping (recipe, figures reached); plain JSON values.
    """

    architecture: str
    image_size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    expressions: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    notes: Mapping[str, Any] = field(default_factory=dict)


def save_backbone(
    path: str | Path, backbone: Backbone, spec: BackboneSpec, dtype: torch.dtype | None = None
) -> None:
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
        raise ValueError(
            f"the spec names {len(spec.outputs)} outputs, the network has {backbone.num_outputs}"
        )
    save_tensors(path, backbone, FORMAT, asdict(spec), dtype)


def read_spec(path: str | Path) -> BackboneSpec:
    """Read what a backbone file says of its network, without reading the tensors.

    Raises:
        MissingFileError: If there is no such file.
        InvalidFileError: If it is not a backbone file of this format.
    """
    fields = read_description(path, FORMAT, "`make pretrain` writes one to runs/pretrain/latest/")
    for key in ("mean", "std", "expressions", "outputs"):
        fields[key] = tuple(fields[key])
    return BackboneSpec(**fields)


def load_backbone(path: str | Path) -> tuple[Backbone, BackboneSpec]:
    """Rebuild a network from its file, in float32, on the CPU and in evaluation mode.

    Raises:
        MissingFileError: If there is no such file.
        InvalidFileError: If it is not a backbone file, or its tensors do not fit the architecture it names.
    """
    spec = read_spec(path)
    backbone = Backbone(spec.architecture, len(spec.outputs))
    tensors = {
        key: value.float() if value.is_floating_point() else value for key, value in load_file(path).items()
    }
    try:
        backbone.load_state_dict(tensors)
    except RuntimeError as error:
        raise InvalidFileError(
            f"{path} does not hold the {spec.architecture} that it names: {error}"
        ) from error
    return backbone.eval(), spec


def file_digest(path: str | Path) -> str:
    """Give a file's SHA-256 in hexadecimal, the identity under which later stages record it."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
