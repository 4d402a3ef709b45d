"""Plain enlargement, the control that tells whether a network adds anything but pixels."""

import torch
from torch import Tensor

from affect.super_resolution.upscaler import Upscaler, resize_lanczos


class LanczosUpscaler(Upscaler):
    """Enlarge images with a Lanczos kernel; no network.

    Args:
        outscale: Enlargement of the result.
    """

    def __init__(self, outscale: float) -> None:
        super().__init__(scale=1, outscale=outscale)

    def describe(self) -> dict[str, str | int | float | bool]:
        """Return every setting that changes the picture."""
        return {"engine": "lanczos", "outscale": self.outscale}

    def forward(self, images: Tensor) -> Tensor:
        """Enlarge a batch, uint8 (B, 3, H, W), to (B, 3, int(H outscale), int(W outscale)) on the CPU."""
        pixels = images.cpu().permute(0, 2, 3, 1).contiguous().numpy()
        enlarged = resize_lanczos(pixels, *self.output_size(*pixels.shape[1:3]))
        return torch.from_numpy(enlarged).permute(0, 3, 1, 2)
