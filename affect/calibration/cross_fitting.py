"""Cross-fitted figures for tuned numbers: what is chosen on some videos is judged on the others.

They do not cover choices made before, such as a network's best epoch on the same videos.

Thresholds, biases and weights that are chosen on the very set they are reported on look better than they are. Here each
video's predictions are treated with numbers fitted on the other videos only.
"""

from collections.abc import Callable
from typing import TypeVar

import numpy as np

Fitted = TypeVar("Fitted")


def group_folds(group: np.ndarray, num_folds: int) -> np.ndarray:
    """Share groups out among folds of similar size, never splitting one.

    The largest group comes first and goes to the smallest fold so far, so the same input gives the same folds.

    Args:
        group: Group (video) of each row, shape (N,).
        num_folds: Number of folds, at least 2.

    Returns:
        Fold of each row, 0 to num_folds - 1, shape (N,), int64.

    Raises:
        ValueError: If there are fewer groups than folds.
    """
    _, number, sizes = np.unique(group, return_inverse=True, return_counts=True)
    if num_folds < 2 or len(sizes) < num_folds:
        raise ValueError(
            f"cannot share {len(sizes)} groups out among {num_folds} folds (at least 2, no more than groups)"
        )
    fold_of_group = np.zeros(len(sizes), np.int64)
    filled = np.zeros(num_folds, np.int64)
    for largest in np.argsort(-sizes, kind="stable"):
        fold = int(filled.argmin())
        fold_of_group[largest] = fold
        filled[fold] += sizes[largest]
    return fold_of_group[number]


def cross_fit(
    fit: Callable[[np.ndarray], Fitted],
    apply: Callable[[Fitted, np.ndarray], np.ndarray],
    folds: np.ndarray,
) -> np.ndarray:
    """Treat each fold with what was fitted on all the others.

    Args:
        fit: Given row indices, returns what it fitted on these rows.
        apply: Given that and other row indices, returns their treated rows, shape (n, ...).
        folds: Fold of each row, shape (N,).

    Returns:
        Treated rows in their places, shape (N, ...).
    """
    pieces = []
    rows = []
    for fold in np.unique(folds):
        held_out = np.flatnonzero(folds == fold)
        pieces.append(apply(fit(np.flatnonzero(folds != fold)), held_out))
        rows.append(held_out)
    result = np.concatenate(pieces)
    return result[np.argsort(np.concatenate(rows), kind="stable")]
