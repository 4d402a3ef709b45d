"""The reference engine: the package `realesrgan` with its own network classes, one image at a time, as in the paper."""

import importlib
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from affect.errors import MissingFileError, UserError
from affect.storage.fingerprint import file_digest
from affect.super_resolution.checkpoints import network_digest
from affect.super_resolution.networks import RRDBNet, SRVGGNetCompact, SuperResolutionNetwork
from affect.super_resolution.upscaler import Upscaler

_REMOVED = "torchvision.transforms.functional_tensor"


class NetworkError(UserError):
    """A network failed on an image or a tile, for instance because memory is short.

    Not a RuntimeError, since the packages print those and continue with the pixels of another tile or without the face.
    """


class RealESRGANUpscaler(Upscaler):
    """Enlarges images with the package's `RealESRGANer`, optionally restoring faces with GFPGAN (the paper's setting).

    Args:
        network: Source of the weights, which are copied to the package's own class.
        outscale: Enlargement of the result; None for the network's.
        half: Compute in float16, on GPUs.
        tile: Largest side in pixels of an image or tile; with 0, images are never cut into tiles.
        tile_overlap: Pixels of context on each side of a tile.
        face_enhancer: Weights file of GFPGAN v1.3 or v1.4; None for no face restoration. The package `gfpgan` downloads
            its face detector on first use.

    Raises:
        MissingFileError: If `realesrgan`, or `gfpgan` for `face_enhancer`, or one of their requirements is not
            installed, or if the face enhancer's weights are missing.
    """

    def __init__(
        self,
        network: SuperResolutionNetwork,
        outscale: float | None = None,
        half: bool = False,
        tile: int = 0,
        tile_overlap: int = 10,
        face_enhancer: str | Path | None = None,
    ) -> None:
        super().__init__(network.scale, outscale)
        self.half_precision, self.tile, self.tile_overlap = half, tile, tile_overlap
        self.digest = network_digest(network)
        self.face_enhancer = None if face_enhancer is None else Path(face_enhancer)
        self.face_enhancer_digest = "none"
        if self.face_enhancer is not None:
            if not self.face_enhancer.is_file():
                raise MissingFileError(f"no weights of GFPGAN at {self.face_enhancer}")
            self.face_enhancer_digest = file_digest(self.face_enhancer)
        self.network = reference_network(network)
        self._engine: tuple[torch.device, Any] | None = None

    def describe(self) -> dict[str, str | int | float | bool]:
        """Return every setting that affects the pixels."""
        return {
            "engine": "realesrgan",
            "network": type(self.network).__name__,
            "network_digest": self.digest,
            "outscale": self.outscale,
            "precision": "float16" if self.half_precision else "float32",
            "tile": self.tile,
            "tile_overlap": self.tile_overlap,
            "face_enhancer_digest": self.face_enhancer_digest,
        }

    def enlarge(self, images: Tensor) -> Tensor:
        """Enlarge uint8 RGB, shape (B, 3, H, W); see `Upscaler.enlarge`.

        Raises:
            NetworkError: If a network fails, for instance because memory is short.
        """
        enhance = self._enhancer(images.device)
        arrays = images.permute(0, 2, 3, 1).cpu().numpy()
        results = [enhance(np.ascontiguousarray(array[..., ::-1]))[..., ::-1] for array in arrays]
        return torch.from_numpy(np.stack(results)).permute(0, 3, 1, 2)

    def _enhancer(self, device: torch.device) -> Any:
        """Build the package's objects on the device of the images, and return a function from BGR to BGR arrays."""
        if self._engine is not None and self._engine[0] == device:
            return self._engine[1]
        upsampler = _upsampler(self.network, self.scale, device, self.half_precision, self.tile, self.tile_overlap)
        if self.face_enhancer is None:

            def restore(image: np.ndarray) -> np.ndarray:
                return upsampler.enhance(image, outscale=self.outscale)[0]
        else:
            faces = _import("gfpgan", "face_enhancer").GFPGANer(
                model_path=str(self.face_enhancer), upscale=self.outscale, arch="clean", channel_multiplier=2,
                bg_upsampler=upsampler, device=device,
            )  # fmt: skip
            faces.gfpgan = _with_visible_errors(faces.gfpgan)

            def restore(image: np.ndarray) -> np.ndarray:
                return faces.enhance(image, has_aligned=False, only_center_face=False, paste_back=True)[2]

        def enhance(image: np.ndarray) -> np.ndarray:
            # An image that fits into a tile is not tiled, since the package prints a line for each tile.
            upsampler.tile_size = self.tile if max(image.shape[:2]) > self.tile else 0
            return restore(image)

        self._engine = (device, enhance)
        return enhance


def reference_network(network: SuperResolutionNetwork) -> nn.Module:
    """Build the package's own network class with the same weights, in evaluation mode.

    Raises:
        MissingFileError: If `realesrgan` or `basicsr` is not installed.
    """
    if isinstance(network, RRDBNet):
        module = _import("basicsr.archs.rrdbnet_arch", "the realesrgan engine")
        width, growth = network.conv_first.out_channels, network.num_growth
        reference = module.RRDBNet(3, 3, network.scale, width, len(network.body), growth)
    else:
        assert isinstance(network, SRVGGNetCompact)
        module = _import("realesrgan.archs.srvgg_arch", "the realesrgan engine")
        width, depth = network.num_features, len(network.body) // 2 - 1
        reference = module.SRVGGNetCompact(3, 3, width, depth, network.scale, "prelu")
    reference.load_state_dict(network.state_dict())
    return reference.eval()


def _upsampler(network: nn.Module, scale: int, device: torch.device, half: bool, tile: int, overlap: int) -> Any:
    engine = _import("realesrgan.utils", "the realesrgan engine")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "weights.pth"  # the package loads weights only from a file
        torch.save({"params": {name: value.float() for name, value in network.state_dict().items()}}, path)
        upsampler = engine.RealESRGANer(
            scale, str(path), model=network, tile=tile, tile_pad=overlap, pre_pad=0, half=half, device=device
        )
    upsampler.model = _with_visible_errors(upsampler.model)
    return upsampler


def _with_visible_errors(network: nn.Module) -> Callable[..., Any]:
    """Wrap a network so that its RuntimeErrors become NetworkErrors, which the packages do not hide."""

    def run(*args: Any, **kwargs: Any) -> Any:
        try:
            return network(*args, **kwargs)
        except RuntimeError as error:
            raise NetworkError(
                f"{type(network).__name__} failed on an input of shape {tuple(args[0].shape)}: {error}. "
                "If memory is short, choose a smaller tile"
            ) from error

    return run


def _import(name: str, purpose: str) -> ModuleType:
    """Import a module of the packages, which need a module that torchvision has removed."""
    from torchvision.transforms import functional

    sys.modules.setdefault(_REMOVED, functional)
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        package = (error.name or name).split(".")[0]  # the missing package may be a requirement of the imported one
        raise MissingFileError(
            f"{purpose} needs the package {package} ({error}); install it with "
            f"`pip install --no-deps --no-build-isolation {package}`"
        ) from error
