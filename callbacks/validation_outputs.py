"""The network's outputs and the labels of each validation image, for figures, dashboards and files."""

from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch.distributed as dist
from pytorch_lightning.callbacks import Callback


class ValidationOutputs(Callback):
    """Collect outputs and labels of the last validation pass, from all processes.

    Attributes:
        names: Image ids, sorted.
        outputs: Outputs of `validation_step`, shape (N, K).
        labels: Label columns by batch key, each of length N.
    """

    def __init__(self) -> None:
        self.names: list[str] = []
        self.outputs = np.empty((0, 0), np.float32)
        self.labels: dict[str, np.ndarray] = {}
        self._rows: list[tuple[str, np.ndarray, dict[str, np.ndarray]]] = []

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Discard collected rows."""
        self._rows = []

    def on_validation_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:  # fmt: skip
        """Collect a batch, unless the step returned None."""
        if outputs is None:
            return
        columns = {key: value.cpu().numpy() for key, value in batch.items() if key not in ("image", "name")}
        values = outputs.float().cpu().numpy()
        for row, name in enumerate(batch["name"]):
            self._rows.append((name, values[row], {key: column[row] for key, column in columns.items()}))

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Gather the rows of all processes and sort them by name."""
        rows = self._rows
        if trainer.world_size > 1:
            parts: list[Any] = [None] * trainer.world_size
            dist.all_gather_object(parts, rows)
            rows = [row for part in parts for row in part]
        if not rows:
            return
        rows.sort(key=lambda row: row[0])
        self.names = [row[0] for row in rows]
        self.outputs = np.stack([row[1] for row in rows])
        self.labels = {key: np.stack([row[2][key] for row in rows]) for key in rows[0][2]}
        self._rows = []
