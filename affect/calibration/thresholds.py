"""Decision thresholds of the action units, chosen for the best F1 on given predictions.

The published grid is .1 to .9 (Savchenko 2022, arXiv 2207.09508, section 4.2); the exact search goes through every
probability that occurs. F1 comes from counts, with the same numbers as scikit-learn's.
"""

from typing import Final

import numpy as np

from affect.f1 import f1_from_counts

GRID: Final = np.arange(1, 10) / 10
NEUTRAL: Final = 0.5


def f1_curves(probabilities: np.ndarray, target: np.ndarray, grid: np.ndarray = GRID) -> np.ndarray:
    """Compute F1 at every threshold of a grid.

    A probability equal to a threshold counts as active. Probabilities are compared as float64, as MultiTaskScore does.

    Args:
        probabilities: In [0, 1], shape (N, L).
        target: In {0, 1}, NaN where missing, shape (N, L).
        grid: Increasing thresholds, shape (G,).

    Returns:
        F1 per threshold and label, shape (G, L); 0 where the label is neither present nor predicted.

    Raises:
        ValueError: If the shapes differ, the grid does not increase or a labelled probability is NaN.
    """
    if np.any(np.diff(grid) <= 0):
        raise ValueError(f"the thresholds must increase, got {grid}")
    _check(probabilities, target)
    known = ~np.isnan(target.T)
    present = known & (target.T > 0.5)
    values = np.where(known, probabilities.T, -np.inf).astype(np.float64)  # a missing label is never active
    curves = np.empty((len(grid), probabilities.shape[1]))
    positives = _count(present)
    for place, threshold in enumerate(grid):
        active = values >= threshold
        curves[place] = f1_from_counts(_count(active & present), _count(active), positives)
    return curves


def tune_thresholds(probabilities: np.ndarray, target: np.ndarray, grid: np.ndarray | None = GRID) -> np.ndarray:
    """Choose each label's threshold for the best F1 on these predictions.

    Of equally good thresholds the one nearest to 0.5 is taken; a label without any positive keeps 0.5.

    Args:
        probabilities: In [0, 1], shape (N, L).
        target: In {0, 1}, NaN where missing, shape (N, L).
        grid: Increasing thresholds to choose from, shape (G,); None searches exactly, over every way to cut the
            predictions in two, and puts the threshold midway between the two probabilities it separates.

    Returns:
        Thresholds, shape (L,), float64.

    Raises:
        ValueError: As f1_curves.
    """
    if grid is not None:
        return np.array([_choose(grid, curve) for curve in f1_curves(probabilities, target, grid).T])
    _check(probabilities, target)
    return np.array([_exact(*_labelled(p, t)) for p, t in zip(probabilities.T, target.T, strict=True)])


def _exact(values: np.ndarray, present: np.ndarray) -> float:
    candidates, place = np.unique(values, return_inverse=True)
    if not len(candidates):
        return NEUTRAL
    active = np.cumsum(np.bincount(place)[::-1])[::-1]
    hits = np.cumsum(np.bincount(place[present], minlength=len(candidates))[::-1])[::-1]
    below = np.concatenate([[0.0], candidates[:-1]])
    # The cut below a candidate may lie anywhere in between; 0.5 if that is there, otherwise halfway.
    cuts = np.where((below < NEUTRAL) & (candidates >= NEUTRAL), NEUTRAL, (below + candidates) / 2)
    cuts = np.where(cuts > below, cuts, candidates)  # two neighbouring floats have nothing between them
    return _choose(cuts, f1_from_counts(hits, active, int(present.sum())))


def _choose(thresholds: np.ndarray, f1: np.ndarray) -> float:
    if not f1.max() > 0:
        return NEUTRAL
    best = np.flatnonzero(f1 >= f1.max())
    return float(thresholds[best[np.abs(thresholds[best] - NEUTRAL).argmin()]])


def _labelled(probabilities: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    known = ~np.isnan(target)
    return probabilities[known].astype(np.float64), target[known] > 0.5


def _count(rows: np.ndarray) -> np.ndarray:
    """Count what is true in each row; by row, since NumPy's count along an axis is ten times slower."""
    return np.array([np.count_nonzero(row) for row in rows])


def _check(probabilities: np.ndarray, target: np.ndarray) -> None:
    if probabilities.shape != target.shape or probabilities.ndim != 2:
        raise ValueError(f"shapes do not fit: probabilities {probabilities.shape}, labels {target.shape}")
    if np.isnan(probabilities[~np.isnan(target)]).any():
        raise ValueError("a probability of a labelled frame is NaN")
