"""The heads' file: tensors with what is needed to rebuild them, in one safetensors file."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from affect.atomic import atomic_path
from affect.heads import JointHeads, SeparateHeads, create_heads

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
    tensors = {key: value.detach().cpu().contiguous() for key, value in heads.state_dict().items()}
    with atomic_path(path) as temporary:
        save_file(tensors, temporary, metadata={"format": FORMAT, "spec": json.dumps(asdict(spec))})


def load_heads(path: str | Path) -> tuple[SeparateHeads | JointHeads, HeadsSpec]:
    """Rebuild heads from their file, in evaluation mode.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not a heads file, or its tensors do not fit what it says.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no heads file at {path}; `make mtl` writes one to runs/mtl/latest/")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
    except SafetensorError as error:
        raise ValueError(f"{path} is not a whole safetensors file ({error})") from error
    if metadata.get("format") != FORMAT:
        raise ValueError(
            f"{path} is not a heads file: its format is {metadata.get('format')!r}, not {FORMAT!r}"
        )
    spec = HeadsSpec(**json.loads(metadata["spec"]))
    heads = create_heads(spec.network, spec.inputs, spec.num_features, spec.num_outputs, spec.num_hidden)
    try:
        heads.load_state_dict(load_file(path))
    except RuntimeError as error:
        raise ValueError(f"{path} does not hold the heads that it describes: {error}") from error
    return heads.eval(), spec
