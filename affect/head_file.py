"""The heads' file: tensors with what is needed to rebuild them, in one safetensors file."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from safetensors.torch import load_file

from affect.errors import InvalidFileError
from affect.heads import JointHeads, SeparateHeads, create_heads
from affect.tensor_file import read_description, save_tensors

FORMAT: Final = "mt-emotieffnet-heads/1"


@dataclass(frozen=True)
class HeadsSpec:
    """How heads were built and which features they belong to.

    Attributes:
        network: `separate`, `slice` or `joint`.
        inputs: What they see: `features`, `outputs` or `both`.
        num_features: Width of the pooled features.
        num_outputs: Width of the backbone's outputs that follow them.
        num_hidden: Width of the action units' hidden layer.
        features_from: SHA-256 of the backbone file that the features come from.
    """

    network: str
    inputs: str
    num_features: int
    num_outputs: int
    num_hidden: int
    features_from: str


def save_heads(path: str | Path, heads: SeparateHeads | JointHeads, spec: HeadsSpec) -> None:
    """Write heads atomically."""
    save_tensors(path, heads, FORMAT, asdict(spec))


def load_heads(path: str | Path) -> tuple[SeparateHeads | JointHeads, HeadsSpec]:
    """Rebuild heads from their file, in evaluation mode.

    Raises:
        MissingFileError: If there is no such file.
        InvalidFileError: If it is not a heads file, or its tensors do not fit what it says.
    """
    fields = read_description(path, FORMAT, "`make mtl` writes one to runs/mtl/latest/")
    spec = HeadsSpec(**fields)
    heads = create_heads(spec.network, spec.inputs, spec.num_features, spec.num_outputs, spec.num_hidden)
    try:
        heads.load_state_dict(load_file(path))
    except RuntimeError as error:
        raise InvalidFileError(f"{path} does not hold the heads that it describes: {error}") from error
    return heads.eval(), spec
