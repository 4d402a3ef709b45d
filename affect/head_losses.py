"""Losses of the multi-task heads (Savchenko 2022, arXiv 2207.09508, section 3.2); missing labels take no part."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from affect.labels import ACTION_UNITS
from affect.losses import balanced_unit_loss, expression_loss, valence_arousal_loss


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
        return expression_loss(outputs, target, self.class_weights)

    def total(self, outputs: Mapping[str, Tensor], target: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Compute the loss of every task that there are outputs of."""
        return {task: self(task, values, target[task]) for task, values in outputs.items()}
