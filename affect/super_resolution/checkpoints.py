"""Reads Real-ESRGAN checkpoints; the architecture is inferred from the tensors' names and shapes."""

import itertools
import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from affect.errors import InvalidFileError
from affect.storage.checkpoints.read_weights import read_weights
from affect.storage.fingerprint import content_digest
from affect.storage.unusable_tensors import unusable_tensors
from affect.super_resolution.networks import RRDBNet, SRVGGNetCompact, SuperResolutionNetwork

_FOLD_BY_CHANNELS = {3: 4, 12: 2, 48: 1}
"""RRDBNet's scale by its number of input channels, 3 times the squared factor of the pixel-unshuffling."""


def read_network(path: str | Path) -> SuperResolutionNetwork:
    """Load a network from an official `.pth` file (its `params_ema`, else its `params`) or safetensors.

    Raises:
        MissingFileError: If there is no such file.
        InvalidFileError: If it is damaged or refused (see `read_weights`), or is neither RRDBNet nor SRVGGNetCompact.
    """
    state = read_weights(path).tensors
    try:
        return build_network(state)
    except InvalidFileError as error:
        raise InvalidFileError(f"{path}: {error}") from error


def build_network(state: Mapping[str, Tensor]) -> SuperResolutionNetwork:
    """Build the network of a state dict and load its weights; in evaluation mode and without gradients.

    Raises:
        InvalidFileError: If the names or shapes fit neither architecture, or the weights are not finite floating-point
            numbers.
    """
    blocks = {int(match[1]) for name in state if (match := re.match(r"body\.(\d+)\.", name))}
    if not blocks or max(blocks) > len(state):
        raise InvalidFileError("not a network of Real-ESRGAN: it has no consecutive parameters `body.<number>....`")
    network: SuperResolutionNetwork
    if "conv_first.weight" in state:
        first = _shape(state, "conv_first.weight")
        if first[1] not in _FOLD_BY_CHANNELS:
            raise InvalidFileError(f"`conv_first.weight` has {first[1]} input channels, expected 3, 12 or 48")
        growth = _shape(state, "body.0.rdb1.conv1.weight")[0]
        network = RRDBNet(_FOLD_BY_CHANNELS[first[1]], first[0], len(blocks), growth)
    else:
        first, last = _shape(state, "body.0.weight"), _shape(state, f"body.{max(blocks)}.weight")
        scale = round((last[0] / 3) ** 0.5)
        if scale < 1 or last[0] != 3 * scale**2:
            raise InvalidFileError(f"the last convolution has {last[0]} channels, expected three times a square")
        network = SRVGGNetCompact(scale, first[0], max(blocks) // 2 - 1)
    if unusable := unusable_tensors(state, network.state_dict()):
        raise InvalidFileError(f"unusable weights of Real-ESRGAN: {'; '.join(unusable[:5])}")
    try:
        network.load_state_dict(dict(state))
    except RuntimeError as error:
        raise InvalidFileError(f"does not fit {type(network).__name__}: {error}") from error
    return network.eval().requires_grad_(False)


def network_digest(network: SuperResolutionNetwork) -> str:
    """Return the digest of a network's parameter names and float32 values, which does not depend on the file format."""
    parts = (
        part
        for name, value in sorted(network.state_dict().items())
        for part in (name.encode(), value.detach().to("cpu", torch.float32).numpy().tobytes())
    )
    return content_digest(itertools.chain([type(network).__name__.encode()], parts))


def _shape(state: Mapping[str, Tensor], name: str) -> tuple[int, ...]:
    if name not in state or state[name].ndim != 4:
        raise InvalidFileError(f"not a network of Real-ESRGAN: it has no convolution `{name}`")
    return tuple(state[name].shape)
