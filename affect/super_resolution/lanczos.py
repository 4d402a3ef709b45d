"""Lanczos resizing: the baseline of super-resolution, and the last step of engines with another output scale."""

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from affect.super_resolution.upscaler import Upscaler


class LanczosUpscaler(Upscaler):
    """Enlarges images with OpenCV's Lanczos kernel, without a network.

    Args:
        outscale: Enlargement.
    """

    def __init__(self, outscale: float) -> None:
        super().__init__(scale=1, outscale=outscale)

    def describe(self) -> dict[str, str | int | float | bool]:
        """Return every setting that affects the pixels."""
        return {"engine": "lanczos", "outscale": self.outscale}

    def enlarge(self, images: Tensor) -> Tensor:
        """Enlarge uint8 RGB, shape (B, 3, H, W); see `Upscaler.enlarge`."""
        arrays = images.permute(0, 2, 3, 1).cpu().contiguous().numpy()
        return torch.from_numpy(resize_lanczos(arrays, *self.output_size(*images.shape[2:]))).permute(0, 3, 1, 2)


def resize_lanczos(images: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """Resize a batch, shape (B, H, W, 3), with OpenCV's Lanczos kernel over 8 x 8 pixels, as in Real-ESRGAN.

    The kernel is not widened when shrinking: pixels are skipped rather than averaged.
    """
    resized = np.empty((len(images), height, width, images.shape[3]), np.uint8)
    for image, target in zip(images, resized, strict=True):
        cv2.resize(image, (width, height), dst=target, interpolation=cv2.INTER_LANCZOS4)
    return resized
