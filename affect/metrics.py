"""Metrics as the challenges define them, exact for any batch size and under DDP.

They differ from torchmetrics' own where the challenge does: population variance in CCC, and a class that is neither
predicted nor present counts as 0 in macro F1 instead of being left out.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.functional.classification import multiclass_confusion_matrix
from torchmetrics.utilities import dim_zero_cat

from affect.labels import MISSING_EXPRESSION, VALENCE_AROUSAL
from affect.losses import concordance


def f1_per_class(confusion: Tensor) -> Tensor:
    """Compute F1 of each class from a confusion matrix.

    Args:
        confusion: Counts, rows true and columns predicted, shape (C, C).

    Returns:
        F1 per class in [0, 1], shape (C,), float64; 0 for a class neither present nor predicted.
    """
    confusion = confusion.double()
    hits = confusion.diagonal()
    return 2 * hits / (confusion.sum(0) + confusion.sum(1)).clamp(min=1)


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
        self.add_state("confusion_without", empty.clone(), dist_reduce_fx="sum")

    def update(self, logits: Tensor, target: Tensor) -> None:
        """Count a batch: logits (B, C) of any scale, target (B,) with -1 for missing."""
        labelled = target != MISSING_EXPRESSION
        logits, target = logits[labelled].float(), target[labelled]
        if not len(target):
            return
        self.confusion += multiclass_confusion_matrix(logits.argmax(1), target, len(self.classes))
        if self.without is None:
            return
        kept = target != self.without
        if bool(kept.any()):
            narrowed = logits[kept].index_fill(
                1, torch.tensor([self.without], device=logits.device), -torch.inf
            )
            counts = multiclass_confusion_matrix(narrowed.argmax(1), target[kept], len(self.classes))
            self.confusion_without += counts

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
    """Score valence and arousal by CCC (population moments) and RMSE."""

    full_state_update = False
    preds: list[Tensor]
    target: list[Tensor]

    def __init__(self) -> None:
        super().__init__()
        # Two columns of float32 are 1 MB per 131,000 frames: exact and simple beats running sums.
        self.add_state("preds", [], dist_reduce_fx="cat")
        self.add_state("target", [], dist_reduce_fx="cat")

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Keep a batch: both (B, 2), target NaN where missing, each column by itself."""
        # Flat, as torchmetrics' stand-in for a process that had no batch is.
        self.preds.append(preds.detach().float().flatten())
        self.target.append(target.detach().float().flatten())

    def compute(self) -> dict[str, Tensor]:
        """Return `valence_ccc`, `arousal_ccc`, `valence_rmse` and `arousal_rmse`, those that can be measured.

        A column without labels has neither; one whose labels are all the same, a single one among them, has no CCC.
        """
        if not len(self.preds):
            return {}
        preds, target = (
            dim_zero_cat(values).double().view(-1, len(VALENCE_AROUSAL))
            for values in (self.preds, self.target)
        )
        scores: dict[str, Tensor] = {}
        for column, name in enumerate(VALENCE_AROUSAL):
            valid = ~target[:, column].isnan()
            if bool(valid.any()):
                pair = preds[valid, column, None], target[valid, column, None]
                if pair[1].max() > pair[1].min():
                    scores[f"{name.lower()}_ccc"] = concordance(*pair).squeeze(0)
                scores[f"{name.lower()}_rmse"] = (pair[0] - pair[1]).square().mean().sqrt()
        return scores


def _accuracy(confusion: Tensor) -> Tensor:
    return confusion.diagonal().sum().double() / confusion.sum()
