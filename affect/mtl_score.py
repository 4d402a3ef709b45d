"""P_MTL, the measure of the ABAW-4 multi-task challenge (Kollias 2022, arXiv 2207.01138, section 4).

P_MTL = mean CCC of valence and arousal + macro F1 of 8 expressions + mean F1 of 12 action units, in [-1, 3].
"""

from collections.abc import Mapping, Sequence
from typing import Final

import torch
from torch import Tensor
from torchmetrics import Metric

from affect.labels import ACTION_UNITS, AFFWILD2_EXPRESSIONS, MISSING_EXPRESSION, VALENCE_AROUSAL
from affect.metrics import f1_per_class

TASKS: Final = ("valence_arousal", "expression", "action_units")
DEFAULT_THRESHOLD: Final = 0.5


class MultiTaskScore(Metric):
    """Accumulate P_MTL and its parts from batches of any size, under DDP too.

    The states are counts and float64 sums, a few hundred numbers however many frames there are. Every label is used
    where it is present: a frame without an expression still counts for valence/arousal, and so on for each action unit.

    Args:
        thresholds: Probability from which each action unit counts as active (>=), shape (12,); None is 0.5 for all.
    """

    full_state_update = False
    moments: Tensor
    extremes: Tensor
    confusion: Tensor
    detections: Tensor
    thresholds: Tensor

    def __init__(self, thresholds: Tensor | Sequence[float] | None = None) -> None:
        super().__init__()
        # n, sum x, sum y, sum xx, sum yy, sum xy of predictions x and labels y.
        self.add_state(
            "moments", torch.zeros(6, len(VALENCE_AROUSAL), dtype=torch.float64), dist_reduce_fx="sum"
        )
        # Largest y and largest -y, which tell exactly whether labels vary.
        self.add_state(
            "extremes",
            torch.full((2, len(VALENCE_AROUSAL)), -torch.inf, dtype=torch.float64),
            dist_reduce_fx="max",
        )
        num_expressions = len(AFFWILD2_EXPRESSIONS)
        self.add_state(
            "confusion", torch.zeros(num_expressions, num_expressions, dtype=torch.long), dist_reduce_fx="sum"
        )
        # True positives, predicted, present, labelled.
        self.add_state(
            "detections", torch.zeros(4, len(ACTION_UNITS), dtype=torch.long), dist_reduce_fx="sum"
        )
        values = [DEFAULT_THRESHOLD] * len(ACTION_UNITS) if thresholds is None else thresholds
        self.register_buffer("thresholds", torch.as_tensor(values, dtype=torch.float64), persistent=False)

    def update(self, preds: Mapping[str, Tensor], target: Mapping[str, Tensor]) -> None:
        """Count a batch.

        Args:
            preds: Any of `valence_arousal` (B, 2); `expression`, logits or probabilities (B, 8); `action_units`,
                probabilities (B, 12).
            target: Labels of the tasks that `preds` holds, as in the batch contract: NaN or -1 where missing.

        Raises:
            ValueError: If a shape does not fit, or a prediction for a labelled frame is NaN.
        """
        if "valence_arousal" in preds:
            self._count_values(preds["valence_arousal"], target["valence_arousal"])
        if "expression" in preds:
            self._count_classes(preds["expression"], target["expression"])
        if "action_units" in preds:
            self._count_units(preds["action_units"], target["action_units"])

    def compute(self) -> dict[str, Tensor]:
        """Return the scores by name, float64 scalars; one that cannot be measured is absent, and P_MTL with it.

        A CCC needs labels that differ, expressions and each action unit need a label; predictions that do not vary, and
        classes that are neither predicted nor present, count as 0, as in the challenge.

        The names are `valence_ccc`, `arousal_ccc`, `va_ccc` (their mean), `expression_f1` (macro),
        `expression_f1/<Class>`, `expression_accuracy`, `au_f1` (mean), `au_f1/<AU>` and `mtl_score`.
        """
        scores = {**self._value_scores(), **self._class_scores(), **self._unit_scores()}
        parts = [scores[name] for name in ("va_ccc", "expression_f1", "au_f1") if name in scores]
        if len(parts) == len(TASKS):
            scores["mtl_score"] = torch.stack(parts).sum()
        return scores

    def _count_values(self, preds: Tensor, target: Tensor) -> None:
        labelled = ~target.isnan()
        _refuse_nan("valence_arousal", preds, labelled)
        x = torch.where(labelled, preds, 0).double()
        y = torch.where(labelled, target, 0).double()
        self.moments += torch.stack([labelled.double(), x, y, x * x, y * y, x * y]).sum(1)
        if len(target):
            bounds = torch.stack([torch.where(labelled, side, -torch.inf).amax(0) for side in (y, -y)])
            self.extremes = self.extremes.maximum(bounds)

    def _count_classes(self, preds: Tensor, target: Tensor) -> None:
        labelled = target != MISSING_EXPRESSION
        size = len(AFFWILD2_EXPRESSIONS)
        _refuse_nan("expression", preds, labelled[:, None].expand(-1, size))
        cells = target[labelled] * size + preds[labelled].argmax(1)
        self.confusion += torch.bincount(cells, minlength=size * size).view(size, size)

    def _count_units(self, preds: Tensor, target: Tensor) -> None:
        labelled = ~target.isnan()
        _refuse_nan("action_units", preds, labelled)
        active = labelled & (preds.double() >= self.thresholds)
        present = labelled & (target > 0.5)
        self.detections += torch.stack([active & present, active, present, labelled]).sum(1)

    def _value_scores(self) -> dict[str, Tensor]:
        varying = self.extremes.sum(0) > 0
        mean_x, mean_y, mean_xx, mean_yy, mean_xy = self.moments[1:] / self.moments[0].clamp(min=1)
        covariance = mean_xy - mean_x * mean_y
        spread = (mean_xx - mean_x**2) + (mean_yy - mean_y**2) + (mean_x - mean_y) ** 2
        # What rounding leaves is not a spread.
        rounding = spread <= 1e-12 * (mean_xx + mean_yy)
        ccc = torch.where(rounding, 0.0, 2 * covariance / torch.where(rounding, 1.0, spread))
        scores = {
            f"{name.lower()}_ccc": value
            for name, value, measured in zip(VALENCE_AROUSAL, ccc, varying.tolist(), strict=True)
            if measured
        }
        return {**scores, "va_ccc": ccc.mean()} if len(scores) == len(ccc) else scores

    def _class_scores(self) -> dict[str, Tensor]:
        total = self.confusion.sum()
        if not int(total):
            return {}
        f1 = f1_per_class(self.confusion)
        return {
            "expression_f1": f1.mean(),
            **{f"expression_f1/{name}": value for name, value in zip(AFFWILD2_EXPRESSIONS, f1, strict=True)},
            "expression_accuracy": self.confusion.diagonal().sum().double() / total,
        }

    def _unit_scores(self) -> dict[str, Tensor]:
        hits, active, present, labelled = self.detections.double()
        f1 = 2 * hits / (active + present).clamp(min=1)
        scores = {
            f"au_f1/{name}": value
            for name, value, labels in zip(ACTION_UNITS, f1, labelled.tolist(), strict=True)
            if labels
        }
        return {"au_f1": f1.mean(), **scores} if len(scores) == len(f1) else scores


def multi_task_score(
    preds: Mapping[str, Tensor],
    target: Mapping[str, Tensor],
    thresholds: Tensor | Sequence[float] | None = None,
) -> dict[str, float]:
    """Compute P_MTL and its parts of a whole set at once; see MultiTaskScore for shapes, names and missing values."""
    metric = MultiTaskScore(thresholds)
    metric.update(preds, target)
    return {name: float(value) for name, value in metric.compute().items()}


def _refuse_nan(task: str, preds: Tensor, labelled: Tensor) -> None:
    if preds.shape != labelled.shape:
        raise ValueError(
            f"{task}: predictions of shape {tuple(preds.shape)} for labels of {tuple(labelled.shape)}"
        )
    if bool((preds.isnan() & labelled).any()):
        raise ValueError(
            f"{task}: a prediction for a labelled frame is NaN; its loss or features were not finite"
        )
