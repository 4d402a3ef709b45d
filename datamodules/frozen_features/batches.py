"""Batches of features that lie in memory: cut by index, no Python per sample."""

import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Final

import torch
from torch import Tensor

from datamodules.frozen_features.table import FeatureTable

ORDER_NUMBERS: Final = {"valence_arousal": 0, "expression": 1, "action_units": 2, "joint": 3}
"""Number of a group in the seed of its order; that of any other group is computed from its name."""
ALIGNED_FLOATS: Final = 16
"""Floats in 64 bytes, a processor's cache line and its widest vector."""
STEPS_TOGETHER: Final = 16
"""Training steps that Lightning is told of at once: what it does around a step takes a sixth of one of 512 rows."""

Batch = dict[str, dict[str, Tensor]]


def gather_rows(feature: Tensor, rows: Tensor) -> Tensor:
    """Copy rows of a matrix (N, D) float32, so that each begins on a 64-byte border: products then take half the time.

    Args:
        feature: Where from.
        rows: Which, shape (n,), int64.

    Returns:
        Shape (n, D); its row stride is D rounded up.
    """
    width = feature.shape[1]
    gathered = feature.new_empty(len(rows), -(-width // ALIGNED_FLOATS) * ALIGNED_FLOATS)[:, :width]
    return torch.index_select(feature, 0, rows, out=gathered)


class TaskBatches:
    """One epoch of training batches: every group's own rows in an order of its own, all groups side by side.

    Args:
        table: The rows.
        groups: Rows to go through, by group.
        batch_size: Rows per group and step.
        seed: Of the order; each epoch has another.
        tasks: By group, the tasks whose labels it takes; a group that is absent is the task of its name.

    Yields:
        By group: `feature` (B, D) and the labels of its tasks. A group that has been through all its rows is absent.
    """

    def __init__(
        self,
        table: FeatureTable,
        groups: Mapping[str, Tensor],
        batch_size: int,
        seed: int,
        tasks: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        self.table = table
        self.groups = groups
        self.batch_size = batch_size
        self.seed = seed
        self.tasks = tasks or {}

    def __len__(self) -> int:
        return max(-(-len(rows) // self.batch_size) for rows in self.groups.values())

    def __iter__(self) -> Iterator[Batch]:
        return map(self.gathering(), range(len(self)))

    def gathering(self) -> Callable[[int], Batch]:
        """Shuffle, and give what gathers the batch of a step."""
        return partial(
            self._gather, {group: rows[self._order(group, len(rows))] for group, rows in self.groups.items()}
        )

    def _gather(self, orders: Mapping[str, Tensor], step: int) -> Batch:
        batch = {}
        for group, order in orders.items():
            rows = order[step * self.batch_size : (step + 1) * self.batch_size]
            if len(rows):
                batch[group] = {"feature": gather_rows(self.table.feature, rows)}
                for task in self.tasks.get(group, (group,)):
                    batch[group][task] = self.table.labels[task].index_select(0, rows)
        return batch

    def _order(self, group: str, size: int) -> Tensor:
        """Draw a group's order, which does not depend on what is trained beside it."""
        number = ORDER_NUMBERS.get(group, zlib.crc32(group.encode()))
        return torch.randperm(size, generator=torch.Generator().manual_seed(self.seed + 104_729 * number))


class Steps:
    """The batches of some steps in a row, each gathered, and brought to the device, when its turn comes.

    Args:
        gather: Gives the batch of a step.
        steps: Which steps.
        device: Where to; None leaves batches where they are.
    """

    def __init__(self, gather: Callable[[int], Batch], steps: range, device: torch.device | None = None) -> None:
        self.gather = gather
        self.steps = steps
        self.device = device

    def to(self, device: torch.device, non_blocking: bool = False) -> "Steps":
        """Return the same on a device, as Lightning asks of a batch."""
        return Steps(self.gather, self.steps, device)

    def __iter__(self) -> Iterator[Batch]:
        for step in self.steps:
            batch = self.gather(step)
            if self.device is not None and self.device.type != "cpu":
                batch = {
                    group: {key: value.to(self.device, non_blocking=True) for key, value in part.items()}
                    for group, part in batch.items()
                }
            yield batch


class StepGroups:
    """An epoch's batches, some steps at a time; Lightning counts such a group as one batch.

    Args:
        batches: The epoch.
        limit: Share (below 1) or number of its steps to take, at least one; None takes all.
        size: Steps of a group.

    Yields:
        `Steps`.
    """

    def __init__(self, batches: TaskBatches, limit: float | None = None, size: int = STEPS_TOGETHER) -> None:
        self.batches = batches
        self.size = size
        total = len(batches)
        if limit is not None:
            total = max(1, min(total, int(limit if limit >= 1 else limit * total)))
        self.num_steps = total

    def __len__(self) -> int:
        return -(-self.num_steps // self.size)

    def __iter__(self) -> Iterator[Steps]:
        gather = self.batches.gathering()
        for start in range(0, self.num_steps, self.size):
            yield Steps(gather, range(start, min(start + self.size, self.num_steps)))


class Slices:
    """All rows in order, in slices.

    Yields:
        `feature` (B, D) and the labels of all tasks.
    """

    def __init__(self, table: FeatureTable, batch_size: int = 8192) -> None:
        self.table = table
        self.batch_size = batch_size

    def __len__(self) -> int:
        return -(-len(self.table) // self.batch_size)

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        for start in range(0, len(self.table), self.batch_size):
            rows = slice(start, start + self.batch_size)
            labels = {task: target[rows] for task, target in self.table.labels.items()}
            yield {"feature": self.table.feature[rows], **labels}
