"""The interface of the upscaling engines, which map RGB bytes to larger RGB bytes."""

from abc import ABC, abstractmethod

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from affect.errors import InvalidOptionError


class Upscaler(nn.Module, ABC):
    """Enlarges images with a super-resolution network.

    Args:
        scale: Enlargement of the network.
        outscale: Enlargement of the result, to which the network's output is resized; None for `scale`.

    Raises:
        InvalidOptionError: If `outscale` is not positive.
    """

    def __init__(self, scale: int, outscale: float | None = None) -> None:
        super().__init__()
        self.scale = scale
        self.outscale = float(scale if outscale is None else outscale)
        if self.outscale <= 0:
            raise InvalidOptionError(f"outscale must be positive, not {outscale}")

    def forward(self, images: Tensor) -> Tensor:
        """Enlarge a batch.

        For a grey image, all channels of the result are the luminance of the network's output, as in Real-ESRGAN.

        Args:
            images: RGB, uint8, shape (B, 3, H, W), on any device.

        Returns:
            RGB, uint8, shape (B, 3, int(H outscale), int(W outscale)), on the CPU, in channels-last memory order.
        """
        enlarged = self.enlarge(images)
        grey = ((images[:, 0] == images[:, 1]) & (images[:, 1] == images[:, 2])).flatten(1).all(1).cpu()
        if grey.any():
            pixels = enlarged.permute(0, 2, 3, 1).contiguous().numpy()
            for index in grey.nonzero().flatten().tolist():
                pixels[index] = cv2.cvtColor(pixels[index], cv2.COLOR_RGB2GRAY)[..., None]
            enlarged = torch.from_numpy(pixels).permute(0, 3, 1, 2)
        return enlarged

    @abstractmethod
    def enlarge(self, images: Tensor) -> Tensor:
        """Enlarge a batch without special treatment of grey images; shapes as in `forward`."""

    @abstractmethod
    def describe(self) -> dict[str, str | int | float | bool]:
        """Return every setting that affects the pixels, including the network's digest."""

    def output_size(self, height: int, width: int) -> tuple[int, int]:
        """Return the size of the result in pixels, rounded down as in Real-ESRGAN."""
        return int(height * self.outscale), int(width * self.outscale)

    def upscale(self, images: list[NDArray[np.uint8]]) -> list[NDArray[np.uint8]]:
        """Enlarge RGB arrays of shape (H, W, 3) and equal size, on the CPU."""
        batch = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)
        return list(self(batch).permute(0, 2, 3, 1).contiguous().numpy())
