"""Features with their labels in memory, whole sets at once."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from affect.tasks import TASKS


@dataclass(frozen=True)
class FeatureTable:
    """Rows of features with their labels, as the batch contract has them.

    Attributes:
        feature: Shape (N, D), float32; a row without image is NaN.
        labels: By task: `expression` (N,), `valence_arousal` (N, 2), `action_units` (N, 12).
        name: N image ids.
    """

    feature: Tensor = field(repr=False)
    labels: dict[str, Tensor] = field(repr=False)
    name: list[str] = field(repr=False)

    def __len__(self) -> int:
        return len(self.name)

    @property
    def present(self) -> Tensor:
        """Whether each row has an image, shape (N,), bool."""
        return ~self.feature[:, 0].isnan()

    def labelled(self, task: str) -> Tensor:
        """Return the rows that have an image and a label of a task, increasing, int64."""
        return torch.nonzero(TASKS[task].labelled(self.labels[task]) & self.present).squeeze(1)

    def take(self, rows: Tensor) -> "FeatureTable":
        """Return some rows, shape (n,), int64, in the order asked for."""
        return FeatureTable(
            self.feature[rows],
            {task: target[rows] for task, target in self.labels.items()},
            [self.name[row] for row in rows.tolist()],
        )

    def joined(self, other: "FeatureTable") -> "FeatureTable":
        """Put another table's rows below these."""
        return FeatureTable(
            torch.cat([self.feature, other.feature]),
            {task: torch.cat([target, other.labels[task]]) for task, target in self.labels.items()},
            self.name + other.name,
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
    for start in range(0, len(rows), 8192):  # in pieces: no second copy of the whole while converting
        piece = slice(start, start + 8192)
        feature[piece] = torch.from_numpy(features[rows[piece]].astype(np.float32))
    return FeatureTable(feature, {task: torch.from_numpy(target) for task, target in labels.items()}, name)
