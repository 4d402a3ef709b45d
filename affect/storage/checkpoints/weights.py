"""Finds the weights in what a checkpoint holds: a state dict, or a network with parameters in its modules."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from torch import Tensor

from affect.errors import InvalidFileError
from affect.storage.checkpoints.records import Record, StoredTensor
from affect.storage.checkpoints.torch_file import TorchFile

WRAPPERS: Final = (
    "state_dict",
    "model_state_dict",
    "model",
    "params_ema",
    "params",
    "ema",
    "net",
    "network",
    "weights",
)
"""Keys under which files keep weights beside other things, in order of preference."""
MAX_MODULES: Final = 10_000
MAX_TENSORS: Final = 100_000
MAX_DEPTH: Final = 100
MAX_NAME: Final = 200
_SETTING: Final = (bool, int, float, str)


@dataclass(frozen=True)
class Layer:
    """What a pickled network says of one of its modules.

    Attributes:
        kind: Path of its class when it was saved.
        settings: Attributes that are numbers, text or short tuples of these, such as `eps` and `stride`.
    """

    kind: str
    settings: Mapping[str, Any]


@dataclass(frozen=True)
class Operation:
    """A layer in the graph of an exported network.

    Attributes:
        kind: Conv, Gemm, MatMul or PRelu.
        names: Names of its weight and bias in the file.
        weight: Its weight in PyTorch's layout.
        bias: Its bias, None without one.
        settings: Its attributes in ONNX, such as `strides`.
    """

    kind: str
    names: tuple[str, ...]
    weight: Tensor
    bias: Tensor | None
    settings: Mapping[str, Any]


@dataclass(frozen=True)
class Weights:
    """The weights in a file.

    Attributes:
        tensors: Parameters and persistent buffers by path.
        layers: Modules by path, if the file holds a whole network; the network itself has the path "".
        operations: Layers in order of computation, if the file holds a graph (ONNX).
        architecture: What the network calls its architecture, None if it does not.
    """

    tensors: dict[str, Tensor]
    layers: Mapping[str, Layer] = field(default_factory=dict)
    architecture: str | None = None
    operations: tuple[Operation, ...] = ()


def weights_in(file: TorchFile) -> Weights:
    """Collect the weights in a file of torch.save.

    A state dict may be nested under the usual keys (`state_dict`, `model`, ...), as may a whole network.

    Raises:
        InvalidFileError: If it holds neither, or one of its weights is no plain tensor.
    """
    content = file.content
    for _ in WRAPPERS:  # a limit, since a pickled dictionary can contain itself
        if is_module(content) or not isinstance(content, dict):
            break
        inner = next((content[key] for key in WRAPPERS if _is_container(content.get(key))), None)
        if inner is None:
            break
        content = inner
    layers: dict[str, Layer] = {}
    named: dict[str, Any] = {}
    if is_module(content):
        for path, module in modules_of(content):
            layers[path] = Layer(module.kind, _settings(module))
            prefix = f"{path}." if path else ""
            named.update((prefix + name, value) for name, value in _own_tensors(module).items())
            if len(named) > MAX_TENSORS:
                raise InvalidFileError(f"it has more than {MAX_TENSORS} tensors")
    elif isinstance(content, dict):
        named = {key: value for key, value in content.items() if isinstance(key, str)}
    tensors = {}
    for name, value in named.items():
        if isinstance(value, StoredTensor):
            tensors[name] = file.tensor(value)
        elif isinstance(value, Record) and value.kind.startswith("torch._utils."):
            raise InvalidFileError(f"`{name}` is not a plain tensor ({value.kind})")
    if not tensors:
        raise InvalidFileError("it holds no state dict and no network: expected a dictionary from names to tensors")
    return Weights(tensors, layers, _architecture(content) if layers else None)


def is_module(content: Any) -> bool:
    """Return whether a record stands for a network of PyTorch."""
    return isinstance(content, Record) and all(
        isinstance(content.attribute(name), dict) for name in ("_parameters", "_buffers", "_modules")
    )


def modules_of(network: Record) -> Iterator[tuple[str, Record]]:
    """Yield the modules of a network with their paths, each before those inside of it, in order.

    Raises:
        InvalidFileError: If it contains itself, or has too many modules.
    """
    count = 0
    pending: list[tuple[str, Record, tuple[int, ...]]] = [("", network, ())]
    while pending:
        path, module, around = pending.pop()
        count += 1
        if id(module) in around or len(around) > MAX_DEPTH:
            raise InvalidFileError(f"its module `{path[:80]}` contains itself, or lies inside of {MAX_DEPTH} others")
        if count > MAX_MODULES:
            raise InvalidFileError(f"it has more than {MAX_MODULES} modules")
        yield path, module
        inside = [
            (f"{path}.{name}" if path else name, child, (*around, id(module)))
            for name, child in module.attribute("_modules").items()
            if _is_name(name) and is_module(child)
        ]
        pending.extend(reversed(inside))


def _is_container(value: Any) -> bool:
    return isinstance(value, dict) or is_module(value)


def _own_tensors(module: Record) -> dict[str, Any]:
    """Return the parameters and buffers of one module, without buffers that its state dict would not have."""
    temporary = module.attribute("_non_persistent_buffers_set")
    left_out = temporary if isinstance(temporary, set | frozenset) else set()
    found = dict(module.attribute("_parameters"))
    found.update((name, value) for name, value in module.attribute("_buffers").items() if name not in left_out)
    return {name: value for name, value in found.items() if _is_name(name)}


def _is_name(name: Any) -> bool:
    if isinstance(name, str) and len(name) > MAX_NAME:
        raise InvalidFileError(f"it has a module or tensor whose name has {len(name)} characters")
    return isinstance(name, str)


def _architecture(network: Record) -> str | None:
    """Return the architecture in the configuration that timm puts into a network: a dictionary or an object."""
    for name in ("pretrained_cfg", "default_cfg"):
        config = network.attribute(name)
        found = config.get("architecture") if isinstance(config, dict) else None
        if isinstance(config, Record):
            found = config.attribute("architecture")
        if isinstance(found, str) and len(found) <= MAX_NAME:
            return found
    return None


def _settings(module: Record) -> dict[str, Any]:
    def is_plain(value: Any) -> bool:
        return isinstance(value, _SETTING) or (
            isinstance(value, tuple) and len(value) <= 8 and all(isinstance(part, _SETTING) for part in value)
        )

    return {name: value for name, value in module.state.items() if isinstance(name, str) and is_plain(value)}
