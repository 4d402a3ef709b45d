"""Engines: the programs that can run an encoder, and the choice among those that agree with PyTorch.

On a CPU, ONNX Runtime and OpenVINO are twice as fast as eager PyTorch, with the same features but for rounding. Both
read the same exported file, which is kept in a cache.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor

from affect.errors import MissingFileError, UserError
from affect.networks.backbone import Backbone
from affect.networks.batch_norm_folding import fold_batch_norm
from affect.networks.batch_slices import in_slices
from affect.networks.onnx_encoder import OnnxEncoder, cached_export, onnx_is_installed
from affect.networks.openvino_encoder import OpenVinoEncoder, has_bfloat16, openvino_is_installed
from affect.storage.fingerprint import arrays_digest

ENGINES: Final = ("torch", "onnx", "openvino")
"""PyTorch, ONNX Runtime and OpenVINO; the last two run on a CPU only."""

PRECISIONS: Final = ("float32", "bfloat16")

TOLERANCE: Final[Mapping[str, float]] = {"float32": 1e-4, "bfloat16": 5e-2}
"""Largest accepted `relative_deviation` from PyTorch in float32 on the probe batch, by precision."""

EXPORT_PAYS_FROM: Final = 2000
"""Images from which a faster engine's gain exceeds the ten seconds that the export takes."""


class EngineError(UserError):
    """An engine cannot run a network, or computes other features than PyTorch."""


@dataclass(frozen=True)
class Engine:
    """An encoder in one of the engines.

    Attributes:
        name: One of ENGINES.
        precision: One of PRECISIONS.
        encode: Computes features (B, D), float32, of normalised images (B, 3, H, W) on the encoder's device.
        deviation: `relative_deviation` from PyTorch in float32 on the probe batch.
    """

    name: str
    precision: str
    encode: Callable[[Tensor], Tensor]
    deviation: float

    def __call__(self, image: Tensor) -> Tensor:
        """Compute features (B, D), float32, of normalised images (B, 3, H, W)."""
        return self.encode(image)


def open_engine(
    backbone: Backbone,
    image_size: int,
    cache_dir: str | Path,
    choice: str = "auto",
    precision: str = "float32",
    num_images: int | None = None,
    on_message: Callable[[str], None] = lambda message: None,
) -> Engine:
    """Open a network's encoder in an engine, and compare its features of a probe batch with PyTorch's.

    `auto` takes the first that is installed and agrees of: on a CPU in float32 ONNX Runtime, OpenVINO, PyTorch; in
    bfloat16 OpenVINO, if the processor has bfloat16, then PyTorch; on another device PyTorch. The order is fixed, since
    a choice by measured time would vary from run to run.

    Args:
        backbone: The network in evaluation mode; it is not changed. PyTorch runs it on the device where it is.
        image_size: Side of the square images in pixels.
        cache_dir: Folder of exported encoders, one file per network and image size.
        choice: One of ENGINES, or `auto`.
        precision: One of PRECISIONS.
        num_images: How many images are to be encoded, if known: for fewer than EXPORT_PAYS_FROM `auto` takes PyTorch.
        on_message: Called with what the user should know: that the encoder is exported, or an engine left out.

    Raises:
        EngineError: If the chosen engine cannot run the network, or deviates by more than TOLERANCE.
        MissingFileError: If the chosen engine is not installed.
        InvalidOptionError: If the processor does not compute in the precision.
        StorageError: If the exported encoder cannot be written.
        ValueError: If the choice or the precision is unknown.
    """
    if choice not in ("auto", *ENGINES) or precision not in PRECISIONS:
        raise ValueError(f"engine must be auto or one of {ENGINES} and precision one of {PRECISIONS}")
    builder = _Builder(backbone, image_size, Path(cache_dir), precision, on_message)
    if choice != "auto":
        return builder.build(choice)
    for name in builder.candidates(num_images):
        try:
            return builder.build(name)
        except EngineError as error:
            on_message(str(error))
    return builder.build("torch")


class _Builder:
    """Builds a network's engines and compares them with PyTorch in float32."""

    def __init__(
        self, backbone: Backbone, image_size: int, cache_dir: Path, precision: str, on_message: Callable[[str], None]
    ) -> None:
        self.encoder = backbone.encoder
        self.image_size = image_size
        self.cache_dir = cache_dir
        self.precision = precision
        self.on_message = on_message
        self.device = next(self.encoder.parameters()).device
        self.probe = probe_batch(image_size).to(self.device)
        with torch.inference_mode():
            self.expected = self.encoder(self.probe)
        self.folded = fold_batch_norm(self.encoder, self.probe)

    def candidates(self, num_images: int | None) -> list[str]:
        """List the engines beside PyTorch that `auto` tries, the fastest first."""
        few = num_images is not None and num_images < EXPORT_PAYS_FROM
        if few or self.device.type != "cpu" or not onnx_is_installed():
            return []
        with_openvino = openvino_is_installed() and (self.precision == "float32" or has_bfloat16())
        return ["onnx"] * (self.precision == "float32") + ["openvino"] * with_openvino

    def build(self, name: str) -> Engine:
        """Build an engine and compare it."""
        encode = {"torch": self._torch, "onnx": self._onnx, "openvino": self._openvino}[name]()
        with torch.inference_mode():
            deviation = relative_deviation(self.expected, encode(self.probe))
        if not deviation <= TOLERANCE[self.precision]:
            raise EngineError(
                f"engine={name}: its features in {self.precision} deviate from PyTorch's by {deviation:.1e} of the "
                f"largest, by more than {TOLERANCE[self.precision]:.0e}; use engine=torch"
            )
        return Engine(name, self.precision, encode, deviation)

    def _torch(self) -> Callable[[Tensor], Tensor]:
        network, device, coarse = self.folded, self.device.type, self.precision == "bfloat16"

        def encode(image: Tensor) -> Tensor:
            with torch.inference_mode(), torch.autocast(device, torch.bfloat16, enabled=coarse):
                return network(image.contiguous(memory_format=torch.channels_last)).float()

        return in_slices(encode) if device == "cpu" else encode

    def _onnx(self) -> Callable[[Tensor], Tensor]:
        if self.precision != "float32":
            raise EngineError(f"engine=onnx computes in float32 only, not in {self.precision}; use engine=openvino")
        return self._open("onnx", OnnxEncoder)

    def _openvino(self) -> Callable[[Tensor], Tensor]:
        if not openvino_is_installed():
            raise MissingFileError("engine=openvino needs extra packages: pip install '.[export,openvino]'")
        return self._open("openvino", lambda path: OpenVinoEncoder(path, self.precision))

    def _open(self, name: str, kind: Callable[[Path], Callable[[Tensor], Tensor]]) -> Callable[[Tensor], Tensor]:
        if self.device.type != "cpu":
            raise EngineError(f"engine={name} runs on a CPU, not on {self.device}; use engine=torch")
        if not onnx_is_installed():
            raise MissingFileError(f"engine={name} needs extra packages: pip install '.[export]'")
        state = {key: value.numpy() for key, value in self.encoder.state_dict().items()}
        made = f"{arrays_digest({'encoder': state})[:16]}-{self.image_size}-{torch.__version__}"
        try:
            return kind(cached_export(self.folded, self.image_size, self.cache_dir / f"{made}.onnx", self.on_message))
        except UserError:
            raise
        except Exception as error:  # the exporter's and the engines' errors have no base class in common
            raise EngineError(f"engine={name} cannot run this network ({error}); use engine=torch") from error


def probe_batch(image_size: int) -> Tensor:
    """Draw normalised images (4, 3, S, S) with structure at several scales, always the same."""
    generator = torch.Generator().manual_seed(0)
    scales = [max(1, image_size // divisor) for divisor in (1, 4, 16, 64)]
    noise = [torch.randn(1, 3, side, side, generator=generator) for side in scales]
    return torch.cat([F.interpolate(image, (image_size, image_size), mode="bilinear") for image in noise])


def relative_deviation(expected: Tensor, found: Tensor) -> float:
    """Return the largest absolute difference, divided by the largest absolute expected value; NaN if any is NaN."""
    return float((expected - found).abs().max() / expected.abs().max().clamp(min=torch.finfo(expected.dtype).tiny))
