"""What a face detector is: from pictures to boxes with a confidence."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Detections:
    """Faces found in one picture, the most confident first.

    Attributes:
        boxes: Left, top, right and bottom in pixels, shape (N, 4), float32; they may reach beyond the picture.
        confidence: In [0, 1], shape (N,), float32.

    Raises:
        ValueError: If the shapes do not fit.
    """

    boxes: NDArray[np.float32]
    confidence: NDArray[np.float32]

    def __post_init__(self) -> None:
        if self.boxes.shape != (len(self.confidence), 4) or self.confidence.ndim != 1:
            raise ValueError(f"shapes do not fit: boxes {self.boxes.shape}, confidence {self.confidence.shape}")

    def __len__(self) -> int:
        return len(self.confidence)


class Detector(Protocol):
    """Anything that finds faces; the result for a picture must not depend on the others of a call."""

    def __call__(self, images: Sequence[NDArray[np.uint8]]) -> list[Detections]:
        """Find the faces of each picture.

        Args:
            images: RGB pictures, (H, W, 3) each, of any sizes.

        Returns:
            The faces of each.
        """
        ...
