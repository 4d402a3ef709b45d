"""Callback that writes the metrics of each epoch to a CSV file."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytorch_lightning as pl
from pytorch_lightning.callbacks import Checkpoint

from affect.storage.atomic_write import write_text


class History(Checkpoint):
    """Write one row per epoch to a csv file, for curves and for reading without W&B.

    A row holds only values logged during its epoch. The class derives from `Checkpoint` because Lightning calls
    `on_train_epoch_end` of checkpoint callbacks last: after the other callbacks and the module, which may log there.

    Args:
        path: The file; rewritten atomically at each epoch's end.

    Attributes:
        rows: Metric names and values, with `epoch`.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.rows: list[dict[str, float]] = []

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Drop the values of earlier epochs, which Lightning keeps where an epoch does not log them again."""
        trainer.callback_metrics.clear()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Add the epoch's row."""
        metrics = {
            name.removesuffix("_epoch"): float(value)
            for name, value in trainer.callback_metrics.items()
            if name.startswith("val/") or not name.endswith("_step")  # a class may have such a name
        }
        self.rows.append({"epoch": trainer.current_epoch, **metrics})
        if trainer.is_global_zero:
            write_text(self.path, self.table().to_csv(index=False))

    def table(self) -> pd.DataFrame:
        """Return the rows as a table with one column per metric."""
        return pd.DataFrame(self.rows)

    def state_dict(self) -> dict[str, Any]:
        """Save the rows."""
        return {"rows": self.rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the rows."""
        self.rows = state_dict["rows"]
