"""The heads' file: tensors with what is needed to rebuild them, in one safetensors file."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from affect.errors import InvalidFileError, InvalidOptionError
from affect.networks.heads import HEAD_INPUTS, NETWORKS, HeadNetwork, create_heads
from affect.storage.json_file import json_content
from affect.storage.safetensors_file import fill_module, read_description, save_tensors

FORMAT: Final = "mt-emotieffnet-heads/1"
MAX_WIDTH: Final = 1 << 15
"""More features, outputs or hidden units than this are no network's, and would not fit into memory."""


@json_content
@dataclass(frozen=True)
class HeadsSpec:
    """How heads were built and which features they belong to.

    Attributes:
        network: `separate`, `slice` or `joint`.
        inputs: What they see: `features`, `outputs` or `both`.
        num_features: Width of the pooled features.
        num_outputs: Width of the backbone's outputs that follow them.
        num_hidden: Width of the action units' hidden layer.
        features_from: SHA-256 of the backbone file that the features come from; for a second stream, its columns.

    Raises:
        ValueError: If the network or its inputs are unknown, or a width is out of range.
    """

    network: str
    inputs: str
    num_features: int
    num_outputs: int
    num_hidden: int
    features_from: str

    def __post_init__(self) -> None:
        if self.network not in NETWORKS or self.inputs not in HEAD_INPUTS:
            raise ValueError(
                f"network must be one of {tuple(NETWORKS)} and inputs one of {HEAD_INPUTS}, "
                f"got {self.network!r} and {self.inputs!r}"
            )
        widths = (self.num_features, self.num_outputs, self.num_hidden)
        if not all(0 <= width <= MAX_WIDTH for width in widths):
            raise ValueError(f"widths must lie between 0 and {MAX_WIDTH}, got {widths}")


def save_heads(path: str | Path, heads: HeadNetwork, spec: HeadsSpec) -> None:
    """Write heads atomically."""
    save_tensors(path, heads, FORMAT, asdict(spec))


def load_heads(path: str | Path) -> tuple[HeadNetwork, HeadsSpec]:
    """Rebuild heads from their file, in evaluation mode.

    Raises:
        MissingFileError: If there is no such file.
        InvalidFileError: If it is not a heads file, or its tensors do not fit its description or are no finite
            floating-point numbers.
    """
    spec = read_description(path, HeadsSpec, FORMAT, "`make mtl` writes one to runs/mtl/latest/")
    try:
        heads = create_heads(spec.network, spec.inputs, spec.num_features, spec.num_outputs, spec.num_hidden)
    except (ValueError, InvalidOptionError) as error:
        raise InvalidFileError(f"{path}: its description is damaged: {error}") from error
    fill_module(heads, path, "heads")
    return heads.eval(), spec
