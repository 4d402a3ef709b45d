"""Features in memory: whole sets resident, batches cut by index, no Python per sample."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor

from affect.labels import MISSING_EXPRESSION
from affect.mtl_metrics import TASKS

JOINT = "joint"
"""Key of a training batch that serves all tasks at once."""
ALIGNED_FLOATS: Final = 16
"""Floats in 64 bytes, a processor's cache line and its widest vector."""


@dataclass(frozen=True)
class FeatureTable:
    """Rows of features with their labels, as the batch contract has them.

    Attributes:
        feature: Shape (N, D), float32; a row without image is 0.
        labels: By task: `expression` (N,), `valence_arousal` (N, 2), `action_units` (N, 12).
        name: N image ids.
        present: Whether the row has an image, shape (N,), bool.
    """

    feature: Tensor = field(repr=False)
    labels: dict[str, Tensor] = field(repr=False)
    name: list[str] = field(repr=False)
    present: Tensor = field(repr=False)

    def __len__(self) -> int:
        return len(self.name)

    def labelled(self, task: str) -> Tensor:
        """Give the rows that have an image and a label of a task, increasing, int64."""
        target = self.labels[task]
        if task == "expression":
            known = target != MISSING_EXPRESSION
        elif task == "valence_arousal":
            known = ~target.isnan().any(1)
        else:
            known = ~target.isnan().all(1)
        return torch.nonzero(known & self.present).squeeze(1)

    def take(self, rows: Tensor) -> "FeatureTable":
        """Give some rows, shape (n,), int64, in the order asked for."""
        return FeatureTable(
            self.feature[rows],
            {task: target[rows] for task, target in self.labels.items()},
            [self.name[row] for row in rows.tolist()],
            self.present[rows],
        )

    def joined(self, other: "FeatureTable") -> "FeatureTable":
        """Put another table's rows below these."""
        return FeatureTable(
            torch.cat([self.feature, other.feature]),
            {task: torch.cat([target, other.labels[task]]) for task, target in self.labels.items()},
            self.name + other.name,
            torch.cat([self.present, other.present]),
        )


def feature_table(
    features: np.ndarray, labels: Mapping[str, np.ndarray], name: list[str], rows: np.ndarray | None = None
) -> FeatureTable:
    """Take rows into memory.

    Args:
        features: Shape (M, D), any float type, memory-mapped or not; NaN where the image is missing.
        labels: By task, N rows each.
        name: N image ids.
        rows: Which rows to take, shape (N,), int64; by default all, and M is N.
    """
    rows = np.arange(len(features)) if rows is None else rows
    feature = torch.empty((len(rows), features.shape[1]), dtype=torch.float32)
    present = torch.empty(len(rows), dtype=torch.bool)
    for start in range(0, len(rows), 8192):  # in pieces: no second copy of the whole while converting
        piece = slice(start, start + 8192)
        part = torch.from_numpy(features[rows[piece]].astype(np.float32))
        present[piece] = ~part[:, 0].isnan()
        feature[piece] = torch.where(present[piece, None], part, 0.0)
    return FeatureTable(
        feature, {task: torch.from_numpy(target) for task, target in labels.items()}, name, present
    )


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
    """One epoch of training batches: every task's own rows in an order of its own, all tasks side by side.

    Args:
        table: The rows.
        groups: Rows to go through, by task; the key `joint` gives rows with all tasks' labels.
        batch_size: Rows per task and step.
        seed: Of the order; each epoch has another.

    Yields:
        By group: `feature` (B, D) and the group's labels. A task that has been through all its rows is absent.
    """

    def __init__(self, table: FeatureTable, groups: Mapping[str, Tensor], batch_size: int, seed: int) -> None:
        self.table = table
        self.groups = groups
        self.batch_size = batch_size
        self.seed = seed

    def __len__(self) -> int:
        return max(-(-len(rows) // self.batch_size) for rows in self.groups.values())

    def __iter__(self) -> Iterator[dict[str, dict[str, Tensor]]]:
        orders = {group: rows[self._order(group, len(rows))] for group, rows in self.groups.items()}
        for start in range(0, len(self) * self.batch_size, self.batch_size):
            batch = {}
            for group, order in orders.items():
                rows = order[start : start + self.batch_size]
                if len(rows):
                    tasks = TASKS if group == JOINT else (group,)
                    batch[group] = {"feature": gather_rows(self.table.feature, rows)}
                    batch[group] |= {task: self.table.labels[task].index_select(0, rows) for task in tasks}
            yield batch

    def _order(self, group: str, size: int) -> Tensor:
        """Draw a group's order, which does not depend on what is trained beside it."""
        number = (*TASKS, JOINT).index(group)
        return torch.randperm(size, generator=torch.Generator().manual_seed(self.seed + 104_729 * number))


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


class FeatureDataModule(pl.LightningDataModule):
    """Give heads their training batches and validation slices.

    Args:
        train: Training rows.
        val: Validation rows; None to train without (a refit on everything).
        epochs: For how many epochs each task trains; the key `joint` instead trains all tasks on the same batches.
        batch_size: Rows per task and step.
        seed: Of the order of rows.

    Raises:
        ValueError: If a task has no labelled training row.
    """

    def __init__(
        self,
        train: FeatureTable,
        val: FeatureTable | None,
        epochs: Mapping[str, int],
        batch_size: int,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.train = train
        # A row without image has nothing to judge a head by.
        self.val = val if val is None or bool(val.present.all()) else val.take(val.present.nonzero()[:, 0])
        self.epochs = dict(epochs)
        self.batch_size = batch_size
        self.seed = seed
        self.rows = {
            group: torch.nonzero(train.present).squeeze(1) if group == JOINT else train.labelled(group)
            for group in epochs
        }
        empty = [group for group, rows in self.rows.items() if not len(rows)]
        if empty:
            raise ValueError(f"no training row with an image and a label for {empty}")

    def train_dataloader(self) -> TaskBatches:
        """Give the epoch's batches; to be asked anew each epoch, for another order and the tasks still training."""
        epoch = self.trainer.current_epoch if self.trainer else 0
        groups = {group: rows for group, rows in self.rows.items() if epoch < self.epochs[group]}
        return TaskBatches(self.train, groups, self.batch_size, self.seed + 1_000_003 * epoch)

    def val_dataloader(self) -> Slices | list:
        """Give all validation rows that have an image, in order."""
        return [] if self.val is None else Slices(self.val)
