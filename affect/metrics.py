"""Metrics as the challenges define them, exact for any batch size and under DDP.

They differ from torchmetrics' own where the challenge does: population variance in CCC, and a class that is neither
predicted nor present counts as 0 in macro F1 instead of being left out.
"""

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor
from torchmetrics import Metric

from affect.concordance import concordance_from_moments
from affect.f1 import f1_from_counts, f1_per_class
from affect.labels import ACTION_UNITS, MISSING_EXPRESSION, VALENCE_AROUSAL

DEFAULT_THRESHOLD: Final = 0.5


class ExpressionMetrics(Metric):
    """Score expression logits: accuracy, macro F1 and F1 of each class.

    With `without`, also the accuracy in the narrower task that lacks this class: samples of the class are left out and
    its logit is not considered (AffectNet's seven-class accuracy).

    Args:
        classes: Class names in label order.
        without: Name of the class to leave out in the narrower task.
    """

    full_state_update = False
    confusion: Tensor
    confusion_without: Tensor

    def __init__(self, classes: Sequence[str], without: str | None = None) -> None:
        super().__init__()
        self.classes = tuple(classes)
        self.without = self.classes.index(without) if without is not None else None
        empty = torch.zeros(len(classes), len(classes), dtype=torch.long)
        self.add_state("confusion", empty, dist_reduce_fx="sum")
        if without is not None:
            self.add_state("confusion_without", empty.clone(), dist_reduce_fx="sum")

    def update(self, logits: Tensor, target: Tensor) -> None:
        """Count a batch: logits or probabilities (B, C), target (B,) with -1 for missing."""
        labelled = target != MISSING_EXPRESSION
        logits, target = logits[labelled], target[labelled]
        self.confusion += _confusion(logits, target)
        if self.without is not None:
            kept = target != self.without
            left_out = torch.tensor([self.without], device=logits.device)
            self.confusion_without += _confusion(logits[kept].index_fill(1, left_out, -torch.inf), target[kept])

    def compute(self) -> dict[str, Tensor]:
        """Return the scores by name; nothing if no sample had a label.

        The names are `expression_accuracy`, `expression_f1`, `expression_f1/<Class>` and, with a class left out,
        `expression_accuracy_<C-1>`.
        """
        if not int(self.confusion.sum()):
            return {}
        f1 = f1_per_class(self.confusion)
        scores = {
            "expression_accuracy": _accuracy(self.confusion),
            "expression_f1": f1.mean(),
            **{f"expression_f1/{name}": value for name, value in zip(self.classes, f1, strict=True)},
        }
        if self.without is not None and int(self.confusion_without.sum()):
            scores[f"expression_accuracy_{len(self.classes) - 1}"] = _accuracy(self.confusion_without)
        return scores


class ValenceArousalMetrics(Metric):
    """Score valence and arousal by CCC (population moments) and RMSE.

    The states are counts and float64 sums: a few numbers however many frames there are.
    """

    full_state_update = False
    moments: Tensor
    extremes: Tensor

    def __init__(self) -> None:
        super().__init__()
        columns = len(VALENCE_AROUSAL)
        # n, sum x, sum y, sum xx, sum yy, sum xy of predictions x and labels y.
        self.add_state("moments", torch.zeros(6, columns, dtype=torch.float64), dist_reduce_fx="sum")
        # Largest y and largest -y: exactly whether labels vary.
        empty = torch.full((2, columns), -torch.inf, dtype=torch.float64)
        self.add_state("extremes", empty, dist_reduce_fx="max")

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Add a batch: both (B, 2), target NaN where missing, each column by itself."""
        labelled = ~target.isnan()
        x = torch.where(labelled, preds, 0).double()
        y = torch.where(labelled, target, 0).double()
        self.moments += torch.stack([labelled.double(), x, y, x * x, y * y, x * y]).sum(1)
        if len(target):
            bounds = torch.stack([torch.where(labelled, side, -torch.inf).amax(0) for side in (y, -y)])
            self.extremes = self.extremes.maximum(bounds)

    def compute(self) -> dict[str, Tensor]:
        """Return `valence_ccc`, `arousal_ccc`, `valence_rmse` and `arousal_rmse`, those that can be measured.

        A column without labels has neither; one whose labels are all the same, a single one among them, has no CCC.
        """
        x, y, xx, yy, xy = self.moments[1:] / self.moments[0].clamp(min=1)
        ccc = concordance_from_moments(x, y, xx - x**2, yy - y**2, xy - x * y)
        rmse = (xx - 2 * xy + yy).clamp(min=0).sqrt()  # rounding may leave less than 0
        varying, labelled = (self.extremes.sum(0) > 0).tolist(), self.moments[0].tolist()
        scores: dict[str, Tensor] = {}
        for column, name in enumerate(VALENCE_AROUSAL):
            if varying[column]:
                scores[f"{name.lower()}_ccc"] = ccc[column]
            if labelled[column]:
                scores[f"{name.lower()}_rmse"] = rmse[column]
        return scores


class ActionUnitMetrics(Metric):
    """Score action units by F1, each over the frames that have its label.

    Args:
        thresholds: Probability from which each action unit counts as active (>=), shape (12,); None is 0.5 for all.
    """

    full_state_update = False
    detections: Tensor
    thresholds: Tensor

    def __init__(self, thresholds: Tensor | Sequence[float] | None = None) -> None:
        super().__init__()
        # True positives, predicted, present, labelled.
        empty = torch.zeros(4, len(ACTION_UNITS), dtype=torch.long)
        self.add_state("detections", empty, dist_reduce_fx="sum")
        values = [DEFAULT_THRESHOLD] * len(ACTION_UNITS) if thresholds is None else thresholds
        self.register_buffer("thresholds", torch.as_tensor(values, dtype=torch.float64), persistent=False)

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Count a batch: probabilities and labels in {0, 1}, NaN where missing, both (B, 12)."""
        labelled = ~target.isnan()
        active = labelled & (preds.double() >= self.thresholds)
        present = labelled & (target > 0.5)
        self.detections += torch.stack([active & present, active, present, labelled]).sum(1)

    def compute(self) -> dict[str, Tensor]:
        """Return `au_f1/<AU>` of the action units with labels, and their mean `au_f1` if all have."""
        hits, active, present, labelled = self.detections.double()
        f1 = f1_from_counts(hits, active, present)
        scores = {
            f"au_f1/{name}": value
            for name, value, labels in zip(ACTION_UNITS, f1, labelled.tolist(), strict=True)
            if labels
        }
        return {"au_f1": f1.mean(), **scores} if len(scores) == len(f1) else scores


def _confusion(logits: Tensor, target: Tensor) -> Tensor:
    size = logits.shape[1]
    return torch.bincount(target * size + logits.argmax(1), minlength=size * size).view(size, size)


def _accuracy(confusion: Tensor) -> Tensor:
    return confusion.diagonal().sum().double() / confusion.sum()
