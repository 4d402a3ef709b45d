"""Finds the architecture whose parameters have the names and shapes of a file's tensors."""

import contextlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from torch import Tensor, nn

from affect.errors import InvalidFileError, InvalidOptionError
from affect.networks.backbone import MOBILEFACENET, create_encoder, num_features, resolve_architecture
from affect.networks.folded_weights import unfold
from affect.networks.weight_import import ImportReport, match_tensors
from affect.storage.checkpoints.weights import Layer, Operation, Weights

CANDIDATES: Final = (
    *((f"tf_efficientnet_b{size}", f"efficientnet_b{size}") for size in (0, 2)),
    (MOBILEFACENET,),
    *((f"tf_efficientnet_lite{size}", f"efficientnet_lite{size}") for size in range(5)),
    *((f"mobilevitv2_{width}",) for width in ("150", "100", "050", "075", "125", "175", "200")),
    *((f"tf_efficientnet_b{size}", f"efficientnet_b{size}") for size in (1, 3, 4)),
    *((name,) for name in (
        "resnet18", "resnet34", "resnet50", "mobilenetv2_100", "mobilenetv3_large_100", "mobilenetv3_small_100",
        "mobilevit_s", "mobilevit_xs", "mobilevit_xxs", "convnext_tiny", "vit_tiny_patch16_224",
        "vit_small_patch16_224",
    )),
)  # fmt: skip
"""What `auto` looks through: encoders of published emotion and face networks, and common small ones.

The architectures of one group have the same names and shapes.
"""

_COMPARED: Final = ("eps", "stride", "padding", "dilation", "groups", "kernel_size")
_ACTIVATIONS: Final = frozenset({
    "elu", "gelu", "hardswish", "leakyrelu", "mish", "prelu", "relu", "relu6", "silu",
})  # fmt: skip


@dataclass(frozen=True)
class Found:
    """An architecture that fits a file.

    Attributes:
        architecture: Its name.
        num_features: Width of its pooled features.
        report: What becomes of the file's tensors.
        tensors: The tensors, as the report names them.
    """

    architecture: str
    num_features: int
    report: ImportReport
    tensors: Mapping[str, Tensor]


def find_architecture(weights: Weights, wanted: str, path: str | Path) -> Found:
    """Find the architecture of a file.

    Names and shapes must be equal. Of a whole network, each layer's settings (`eps`, `stride`, ...), padding like
    TensorFlow's and activations must be equal too: these tell `tf_efficientnet_b0` from `efficientnet_b0`.

    Args:
        weights: Content of the file.
        wanted: A name that `Backbone` takes, or `auto`: the name that the network gives itself, or one of `CANDIDATES`.
        path: The file, for messages.

    Raises:
        InvalidFileError: If none fits; the message says what does not of the nearest.
        InvalidOptionError: If several fit, or `wanted` is no architecture.
    """
    tried = []
    fitting = []
    for group in [(resolve_architecture(wanted),)] if wanted != "auto" else _candidates(weights):
        for name in group:
            found, faults, has_shapes = _try(name, weights)
            tried.append((found, faults))
            if not faults:
                fitting.append(found)
            if not has_shapes:
                break  # nor do the others of the group
        if fitting:
            break
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise InvalidOptionError(
            f"{path} fits {len(fitting)} architectures that differ in more than names and shapes: "
            f"{', '.join(found.architecture for found in fitting)}. Say which it is with architecture="
        )
    found, faults = min(tried, key=lambda pair: len(pair[1]))
    looked = f"none of {len(tried)} architectures fits; the nearest is {found.architecture}" if len(tried) > 1 else ""
    raise InvalidFileError(
        f"{path} does not fit {found.architecture}: {looked}{'. ' if looked else ''}{len(faults)} faults: "
        f"{'; '.join(faults[:8])}{'; ...' if len(faults) > 8 else ''}. "
        f"{'Name another with architecture=' if wanted == 'auto' else 'Is it of another architecture?'}"
    )


def _candidates(weights: Weights) -> Iterator[tuple[str, ...]]:
    if weights.architecture is not None:
        # A name that is not known today does not matter: the tensors decide.
        with contextlib.suppress(InvalidOptionError):
            yield (resolve_architecture(weights.architecture),)
    yield from CANDIDATES


def _try(architecture: str, weights: Weights) -> tuple[Found, list[str], bool]:
    """Compare a file with an architecture; return what does not fit too, and whether names and shapes do."""
    with torch.device("meta"):
        encoder = create_encoder(architecture)
    report = match_tensors(weights.tensors, encoder.state_dict())
    faults = [f"{name} is missing" for name in report.missing] + [f"{text} expected" for text in report.mismatched]
    has_shapes = not faults
    if has_shapes:
        faults = list(_differences(weights.layers, report.prefix, encoder))
    elif weights.operations and _shapes(weights.operations) >= _shapes(encoder.modules()):
        state, faults = unfold(weights, architecture)
        report, has_shapes = match_tensors(state, encoder.state_dict()), True
        return Found(architecture, num_features(encoder), report, state), faults, has_shapes
    return Found(architecture, num_features(encoder), report, weights.tensors), faults, has_shapes


def _shapes(layers: Iterable[Operation | nn.Module]) -> Counter[tuple[int, ...]]:
    """Count the shapes of convolutions."""
    weights = [layer.weight for layer in layers if isinstance(layer, Operation | nn.Conv2d)]
    return Counter(tuple(weight.shape) for weight in weights if weight.ndim == 4)


def _differences(layers: Mapping[str, Layer], prefix: str, encoder: nn.Module) -> Iterator[str]:
    """Yield settings in which a pickled network differs from today's."""
    kinds = [layer.kind.rpartition(".")[2] for layer in layers.values()]
    for name, module in encoder.named_modules():
        layer = layers.get(prefix + name)
        if layer is None or not name:
            continue
        for setting in _COMPARED:
            before, today = layer.settings.get(setting), getattr(module, setting, None)
            if before is not None and isinstance(today, int | float | str | tuple) and before != today:
                yield f"{name} has {setting} {before}, not {today}"
        if ("Same" in layer.kind) != ("Same" in type(module).__name__):
            yield f"{name} is a {layer.kind}, not a {type(module).__name__}"
    before_kinds = _activations(kinds)
    today_kinds = _activations([type(module).__name__ for module in encoder.modules()])
    if before_kinds and today_kinds and before_kinds != today_kinds:
        yield f"its activations are {', '.join(sorted(before_kinds))}, not {', '.join(sorted(today_kinds))}"


def _activations(kinds: list[str]) -> set[str]:
    """Return the activations among class names; timm's variants for old versions of PyTorch are the same functions."""
    plain = {kind.lower().removesuffix("me").removesuffix("jit").replace("swish", "silu") for kind in kinds}
    return {("hardswish" if kind == "hardsilu" else kind) for kind in plain} & _ACTIVATIONS
