"""Random augmentation of single images by albumentations, seeded from PyTorch's generator."""

import albumentations as A
import numpy as np
import torch
from numpy.typing import NDArray


class ColourJitter:
    """Vary brightness, contrast, saturation and hue.

    Each call takes its seed from PyTorch's generator, which is seeded per epoch and worker: a resumed run draws the
    same changes as an uninterrupted one, unlike with albumentations' own generator.

    Args:
        brightness: Largest relative change, in [0, 1].
        contrast: Largest relative change, in [0, 1].
        saturation: Largest relative change, in [0, 1].
        hue: Largest change as a share of the colour circle, in [0, 0.5].
    """

    def __init__(self, brightness: float, contrast: float, saturation: float, hue: float) -> None:
        self.pipeline = A.Compose([
            A.ColorJitter(
                brightness=(1 - brightness, 1 + brightness), contrast=(1 - contrast, 1 + contrast),
                saturation=(1 - saturation, 1 + saturation), hue=(-hue, hue), p=1.0,
            )
        ])  # fmt: skip

    def __call__(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Map an RGB image, shape (H, W, 3), to another of the same shape."""
        self.pipeline.set_random_seed(int(torch.randint(2**31, ())))
        return self.pipeline(image=image)["image"]
