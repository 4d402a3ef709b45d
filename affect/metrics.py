"""Metrics as the challenges define them, exact for any batch size and under DDP.

They differ from torchmetrics' own where the challenge does: population variance in CCC, and a class that is neither
predicted nor present counts as 0 in macro F1 instead of being left out.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Final

import torch
from torch import Tensor
from torchmetrics import Metric

from affect.concordance import concordance_from_moments
from affect.f1 import f1_from_counts, f1_per_class
from affect.labels import ACTION_UNITS, MISSING_EXPRESSION, VALENCE_AROUSAL

DEFAULT_THRESHOLD: Final = 0.5


class AdditiveMetric(Metric, ABC):
    """A metric whose states add up: those of two sets of samples give the states of both together.

    Some states may be maxima instead. `ClusterBootstrap` computes scores of thousands of resampled sets from the states
    of their clusters.
    """

    full_state_update = False

    @abstractmethod
    def scores(self, states: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Compute scores by name from states, which may have further dimensions in front; NaN is not measurable."""

    def compute(self) -> dict[str, Tensor]:
        """Return the scores by name, those that can be measured."""
        scores = self.scores({name: getattr(self, name) for name in self._defaults})
        return {name: value for name, value in scores.items() if not value.isnan()}


class ExpressionMetrics(AdditiveMetric):
    """Score expression logits: accuracy, macro F1 and F1 of each class.

    With `without`, also the accuracy in the narrower task that lacks this class: samples of the class are left out and
    its logit is not considered (AffectNet's seven-class accuracy).

    Args:
        classes: Class names in label order.
        without: Name of the class to leave out in the narrower task.
    """

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

    def scores(self, states: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Compute the scores by name; NaN if no sample has a label.

        The names are `expression_accuracy`, `expression_f1`, `expression_f1/<Class>` and, with a class left out,
        `expression_accuracy_<C-1>`.
        """
        confusion = states["confusion"]
        measurable = torch.where(confusion.sum((-1, -2)) > 0, 1.0, torch.nan)
        f1 = f1_per_class(confusion) * measurable[..., None]
        scores = {
            "expression_accuracy": _accuracy(confusion),
            "expression_f1": f1.mean(-1),
            **{f"expression_f1/{name}": value for name, value in zip(self.classes, f1.movedim(-1, 0), strict=True)},
        }
        if self.without is not None:
            scores[f"expression_accuracy_{len(self.classes) - 1}"] = _accuracy(states["confusion_without"])
        return scores


class ValenceArousalMetrics(AdditiveMetric):
    """Score valence and arousal by CCC (population moments) and RMSE.

    The states are counts and float64 sums: a few numbers however many frames there are.
    """

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

    def scores(self, states: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Compute `valence_ccc`, `arousal_ccc`, `valence_rmse` and `arousal_rmse`.

        A column without labels has neither; one whose labels are all the same, a single one among them, has no CCC.
        """
        labelled = states["moments"][..., 0, :]
        x, y, xx, yy, xy = (states["moments"][..., 1:, :] / labelled.clamp(min=1)[..., None, :]).unbind(-2)
        ccc = concordance_from_moments(x, y, xx - x**2, yy - y**2, xy - x * y)
        rmse = (xx - 2 * xy + yy).clamp(min=0).sqrt()  # rounding may leave less than 0
        ccc = ccc.where(states["extremes"].sum(-2) > 0, torch.nan)
        rmse = rmse.where(labelled > 0, torch.nan)
        names = [name.lower() for name in VALENCE_AROUSAL]
        return {
            f"{name}_{measure}": values[..., column]
            for column, name in enumerate(names)
            for measure, values in (("ccc", ccc), ("rmse", rmse))
        }


class ActionUnitMetrics(AdditiveMetric):
    """Score action units by F1, each over the frames that have its label.

    Args:
        thresholds: Probability from which each action unit counts as active (>=), shape (12,); None is 0.5 for all.
    """

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

    def scores(self, states: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Compute `au_f1/<AU>` of the action units with labels, and their mean `au_f1` if all have."""
        hits, active, present, labelled = states["detections"].double().unbind(-2)
        f1 = f1_from_counts(hits, active, present).where(labelled > 0, torch.nan)
        units = zip(ACTION_UNITS, f1.movedim(-1, 0), strict=True)
        return {"au_f1": f1.mean(-1), **{f"au_f1/{name}": value for name, value in units}}


def _confusion(logits: Tensor, target: Tensor) -> Tensor:
    size = logits.shape[1]
    return torch.bincount(target * size + logits.argmax(1), minlength=size * size).view(size, size)


def _accuracy(confusion: Tensor) -> Tensor:
    return confusion.diagonal(dim1=-2, dim2=-1).sum(-1).double() / confusion.sum((-1, -2))
