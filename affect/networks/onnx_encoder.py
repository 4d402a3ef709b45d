"""An encoder in ONNX Runtime: on a CPU several times as fast as eager PyTorch, with the same features to 1e-5.

Every core takes a few images at a time, by itself: that beats sharing each layer among the cores.
"""

import importlib.util
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from affect.networks.batch_slices import cut_to_cache
from affect.networks.onnx_file import write_onnx
from affect.storage.atomic_write import atomic_path, write_text
from affect.storage.fingerprint import file_digest
from affect.storage.locks import exclusive_lock


def onnx_is_installed() -> bool:
    """Return whether the optional packages are there (`pip install .[export]`)."""
    return all(importlib.util.find_spec(name) for name in ("onnx", "onnxscript", "onnxruntime"))


def export_encoder(encoder: nn.Module, image_size: int, path: str | Path) -> Path:
    """Write an encoder as an ONNX file, atomically, for batches of any size.

    Args:
        encoder: From normalised images (B, 3, H, W) to features (B, D), in evaluation mode, on the CPU.
        image_size: Side of the square images in pixels.
        path: File to write, `.onnx`.
    """
    with atomic_path(path) as temporary:
        write_onnx(encoder, torch.zeros(2, 3, image_size, image_size), temporary, "image", ["feature"])
    return Path(path)


def cached_export(encoder: nn.Module, image_size: int, path: str | Path, on_message: Callable[[str], None]) -> Path:
    """Export an encoder to a cache, unless it is there and intact.

    The file's SHA-256 is stored beside it: ONNX Runtime notices few of the bytes that may change in a file.

    Args:
        encoder: As in `export_encoder`.
        image_size: Side of the square images in pixels.
        path: File of the cache, `.onnx`.
        on_message: Called with a message before the encoder is exported.

    Returns:
        The path.

    Raises:
        StorageError: If the file cannot be written.
    """
    path = Path(path)
    digest_file = path.with_suffix(".sha256")
    with exclusive_lock(path.with_suffix(".lock")):  # the processes of one run come here at the same time
        if not _is_intact(path, digest_file):
            on_message(
                f"{path} is damaged or has no digest beside it; exporting the encoder again"
                if path.exists()
                else "exporting the encoder to ONNX"
            )
            export_encoder(encoder, image_size, path)
            write_text(digest_file, file_digest(path) + "\n")
    return path


def _is_intact(path: Path, digest_file: Path) -> bool:
    try:
        return path.is_file() and digest_file.read_bytes() == f"{file_digest(path)}\n".encode()
    except OSError:
        return False


class OnnxEncoder:
    """Run an exported encoder on the CPU.

    Args:
        path: The ONNX file.
        num_threads: Cores to use; by default as many as PyTorch.
    """

    def __init__(self, path: str | Path, num_threads: int | None = None) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self.session = onnxruntime.InferenceSession(os.fspath(path), options, providers=["CPUExecutionProvider"])
        self.num_threads = num_threads or torch.get_num_threads()
        self.pool = ThreadPoolExecutor(self.num_threads)

    def __call__(self, image: Tensor) -> Tensor:
        """Compute features (B, D) of normalised images (B, 3, H, W)."""
        # Laid out here, not in the pool: PyTorch would start threads of its own for each of the pool's.
        slices = [part.numpy() for part in cut_to_cache(image.contiguous(), self.num_threads)]
        return torch.from_numpy(np.concatenate(list(self.pool.map(self._encode, slices))))

    def _encode(self, image: NDArray[np.float32]) -> NDArray[np.float32]:
        return self.session.run(None, {"image": image})[0]
