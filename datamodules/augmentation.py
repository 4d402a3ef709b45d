"""Random augmentation of single images by albumentations, seeded from PyTorch's generator."""

from collections.abc import Sequence

import albumentations as A
import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from datamodules.images.dataset import resize


class SeededPipeline:
    """Apply albumentations' transforms one after another.

    Each call takes its seed from PyTorch's generator, which is seeded per epoch and worker: a resumed run draws the
    same changes as an uninterrupted one, unlike with albumentations' own generator.

    Args:
        transforms: The transforms.
    """

    def __init__(self, transforms: Sequence[A.BasicTransform]) -> None:
        self.pipeline = A.Compose(transforms)

    def __call__(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Map an RGB image, shape (H, W, 3), to another of the same shape."""
        self.pipeline.set_random_seed(int(torch.randint(2**31, ())))
        return self.pipeline(image=image)["image"]


class ColourJitter(SeededPipeline):
    """Vary brightness, contrast, saturation and hue.

    Args:
        brightness: Largest relative change, in [0, 1].
        contrast: Largest relative change, in [0, 1].
        saturation: Largest relative change, in [0, 1].
        hue: Largest change as a share of the colour circle, in [0, 0.5].
    """

    def __init__(self, brightness: float, contrast: float, saturation: float, hue: float) -> None:
        super().__init__([_colour_jitter(brightness, contrast, saturation, hue)])


class FaceAugmentation(SeededPipeline):
    """Vary position, colour and sharpness of a face, and hide parts of it, at the size of the network's input.

    A strength of 0 leaves its transform out.

    Args:
        size: Side of the square result in pixels; other images are resized first, as datasets do.
        rotation: Largest angle in degrees.
        scale: Largest relative change of the size, in [0, 1).
        shift: Largest shift, as a share of the side, in [0, 1]; what moves in is mirrored from inside.
        colour: Largest relative change of brightness, contrast and saturation, in [0, 1].
        grey: Probability of a grey-scale image.
        blur: Probability of a Gaussian blur, with a standard deviation of 0.3 to 1.5 pixels.
        erase: Probability that one or two black rectangles, each side 0.1 to 0.3 of the image's, hide parts.
    """

    def __init__(
        self, size: int, rotation: float = 0.0, scale: float = 0.0, shift: float = 0.0, colour: float = 0.0,
        grey: float = 0.0, blur: float = 0.0, erase: float = 0.0,
    ) -> None:  # fmt: skip
        transforms: list[A.BasicTransform] = []
        if rotation or scale or shift:
            transforms.append(A.Affine(
                scale=(1 - scale, 1 + scale), translate_percent=(-shift, shift), rotate=(-rotation, rotation),
                border_mode=cv2.BORDER_REFLECT_101, p=1.0,
            ))  # fmt: skip
        if colour:
            transforms.append(_colour_jitter(colour, colour, colour, 0.0))
        if grey:
            transforms.append(A.ToGray(p=grey))
        if blur:
            transforms.append(A.GaussianBlur(sigma_limit=(0.3, 1.5), p=blur))
        if erase:
            side = (0.1, 0.3)
            transforms.append(A.CoarseDropout((1, 2), hole_height_range=side, hole_width_range=side, p=erase))
        super().__init__(transforms)
        self.size = size

    def __call__(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Map an RGB image, shape (H, W, 3), to one of shape (size, size, 3)."""
        return super().__call__(resize(image, self.size))


def _colour_jitter(brightness: float, contrast: float, saturation: float, hue: float) -> A.BasicTransform:
    return A.ColorJitter(
        brightness=(1 - brightness, 1 + brightness), contrast=(1 - contrast, 1 + contrast),
        saturation=(1 - saturation, 1 + saturation), hue=(-hue, hue), p=1.0,
    )  # fmt: skip
