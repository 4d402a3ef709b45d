"""Callback that writes the best and the last checkpoint of training in stages."""

from pathlib import Path

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Checkpoint

from affect.storage.write_errors import storage_errors
from callbacks.stage_schedule import StageSchedule


class StageCheckpoints(Checkpoint):
    """Write `last.ckpt` after every epoch, and `best.ckpt` after one that is the best of its stage so far.

    At the end `best.ckpt` is of the epoch whose weights StageSchedule restores. Training's start creates the folder.
    """

    def __init__(self, folder: str | Path, staged: StageSchedule) -> None:
        self.folder = Path(folder)
        self.staged = staged

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Create the folder, which marks a run that began to train."""
        if trainer.is_global_zero:
            with storage_errors(self.folder):
                self.folder.mkdir(parents=True, exist_ok=True)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save the best checkpoint before the last, since a run killed in between repeats this epoch."""
        if self.staged.best_epoch == trainer.current_epoch:
            self._save(trainer, "best.ckpt")
        self._save(trainer, "last.ckpt")

    def _save(self, trainer: pl.Trainer, name: str) -> None:
        trainer.save_checkpoint(self.folder / name)  # atomic, with the Trainer's AtomicCheckpointIO
