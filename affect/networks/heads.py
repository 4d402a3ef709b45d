"""Multi-task heads on the features of a frozen backbone (Savchenko 2022, arXiv 2207.09508, section 3.2).

A row of features is the backbone's pooled features, then its outputs. Three networks are published: `separate` (a head
per task, all with the same input), `slice` (the same, but valence/arousal sees the outputs only; the best one) and
`joint` (one network whose expression and action unit heads also see its valence/arousal).

A new network is a subclass of `HeadNetwork` and an entry in `NETWORKS`.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar, Final, NamedTuple

import torch
from torch import Tensor, nn

from affect.errors import InvalidOptionError
from affect.tasks import TASKS, Task

HEAD_INPUTS: Final = ("features", "outputs", "both")


class Monitor(NamedTuple):
    """What chooses a group's best epoch.

    Attributes:
        submodule: Dotted name of the group's part of the network; empty for the whole.
        metric: Name of the validation metric; `<group>_loss` is the sum of the group's losses and its penalty.
        mode: `min` or `max`.
    """

    submodule: str
    metric: str
    mode: str


class HeadNetwork(nn.Module, ABC):
    """Heads of all tasks.

    A network trains in groups, which share no parameter: each on batches of its own, for a number of epochs of its own
    (`heads.epochs.<group>`), on the sum of the losses of its tasks.

    Args:
        num_features: Width of the pooled features.
        num_outputs: Width of the backbone's outputs that follow them; 0 for a stream without.
        inputs: What the heads see, one of HEAD_INPUTS.
        num_hidden: Width of the hidden layer of tasks that have one; 0 for none.

    Attributes:
        groups: The groups, with the tasks of each.
        key_prefix: What the network's configuration keys `heads.<prefix>l2` and `heads.<prefix>batch_size` begin with.

    Raises:
        ValueError: If a head would see nothing, or the input is unknown.
    """

    groups: ClassVar[Mapping[str, tuple[str, ...]]]
    key_prefix: ClassVar[str] = ""

    def forward(self, feature: Tensor) -> dict[str, Tensor]:
        """Compute all tasks' outputs of feature rows, shape (B, num_features + num_outputs).

        Returns:
            By task: expression logits (B, 8), valence_arousal in [-1, 1] (B, 2), action unit logits (B, 12).
        """
        return {task: values for group in self.groups for task, values in self.forward_group(group, feature).items()}

    @abstractmethod
    def forward_group(self, group: str, feature: Tensor) -> dict[str, Tensor]:
        """Compute the outputs of a group's tasks."""

    @abstractmethod
    def penalised(self, group: str) -> list[nn.Parameter]:
        """List the weights of a group that have the L2 penalty."""

    @abstractmethod
    def monitor(self, group: str) -> Monitor:
        """Return what chooses a group's best epoch, as published."""


class SeparateHeads(HeadNetwork):
    """One head per task: linear expression and tanh(linear) valence/arousal, one hidden layer for action units.

    Attributes:
        heads: The task's networks, from its input columns to its outputs.
    """

    groups: ClassVar = {task: (task,) for task in TASKS}

    def __init__(self, num_features: int, num_outputs: int, inputs: str, num_hidden: int) -> None:
        super().__init__()
        self.columns = {task: input_columns(self.inputs_of(task, inputs), num_features, num_outputs) for task in TASKS}
        self.heads = nn.ModuleDict({
            task: _head(TASKS[task], columns.stop - columns.start, num_hidden)
            for task, columns in self.columns.items()
        })  # fmt: skip
        _initialise(self)

    def inputs_of(self, task: str, inputs: str) -> str:
        """Return what a task's head sees where `inputs` is asked for."""
        return inputs

    def forward_group(self, group: str, feature: Tensor) -> dict[str, Tensor]:
        """Compute a task's outputs."""
        return {group: self.heads[group](feature[:, self.columns[group]])}

    def penalised(self, group: str) -> list[nn.Parameter]:
        """List the weights of a task's head if the task has the penalty."""
        return _weights(self.heads[group]) if TASKS[group].penalised else []

    def monitor(self, group: str) -> Monitor:
        """Return the task's monitor."""
        return Monitor(f"heads.{group}", *TASKS[group].monitor)


class SliceHeads(SeparateHeads):
    """Separate heads of which valence/arousal sees the backbone's outputs whatever the inputs of the others."""

    def inputs_of(self, task: str, inputs: str) -> str:
        """Return `outputs` for valence/arousal."""
        return "outputs" if task == "valence_arousal" else inputs


class JointHeads(HeadNetwork):
    """One network without hidden layer: valence/arousal first, then the other tasks from the input and these two."""

    groups: ClassVar = {"joint": tuple(TASKS)}
    key_prefix = "joint_"

    def __init__(self, num_features: int, num_outputs: int, inputs: str, num_hidden: int) -> None:
        super().__init__()
        self.columns = input_columns(inputs, num_features, num_outputs)
        width = self.columns.stop - self.columns.start
        values = TASKS["valence_arousal"].width
        self.valence_arousal = nn.Linear(width, values)
        self.others = [task for task in TASKS if task != "valence_arousal"]
        for task in self.others:
            self.add_module(task, _head(TASKS[task], width + values, num_hidden=0))
        _initialise(self)

    def forward_group(self, group: str, feature: Tensor) -> dict[str, Tensor]:
        """Compute all tasks' outputs."""
        seen = feature[:, self.columns]
        values = torch.tanh(self.valence_arousal(seen))
        seen = torch.cat([seen, values], 1)
        return {"valence_arousal": values, **{task: getattr(self, task)(seen) for task in self.others}}

    def penalised(self, group: str) -> list[nn.Parameter]:
        """List the weights of all layers."""
        return _weights(self)

    def monitor(self, group: str) -> Monitor:
        """Return the sum of the losses and the penalty."""
        return Monitor("", "joint_loss", "min")


NETWORKS: Final[Mapping[str, type[HeadNetwork]]] = {
    "separate": SeparateHeads, "slice": SliceHeads, "joint": JointHeads,
}  # fmt: skip
"""The networks by the name that configurations and heads files have."""


def create_heads(network: str, inputs: str, num_features: int, num_outputs: int, num_hidden: int = 128) -> HeadNetwork:
    """Build one of `NETWORKS`.

    Args:
        network: `separate`, `slice` or `joint`.
        inputs: What the heads see; `slice` gives valence/arousal the outputs whatever is said here.
        num_features: Width of the pooled features.
        num_outputs: Width of the backbone's outputs.
        num_hidden: Width of the action units' hidden layer, for `separate` and `slice`.

    Raises:
        ValueError: If the name or input is unknown.
        InvalidOptionError: If a head would see nothing.
    """
    if network not in NETWORKS:
        raise ValueError(f"unknown network {network!r}; choose one of {tuple(NETWORKS)}")
    return NETWORKS[network](num_features, num_outputs, inputs, num_hidden)


def input_columns(inputs: str, num_features: int, num_outputs: int) -> slice:
    """Return the columns of a feature row that an input names.

    Raises:
        ValueError: If the input is unknown.
        InvalidOptionError: If it has no columns.
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
        raise InvalidOptionError(
            f"a head sees {inputs!r}, but there are {num_features} features, {num_outputs} outputs: set "
            "heads.inputs=features and heads.network=separate or joint, or take a backbone with outputs"
        )
    return columns


def _head(task: Task, size: int, num_hidden: int) -> nn.Module:
    layers: list[nn.Module] = []
    if task.hidden_layer and num_hidden:
        layers += [nn.Linear(size, num_hidden), nn.ReLU()]
        size = num_hidden
    layers.append(nn.Linear(size, task.width))
    if task.bounded:
        layers.append(nn.Tanh())
    return nn.Sequential(*layers) if len(layers) > 1 else layers[0]


def _weights(module: nn.Module) -> list[nn.Parameter]:
    return [parameter for name, parameter in module.named_parameters() if name.endswith("weight")]


def _initialise(module: nn.Module) -> None:
    """Start as the published heads did: uniform Glorot weights, no bias."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)
