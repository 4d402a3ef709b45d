"""Blend two networks' scores of the same images: weight x first + (1 - weight) x second.

The weight swept over 0, .1, ..., 1 is that of the pre-trained network in Savchenko 2022, arXiv 2207.09508, section 3.3.
Chosen on the set it is reported on, it flatters the blend: `cross_fitted_blend` judges each image with the weight that
the other images chose.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from affect.calibration.cross_fitting import cross_fit, group_folds
from affect.f1 import f1_from_counts

WEIGHTS: Final = np.arange(11) / 10
SPACES: Final = ("logits", "probabilities")
_NEUTRAL: Final = 0.5


@dataclass(frozen=True)
class BlendCurve:
    """F1 at every weight.

    Attributes:
        weights: Weights of the first network, shape (W,).
        f1_per_class: Shape (W, C); 0 for a class that is neither present nor predicted.
    """

    weights: np.ndarray
    f1_per_class: np.ndarray

    @property
    def f1(self) -> np.ndarray:
        """Macro F1 over all classes, absent ones included, shape (W,)."""
        return self.f1_per_class.mean(1)

    @property
    def best(self) -> int:
        """Position of the best weight; of equally good ones that nearest to 0.5, the lower of two as near."""
        candidates = np.flatnonzero(self.f1 >= self.f1.max())
        return int(candidates[np.abs(self.weights[candidates] - _NEUTRAL).argmin()])

    @property
    def best_weight(self) -> float:
        """The weight of the best macro F1 on these images."""
        return float(self.weights[self.best])


@dataclass(frozen=True)
class CrossFittedBlend:
    """The blend as it does on images that chose neither its weight nor its space.

    Attributes:
        preds: Predicted class of each image, by what the other folds chose, shape (N,).
        f1_per_class: Shape (C,).
        fold_weights: Weight chosen for each fold, shape (num_folds,).
        fold_spaces: Space chosen for each fold.
    """

    preds: np.ndarray
    f1_per_class: np.ndarray
    fold_weights: np.ndarray
    fold_spaces: Sequence[str]

    @property
    def f1(self) -> float:
        """Macro F1 over all classes, absent ones included."""
        return float(self.f1_per_class.mean())


def blend_scores(first: np.ndarray, second: np.ndarray, weight: float, space: str = "logits") -> np.ndarray:
    """Blend the scores of two networks.

    Args:
        first: Logits, shape (N, C).
        second: Logits of the same images and classes, shape (N, C).
        weight: Of the first, in [0, 1].
        space: `logits`, or `probabilities` to apply softmax to each before.

    Returns:
        Blended scores, shape (N, C), float64; the prediction is the largest.

    Raises:
        ValueError: If shapes differ, a logit is NaN, the weight is outside [0, 1] or the space is unknown.
    """
    if not 0 <= weight <= 1:
        raise ValueError(f"a blend weight lies in [0, 1], got {weight}")
    left, right = _scores(first, second, space)
    return weight * left + (1 - weight) * right


def sweep_weights(
    first: np.ndarray,
    second: np.ndarray,
    target: np.ndarray,
    space: str = "logits",
    weights: np.ndarray = WEIGHTS,
) -> BlendCurve:
    """Compute F1 at every weight of the first network, shape (W,).

    `first`, `second` and `space` are those of `blend_scores`; `target` has the class of each image, 0 to C - 1.

    Raises:
        ValueError: As in `blend_scores`, or if a label is missing or out of range.
    """
    _check_target(first, target)
    return BlendCurve(weights, f1_per_class(_predict(first, second, space, weights), target, first.shape[1]))


def best_space(curves: Mapping[str, BlendCurve]) -> str:
    """Name the space whose curve reaches the best macro F1; the first of equally good ones."""
    return max(curves, key=lambda space: curves[space].f1.max())


def cross_fitted_blend(
    first: np.ndarray,
    second: np.ndarray,
    target: np.ndarray,
    spaces: Sequence[str] = SPACES,
    weights: np.ndarray = WEIGHTS,
    *,
    group: np.ndarray | None = None,
    num_folds: int = 5,
    seed: int = 0,
) -> CrossFittedBlend:
    """Judge each image with the space and weight that are best on the other folds.

    Args:
        first: Logits, shape (N, C).
        second: Logits of the same images and classes, shape (N, C).
        target: Class of each image, 0 to C - 1, shape (N,).
        spaces: To choose from, as in `blend_scores`.
        weights: Weights to choose from, shape (W,).
        group: Video or person of each image, shape (N,), never split among folds; without it, folds are stratified.
        num_folds: Number of folds.
        seed: Of the stratified folds.

    Raises:
        ValueError: As in `sweep_weights`, or if there are fewer groups than folds.
    """
    _check_target(first, target)
    folds = stratified_folds(target, num_folds, seed) if group is None else group_folds(group, num_folds)
    preds = {space: _predict(first, second, space, weights) for space in spaces}
    classes = first.shape[1]
    chosen: list[tuple[str, int]] = []

    def fit(rows: np.ndarray) -> tuple[str, int]:
        curves = {
            space: BlendCurve(weights, f1_per_class(values[:, rows], target[rows], classes))
            for space, values in preds.items()
        }
        space = best_space(curves)
        chosen.append((space, curves[space].best))
        return chosen[-1]

    held_out = cross_fit(fit, lambda choice, rows: preds[choice[0]][choice[1], rows], folds)
    return CrossFittedBlend(
        held_out,
        f1_per_class(held_out[None], target, classes)[0],
        weights[[best for _, best in chosen]],
        [space for space, _ in chosen],
    )


def f1_per_class(preds: np.ndarray, target: np.ndarray, num_classes: int) -> np.ndarray:
    """Compute the F1 of each class for several predictions at once.

    Args:
        preds: Predicted classes, shape (W, N).
        target: True classes, shape (N,).
        num_classes: Number of classes.

    Returns:
        Shape (W, num_classes); 0 for a class that is neither present nor predicted.
    """
    rows = np.arange(len(preds))[:, None] * num_classes
    hits = np.where(preds == target, preds + rows, -1)
    true_positives = np.bincount(hits[hits >= 0], minlength=len(preds) * num_classes)
    predicted = np.bincount((preds + rows).ravel(), minlength=len(preds) * num_classes)
    present = np.bincount(target, minlength=num_classes)
    shape = (-1, num_classes)
    return f1_from_counts(true_positives.reshape(shape), predicted.reshape(shape), present)


def stratified_folds(target: np.ndarray, num_folds: int, seed: int = 0) -> np.ndarray:
    """Share images out among folds so that each class is spread evenly.

    Args:
        target: Class of each image, shape (N,).
        num_folds: Number of folds, at least 2.
        seed: Of the random order within a class.

    Returns:
        Fold of each image, 0 to num_folds - 1, shape (N,), int64; fold sizes differ by at most one.

    Raises:
        ValueError: If there are fewer images than folds.
    """
    if num_folds < 2 or len(target) < num_folds:
        raise ValueError(
            f"cannot share {len(target)} images out among {num_folds} folds (at least 2, no more than images)"
        )
    shuffled = np.random.default_rng(seed).permutation(len(target))
    by_class = shuffled[np.argsort(target[shuffled], kind="stable")]
    folds = np.empty(len(target), np.int64)
    folds[by_class] = np.arange(len(target)) % num_folds
    return folds


def _predict(first: np.ndarray, second: np.ndarray, space: str, weights: np.ndarray) -> np.ndarray:
    """Predict the class of each image at each weight, shape (W, N)."""
    if np.any((weights < 0) | (weights > 1)):
        raise ValueError(f"blend weights lie in [0, 1], got {weights}")
    left, right = _scores(first, second, space)
    return np.stack([(weight * left + (1 - weight) * right).argmax(1) for weight in weights])


def _scores(first: np.ndarray, second: np.ndarray, space: str) -> tuple[np.ndarray, np.ndarray]:
    if first.shape != second.shape or first.ndim != 2:
        raise ValueError(f"shapes do not fit: logits {first.shape} and {second.shape}")
    if np.isnan(first).any() or np.isnan(second).any():
        raise ValueError("a logit is NaN")
    if space not in SPACES:
        raise ValueError(f"space must be one of {SPACES}, not {space!r}")
    left, right = (np.asarray(logits, np.float64) for logits in (first, second))
    return (left, right) if space == "logits" else (_softmax(left), _softmax(right))


def _softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


def _check_target(logits: np.ndarray, target: np.ndarray) -> None:
    if target.shape != logits.shape[:1]:
        raise ValueError(f"shapes do not fit: logits {logits.shape}, labels {target.shape}")
    if len(target) and (target.min() < 0 or target.max() >= logits.shape[1]):
        raise ValueError(f"labels must lie in 0 to {logits.shape[1] - 1}; leave unlabelled images out")
