"""Networks of other projects become backbones: the architecture is found by its tensors, and all of them must fit."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn

from affect.errors import InvalidFileError, InvalidOptionError
from affect.labels import BACKBONE_EXPRESSIONS, VALENCE_AROUSAL
from affect.networks.backbone import Backbone, input_statistics, native_image_size
from affect.networks.backbone_file import BackboneSpec
from affect.networks.find_architecture import find_architecture
from affect.networks.weight_import import ImportReport, fill_encoder, usual_names
from affect.storage.checkpoints.read_weights import read_weights
from affect.storage.fingerprint import file_digest
from affect.storage.unusable_tensors import unusable_tensors

EXPRESSIONS: Final[Mapping[int, tuple[str, ...]]] = {
    7: tuple(name for name in BACKBONE_EXPRESSIONS if name != "Contempt"),
    8: BACKBONE_EXPRESSIONS,
    10: BACKBONE_EXPRESSIONS,
}
"""Expressions of published networks by the number of their outputs; ten end with valence and arousal."""


@dataclass(frozen=True)
class Outputs:
    """What the outputs of a network are called; None means the published order for their number.

    Attributes:
        expressions: Names of the expressions in order.
        names: Names of all outputs in order; the expressions are the first ones.
        keep: Whether the classifier is wanted at all: without it, the network has features only.
    """

    expressions: Sequence[str] | None = None
    names: Sequence[str] | None = None
    keep: bool = True


def import_network(
    path: str | Path,
    architecture: str = "auto",
    outputs: Outputs = Outputs(),
    image_size: int | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> tuple[Backbone, BackboneSpec]:
    """Read a network of another project, without running anything in its file.

    Args:
        path: Any file that `read_weights` takes.
        architecture: A name that `Backbone` takes, or `auto`: the one whose names and shapes are those of the file.
        outputs: What its outputs are called.
        image_size: Side of its images in pixels; by default what the architecture was published for.
        mean: Channel means, in [0, 1], that its images are normalised with; by default the architecture's.
        std: Channel standard deviations, in (0, 1]; by default the architecture's.

    Returns:
        The network in evaluation mode, and its description for `save_backbone`; its notes have the file's name and
        SHA-256.

    Raises:
        MissingFileError: If there is no such file.
        InvalidFileError: If the file is damaged or refused, or any of its tensors, or of the network's, is left over.
        InvalidOptionError: If several architectures fit, the outputs need names, or a value is out of range.
    """
    weights = read_weights(path)
    weights = replace(weights, tensors=usual_names(weights.tensors))
    found = find_architecture(weights, architecture, path)
    classifier = _classifier(found.tensors, found.report, found.num_features, path) if outputs.keep else None
    num_outputs = 0 if classifier is None else len(classifier[0])
    expressions, names = _output_names(num_outputs, outputs, path)
    backbone = Backbone(found.architecture, num_outputs)
    fill_encoder(backbone.encoder, found.tensors, path)
    if classifier is not None:
        assert isinstance(backbone.classifier, nn.Linear)
        _fill_classifier(backbone.classifier, *classifier, path)
    default_mean, default_std = input_statistics(backbone.architecture)
    notes = {"imported_from": Path(path).name, "imported_sha256": file_digest(path)}
    try:
        spec = BackboneSpec(
            backbone.architecture,
            image_size or native_image_size(backbone.architecture),
            tuple(mean or default_mean),
            tuple(std or default_std),
            expressions,
            names,
            notes,
        )
    except ValueError as error:
        raise InvalidOptionError(f"{path} cannot be described so: {error}") from error
    return backbone.eval(), spec


def _classifier(
    tensors: Mapping[str, Tensor], report: ImportReport, num_features: int, path: Any
) -> tuple[Tensor, Tensor] | None:
    """Return weight and bias of the linear layer that is left when the encoder has its tensors; None without any.

    Raises:
        InvalidFileError: If something else is left.
    """
    rest = {
        key: tensors.get(report.prefix + key, tensors.get(key))
        for key in (*report.ignored, *report.unexpected)
        if not key.endswith("num_batches_tracked")
    }
    if not rest:
        return None
    weights = [key for key, value in rest.items() if value is not None and value.ndim == 2]
    name = weights[0].removesuffix("weight") if len(weights) == 1 and weights[0].endswith("weight") else None
    if name is not None and set(rest) <= {f"{name}weight", f"{name}bias"}:
        weight, bias = rest[f"{name}weight"], rest.get(f"{name}bias")
        if weight is not None and weight.shape[1] == num_features:
            bias = weight.new_zeros(len(weight)) if bias is None else bias
            if bias.shape == (len(weight),):
                return weight, bias
    shown = ", ".join(f"{key} {tuple(value.shape) if value is not None else ''}" for key, value in [*rest.items()][:8])
    raise InvalidFileError(
        f"{path}: beside the encoder it has {len(rest)} tensors ({shown}), which are not one linear layer from "
        f"{num_features} features to outputs. classifier=false leaves them out"
    )


def _fill_classifier(layer: nn.Linear, weight: Tensor, bias: Tensor, path: Any) -> None:
    state = {"weight": weight, "bias": bias}
    if unusable := unusable_tensors(state, layer.state_dict()):
        raise InvalidFileError(f"{path} has an unusable classifier: {'; '.join(unusable)}")
    layer.load_state_dict({name: value.to(torch.float32) for name, value in state.items()})


def _output_names(count: int, outputs: Outputs, path: Any) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the names of the expressions and of all outputs.

    Raises:
        InvalidOptionError: If they are not known, or too few or many.
    """
    expressions, names = outputs.expressions, outputs.names
    if expressions is None and names is None:
        if count and count not in EXPRESSIONS:
            raise InvalidOptionError(
                f"{path} has {count} outputs of unknown meaning: name them with expressions=[...] or outputs=[...], or "
                "leave them out with classifier=false"
            )
        expressions = EXPRESSIONS.get(count, ())
    if names is None:
        assert expressions is not None
        names = (*expressions, *(VALENCE_AROUSAL if count == len(expressions) + 2 else ()))
    elif expressions is None:
        expressions = [name for name in names if name not in VALENCE_AROUSAL]
    if len(names) != count:
        raise InvalidOptionError(f"{path} has {count} outputs, but {len(names)} are named: {', '.join(names)}")
    return tuple(expressions), tuple(names)
