"""Multi-task heads on the features of a frozen backbone (Savchenko 2022, arXiv 2207.09508, section 3.2).

A row of features is the backbone's pooled features, then its outputs. Three networks are published: `separate` (a head
per task, all with the same input), `slice` (the same, but valence/arousal sees the outputs only; the best one) and
`joint` (one network whose expression and action unit heads also see its valence/arousal).
"""

from collections.abc import Mapping
from typing import Final

import torch
from torch import Tensor, nn

from affect.labels import ACTION_UNITS, AFFWILD2_EXPRESSIONS, VALENCE_AROUSAL
from affect.mtl_score import TASKS

HEAD_INPUTS: Final = ("features", "outputs", "both")
NETWORKS: Final = ("separate", "slice", "joint")


class SeparateHeads(nn.Module):
    """One head per task: linear expression and tanh(linear) valence/arousal, one hidden layer for action units.

    Args:
        num_features: Width of the pooled features.
        num_outputs: Width of the backbone's outputs that follow them; 0 for a stream without.
        inputs: What each task's head sees.
        num_hidden: Width of the action units' hidden layer; 0 makes that head linear too.
        tasks: Heads to make, of TASKS.

    Attributes:
        heads: The task's networks, from its input columns to its outputs before any activation but tanh.

    Raises:
        ValueError: If a head would see nothing, or an input or task is unknown.
    """

    def __init__(
        self,
        num_features: int,
        num_outputs: int,
        inputs: Mapping[str, str],
        num_hidden: int = 128,
        tasks: tuple[str, ...] = TASKS,
    ) -> None:
        super().__init__()
        self.columns = {task: input_columns(inputs[task], num_features, num_outputs) for task in tasks}
        width = {task: columns.stop - columns.start for task, columns in self.columns.items()}
        makers = {
            "valence_arousal": lambda size: nn.Sequential(nn.Linear(size, len(VALENCE_AROUSAL)), nn.Tanh()),
            "expression": lambda size: nn.Linear(size, len(AFFWILD2_EXPRESSIONS)),
            "action_units": lambda size: _unit_head(size, num_hidden),
        }
        self.heads = nn.ModuleDict({task: makers[task](width[task]) for task in tasks})
        _initialise(self)

    def forward(self, feature: Tensor) -> dict[str, Tensor]:
        """Compute all tasks' outputs of feature rows, shape (B, num_features + num_outputs).

        Returns:
            By task: expression logits (B, 8), valence_arousal in [-1, 1] (B, 2), action unit logits (B, 12).
        """
        return {task: self.forward_task(task, feature) for task in self.heads}

    def forward_task(self, task: str, feature: Tensor) -> Tensor:
        """Compute one task's outputs of feature rows."""
        return self.heads[task](feature[:, self.columns[task]])


class JointHeads(nn.Module):
    """One linear network: valence/arousal first, then expression and action units from the input and these two.

    Args:
        num_features: Width of the pooled features.
        num_outputs: Width of the backbone's outputs that follow them.
        inputs: What the network sees.

    Raises:
        ValueError: If it would see nothing, or the input is unknown.
    """

    def __init__(self, num_features: int, num_outputs: int, inputs: str) -> None:
        super().__init__()
        self.columns = input_columns(inputs, num_features, num_outputs)
        width = self.columns.stop - self.columns.start
        self.valence_arousal = nn.Linear(width, len(VALENCE_AROUSAL))
        self.expression = nn.Linear(width + len(VALENCE_AROUSAL), len(AFFWILD2_EXPRESSIONS))
        self.action_units = nn.Linear(width + len(VALENCE_AROUSAL), len(ACTION_UNITS))
        _initialise(self)

    def forward(self, feature: Tensor) -> dict[str, Tensor]:
        """Compute all tasks' outputs, as SeparateHeads does."""
        seen = feature[:, self.columns]
        values = torch.tanh(self.valence_arousal(seen))
        seen = torch.cat([seen, values], 1)
        return {
            "valence_arousal": values,
            "expression": self.expression(seen),
            "action_units": self.action_units(seen),
        }


def create_heads(
    network: str, inputs: str, num_features: int, num_outputs: int, num_hidden: int = 128
) -> SeparateHeads | JointHeads:
    """Build one of the published networks.

    Args:
        network: `separate`, `slice` or `joint`.
        inputs: What the heads see; `slice` gives valence/arousal the outputs whatever is said here.
        num_features: Width of the pooled features.
        num_outputs: Width of the backbone's outputs.
        num_hidden: Width of the action units' hidden layer, for `separate` and `slice`.

    Raises:
        ValueError: If the name or input is unknown, or a head would see nothing.
    """
    if network not in NETWORKS:
        raise ValueError(f"unknown network {network!r}; choose one of {NETWORKS}")
    if network == "joint":
        return JointHeads(num_features, num_outputs, inputs)
    seen: dict[str, str] = dict.fromkeys(TASKS, inputs)
    if network == "slice":
        seen["valence_arousal"] = "outputs"
    return SeparateHeads(num_features, num_outputs, seen, num_hidden)


def input_columns(inputs: str, num_features: int, num_outputs: int) -> slice:
    """Give the columns of a feature row that an input names.

    Raises:
        ValueError: If the input is unknown or has no columns.
    """
    spans = {
        "features": slice(0, num_features),
        "outputs": slice(num_features, num_features + num_outputs),
        "both": slice(0, num_features + num_outputs),
    }
    if inputs not in spans:
        raise ValueError(f"unknown head input {inputs!r}; choose one of {HEAD_INPUTS}")
    columns = spans[inputs]
    if columns.start == columns.stop:
        raise ValueError(
            f"a head sees {inputs!r}, but there are {num_features} features, {num_outputs} outputs"
        )
    return columns


def probabilities(outputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Turn head outputs into predictions: softmax of expressions, sigmoid of action units, values as they are."""
    activations = {"expression": lambda logits: logits.softmax(1), "action_units": torch.sigmoid}
    return {
        task: activations[task](values) if task in activations else values for task, values in outputs.items()
    }


def _unit_head(size: int, num_hidden: int) -> nn.Module:
    if not num_hidden:
        return nn.Linear(size, len(ACTION_UNITS))
    return nn.Sequential(nn.Linear(size, num_hidden), nn.ReLU(), nn.Linear(num_hidden, len(ACTION_UNITS)))


def _initialise(module: nn.Module) -> None:
    """Start as the published heads did: uniform Glorot weights, no bias."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)
