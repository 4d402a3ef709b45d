"""Losses of all stages, with their weights; samples without a label of a task take no part in that task's term.

The losses of Savchenko 2022 (arXiv 2207.09508) differ in their means. Stage 1 (section 3.1) divides the cross entropy
by the samples' weights, and takes valence and arousal over the rows of each. Stages 2 and 3 (sections 3.2 and 3.3)
divide it by the number of samples, and stage 2 takes valence and arousal over the rows that have both.
"""

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from affect.concordance import concordance
from affect.errors import UserError
from affect.labels import MISSING_EXPRESSION


def inverse_frequency_weights(counts: Sequence[int]) -> Tensor:
    """Weight classes by 1/count, divided by the smallest such weight (arXiv 2207.09508, section 3.1).

    Returns:
        Weights, shape (C,): 1 for the most frequent class; 0 for a class without samples, which never occurs.

    Raises:
        UserError: If no class has a sample.
    """
    samples = torch.as_tensor(counts, dtype=torch.float32)
    if samples.max() <= 0:
        raise UserError(f"no class has a training sample: counts {list(counts)}")
    return torch.where(samples > 0, samples.max() / samples.clamp(min=1), 0.0)


def mean_frequency_weights(counts: Sequence[int]) -> Tensor:
    """Weight classes by mean(count)/count (arXiv 2207.09508, section 3.3), from the training samples of each.

    Returns:
        Weights, shape (C,): 1 for a class of average frequency; 0 for a class without samples.

    Raises:
        UserError: If no class has a sample.
    """
    weights = inverse_frequency_weights(counts)
    samples = torch.as_tensor(counts, dtype=torch.float32)
    return weights * samples.mean() / samples.max()


def balanced_unit_weights(action_units: Tensor) -> Tensor:
    """Weigh each action unit's two sides by total / (2 count), so that both weigh as much.

    Args:
        action_units: Training labels, shape (N, 12), {0, 1}; NaN is missing.

    Returns:
        Weights of inactive and of active labels, shape (2, 12), float32; a side without labels has 0, it never occurs.
    """
    active = (action_units == 1).sum(0)
    inactive = (action_units == 0).sum(0)
    counts = torch.stack([inactive, active]).double()
    return torch.where(counts > 0, counts.sum(0) / (2 * counts.clamp(min=1)), 0.0).float()


def expression_loss(
    logits: Tensor, target: Tensor, class_weights: Tensor | None = None, label_smoothing: float = 0.0,
    divide_by: Literal["samples", "weights"] = "samples",
) -> Tensor:  # fmt: skip
    """Average class-weighted cross entropy over the labelled samples.

    Args:
        logits: Shape (B, C).
        target: Class indices, shape (B,); -1 is missing, and such a sample does not count.
        class_weights: Factor of each class's term of the (smoothed) target, shape (C,); None weighs all alike.
        label_smoothing: Share of the target spread over all classes, in [0, 1).
        divide_by: `samples` divides the sum by their number, as Keras does; `weights` by their weights, as PyTorch
            does, which makes the loss smaller by their mean, and so a penalty beside it stronger.

    Returns:
        A scalar; if nothing is labelled, 0 with a graph for `samples`, and NaN for `weights`.
    """
    loss = F.cross_entropy(
        logits, target, class_weights, ignore_index=MISSING_EXPRESSION, label_smoothing=label_smoothing,
        reduction="mean" if divide_by == "weights" else "sum",
    )  # fmt: skip
    return loss if divide_by == "weights" else loss / (target != MISSING_EXPRESSION).sum().clamp(min=1)


def concordance_loss(preds: Tensor, target: Tensor) -> Tensor:
    """Compute 1 - CCC, averaged over columns, from shapes (N, D) without NaN; a scalar in [0, 2]."""
    return 1 - concordance(preds, target).mean()


def valence_arousal_loss(preds: Tensor, target: Tensor) -> Tensor:
    """Compute 1 - (CCC valence + CCC arousal) / 2 over rows with both labels, shapes (B, 2); NaN is missing.

    Returns:
        A scalar; 0 with a graph if fewer than two rows are labelled, which give no correlation.
    """
    labelled = ~target.isnan().any(1)
    if int(labelled.sum()) < 2:
        return preds.sum() * 0
    return concordance_loss(preds[labelled], target[labelled])


def balanced_unit_loss(logits: Tensor, target: Tensor, weights: Tensor | None = None) -> Tensor:
    """Average the binary cross entropy over labels, each weighted by its unit and side.

    Args:
        logits: Shape (B, 12).
        target: {0, 1}, NaN is missing, shape (B, 12).
        weights: From `balanced_unit_weights`, shape (2, 12); None weighs all alike.

    Returns:
        A scalar; 0 with a graph if no label is there.
    """
    labelled = ~target.isnan()
    filled = torch.where(labelled, target, 0.0)
    weight = labelled.to(logits.dtype)
    if weights is not None:
        weight = torch.where(filled > 0.5, weights[1], weights[0]) * labelled
    total = F.binary_cross_entropy_with_logits(logits, filled, weight, reduction="sum")
    return total / labelled.sum().clamp(min=1)


def split_outputs(outputs: Tensor, num_expressions: int) -> tuple[Tensor, Tensor]:
    """Split task outputs into expression logits (B, num_expressions) and valence/arousal (B, 2)."""
    return outputs[:, :num_expressions], outputs[:, num_expressions : num_expressions + 2]


class MultiTaskLoss(nn.Module):
    """Sum class-weighted cross entropy and (1 - CCC)/2 of valence and of arousal (arXiv 2207.09508, eq. 1).

    Args:
        class_weights: One weight per expression, shape (C,); None weighs all alike.
        label_smoothing: Share of the target spread over all classes, in [0, 1).
        num_expressions: Number of expression logits.
    """

    class_weights: Tensor | None

    def __init__(self, num_expressions: int, class_weights: Tensor | None = None, label_smoothing: float = 0.0) -> None:
        super().__init__()
        self.num_expressions = num_expressions
        self.label_smoothing = label_smoothing
        self.register_buffer("class_weights", class_weights, persistent=False)

    def forward(self, outputs: Tensor, expression: Tensor, valence_arousal: Tensor | None = None) -> dict[str, Tensor]:
        """Compute the terms that the batch has labels for.

        Args:
            outputs: Expression logits, then valence and arousal, shape (B, C + 2), or (B, C) without these.
            expression: Class indices, shape (B,); -1 is missing.
            valence_arousal: Values in [-1, 1], shape (B, 2); NaN is missing, None is missing everywhere.

        Returns:
            Scalars `loss` (always; 0 with a graph if nothing is labelled) and, where there are labels,
            `expression`, `valence` and `arousal`. A CCC needs two samples.
        """
        # Computed in float32 under autocast: variances of bfloat16 values are too coarse.
        logits, predicted = split_outputs(outputs.float(), self.num_expressions)
        if valence_arousal is None:
            valence_arousal = torch.full_like(logits[:, :2], torch.nan)
        annotated = ~valence_arousal.isnan()
        # Asked once for all tasks: a GPU has to finish everything before it can answer.
        counts = torch.column_stack([expression != MISSING_EXPRESSION, annotated]).sum(0).tolist()
        terms: dict[str, Tensor] = {}
        if counts[0]:
            terms["expression"] = expression_loss(
                logits, expression, self.class_weights, self.label_smoothing, divide_by="weights"
            )
        for column, name in enumerate(("valence", "arousal")[: predicted.shape[1]]):
            if counts[1 + column] >= 2:
                pair = [values[:, column, None].contiguous() for values in (predicted, valence_arousal)]
                if counts[1 + column] < len(outputs):  # where all are annotated, nothing need be asked again
                    pair = [values[annotated[:, column]] for values in pair]
                terms[name] = concordance_loss(*pair) / 2
        total = torch.stack(list(terms.values())).sum() if terms else outputs.float().sum() * 0
        return {"loss": total, **terms}
