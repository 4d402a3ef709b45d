"""F1 from counts."""

from typing import TypeVar

import numpy as np
from torch import Tensor

Counts = TypeVar("Counts", np.ndarray, Tensor)


def f1_from_counts(hits: Counts, predicted: Counts, present: Counts | int) -> Counts:
    """Compute F1, 2 hits / (predicted + present), elementwise.

    Args:
        hits: True positives; of a tensor in float64, since integers would be divided in float32.
        predicted: Predicted positives, of the same shape.
        present: Actual positives, of a shape that fits.

    Returns:
        F1 in [0, 1]; 0 for what is neither present nor predicted.
    """
    return 2 * hits / (predicted + present).clip(min=1)


def f1_per_class(confusion: Tensor) -> Tensor:
    """Compute F1 of each class from a confusion matrix.

    Args:
        confusion: Counts, rows true and columns predicted, shape (..., C, C).

    Returns:
        F1 per class, shape (..., C), float64; 0 for a class neither present nor predicted.
    """
    confusion = confusion.double()
    return f1_from_counts(confusion.diagonal(dim1=-2, dim2=-1), confusion.sum(-2), confusion.sum(-1))
