"""Boxes of faces: overlap, and from a detector's box to the crop that a network is given."""

import numpy as np
from numpy.typing import NDArray


def overlap(boxes: NDArray[np.float32], others: NDArray[np.float32]) -> NDArray[np.float32]:
    """Compute the intersection over union of every pair of boxes.

    Args:
        boxes: Left, top, right and bottom, shape (N, 4).
        others: The same, shape (M, 4).

    Returns:
        In [0, 1], shape (N, M); 0 for a box without area.
    """
    low = np.maximum(boxes[:, None, :2], others[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    shared = (high - low).clip(0).prod(2)
    union = _area(boxes)[:, None] + _area(others)[None] - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)


def _area(boxes: NDArray[np.float32]) -> NDArray[np.float32]:
    return (boxes[:, 2:] - boxes[:, :2]).clip(0).prod(1)


def crop_boxes(boxes: NDArray[np.float32], margin: float = 0.0, square: bool = True) -> NDArray[np.int32]:
    """Turn detected boxes into crops, in whole pixels as AffectNet's annotation gives them.

    Args:
        boxes: Left, top, right and bottom, shape (N, 4).
        margin: Added on each side, as a share of the crop's side.
        square: Widen the shorter side to the longer one, about the same centre: AffectNet's boxes are square. Without
            it, a face that is higher than wide is stretched when it is resized.

    Returns:
        Left, top, width and height, shape (N, 4); they may reach beyond the picture and have at least one pixel.
    """
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    size = boxes[:, 2:] - boxes[:, :2]
    if square:
        size = np.repeat(size.max(1, keepdims=True), 2, axis=1)
    size = np.maximum(np.round(size * (1 + 2 * margin)), 1)
    return np.hstack([np.round(centre - size / 2), size]).astype(np.int32)
