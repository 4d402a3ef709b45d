"""P_MTL, the measure of the ABAW-4 multi-task challenge (Kollias 2022, arXiv 2207.01138, section 4).

P_MTL = mean CCC of valence and arousal + macro F1 of 8 expressions + mean F1 of 12 action units, in [-1, 3].
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import torch
from torch import Tensor, nn

from affect.bootstrap import ClusterBootstrap
from affect.metrics import ActionUnitMetrics
from affect.tasks import TASKS

PARTS: Final = ("va_ccc", "expression_f1", "au_f1")
"""Scores that P_MTL sums up."""


class MultiTaskScore(nn.Module):
    """Accumulate P_MTL and its parts from batches of any size, under DDP too.

    The states are counts and float64 sums, a few hundred numbers however many frames there are. Every label is used
    where it is present: a frame without an expression still counts for valence/arousal, and so on for each action unit.

    Args:
        thresholds: Probability from which each action unit counts as active (>=), shape (12,); None is 0.5 for all.
        tasks: Tasks to score.

    Attributes:
        parts: Metric of each task.
    """

    def __init__(self, thresholds: Tensor | Sequence[float] | None = None, tasks: Iterable[str] = tuple(TASKS)) -> None:
        super().__init__()
        self.parts: Any = nn.ModuleDict({task: TASKS[task].metric() for task in tasks})
        if thresholds is not None and "action_units" in self.parts:
            self.parts["action_units"] = ActionUnitMetrics(thresholds)

    def update(self, preds: Mapping[str, Tensor], target: Mapping[str, Tensor]) -> None:
        """Count a batch.

        Args:
            preds: Predictions of some of the tasks, B rows; expressions may be logits.
            target: Labels of the tasks that `preds` holds, as in the batch contract: NaN or -1 where missing.

        Raises:
            ValueError: If a shape does not fit, or a prediction for a labelled frame is NaN.
        """
        for task, values in preds.items():
            _check(task, values, target[task])
            self.parts[task].update(values, target[task])

    def compute(self) -> dict[str, Tensor]:
        """Return the scores by name, float64 scalars; one that cannot be measured is absent, and P_MTL with it.

        A CCC needs labels that differ, expressions and each action unit need a label; predictions that do not vary, and
        classes that are neither predicted nor present, count as 0, as in the challenge.

        The names are `valence_ccc`, `arousal_ccc`, `va_ccc` (their mean), `expression_f1` (macro),
        `expression_f1/<Class>`, `expression_accuracy`, `au_f1` (mean), `au_f1/<AU>` and `mtl_score`.
        """
        scores = {name: value for part in self.parts.values() for name, value in part.compute().items()}
        if all(name in scores for name in PARTS):
            scores["mtl_score"] = torch.stack([scores[name] for name in PARTS]).sum()
        return scores

    def reset(self) -> None:
        """Forget all batches."""
        for part in self.parts.values():
            part.reset()


def multi_task_score(
    preds: Mapping[str, Tensor],
    target: Mapping[str, Tensor],
    thresholds: Tensor | Sequence[float] | None = None,
) -> dict[str, float]:
    """Compute P_MTL and its parts of a whole set at once; see MultiTaskScore for shapes, names and missing values."""
    metric = MultiTaskScore(thresholds, preds)
    metric.update(preds, target)
    return {name: float(value) for name, value in metric.compute().items()}


def multi_task_draws(
    bootstrap: ClusterBootstrap,
    preds: Mapping[str, Tensor],
    target: Mapping[str, Tensor],
    thresholds: Tensor | Sequence[float] | None = None,
) -> dict[str, Tensor]:
    """Compute P_MTL and its parts of every set that a bootstrap draws, shape (num_draws,) each; NaN if unmeasurable."""
    parts = MultiTaskScore(thresholds, preds).parts
    draws = {
        name: values
        for task in preds
        for name, values in bootstrap.draws(parts[task], preds[task], target[task]).items()
    }
    if all(name in draws for name in PARTS):
        draws["mtl_score"] = torch.stack([draws[name] for name in PARTS]).sum(0)
    return draws


def _check(task: str, preds: Tensor, target: Tensor) -> None:
    known = TASKS[task].known(target)
    if known.ndim == 1:
        known = known[:, None].expand(-1, TASKS[task].width)
    if preds.shape != known.shape:
        raise ValueError(f"{task}: predictions of shape {tuple(preds.shape)} for labels of {tuple(known.shape)}")
    if bool((preds.isnan() & known).any()):
        raise ValueError(f"{task}: a prediction for a labelled frame is NaN; its loss or features were not finite")
