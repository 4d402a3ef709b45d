"""Losses of the multi-task heads (Savchenko 2022, arXiv 2207.09508, section 3.2); missing labels take no part."""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from affect.labels import ACTION_UNITS
from affect.losses import concordance, sample_mean_cross_entropy


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


def balanced_unit_loss(logits: Tensor, target: Tensor, weights: Tensor) -> Tensor:
    """Average the binary cross entropy over labels, each weighted by its unit and side.

    Args:
        logits: Shape (B, 12).
        target: {0, 1}, NaN is missing, shape (B, 12).
        weights: From `balanced_unit_weights`, shape (2, 12).

    Returns:
        A scalar; 0 with a graph if no label is there.
    """
    labelled = ~target.isnan()
    filled = torch.where(labelled, target, 0.0)
    weight = torch.where(filled > 0.5, weights[1], weights[0]) * labelled
    total = F.binary_cross_entropy_with_logits(logits, filled, weight, reduction="sum")
    return total / labelled.sum().clamp(min=1)


def valence_arousal_loss(preds: Tensor, target: Tensor) -> Tensor:
    """Compute 1 - (CCC valence + CCC arousal) / 2 over rows with both labels, shapes (B, 2); NaN is missing.

    Returns:
        A scalar; 0 with a graph if fewer than two rows are labelled, which give no correlation.
    """
    labelled = ~target.isnan().any(1)
    if int(labelled.sum()) < 2:
        return preds.sum() * 0
    return 1 - concordance(preds[labelled], target[labelled]).mean()


class HeadLoss(nn.Module):
    """One task's loss, with the weights that its training labels ask for, averaged over what is labelled.

    Args:
        class_weights: Of expressions, shape (8,); None weighs all alike.
        unit_weights: Of action units, shape (2, 12); None weighs all alike.
    """

    class_weights: Tensor | None
    unit_weights: Tensor

    def __init__(self, class_weights: Tensor | None = None, unit_weights: Tensor | None = None) -> None:
        super().__init__()
        self.register_buffer("class_weights", class_weights, persistent=False)
        equal = torch.ones(2, len(ACTION_UNITS))
        self.register_buffer(
            "unit_weights", equal if unit_weights is None else unit_weights, persistent=False
        )

    def forward(self, task: str, outputs: Tensor, target: Tensor) -> Tensor:
        """Compute a task's loss, a scalar, from its head's outputs and its labels as in the batch contract."""
        if task == "valence_arousal":
            return valence_arousal_loss(outputs, target)
        if task == "action_units":
            return balanced_unit_loss(outputs, target, self.unit_weights)
        return sample_mean_cross_entropy(outputs, target, self.class_weights)

    def total(self, outputs: Mapping[str, Tensor], target: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Compute the loss of every task that there are outputs of."""
        return {task: self(task, values, target[task]) for task, values in outputs.items()}
