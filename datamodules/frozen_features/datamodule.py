"""Features in memory for the heads: their training steps and validation slices."""

from collections.abc import Mapping, Sequence

import pytorch_lightning as pl
import torch

from affect.errors import UserError
from datamodules.frozen_features.batches import Slices, StepGroups, TaskBatches
from datamodules.frozen_features.table import FeatureTable


class FeatureDataModule(pl.LightningDataModule):
    """Return heads their training batches and validation slices.

    Args:
        train: Training rows.
        val: Validation rows; None to train without (a refit on everything).
        epochs: For how many epochs each group trains.
        batch_size: Rows per group and step.
        seed: Of the order of rows.
        limit: Share (below 1) or number of an epoch's steps to take; None takes all.
        tasks: By group, the tasks that train on its batches; a group that is absent is the task of its name. A group of
            one task goes through the rows with its label, one of several through all rows with an image.

    Raises:
        UserError: If a group has no training row.
    """

    def __init__(
        self,
        train: FeatureTable,
        val: FeatureTable | None,
        epochs: Mapping[str, int],
        batch_size: int,
        seed: int = 0,
        limit: float | None = None,
        tasks: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        super().__init__()
        self.train = train
        # A row without image has nothing to judge a head by.
        self.val = val if val is None or bool(val.present.all()) else val.take(val.present.nonzero()[:, 0])
        self.epochs = dict(epochs)
        self.batch_size = batch_size
        self.seed = seed
        self.limit = limit
        self.tasks = {group: (tasks or {}).get(group, (group,)) for group in epochs}
        self.rows = {
            group: train.labelled(names[0]) if len(names) == 1 else torch.nonzero(train.present).squeeze(1)
            for group, names in self.tasks.items()
        }
        empty = [group for group, rows in self.rows.items() if not len(rows)]
        if empty:
            raise UserError(f"no training row with an image and a label for {empty}")

    def train_dataloader(self) -> StepGroups:
        """Return the epoch's steps, some at a time.

        To be asked anew each epoch, for another order and the groups that still train.
        """
        epoch = self.trainer.current_epoch if self.trainer else 0
        groups = {group: rows for group, rows in self.rows.items() if epoch < self.epochs[group]}
        batches = TaskBatches(self.train, groups, self.batch_size, self.seed + 1_000_003 * epoch, self.tasks)
        return StepGroups(batches, self.limit)

    def val_dataloader(self) -> Slices | list:
        """Return all validation rows that have an image, in order."""
        return [] if self.val is None else Slices(self.val)
