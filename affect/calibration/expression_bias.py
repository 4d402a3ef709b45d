"""One additive bias per expression on its log-probability, fitted for macro F1.

Rare classes are seldom the largest probability of a network trained for accuracy; a bias moves the decision borders
without touching the network. Chosen by coordinate ascent: with all other biases fixed, the macro F1 of every bias on a
grid follows from cumulative counts over each frame's margin.
"""

from typing import Final

import numpy as np

from affect.f1 import f1_from_counts
from affect.labels import MISSING_EXPRESSION

BIASES: Final = np.linspace(-4, 4, 161)
"""Biases to choose from, increasing, shape (G,), with 0 among them."""
_MAX_SWEEPS: Final = 20


def log_scores(probabilities: np.ndarray) -> np.ndarray:
    """Take logarithms of probabilities, shape (N, C), as float64; zeros become a large negative number."""
    return np.log(np.maximum(probabilities.astype(np.float64), 1e-12))


def fit_log_bias(probabilities: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Choose biases for the best macro F1 of argmax(log p + bias) on these predictions.

    Args:
        probabilities: Expression probabilities, shape (N, C).
        target: Class indices, shape (N,); -1 is missing.

    Returns:
        Biases, shape (C,), float64; all 0 without labels. A class without labels keeps 0: nothing speaks for another.
    """
    labelled = target != MISSING_EXPRESSION
    scores, target = log_scores(probabilities[labelled]), target[labelled]
    bias = np.zeros(probabilities.shape[1])
    present = np.unique(target)
    for _ in range(_MAX_SWEEPS):
        before = bias.copy()
        for column in present:
            f1 = _macro_f1_along(column, scores + bias, scores[:, column], target)
            current = f1[np.abs(BIASES - bias[column]).argmin()]
            if f1.max() > current + 1e-12:  # strictly better only, so that the ascent ends
                best = np.flatnonzero(f1 >= f1.max())
                bias[column] = BIASES[best[np.abs(BIASES[best]).argmin()]]
        if np.array_equal(before, bias):
            break
    return bias


def apply_log_bias(probabilities: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """Weigh probabilities, shape (N, C), by exp(bias) and let each row sum to 1 again; NaN rows stay NaN."""
    scores = log_scores(probabilities) + bias
    weights = np.exp(scores - scores.max(1, keepdims=True))
    return (weights / weights.sum(1, keepdims=True)).astype(probabilities.dtype)


def _macro_f1_along(column: np.integer, biased: np.ndarray, unbiased: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Compute macro F1 for every bias of one class in BIASES, shape (G,), the other biases being fixed."""
    size = biased.shape[1]
    others = biased.copy()
    others[:, column] = -np.inf
    rival = others.argmax(1)
    margin = others.max(1) - unbiased  # the class wins once its bias reaches this
    # Bin k holds the frames won from BIASES[k] on; the last bin those never won.
    won_from = np.searchsorted(BIASES, margin, side="left")
    cells = (len(BIASES) + 1) * size
    lost = np.bincount(won_from * size + rival, minlength=cells).reshape(-1, size)
    right = rival == target
    lost_right = np.bincount((won_from * size + rival)[right], minlength=cells).reshape(-1, size)
    gained = np.cumsum(np.bincount(won_from, minlength=len(BIASES) + 1))[:-1]
    gained_right = np.cumsum(np.bincount(won_from[target == column], minlength=len(BIASES) + 1))[:-1]
    predicted = lost.sum(0) - np.cumsum(lost, axis=0)[:-1]
    hits = lost_right.sum(0) - np.cumsum(lost_right, axis=0)[:-1]
    predicted[:, column], hits[:, column] = gained, gained_right
    present = np.bincount(target, minlength=size)
    return f1_from_counts(hits, predicted, present).mean(1)
