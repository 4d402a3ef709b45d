"""The default engine: processes batches of equal-sized images and converts from and to bytes on the device."""

import copy
from collections.abc import Iterator
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

from affect.errors import InvalidOptionError
from affect.super_resolution.checkpoints import network_digest
from affect.super_resolution.lanczos import resize_lanczos
from affect.super_resolution.networks import SuperResolutionNetwork
from affect.super_resolution.upscaler import Upscaler

PRECISIONS: Final = ("float32", "float16", "bfloat16")
_Span = tuple[int, int]
_CHUNK_PIXELS: Final = {"cpu": 112 * 112, "cuda": 1 << 18}
"""Input pixels processed at once: as many as fit into the caches of a CPU, or into a GPU of 8 GB."""


def default_precision(device_type: str) -> str:
    """Return the precision of `RealESRGANer` on a device: float16 on CUDA, float32 elsewhere."""
    return "float16" if device_type == "cuda" else "float32"


class BatchedUpscaler(Upscaler):
    """Enlarges batches; results equal those of `RealESRGANer` (with `pre_pad` 0) to within one grey level.

    An image with a side over `tile` is cut into tiles as in `RealESRGANer`. Reduced precision is an approximation:
    float16 everywhere (as in `RealESRGANer` on a GPU) changes isolated pixels by up to 3 levels; bfloat16, used in the
    network's body only, takes half the time on processors with bfloat16 instructions and changes pixels by 0.2 levels
    on average and at most 4.

    Args:
        network: The network, which is copied.
        outscale: Enlargement of the result; None for the network's.
        precision: `float32`, `float16` or `bfloat16`; see `default_precision`.
        tile: Largest side in pixels of an image or tile.
        tile_overlap: Pixels of context on each side of a tile.

    Raises:
        InvalidOptionError: If `precision` is unknown, or the tile sizes are not multiples of the network's `fold`.
    """

    def __init__(
        self,
        network: SuperResolutionNetwork,
        outscale: float | None = None,
        precision: str = "float32",
        tile: int = 512,
        tile_overlap: int = 32,
    ) -> None:
        super().__init__(network.scale, outscale)
        if precision not in PRECISIONS:
            raise InvalidOptionError(f"precision must be one of {PRECISIONS}, not {precision!r}")
        if tile < 1 or tile_overlap < 0 or tile % network.fold or tile_overlap % network.fold:
            raise InvalidOptionError(f"tile {tile} and tile_overlap {tile_overlap} must be multiples of {network.fold}")
        self.precision, self.tile, self.tile_overlap = precision, tile, tile_overlap
        self.digest = network_digest(network)
        self.network = copy.deepcopy(network).eval().requires_grad_(False)
        self.network.to(memory_format=torch.channels_last)
        if precision == "float16":
            self.network.half()
        elif precision == "bfloat16":
            self.network.body.bfloat16()

    def describe(self) -> dict[str, str | int | float | bool]:
        """Return every setting that affects the pixels."""
        return {
            "engine": "batched",
            "network": type(self.network).__name__,
            "network_digest": self.digest,
            "outscale": self.outscale,
            "precision": self.precision,
            "tile": self.tile,
            "tile_overlap": self.tile_overlap,
        }

    @torch.inference_mode()
    def enlarge(self, images: Tensor) -> Tensor:
        """Enlarge uint8 RGB, shape (B, 3, H, W); see `Upscaler.enlarge`."""
        height, width = images.shape[2:]
        budget = _CHUNK_PIXELS.get(images.device.type, _CHUNK_PIXELS["cuda"])
        per_chunk = max(1, budget // min(height * width, self.tile**2))
        enlarged = torch.cat([self._enlarge(chunk).cpu() for chunk in images.split(per_chunk)])
        if self.outscale == self.scale:
            return enlarged.permute(0, 3, 1, 2)
        resized = resize_lanczos(enlarged.numpy(), *self.output_size(height, width))
        return torch.from_numpy(resized).permute(0, 3, 1, 2)

    def _enlarge(self, images: Tensor) -> Tensor:
        """Run the network on a chunk and return bytes of shape (B, H, W, 3)."""
        height, width = images.shape[2:]
        values = images.float().div_(255)
        missing = (-width % self.network.fold, -height % self.network.fold)
        if any(missing):
            mode = "reflect" if min(height, width) > max(missing) else "replicate"
            values = functional.pad(values, (0, missing[0], 0, missing[1]), mode=mode)
        scale, size = self.scale, values.shape[2:]
        result = images.new_empty((len(images), size[0] * scale, size[1] * scale, 3))
        for core, context in self._tiles(*size):
            (top, bottom), (left, right) = core
            (above, below), (before, after) = context
            part = self._run(values[:, :, above:below, before:after])
            inner_top, inner_left = (top - above) * scale, (left - before) * scale
            result[:, top * scale : bottom * scale, left * scale : right * scale] = part[
                :,
                inner_top : inner_top + (bottom - top) * scale,
                inner_left : inner_left + (right - left) * scale,
            ]
        return result[:, : height * scale, : width * scale]

    def _run(self, values: Tensor) -> Tensor:
        values = values.contiguous(memory_format=torch.channels_last)
        if self.precision == "float16":
            values = values.half()
        levels = self.network(values).float().clamp_(0, 1).mul_(255).round_().to(torch.uint8)
        return levels.permute(0, 2, 3, 1)

    def _tiles(self, height: int, width: int) -> Iterator[tuple[tuple[_Span, _Span], tuple[_Span, _Span]]]:
        """Yield rows and columns of each tile, without and with its overlap."""
        if max(height, width) <= self.tile:
            whole = ((0, height), (0, width))
            yield whole, whole
            return
        for rows in _cut(height, self.tile):
            for columns in _cut(width, self.tile):
                yield (
                    (rows, columns),
                    (_widen(rows, self.tile_overlap, height), _widen(columns, self.tile_overlap, width)),
                )


def _cut(length: int, tile: int) -> list[_Span]:
    return [(start, min(start + tile, length)) for start in range(0, length, tile)]


def _widen(span: _Span, overlap: int, length: int) -> _Span:
    return max(span[0] - overlap, 0), min(span[1] + overlap, length)
