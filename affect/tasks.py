"""The prediction tasks of stage 2: everything that distinguishes one from another, in one place.

A new task is a subclass of `Task` and an entry in `TASKS`. Its labels come from the data set's reader under its name;
the configuration of stage 2 has its numbers of epochs and its smoothing.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar, Final, Literal

import numpy as np
import torch
from torch import Tensor, nn

from affect.labels import ACTION_UNITS, AFFWILD2_EXPRESSIONS, MISSING_EXPRESSION, VALENCE_AROUSAL
from affect.losses import (
    balanced_unit_loss,
    balanced_unit_weights,
    expression_loss,
    inverse_frequency_weights,
    valence_arousal_loss,
)
from affect.metrics import ActionUnitMetrics, AdditiveMetric, ExpressionMetrics, ValenceArousalMetrics


class Task(ABC):
    """One prediction task; labels are as in the batch contract: NaN is missing, for a class index -1.

    A head's outputs are what the loss takes (logits, say); predictions are what is scored and submitted.

    Attributes:
        name: Key of the task's labels, outputs and predictions.
        outputs: Names of the columns of outputs and predictions.
        bounded: Whether a head ends in tanh, so that its outputs are in [-1, 1].
        hidden_layer: Whether a head of its own has a hidden layer.
        penalised: Whether the weights of a head of its own have the L2 penalty.
        monitor: Validation metric that chooses the best epoch of a head of its own, and which is better.
        loss_is_mean: Whether the loss of a whole set is the mean over its labels; if not, it is 1 - `score`.
        measures: Scores that the closing table shows, with their headings.
        score: The score that sums up the task.
        score_heading: Its heading.
    """

    name: ClassVar[str]
    outputs: ClassVar[tuple[str, ...]]
    bounded: ClassVar[bool] = False
    hidden_layer: ClassVar[bool] = False
    penalised: ClassVar[bool] = False
    monitor: ClassVar[tuple[str, Literal["min", "max"]]]
    loss_is_mean: ClassVar[bool] = True
    measures: ClassVar[Mapping[str, str]]
    score: ClassVar[str]
    score_heading: ClassVar[str]

    @property
    def width(self) -> int:
        """Number of outputs."""
        return len(self.outputs)

    @property
    def neutral(self) -> np.ndarray:
        """Prediction for a video of which no frame could be read, shape (width,)."""
        return np.zeros(self.width)

    def known(self, target: Tensor) -> Tensor:
        """Mark the labels that are not missing: a bool for each element of `target`."""
        return ~target.isnan()

    def labelled(self, target: Tensor) -> Tensor:
        """Mark the rows to train on, by default those with any label, shape (N,), bool."""
        return self.known(target).any(1)

    def predictions(self, outputs: Tensor) -> Tensor:
        """Turn outputs into predictions, both (B, width)."""
        return outputs

    def label_weights(self, target: Tensor) -> Tensor | None:
        """Compute the weights that `loss` takes from the training labels; None if it takes none."""
        return None

    @abstractmethod
    def loss(self, outputs: Tensor, target: Tensor, weights: Tensor | None = None) -> Tensor:
        """Compute the loss, a scalar, averaged over what is labelled; 0 with a graph if nothing is.

        Args:
            outputs: Shape (B, width).
            target: Labels.
            weights: From `label_weights`; None weighs all labels alike.
        """

    @abstractmethod
    def metric(self) -> AdditiveMetric:
        """Create a metric, updated with predictions and labels, whose `compute` returns scores by name."""


class ValenceArousal(Task):
    """Valence and arousal in [-1, 1]; rows count in training if they have both."""

    name = "valence_arousal"
    outputs = VALENCE_AROUSAL
    bounded = True
    penalised = True
    monitor = ("valence_arousal_loss", "min")
    loss_is_mean = False
    measures: ClassVar = {f"{name.lower()}_ccc": f"CCC {name.lower()}" for name in VALENCE_AROUSAL}
    score = "va_ccc"
    score_heading = "P_VA"

    def labelled(self, target: Tensor) -> Tensor:
        return self.known(target).all(1)

    def loss(self, outputs: Tensor, target: Tensor, weights: Tensor | None = None) -> Tensor:
        return valence_arousal_loss(outputs, target)

    def metric(self) -> AdditiveMetric:
        return ValenceArousalScore()


class ValenceArousalScore(ValenceArousalMetrics):
    """The CCCs and their mean `va_ccc`, which is absent if one of them is."""

    def scores(self, states: Mapping[str, Tensor]) -> dict[str, Tensor]:
        scores = {name: value for name, value in super().scores(states).items() if name.endswith("_ccc")}
        return {**scores, "va_ccc": torch.stack(list(scores.values())).mean(0)}


class Expression(Task):
    """One of eight expressions: logits and softmax probabilities; the label is a class index."""

    name = "expression"
    outputs = AFFWILD2_EXPRESSIONS
    penalised = True
    monitor = ("expression_accuracy", "max")
    measures: ClassVar = {f"expression_f1/{name}": f"F1 {name}" for name in AFFWILD2_EXPRESSIONS}
    score = "expression_f1"
    score_heading = "P_EXPR"

    @property
    def neutral(self) -> np.ndarray:
        return np.eye(self.width)[self.outputs.index("Neutral")]

    def known(self, target: Tensor) -> Tensor:
        return target != MISSING_EXPRESSION

    def labelled(self, target: Tensor) -> Tensor:
        return self.known(target)

    def predictions(self, outputs: Tensor) -> Tensor:
        return outputs.softmax(1)

    def label_weights(self, target: Tensor) -> Tensor | None:
        counts = torch.bincount(target[self.known(target)], minlength=self.width)
        return inverse_frequency_weights(counts.tolist())

    def loss(self, outputs: Tensor, target: Tensor, weights: Tensor | None = None) -> Tensor:
        return expression_loss(outputs, target, weights)

    def metric(self) -> AdditiveMetric:
        return ExpressionMetrics(self.outputs)


class ActionUnits(Task):
    """Twelve action units: logits and sigmoid probabilities; each has its own labels."""

    name = "action_units"
    outputs = ACTION_UNITS
    hidden_layer = True
    monitor = ("action_units_loss", "min")
    measures: ClassVar = {f"au_f1/{name}": f"F1 {name}" for name in ACTION_UNITS}
    score = "au_f1"
    score_heading = "P_AU"

    def predictions(self, outputs: Tensor) -> Tensor:
        return torch.sigmoid(outputs)

    def label_weights(self, target: Tensor) -> Tensor | None:
        return balanced_unit_weights(target)

    def loss(self, outputs: Tensor, target: Tensor, weights: Tensor | None = None) -> Tensor:
        return balanced_unit_loss(outputs, target, weights)

    def metric(self) -> AdditiveMetric:
        return ActionUnitMetrics()


TASKS: Final[Mapping[str, Task]] = {task.name: task for task in (ValenceArousal(), Expression(), ActionUnits())}
"""The tasks by name."""


def predictions(outputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Turn the outputs of each task into predictions."""
    return {task: TASKS[task].predictions(values) for task, values in outputs.items()}


class TaskLoss(nn.Module):
    """The loss of each task, with the weights of its training labels.

    Args:
        label_weights: By task, as from `Task.label_weights`; a task that is absent has none.
    """

    def __init__(self, label_weights: Mapping[str, Tensor | None] | None = None) -> None:
        super().__init__()
        for task in TASKS:
            # They belong to the data and not to a checkpoint.
            self.register_buffer(task, (label_weights or {}).get(task), persistent=False)

    def forward(self, task: str, outputs: Tensor, target: Tensor) -> Tensor:
        """Compute the loss of a task, a scalar, from its outputs and labels."""
        return TASKS[task].loss(outputs, target, getattr(self, task))

    def total(self, outputs: Mapping[str, Tensor], target: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Compute the loss of every task that there are outputs of."""
        return {task: self(task, values, target[task]) for task, values in outputs.items()}
