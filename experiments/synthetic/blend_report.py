"""The blend of both networks: its best weight, in-sample and cross-fitted scores."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from affect.calibration.network_blend import (
    SPACES,
    BlendCurve,
    best_space,
    blend_scores,
    cross_fitted_blend,
    sweep_weights,
)
from callbacks.validation_outputs import ValidationOutputs

NUM_FOLDS: Final = 5


@dataclass(frozen=True)
class BlendReport:
    """Results of sweeping the blending weight.

    Attributes:
        space: Where the scores are blended, `logits` or `probabilities`, the one with the better macro F1.
        weight: Of the pre-trained network, best on the validation set.
        curves: Macro F1 over the weight, by space.
        preds: Predictions at the best weight, shape (N,).
        target: True classes, shape (N,).
        metrics: Flat names and values; `@blend` is in-sample, `@blend_crossfit` on images that did not choose.
        folds: What the folds of the cross-fitted values consist of: `people`, or `images` if people are unknown.
    """

    space: str
    weight: float
    curves: dict[str, BlendCurve]
    preds: np.ndarray
    target: np.ndarray
    metrics: dict[str, float]
    folds: str = "images"


def report_blend(
    pretrained: ValidationOutputs,
    finetuned: ValidationOutputs,
    classes: Sequence[str],
    people: Mapping[str, str] | None = None,
) -> BlendReport:
    """Sweep the weight on logits and on probabilities.

    Args:
        pretrained: Logits of the pre-trained network on the validation set, its six classes only.
        finetuned: Logits of the fine-tuned network on the same images.
        classes: Names in label order.
        people: Person on each image, by image name: folds are then of people. Without, or with a single person, folds
            are of images, stratified by class.

    Raises:
        ValueError: If the two were not computed on the same images.
    """
    if pretrained.names != finetuned.names:
        raise ValueError("the two networks were validated on different images")
    target = finetuned.labels["expression"]
    logits = pretrained.outputs, finetuned.outputs
    curves = {space: sweep_weights(*logits, target, space) for space in SPACES}
    space = best_space(curves)
    best = curves[space]
    preds = blend_scores(*logits, best.best_weight, space).argmax(1)
    metrics = {"blend/weight": best.best_weight, "val/expression_f1@blend": float(best.f1[best.best])}
    metrics["val/expression_accuracy@blend"] = float((preds == target).mean())
    for name, value in zip(classes, best.f1_per_class[best.best], strict=True):
        metrics[f"val/expression_f1/{name}@blend"] = float(value)
    group = np.array([people[name] for name in finetuned.names]) if people else None
    num_people = 0 if group is None else len(np.unique(group))
    known: dict[str, Any] = {"group": group, "num_folds": min(NUM_FOLDS, num_people)} if num_people > 1 else {}
    for name in SPACES:
        metrics[f"val/expression_f1@blend_{name}"] = float(curves[name].f1.max())
        alone = cross_fitted_blend(*logits, target, [name], **known)
        metrics[f"val/expression_f1@blend_{name}_crossfit"] = alone.f1
    # Chosen within the folds, unlike the space above, which was chosen on all images.
    cross_fitted = cross_fitted_blend(*logits, target, **known)
    metrics["val/expression_f1@blend_crossfit"] = cross_fitted.f1
    metrics["val/expression_accuracy@blend_crossfit"] = float((cross_fitted.preds == target).mean())
    for name, value in zip(classes, cross_fitted.f1_per_class, strict=True):
        metrics[f"val/expression_f1/{name}@blend_crossfit"] = float(value)
    folds = "people" if known else "images"
    return BlendReport(space, best.best_weight, curves, preds, target, metrics, folds)
